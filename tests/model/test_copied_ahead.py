"""The next pack is on its way to a GPU while the one before it is worked with: what waits for what, with stand-ins.

That the numbers are those of packs copied when they are needed is shown in tests/gpu.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import pytest
import torch

from surestep.model import to_device as module
from surestep.model.to_device import copied_ahead

GPU, CPU = torch.device("cuda"), torch.device("cpu")


@dataclass
class Stream:
    """What it was given to do, or was told to wait for: all that comes next begins after that."""

    before: set[str] = field(default_factory=set)

    def wait_stream(self, other: Stream) -> None:
        self.before |= other.before


class Device:
    """Two streams, and for every piece of work what is surely done when it begins."""

    def __init__(self) -> None:
        self.working, self.copying = Stream(), Stream()
        self.current = self.working
        self.order: list[str] = []
        self.waits_for: dict[str, set[str]] = {}

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        outer, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = outer

    def do(self, work: str) -> None:
        """Given to the current stream."""
        self.order.append(work)
        self.waits_for[work] = set(self.current.before)
        self.current.before.add(work)


class Pack:
    def __init__(self, name: str, gpu: Device, *, breaks: bool = False) -> None:
        self.name, self._gpu, self._breaks = name, gpu, breaks

    def to(self, device: torch.device) -> Pack:
        if device.type == "cuda":
            if self._breaks:
                raise torch.OutOfMemoryError("CUDA out of memory")
            self._gpu.do(f"copy {self.name}")
        return Pack(self.name, self._gpu)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Device:
    found = Device()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: found.current)
    monkeypatch.setattr(torch.cuda, "stream", found.stream)
    monkeypatch.setattr(module, "_copying_stream", lambda device: found.copying)
    return found


def run_step(gpu: Device, names: str, *, breaks: str = "") -> None:
    """Passes and an update, as a step has them; in the pass named `breaks` memory runs out."""
    with closing(copied_ahead([Pack(name, gpu) for name in names], GPU)) as packs:
        for pack in packs:
            gpu.do(f"pass {pack.name}")
            if pack.name == breaks:
                raise torch.OutOfMemoryError("CUDA out of memory")
    gpu.do(f"update {names}")


def test_the_copy_of_the_next_pack_is_given_out_before_the_pass(gpu: Device) -> None:
    run_step(gpu, "abc")
    assert gpu.order == ["copy a", "copy b", "pass a", "copy c", "pass b", "pass c", "update abc"]


def test_a_pass_waits_for_its_own_copy_and_for_none_behind_it(gpu: Device) -> None:
    names = "abcd"
    run_step(gpu, names)
    for number, name in enumerate(names):
        copies = {work for work in gpu.waits_for[f"pass {name}"] if work.startswith("copy")}
        assert copies == {f"copy {before}" for before in names[: number + 1]}


def test_a_copy_goes_on_beside_the_pass_before_and_after_all_that_used_its_memory(gpu: Device) -> None:
    """Memory that was let go of is of a pack before the last one that came: its pass is waited for."""
    names = "abcd"
    run_step(gpu, names)
    for number, name in enumerate(names):
        passes = {work for work in gpu.waits_for[f"copy {name}"] if work.startswith("pass")}
        assert passes == {f"pass {before}" for before in names[: max(0, number - 1)]}


def test_the_first_copy_of_a_step_goes_on_beside_the_update_before(gpu: Device) -> None:
    run_step(gpu, "ab")
    run_step(gpu, "cd")
    assert gpu.waits_for["copy c"] >= {"pass a", "pass b"}
    assert "update ab" not in gpu.waits_for["copy c"]
    assert gpu.waits_for["pass c"] >= {"update ab", "copy c"}


def test_a_pass_that_breaks_off_drops_what_is_on_its_way(gpu: Device) -> None:
    """No more copies are made, and what comes next waits for what the broken pass had begun."""
    with pytest.raises(torch.OutOfMemoryError):
        run_step(gpu, "abcd", breaks="b")
    assert gpu.order == ["copy a", "copy b", "pass a", "copy c", "pass b"]
    run_step(gpu, "ef")
    assert gpu.waits_for["copy e"] >= {"pass a", "pass b", "copy c"}


def test_no_room_for_the_copy_of_the_next_pack_ends_as_a_pass_without_room_does(gpu: Device) -> None:
    packs = copied_ahead([Pack("a", gpu), Pack("b", gpu), Pack("c", gpu, breaks=True)], GPU)
    assert next(packs).name == "a"
    gpu.do("pass a")
    with pytest.raises(torch.OutOfMemoryError):
        next(packs)
    assert gpu.current is gpu.working
    run_step(gpu, "e")
    assert gpu.waits_for["copy e"] >= {"pass a", "copy b"}


def test_no_more_than_three_packs_are_there_at_once(gpu: Device) -> None:
    """The one that is worked with, the next, and for a moment the one before."""
    there: weakref.WeakSet[Pack] = weakref.WeakSet()
    most = 0

    class Counted(Pack):
        def to(self, device: torch.device) -> Pack:
            nonlocal most
            there.add(moved := super().to(device))
            most = max(most, len(there))
            return moved

    for pack in copied_ahead([Counted(name, gpu) for name in "abcdefgh"], GPU):
        gpu.do(f"pass {pack.name}")
    del pack
    assert most == 3
    assert len(there) == 0


def test_without_packs_nothing_is_copied(gpu: Device) -> None:
    assert list(copied_ahead([], GPU)) == []
    assert gpu.order == []


def test_on_a_cpu_packs_are_moved_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_arguments: object) -> None:
        raise AssertionError("no GPU is asked for anything")

    for name in ("current_stream", "stream", "Stream"):
        monkeypatch.setattr(torch.cuda, name, touched)
    asked: list[int] = []

    def tensors() -> Iterator[torch.Tensor]:
        for number in range(3):
            asked.append(number)
            yield torch.full((2,), number)

    for number, tensor in enumerate(copied_ahead(tensors(), CPU)):
        assert asked == list(range(number + 1))
        assert tensor.tolist() == [number, number]
    assert asked == [0, 1, 2]
