"""What a section's figures allow to be said: better than its constant, calibrated, enough problems to tell.

Structured, so that a page, a table and a card say the same thing each in its own words. Knows the layout of a section;
measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surestep.metrics.bootstrap.draws import FEWEST_FOR_VERDICT

CLOSE_ECE, ROUGH_ECE = 0.03, 0.08
"""Up to which ECE a confidence is close to the truth, and up to which roughly right."""

Json = dict[str, Any]


def too_few(num_problems: int) -> bool:
    """Whether there are too few problems to call anything better or worse."""
    return num_problems < FEWEST_FOR_VERDICT


def few_problems(num_problems: int) -> str:
    """That nothing can be said, in words.

    >>> few_problems(1)
    'too few problems to say (1; at least 30 are needed)'
    """
    return f"too few problems to say ({num_problems:,}; at least {FEWEST_FOR_VERDICT} are needed)"


def assessment(section: Mapping[str, Any]) -> Json:
    """The assessment of one section.

    Returns:
        `enough_problems`, with `num_problems` and `fewest_problems`;
        `skill`: `verdict` ("better", "not told apart", "worse" than its own constant, "too few problems", "unknown"),
        `against` (the key of what it is measured against), `value`, `low`, `high` of the skill by squared error;
        `calibration`: `verdict` ("within noise": the ECE is one that a perfectly calibrated model would show; "close";
        "rough"; "off"; "too few problems"; "unknown"), `ece`, its `low` and `high`, `if_calibrated` (what noise alone
        would show: mean and high) and `bias`, mean confidence less mean label. Where it is unknown what noise would
        show, nothing is called within it.

    >>> section = {"num_problems": 40, "ece": 0.025, "if_calibrated": {"ece": {"mean": 0.009, "high": 0.016}}}
    >>> assessment(section)["calibration"]["verdict"]
    'close'
    """
    num_problems = int(section["num_problems"])
    skill = section.get("skill") or {}
    ends = (skill.get("intervals") or {}).get("mse") or {}
    interval = (section.get("intervals") or {}).get("ece") or {}
    if_calibrated = (section.get("if_calibrated") or {}).get("ece")
    mean, label = section.get("mean_confidence"), section.get("mean_label")
    return {
        "enough_problems": not too_few(num_problems),
        "num_problems": num_problems,
        "fewest_problems": FEWEST_FOR_VERDICT,
        "skill": {
            "verdict": _skill_verdict(num_problems, skill.get("mse"), ends.get("low"), ends.get("high")),
            "against": skill.get("against"),
            "value": skill.get("mse"),
            "low": ends.get("low"),
            "high": ends.get("high"),
        },
        "calibration": {
            "verdict": _calibration_verdict(num_problems, section.get("ece"), (if_calibrated or {}).get("high")),
            "ece": section.get("ece"),
            "low": interval.get("low"),
            "high": interval.get("high"),
            "if_calibrated": if_calibrated,
            "bias": None if mean is None or label is None else mean - label,
        },
    }


def _skill_verdict(num_problems: int, value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "unknown"
    if too_few(num_problems):
        return "too few problems"
    if low is None or high is None:
        return "unknown"
    return "better" if low > 0.0 else "worse" if high < 0.0 else "not told apart"


def _calibration_verdict(num_problems: int, ece: float | None, high_if_calibrated: float | None) -> str:
    if ece is None:
        return "unknown"
    if too_few(num_problems):
        return "too few problems"
    if high_if_calibrated is not None and ece <= high_if_calibrated:
        return "within noise"
    return "close" if ece <= CLOSE_ECE else "rough" if ece <= ROUGH_ECE else "off"
