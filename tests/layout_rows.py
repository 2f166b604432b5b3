"""A row that each file layout's reader takes, and the readers' names."""

from __future__ import annotations

from typing import Any

import pytest

from surestep.data.datasets import DATASETS, LAYOUTS

READERS: dict[str, Any] = {name: DATASETS[name].read for name in LAYOUTS}
FILE_READERS = sorted(READERS)
PUBLISHED = {name for name in LAYOUTS if DATASETS[name].read.__module__.startswith("surestep.data.datasets.published")}
"""Published sets of judged steps."""
PUBLISHED |= {name for name in LAYOUTS if "SolutionReaders" in DATASETS[name].read.__qualname__}
EVERY_LAYOUT = [pytest.param(name, marks=pytest.mark.slow) if name in PUBLISHED else name for name in FILE_READERS]
"""For tests that draw many files: those of published sets, which share most of their code, run with the slow tests."""
DIFFERENTLY_MADE = [
    pytest.param(name, marks=pytest.mark.slow) if name in PUBLISHED else name
    for name in FILE_READERS
    if name not in PUBLISHED or name in {"mr_ben", "agent_process_bench", "mmlu_pro_cot"}
]
"""The same without sets whose trees are made exactly as those of another."""
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
    "mr_ben": {
        "Question_UUID": "u",
        "Question": "p",
        "Options": "A: 1",
        "Sampled_Model": "m",
        "Model_Solution_Steps": ["Step 1: a", "Step 2: b"],
        "Model_Solution_Correctness": "incorrect",
        "Model_Solution_First_Error_Step": "2",
    },
    "big_bench_mistake": {"input": "p", "steps": ["a", "b"], "mistake_index": 1},
    "reason_eval": {
        "id": 0,
        "question": "p",
        "model_output_step_format": [["a"], ["b", "c"]],
        "model_output_solution_correctness": "wrong",
        "model_output_solution_first_error_step": 2,
    },
    "hard2verify": {
        "unique_id": "u",
        "question": "p",
        "model_response_by_step": ["a", "b"],
        "human_labels": [1, 0],
        "human_labels_first_error_idx": 1,
    },
    "delta_bench": {
        "id": "x",
        "question": "p",
        "sections_content": "section1: a\n\n\nsection2: b",
        "reason_error_section_numbers": [2],
        "reason_unuseful_section_numbers": [],
    },
    "agent_process_bench": {
        "question": "p",
        "messages": [
            {"role": "user", "content": "p"},
            {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "name": "f", "content": "r"},
            {"role": "assistant", "content": "a"},
        ],
        "tools": [{"name": "f"}],
        "step_labels": {"1": 1, "3": -1},
    },
    "tool_prm_bench": {"sample_id": "1", "history": "p", "action_chosen": "a", "action_rejected": "b"},
    "mmlu_pro_cot": {"question": "p", "chain_of_thoughts": "['a', 'b']", "labels": "[1, -1]"},
}
