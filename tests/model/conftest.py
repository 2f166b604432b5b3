"""What the model's tests share: each compiles as if it were the only one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> Iterator[None]:
    """Forget what a test compiled: it counts towards a limit of each function past which nothing is compiled."""
    yield
    torch._dynamo.reset()
