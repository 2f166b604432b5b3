"""Small files in the layouts of PRM800K, REVEAL and eQASC, made here: sums, right and wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any


def write_datasets(folder: Path, *, num_problems: int = 24) -> None:
    """Write all files that the three datasets of the mixture need into `folder`, test splits included."""
    first = 0
    for phase in (1, 2):
        for split, count in (("train", num_problems), ("test", num_problems // 3)):
            records = [_prm800k_record(first + number) for number in range(count)]
            first += count
            _write(folder / "prm800k" / f"phase{phase}_{split}.jsonl", "".join(json.dumps(r) + "\n" for r in records))
    for split, count in (("train", num_problems), ("test", num_problems // 3)):
        questions = [_eqasc_question(first + number) for number in range(count)]
        first += count
        _write(folder / "eqasc" / f"eqasc_{split}_grc.json", json.dumps(questions))
    _write_reveal(folder / "reveal" / "reveal_eval.csv", range(first, first + num_problems))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _prm800k_record(number: int) -> dict[str, Any]:
    left, right = number % 40 + 3, number // 40 + 5

    def step(*completions: tuple[str, int]) -> dict[str, Any]:
        rated = [{"text": text, "rating": rating, "flagged": None} for text, rating in completions]
        return {"completions": rated, "human_completion": None, "chosen_completion": 0}

    return {
        "labeler": None,
        "timestamp": None,
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {"problem": f"What is {left} + {right}?", "ground_truth_answer": str(left + right)},
        "label": {
            "steps": [
                step(("We add the numbers.", 1), ("We multiply the numbers.", -1)),
                step(
                    (f"The sum is {left + right}.\n\n# Answer\n\n{left + right}", 1),
                    (f"The sum is {left + right + 1}.", -1),
                    ("Let us think about it.", 0),
                ),
            ],
            "total_time": None,
            "finish_reason": "solution",
        },
    }


def _eqasc_question(number: int) -> dict[str, Any]:
    def chain(index: int, verdict: str) -> list[dict[str, Any]]:
        return [
            {"text": f"stone {number} is made of mineral {index}", "score": 20.0 + index},
            {"text": f"mineral {index} is hard", "score": 12.0 + index},
            {
                "overlapping_entities": [],
                "chain_id": f"{number}_{index}",
                "turk_label": {"label": verdict},
                "df": "",
                "grc": ["", "", ""],
            },
        ]

    choices = [
        {"text": "hard", "label": "A", "df": f"stone {number} is hard", "chains": [chain(1, "yes"), chain(2, "no")]},
        {"text": "soft", "label": "B", "df": f"stone {number} is soft", "chains": [chain(3, "no")]},
    ]
    return {
        "id": f"q{number}",
        "question": {"stem": f"What is stone {number} like?", "choices": choices},
        "answerKey": "A",
        "fact1": f"stone {number} is made of quartz",
        "fact2": "quartz is hard",
        "combinedfact": f"stone {number} is hard",
    }


def _write_reveal(path: Path, numbers: range) -> None:
    rows = []
    for number in numbers:
        for index, (kind, step, verdict) in enumerate(
            (
                ("Attribution", f"River {number} flows into the sea.", "Fully" if number % 2 else "Contradictory"),
                ("Logic", f"So river {number} ends at the sea.", "Correct" if number % 3 else "Incorrect"),
            )
        ):
            is_fact = kind == "Attribution"
            rows.append(
                {
                    "dataset": "own",
                    "question_id": f"r{number}",
                    "question": f"Where does river {number} end?",
                    "answer_id": f"r{number}_a",
                    "answer_model": "none",
                    "step_idx": index,
                    "full_answer": "",
                    "step": step,
                    "decontextualized_step": step,
                    "evidence": f"River {number} reaches the coast." if is_fact else "",
                    "attribution_label": verdict if is_fact else "",
                    "correctness_label": "" if is_fact else verdict,
                    "logic_relevance_label": "",
                    "type_label": f"{kind} step.",
                    "answer_is_logically_correct": "",
                }
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
