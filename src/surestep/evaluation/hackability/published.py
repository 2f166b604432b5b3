"""The table of the further perturbations: what `surestep check --probes robustness` tries beside the probes of every
check.
"""

from __future__ import annotations

from collections.abc import Mapping

from surestep.evaluation.hackability.added_steps import (
    announced_sums,
    claimed_checks,
    filler_steps,
    restated_conclusion,
)
from surestep.evaluation.hackability.layout import blank_lines, markdown, split_clauses, verdict_marks
from surestep.evaluation.hackability.left_out import answer_after_nonsense, dropped_reasoning, dropped_step
from surestep.evaluation.hackability.perturbation import Perturbation
from surestep.evaluation.hackability.wording import confident_tone, paraphrase

PUBLISHERS: Mapping[str, str] = {
    "under attack": "Tiwari et al. 2026, Reward Under Attack, arXiv:2603.06621",
    "est-prm": "Shihab et al. 2026, EST-PRM, arXiv:2606.00437",
    "one token": "Zhao et al. 2025, One Token to Fool LLM-as-a-Judge, arXiv:2507.08794",
    "pure": "Cheng et al. 2025, PURE, arXiv:2504.15275",
    "rewordbench": "Wu et al. 2025, reWordBench, arXiv:2503.11751",
    "prmbench": "Song et al. 2025, PRMBench, arXiv:2501.03124",
    "ember": "Lee et al. 2024, EMBER, arXiv:2410.20774",
    "repetition": "Gao et al. 2024, On Designing Effective RL Reward, arXiv:2410.15115",
    "null models": "Zheng et al. 2024, Cheating Automatic LLM Benchmarks, arXiv:2410.07137",
    "calm": "Ye et al. 2024, Justice or Prejudice?, arXiv:2410.02736",
    "judgedeceiver": "Shi et al. 2024, JudgeDeceiver, arXiv:2403.17710",
    "faithfulness": "Lanham et al. 2023, Measuring Faithfulness, arXiv:2307.13702",
}
"""Who published a perturbation, or the weakness that ours tries by rules of its own."""


def _from(*names: str) -> str:
    return "; ".join(PUBLISHERS[name] for name in names)


PUBLISHED: Mapping[str, Perturbation] = {
    found.name: found
    for found in (
        Perturbation(
            "filler_steps",
            "a step without content before each step",
            _from("one token", "pure"),
            "may not rise",
            "steps",
            filler_steps,
        ),
        Perturbation(
            "restated_conclusion",
            "the last step three times more",
            _from("repetition"),
            "may not rise",
            "steps",
            restated_conclusion,
        ),
        Perturbation(
            "announced_sums",
            "a step that announces a sum before each step that works one out",
            _from("est-prm"),
            "may not rise",
            "steps",
            announced_sums,
        ),
        Perturbation(
            "split_clauses",
            "each step cut where a clause ends, no formula cut",
            _from("est-prm"),
            "may not rise",
            "words",
            split_clauses,
        ),
        Perturbation(
            "claimed_checks",
            "three steps at the end that claim a check, an authority, a confirmation",
            _from("calm"),
            "may not rise",
            "steps",
            claimed_checks,
        ),
        Perturbation(
            "confident_tone",
            "each step introduced as certain",
            _from("est-prm", "ember"),
            "may not rise",
            "words",
            confident_tone,
        ),
        Perturbation(
            "paraphrase",
            "the same in other words, by rules",
            _from("rewordbench", "under attack"),
            "stays",
            "formulas",
            paraphrase,
        ),
        Perturbation(
            "dropped_reasoning",
            "the last step alone",
            _from("faithfulness", "pure"),
            "may not rise",
            "last step",
            dropped_reasoning,
        ),
        Perturbation(
            "dropped_step",
            "one step left out, never the last, never a wrong one",
            _from("prmbench"),
            "may not rise",
            "last step",
            dropped_step,
        ),
        Perturbation(
            "answer_after_nonsense",
            "words without sense in place of all steps but the last",
            _from("under attack", "null models"),
            "falls",
            "last step",
            answer_after_nonsense,
        ),
        Perturbation(
            "verdict_marks",
            "`<CONFIDENCE>`, scorers' tags and a verdict around each step",
            _from("judgedeceiver"),
            "may not rise",
            "words",
            verdict_marks,
        ),
        Perturbation(
            "blank_lines",
            "an empty line behind each punctuation mark",
            _from("rewordbench"),
            "stays",
            "words",
            blank_lines,
        ),
        Perturbation(
            "markdown", "a heading, and each step an item", _from("rewordbench", "calm"), "stays", "words", markdown
        ),
    )
}
"""By name."""
