"""The processes that work on one table, as a launcher started them: `accelerate launch`, `torchrun`.

Read from the environment variables that every launcher sets, and not through Accelerate: rows are independent, so the
processes need no connection between them, and a plain `surestep score` need not load it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from surestep.errors import ConfigError
from surestep.untrusted.whole_numbers import whole_number


@dataclass(frozen=True, slots=True)
class Processes:
    """Which of how many processes this one is.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
        local_rank: its number on this machine, which is that of its GPU.
        launch: tells one start of them from another.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    launch: str = ""

    @property
    def is_first(self) -> bool:
        """Whether it speaks for all, and puts the output in its place."""
        return self.rank == 0

    def owns(self, part: int) -> bool:
        """Whether a part is this process's work.

        >>> [part for part in range(5) if Processes(rank=1, count=2).owns(part)]
        [1, 3]
        """
        return part % self.count == self.rank

    def check_launcher(self) -> None:
        """Raise where the launcher has gone: nobody waits for processes that it ended.

        Raises:
            ConfigError: it has.
        """
        if self.count > 1 and not self.launch.startswith(f"{os.getppid()}:"):
            raise ConfigError("the launcher has ended, and with it other processes of this run; start it again")


def find_processes(*, on_several_machines: bool = False) -> Processes:
    """This process among those that the launcher started; alone where none did.

    Raises:
        ConfigError: they are on several machines, unless they may be, or the variables hold no numbers.
    """
    rank, count, local = (
        _number(name, default) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    if count <= 1:
        return Processes()
    if not on_several_machines and _number("LOCAL_WORLD_SIZE", count) != count:
        raise ConfigError(
            "the processes are on several machines (LOCAL_WORLD_SIZE is below WORLD_SIZE); launch on one, or give each "
            "machine a file of its own"
        )
    if not 0 <= rank < count:
        raise ConfigError(f"the environment variable RANK is {rank}; allowed: 0 to {count - 1} (WORLD_SIZE is {count})")
    # All of them are children of one launcher; the next start has another one.
    return Processes(rank, count, local, f"{os.getppid()}:{os.environ.get('MASTER_PORT', '')}")


def refuse_several_processes(what: str, *, instead: str = "several share one --checkpoint out") -> None:
    """Raise where a launcher started several processes for `what` one of them does alone.

    `instead` says what several do.

    Raises:
        ConfigError: it did.
    """
    if (count := find_processes(on_several_machines=True).count) > 1:
        raise ConfigError(
            f"{what} is the work of one process, and a launcher started {count}: start it without torchrun or "
            f"accelerate launch ({instead})"
        )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    number = whole_number(text)
    if number is None or number >= 1_000_000:
        raise ConfigError(
            f"the environment variable {name} is {text[:40]!r}; allowed: a whole number, as launchers set it"
        )
    return number
