"""What the processes of one run tell each other: small numbers over the CPU, whatever the tensors go through.

A GPU that is still busy does not hold these messages up, and a process that has died is known by its closed connection.

Knows numbers; knows no tree, no model and no launcher.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch

from surestep.errors import ProcessesError
from surestep.scored import FloatArray

LONGEST_WAIT = timedelta(minutes=30)
"""For a process whose machine has vanished without closing its connections; one that dies is known at once."""
FIRST_WAIT = timedelta(days=1)
"""For the process that reads and tokenises the data, which the others wait for at the start."""


class Together:
    """The processes of one run, as one of them sees them; alone unless `count` is above 1.

    With several, torch.distributed must be set up, and every process must make one of these at the same place.

    Args:
        rank: this process's number, from 0.
        count: how many there are.
        wait: how long a message may take.
    """

    def __init__(self, rank: int = 0, count: int = 1, *, wait: timedelta = LONGEST_WAIT) -> None:
        self.rank = rank
        self.count = count
        self._group: Any = None
        if count > 1:
            with others_alive():
                self._group = torch.distributed.new_group(backend="gloo", timeout=wait)

    @property
    def is_first(self) -> bool:
        """Whether it speaks for all."""
        return self.rank == 0

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each of `values`, of which every process has as many, summed over the processes.

        Raises:
            ProcessesError: another process has gone.
        """
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(list(values), dtype=torch.float64)
        with others_alive():
            torch.distributed.all_reduce(tensor, group=self._group)
        summed: list[float] = tensor.tolist()
        return summed

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds on any process."""
        return self.summed([float(flag)])[0] > 0

    def gathered(self, values: FloatArray) -> list[FloatArray]:
        """The `values` of every process, float64 [any length], in the order of their ranks.

        Raises:
            ProcessesError: another process has gone.
        """
        if self.count == 1:
            return [values]
        lengths = [0.0] * self.count
        lengths[self.rank] = float(len(values))
        sizes = [int(length) for length in self.summed(lengths)]
        places = [torch.zeros(max(sizes), dtype=torch.float64) for _ in sizes]
        own = torch.zeros(max(sizes), dtype=torch.float64)
        own[: len(values)] = torch.from_numpy(np.ascontiguousarray(values, np.float64))
        if max(sizes):
            with others_alive():
                torch.distributed.all_gather(places, own, group=self._group)
        return [place[:size].numpy() for place, size in zip(places, sizes, strict=True)]

    def smallest(self, value: int) -> int:
        """The smallest `value` of all processes."""
        return int(min(float(found[0]) for found in self.gathered(np.array([float(value)]))))

    def largest(self, value: int) -> int:
        """The largest `value` of all processes."""
        return -self.smallest(-value)

    def told(self, value: Any) -> Any:
        """What the first process has as `value`, JSON-ready, on every process: itself on the first."""
        if self.count == 1:
            return value
        text = json.dumps(value).encode() if self.is_first else b""
        found = self.gathered(np.frombuffer(text, np.uint8).astype(np.float64))[0]
        return value if self.is_first else json.loads(found.astype(np.uint8).tobytes())

    def wait(self) -> None:
        """Until all are here."""
        self.summed([0.0])

    @contextmanager
    def first_goes_ahead(self) -> Iterator[None]:
        """The first process goes through the block before the others; what is refused to it, is to them, too."""
        if not self.is_first:
            self.wait()
        try:
            yield
        finally:
            if self.is_first:
                self.wait()


@contextmanager
def others_alive() -> Iterator[None]:
    """Within it a message that another process can no longer answer ends this one, too.

    Raises:
        ProcessesError: torch says that a connection is closed, or nobody answered in time.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ProcessesError(
            "another process of this run has ended, or does not answer: see what it printed, mend that, and start all "
            f"of them again (training: with --resume) ({words[:160]})"
        ) from error
