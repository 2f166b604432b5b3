"""What `recipes/tiny_warm_start.py` asks of `builtin:tiny`: of texts alone, never of what is held out."""

from __future__ import annotations

import math
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from surestep.data.synthetic.arithmetic import split_of_problem
from surestep.data.synthetic.operations import is_held_out_pair, is_held_out_rate
from surestep.model.backbones.tiny import load_tiny_backbone

ROOT = Path(__file__).resolve().parents[2]
SUM = re.compile(r"(\d+) [-+] (\d+) = (\d+)")


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "recipes" / "tiny_warm_start.py"))


def lines_of(exercise: Any, source: Any) -> list[tuple[str, list[int]]]:
    """Each line's text, the problem's first, and the places of its tokens; an end stands in the line that it closes."""
    lines, begun = [], 0
    for place, token in enumerate(exercise.ids):
        if token == source.tokenizer.confidence_id:
            lines.append((source.tokenizer.tokenizer.decode(exercise.ids[begun:place]), list(range(begun, place + 1))))
            begun = place + 1
    return lines


def test_what_is_asked_follows_from_the_text_and_nothing_is_held_out(recipe: dict[str, Any]) -> None:
    source = recipe["Exercises"](seed=5)
    replaced = 0
    for _ in range(60):
        exercise = source.draw()
        assert len({len(column) for column in exercise}) == 1
        for text, places in lines_of(exercise, source):
            problem, _, line = text.strip().rpartition("\n\n")
            assert not problem or split_of_problem(problem) == "train"
            stated = re.findall(r"0\.\d{3}", line)
            assert not any(is_held_out_rate(float(rate)) for rate in stated)
            numbers = [exercise.numbers[place] for place in places if not math.isnan(exercise.numbers[place])]
            assert numbers == [float(rate) for rate in stated]
            values = [exercise.values[place] for place in places if exercise.values[place] != recipe["UNKNOWN"]]
            assert values == [int(re.findall(r"\d+", line.partition(",")[0])[-1])]
            known = [place for place in places if exercise.originals[place] != recipe["UNKNOWN"]]
            found = SUM.search(line)
            assert len(known) == (2 if found else 0)
            if found:
                one, other, written = map(int, found.groups())
                assert not is_held_out_pair(one, other)
                right = one + other if " + " in line else one - other
                original = source.tokenizer.tokenizer.decode([exercise.originals[place] for place in known])
                assert original == str(right)
                replaced += written != right
    assert replaced > 20, "digits are replaced"


def test_the_embedded_weights_hold_the_size_of_a_number_at_the_end_of_its_line(recipe: dict[str, Any]) -> None:
    source = recipe["Exercises"](seed=6)
    batch = recipe["_pad"]([source.draw() for _ in range(100)])
    backbone = load_tiny_backbone(seed=0).eval()
    embedded = backbone.embed_tokens(batch.ids)
    is_confidence = (batch.ids == source.tokenizer.confidence_id)[..., None]
    with torch.no_grad():
        embedded = torch.where(is_confidence, backbone.embed_tokens.weight.mean(0), embedded)
        states = backbone(inputs_embeds=embedded, output_hidden_states=True, use_cache=False).hidden_states
    has_number = ~batch.numbers.isnan()
    rows = torch.nn.functional.layer_norm(states[recipe["READING_LAYERS"]][has_number], (128,)).double()
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    numbers, half = batch.numbers[has_number].double(), len(rows) // 2
    gram = rows[:half].T @ rows[:half] + 1e-2 * torch.eye(rows.shape[1])
    weights = torch.linalg.solve(gram, rows[:half].T @ numbers[:half])
    error = (rows[half:] @ weights - numbers[half:]).square().mean()
    assert error < 0.05 * numbers[half:].var()
