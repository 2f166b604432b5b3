"""The inputs of the fixed runs (`fixed_runs.py`): excerpts of real data, and files made by seed for every other format.

Knows file layouts; imports nothing of Surestep. Whoever changes a number here changes every result.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

Row = dict[str, Any]

PRM800K_TRAIN, PRM800K_TEST = 70, 12
EOBQA_TRAIN, EOBQA_TEST = 50, 25
OWN_TRAIN, OWN_TEST = 90, 40
DOUBTFUL = 60
EVERY_OF_PROCESSBENCH, GSM8K = 16, 8
CATEGORIES = ("redundency", "circular", "counterfactual", "confidence", "missing_condition", "deception")
_LABELS = (0.0, 0.1, 0.1, 1 / 3, 0.5, 1.0, None)


def write_inputs(folder: Path, shared: Path) -> None:
    """Write all inputs into the new `folder`; real ones are cut from the files in `shared`."""
    folder.mkdir(parents=True)
    _cut_real_files(folder, shared)
    _write_rows(folder / "own_train.jsonl", _own(OWN_TRAIN, seed=1))
    _write_rows(folder / "own_test.jsonl", _own(OWN_TEST, seed=2))
    for seed, part in ((8, "validation"), (9, "test")):
        _write_rows(folder / f"doubtful_{part}.jsonl", _doubtful(DOUBTFUL, seed=seed))
    _write_rows(folder / "other_predictions.jsonl", _other_predictions(400, seed=3))
    solutions = json.loads((folder / "processbench.json").read_text(encoding="utf-8"))
    _write_rows(folder / "processbench_predictions.jsonl", _solution_scores(solutions, "steps", "id", seed=4))
    prmbench = list(_prmbench(36, seed=5))
    _write_rows(folder / "prmbench.jsonl", prmbench)
    named = [{**row, "id": f"{row['classification']}_{row['idx']}"} for row in prmbench]
    _write_rows(folder / "prmbench_predictions.jsonl", _solution_scores(named, "modified_process", "id", seed=6))
    _write_rows(folder / "candidates_scored.jsonl", _candidates(30, seed=7))


def _cut_real_files(folder: Path, shared: Path) -> None:
    data = shared / "data"
    for name in ("prm800k", "eqasc"):
        (folder / name).mkdir()
    for part, count in (("train", PRM800K_TRAIN), ("test", PRM800K_TEST)):
        _cut_lines(data / "PRM800K" / f"phase1_{part}.jsonl", folder / "prm800k" / f"phase1_{part}.jsonl", count)
    # The excerpt of eQASC itself has two questions; eOBQA, in the same layout, stands beside it as train and test.
    shutil.copyfile(data / "eQASC" / "eqasc_dev_grc.json", folder / "eqasc" / "eqasc_dev_grc.json")
    for part, count in (("train", EOBQA_TRAIN), ("test", EOBQA_TEST)):
        _cut_array(data / "eOBQA" / f"eqasc_{part}_grc.json", folder / "eqasc" / f"eqasc_{part}_grc.json", count)
    # Its wrong solutions stand before its right ones.
    _cut_array(data / "ProcessBench" / "gsm8k.json", folder / "processbench.json", every=EVERY_OF_PROCESSBENCH)
    _cut_lines(data / "GSM8K" / "example_model_solutions.jsonl", folder / "candidates.jsonl", GSM8K)
    shutil.copytree(shared / "models" / "stories260K", folder / "stories260K", copy_function=shutil.copyfile)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # a read-only folder would stay in the way of its removal


def _cut_lines(source: Path, target: Path, count: int) -> None:
    with source.open(encoding="utf-8") as lines:
        target.write_text("".join(islice(lines, count)), encoding="utf-8")


def _cut_array(source: Path, target: Path, count: int | None = None, *, every: int = 1) -> None:
    rows = json.loads(source.read_text(encoding="utf-8"))
    target.write_text(json.dumps(rows[:count:every], ensure_ascii=False, indent=1), encoding="utf-8")


def _write_rows(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _own(count: int, *, seed: int) -> Iterator[Row]:
    """Sums with groups, alternatives, contexts, and hard, soft (0.1, 1/3) and missing labels; some rows meet again."""
    rng = random.Random(seed)
    for number in range(count):
        left, right = rng.randint(1, 99), rng.randint(1, 99)
        first: Row = {
            "text": f"add {left} and {right}",
            "confidence": rng.choice(_LABELS),
            "alternatives": [
                {"text": f"it is {left - right}", "confidence": 0.1},
                {"text": f"double {left}", "confidence": round(rng.random(), 2)},
            ],
        }
        last = [
            {"text": f"so it is {left + right + extra}", "confidence": 1.0 if extra == 0 else rng.choice(_LABELS)}
            for extra in range(rng.randint(1, 4))
        ]
        last[-1]["context"] = f"a table says that {left} and {right} give {left + right}"
        row: Row = {
            "problem": f"{seed}.{number}: what is {left} + {right}?",
            "steps": [first, {"text": "then simplify", "confidence": None}, *last],
            "group": f"g{seed}.{number // 3}",
        }
        yield row
        if number % 10 == 0:  # a second solution of the same problem, another judge of its first step
            again = {**first, "confidence": 1.0, "alternatives": []}
            yield {**row, "steps": [again, {"text": f"hence {left + right}", "confidence": 0.9}]}


def _doubtful(count: int, *, seed: int) -> Iterator[Row]:
    """Sums of which few steps are right: a dataset that wants a calibration map of its own."""
    rng = random.Random(seed)
    for number in range(count):
        steps = [
            f"step {part}: {rng.randint(1, 99)} + {rng.randint(1, 99)} = {rng.randint(2, 198)}" for part in range(4)
        ]
        confidences = [rng.choice((0.0, 0.0, 0.0, 0.1, 0.1, 1.0)) for _ in steps]
        yield {"problem": f"{seed}.{number}: four sums", "steps": steps, "confidences": confidences}


def _other_predictions(count: int, *, seed: int) -> Iterator[Row]:
    """Another scorer's rows of two datasets: ties, groups, raw scores, known truth, soft labels, missing labels."""
    rng = random.Random(seed)
    for number in range(count):
        truth = rng.random()
        confidence = round(min(max(truth + rng.gauss(0, 0.15), 0.0), 1.0), 2)
        row: Row = {
            "dataset": "algebra" if number % 3 else "geometry",
            "problem_id": f"p{number // 5}",
            "step": number % 5,
            "position": number % 5 + 1,
            "confidence": confidence,
            "label": rng.choice((0.1, 0.5, None)) if number % 9 == 0 else float(rng.random() < truth),
        }
        if number % 3:
            row |= {"group": f"g{number // 10}", "true_confidence": truth, "raw_confidence": round(confidence**0.5, 3)}
        yield row


