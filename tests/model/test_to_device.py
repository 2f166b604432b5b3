"""Only page-locked memory is copied without waiting; that other memory may be gone first was seen on a busy H200."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from torch import Tensor

import surestep
from surestep.model import to_device as module
from surestep.model.to_device import copy_into, to_device


@pytest.mark.parametrize("pinned", [True, False])
def test_a_copy_goes_on_alone_only_from_page_locked_memory(monkeypatch: pytest.MonkeyPatch, pinned: bool) -> None:
    waited: list[bool] = []
    monkeypatch.setattr(Tensor, "is_pinned", lambda self: pinned)
    for name in ("to", "copy_"):
        monkeypatch.setattr(
            Tensor, name, lambda self, other, *, non_blocking=False: waited.append(not non_blocking) or self
        )
    to_device(torch.ones(3), torch.device("cpu"))
    copy_into(torch.zeros(3), torch.ones(3))
    assert waited == [not pinned] * 2


def test_values_arrive() -> None:
    place = torch.zeros(3)
    copy_into(place, torch.arange(3.0))
    assert place.tolist() == to_device(torch.arange(3.0), torch.device("cpu")).tolist() == [0.0, 1.0, 2.0]


def test_nobody_else_says_whether_a_copy_waits() -> None:
    root = Path(surestep.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "non_blocking" in (text := path.read_text(encoding="utf-8"))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.keyword) and node.arg == "non_blocking"
    }
    assert found == {Path(module.__file__).relative_to(root).as_posix()}
