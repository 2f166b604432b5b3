"""Random numbers of the caller, left as they were by what seeds its own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Python's, numpy's and torch's generators (of all GPUs) come out as they went in, whatever is seeded within.

    Also a decorator: `@random_state_kept()`.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    had_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda_states = torch.cuda.get_rng_state_all() if had_cuda else []
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if had_cuda:
            torch.cuda.set_rng_state_all(cuda_states)
        elif torch.cuda.is_available():
            # What a GPU that is first used within would have begun with, had nobody seeded meanwhile.
            torch.cuda.manual_seed_all(torch.initial_seed())
