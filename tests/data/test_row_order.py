"""Rows in another order are the same trees in the same order: nothing of a run follows from where a row stands."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layout_rows import DIFFERENTLY_MADE
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import Record
from surestep.data.sources.hold_out import Division
from surestep.data.sources.source import Source
from surestep.data.trees.problem_records import Problems, RecordSteps
from surestep.data.trees.tree_builder import TreeBuilder
from surestep.types import ROOT, ReasoningTree


def rows_of(layout: str, seed: int, count: int) -> list[dict[str, Any]]:
    """Rows of few problems, so that many are about the same one, with labels of which no sum is exact."""
    drawn = random.Random(seed)
    rows = []
    for number in range(count):
        problem = f"What is {drawn.randint(1, 5)}?"
        steps = [f"s{drawn.randint(1, 2)}" for _ in range(drawn.randint(1, 3))]
        labels = [drawn.choice([0.1, 0.3, 0.7, 1.0, None]) for _ in steps]
        labels[-1] = 0.2
        signs = [drawn.choice("+-") for _ in steps]
        facts = [{"text": step, "score": 20.0 + drawn.randint(1, 50)} for step in steps]
        rating = {"completions": [{"text": step, "rating": drawn.choice([-1, 0, 1])} for step in steps]}
        tagged = [f"Step {place}: {step}" for place, step in enumerate(steps, start=1)]
        row: dict[str, Any] = {
            "own": {
                "problem": problem,
                "steps": [
                    {"text": step, "confidence": label, "alternatives": [{"text": "no", "confidence": 0.1}]}
                    for step, label in zip(steps, labels, strict=True)
                ],
                "group": drawn.choice(["", "g", "h"]),
                "id": drawn.choice(["", "i"]),
            },
            "stepwise": {"prompt": problem, "completions": steps, "labels": labels},
            "math_shepherd": {
                "input": f"{problem} {' '.join(f'{step} ки' for step in tagged)}",
                "label": f"{problem} {' '.join(f'{step} {sign}' for step, sign in zip(tagged, signs, strict=True))}",
            },
            "chat_verdicts": {
                "messages": [
                    turn
                    for step, sign in zip([f"{problem} {tagged[0]}", *tagged[1:]], signs, strict=True)
                    for turn in ({"role": "user", "content": step}, {"role": "assistant", "content": sign})
                ]
            },
            "versaprm": {
                "question": problem,
                "chain_of_thoughts": [
                    {
                        "steps": steps,
                        "labels": [1] * len(steps),
                        "augs": [{"aug_idx": 0, "aug_step": "x", "aug_type": 1}],
                    }
                ],
            },
            "step_table": {
                "problem": problem,
                "solution_id": drawn.randint(1, 2),
                "step_index": number,
                "step": steps[0],
                "label": labels[-1],
                "group": drawn.choice(["", "g", "h"]),
            },
            "step_pairs": {"prompt": problem, "initial_reason_steps": steps, "chosen": "right", "rejected": "wrong"},
            "prm800k": {
                "question": {"problem": problem},
                "label": {"steps": [{**rating, "chosen_completion": 0}, rating]},
            },
            "processbench": {"id": drawn.choice(["", f"n{number}"]), "problem": problem, "steps": steps, "label": -1},
            "eqasc": {
                "id": drawn.choice(["", f"q{number}"]),
                "question": {
                    "stem": problem,
                    "choices": [
                        {
                            "text": text,
                            "label": label,
                            "chains": [[*facts, {"turk_label": {"label": drawn.choice(["yes", "no"])}}]],
                        }
                        for label, text in (("A", "one"), ("B", "two"))
                    ],
                },
                "answerKey": "A",
            },
            "reveal": {
                "question_id": problem[-2],
                "question": problem,
                "answer_id": f"a{drawn.randint(1, 3)}",
                "step_idx": drawn.randint(0, 2),
                "step": drawn.choice(["s", "t"]),
                "evidence": drawn.choice(["", "e", "f", "g"]),
                "attribution_label": drawn.choice(["Fully", "Contradictory", None]),
                "correctness_label": drawn.choice(["Correct", "Incorrect", None]),
            },
            "mr_ben": {
                "Question": problem,
                "Question_UUID": drawn.choice(["", f"n{number}"]),
                "Model_Solution_Steps": tagged,
                "Model_Solution_Correctness": "incorrect",
                "Model_Solution_First_Error_Step": "1",
            },
            "big_bench_mistake": {"input": problem, "steps": steps, "mistake_index": drawn.choice([None, 0])},
            "reason_eval": {
                "question": problem,
                "model_output_steps": steps,
                "model_output_solution_correctness": "correct",
                "model_output_solution_first_error_step": "N/A",
            },
            "hard2verify": {
                "question": problem,
                "model_response_by_step": steps,
                "human_labels": [int(sign == "+") for sign in signs],
            },
            "delta_bench": {
                "question": problem,
                "sections": [{"content": step} for step in steps],
                "reason_error_section_numbers": [drawn.randint(1, len(steps))],
            },
            "agent_process_bench": {
                "query_index": problem[-2],
                "messages": [
                    {"role": "user", "content": problem},
                    *({"role": "assistant", "content": step} for step in steps),
                ],
                "step_labels": {str(place): drawn.choice([-1, 0, 1]) for place in range(1, len(steps) + 1)},
            },
            "tool_prm_bench": {"history": problem, "action_chosen": f"{steps[0]}+", "action_rejected": steps[0]},
            "mmlu_pro_cot": {
                "question": problem,
                "chain_of_thoughts": str(steps),
                "labels": str([1 if sign == "+" else -1 for sign in signs]),
            },
        }[layout]
        rows.append(row)
    return rows


def read(source: Source, rows: list[dict[str, Any]]) -> list[ReasoningTree]:
    source.files[0].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    # A tree without a name is called after its place, which is for people.
    return [replace(tree, id="") for tree in source.read(ReadReport())]


@pytest.mark.slow
@pytest.mark.parametrize("layout", DIFFERENTLY_MADE)
@given(seed=st.integers(0, 2**32), divided=st.booleans())
@settings(max_examples=25, deadline=None)
def test_shuffled_rows_are_the_same_split(layout: str, tmp_path: Path, seed: int, divided: bool) -> None:
    path = tmp_path / "rows.jsonl"
    division = (Division(0.4, 1, "rest"),) if divided else ()
    source = Source(layout, layout, "train", layout, (path,), divisions=division)
    rows = rows_of(layout, seed, 24)
    trees = read(source, rows)
    random.Random(seed).shuffle(rows)
    assert read(source, rows) == trees
    assert read(source, rows[::-1]) == trees


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms())
def test_a_mean_is_the_exact_sum_rounded_once(ratings: list[float], drawn: random.Random) -> None:
    def mean() -> float | None:
        builder = TreeBuilder("p")
        for rating in ratings:
            builder.add("s", confidence=rating)
        return builder.build(ReadReport()).nodes[0].confidence

    before = mean()
    drawn.shuffle(ratings)
    assert mean() == before
    assert before == pytest.approx(sum(ratings) / len(ratings), abs=1e-15)


def test_a_group_that_one_record_names_holds_for_its_problem() -> None:
    problems = Problems()
    for line, group in enumerate(["", "g", "f", ""], start=1):
        steps = RecordSteps(Record({}, Path("r.jsonl"), line), "p", group=group)
        steps.add("s", ROOT, confidence=1.0)
        problems.add(steps)
    (tree,) = problems.trees(ReadReport(), drop_unlabelled_tails=False)
    assert (tree.group, tree.id) == ("f", "r:1")
