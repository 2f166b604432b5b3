"""A row that each file layout's reader takes, and the readers' names."""

from __future__ import annotations

from typing import Any

from surestep.data.datasets import DATASETS, LAYOUTS

READERS: dict[str, Any] = {name: DATASETS[name].read for name in LAYOUTS}
FILE_READERS = sorted(READERS)
VALID: dict[str, dict[str, Any]] = {
    "prm800k": {
        "is_quality_control_question": False,
        "question": {"problem": "p"},
        "label": {
            "steps": [
                {"completions": [{"text": "a", "rating": 1}], "chosen_completion": 0, "human_completion": None},
                {"completions": None, "chosen_completion": None, "human_completion": {"text": "h"}},
            ]
        },
    },
    "eqasc": {
        "id": "q",
        "question": {
            "stem": "s",
            "choices": [
                {
                    "text": "c",
                    "label": "A",
                    "df": "d",
                    "chains": [[{"text": "a", "score": 1.0}, {"turk_label": {"label": "yes"}}]],
                }
            ],
        },
        "answerKey": "A",
    },
    "reveal": {
        "question_id": "q",
        "question": "s",
        "answer_id": "a",
        "step_idx": 0,
        "step": "t",
        "evidence": "e",
        "attribution_label": "Fully",
        "correctness_label": None,
    },
    "processbench": {"id": "x", "problem": "p", "steps": ["a", "b"], "label": 1},
    "stepwise": {"prompt": "p", "completions": ["a", "b"], "labels": [True, 0.5]},
    "math_shepherd": {"input": "p Step 1: a ки", "label": "p Step 1: a +"},
    "chat_verdicts": {
        "conversations": [
            {"role": "user", "content": "p? Step 1: a"},
            {"role": "assistant", "content": "+"},
            {"role": "user", "content": "Step 2: b"},
            {"role": "assistant", "content": "-"},
        ]
    },
    "versaprm": {
        "question": "p",
        "chain_of_thoughts": [
            {"steps": ["a", "b"], "labels": [1, -1], "augs": [{"aug_idx": 1, "aug_step": "c", "aug_type": 0}]}
        ],
    },
    "step_table": {"problem": "p", "solution_id": "s", "step_index": 1, "step": "a", "label": 1},
    "step_pairs": {"prompt": "p", "initial_reason_steps": "a", "chosen": "b", "rejected": "c"},
    "own": {"problem": "p", "steps": ["a", {"text": "b", "confidence": 1, "alternatives": ["c"]}]},
}
