"""Overlaps: copies are found in spite of spacing and case."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from surestep.data.datasets.prm800k import read_prm800k
from surestep.data.inspect.overlaps import find_overlap
from surestep.data.records.reading_report import ReadReport


def test_copies_are_counted_once_and_shown() -> None:
    overlap = find_overlap(["What is $2+2$?", "what is  $2+2$", "Other", "Third"], ["WHAT IS $2+2$ ?", "New"])
    assert (overlap.num_shared, overlap.num_left, overlap.num_right) == (1, 3, 2)
    assert len(overlap.examples) == 1


@pytest.mark.slow
def test_real_phase_1_test_lies_inside_math_500_and_train_does_not(real_data: Callable[[str], Path]) -> None:
    with real_data("MATH500/test.jsonl").open(encoding="utf-8") as file:
        math = [json.loads(line)["problem"] for line in file]
    problems = {
        split: [t.problem for t in read_prm800k(real_data(f"PRM800K/phase1_{split}.jsonl"), report=ReadReport())]
        for split in ("train", "test")
    }
    test = find_overlap(problems["test"], math)
    assert (test.num_shared, test.num_left) == (98, 98)
    assert find_overlap(problems["train"], math).num_shared == 0
    assert find_overlap(problems["train"], problems["test"]).num_shared == 0