def _solution_scores(solutions: Iterable[Row], steps: str, name: str, *, seed: int) -> Iterator[Row]:
    """Confidences for each step of each solution, some of them null."""
    rng = random.Random(seed)
    for solution in solutions:
        scores = [round(rng.betavariate(3, 1), 3) for _ in solution[steps]]
        yield {"id": solution[name], "confidences": [None if rng.random() < 0.02 else score for score in scores]}


def _prmbench(count: int, *, seed: int) -> Iterator[Row]:
    rng = random.Random(seed)
    for number in range(count):
        left, right = rng.randint(2, 60), rng.randint(2, 60)
        category = CATEGORIES[number % len(CATEGORIES)]
        steps = [f"Take {left}.", f"Add {right}.", f"That gives {left + right}.", f"So the answer is {left + right}."]
        wrong = sorted(rng.sample(range(1, 5), rng.randint(1, 2)))
        for index in wrong:
            steps[index - 1] = steps[index - 1].replace(str(left), str(left + 1)).replace("Add", "Subtract")
        question = f"What is {left} + {right}?"
        yield {
            "idx": str(number // len(CATEGORIES)),
            "original_question": question,
            "modified_question": question,
            "modified_process": steps,
            "error_steps": [*wrong, 9] if number == 7 else wrong,
            "classification": category,
        }


def _candidates(count: int, *, seed: int) -> Iterator[Row]:
    """Problems with eight scored candidates each, answers that repeat, equal scores."""
    rng = random.Random(seed)
    for number in range(count):
        left, right = rng.randint(2, 60), rng.randint(2, 60)
        candidates = []
        for _ in range(8):
            error = rng.choice((0, 0, 1, -1))
            sure = 0.8 if error == 0 else 0.55
            candidates.append(
                {
                    "steps": [f"Add {left} and {right}.", f"The answer is {left + right + error}."],
                    "correct": error == 0,
                    "answer": str(left + right + error),
                    "confidences": [round(min(max(rng.gauss(sure, 0.2), 0.0), 1.0), 1) for _ in range(2)],
                }
            )
        yield {"problem": f"{number}: what is {left} + {right}?", "candidates": candidates}
