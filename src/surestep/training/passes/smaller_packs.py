"""How many tokens a pass may hold, and how it shrinks when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from surestep.counted import counted
from surestep.errors import DoesNotFitError
from surestep.scoring.token_budget import halved

_ADVICE = "lower --token_budget, --max_length or --batch_size, or set --gradient_checkpointing true"


class PassBudget:
    """Tokens in one training pass, halved whenever memory runs out.

    Args:
        num_tokens: to begin with.
        may_shrink: whether it may be halved: not where it was set by hand. Several processes halve theirs together.
        say: told the new budget, in a line.
    """

    def __init__(self, num_tokens: int, *, may_shrink: bool, say: Callable[[str], None]) -> None:
        self.num_tokens = num_tokens
        self._may_shrink = may_shrink
        self._say = say

    def shrink(self, free: Callable[[], None]) -> None:
        """Half the tokens from here on, once `free` has given back what the broken pass left.

        Raises:
            DoesNotFitError: the budget may not or cannot shrink.
        """
        smaller = halved(self.num_tokens, may_shrink=self._may_shrink, doing="in a pass", advice=_ADVICE)
        free()
        torch.cuda.empty_cache()
        self.num_tokens = smaller
        self._say(f"out of memory: continuing with {counted(self.num_tokens, 'token')} in a pass")


@contextmanager
def not_repeated(doing: str) -> Iterator[None]:
    """Within it, memory that runs out ends the run: what was done in part must not be done again.

    Raises:
        DoesNotFitError: naming `doing` and what to do.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        failed = True
    else:
        failed = False
    if failed:  # outside of the handler, whose traceback holds on to memory
        raise DoesNotFitError(
            f"out of memory while {doing}; nothing of it is saved: {_ADVICE}, or --optimizer adamw_8bit, then continue "
            "from the last checkpoint with --resume"
        )
