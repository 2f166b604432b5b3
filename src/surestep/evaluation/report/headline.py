"""The verdict on a scorer in plain words, and its main figures with what they mean.

Reads a report as `build_report` makes it, with or without intervals and baselines; knows no layout of a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from surestep.counted import counted
from surestep.metrics.figures import FIGURES as TABLE
from surestep.metrics.report.assessment import ROUGH_ECE, assessment, few_problems
from surestep.metrics.report.truth import PART_REGRETS, regret_rows
from surestep.metrics.report.wording import SKILL, SMALL_DIGITS, ends_of, interval_text, number

Tone = Literal["good", "fair", "bad"]
GOOD_SKILL, FAIR_SKILL, LEAST_SKILL = 0.5, 0.1, 0.02

FIGURES: tuple[tuple[str, str, str], ...] = (
    ("skill", "Skill", f"{SKILL}: 0 is no better than the constant, 1 is perfect."),
    *((name, TABLE[name].title, TABLE[name].meaning) for name in ("ece", "auroc", "r2", "mse", "nll")),
)
"""Name, title and meaning of the figures that are shown first."""


@dataclass(frozen=True)
class ShownFigure:
    """A figure as text; `interval`, its `method`, `constant` and `if_calibrated` are "" where unknown."""

    name: str
    title: str
    meaning: str
    value: str
    interval: str
    method: str
    constant: str
    if_calibrated: str
    reason: str


@dataclass(frozen=True)
class Verdict:
    """A headline, how good it is, sentences that give the reasons, and those that compare it with each baseline."""

    headline: str
    tone: Tone
    sentences: tuple[str, ...]
    comparisons: tuple[str, ...] = ()


def shown_figures(section: Mapping[str, Any]) -> list[ShownFigure]:
    """The main figures of one section."""
    return [_shown(section, *figure) for figure in FIGURES]


def interval_of(section: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """The 95 % interval of a figure, where the report has one; `skill` is the one by squared error.

    >>> interval_of({"skill": {"intervals": {"mse": {"low": 0.01, "high": 0.02, "method": "m"}}}}, "skill")
    (0.01, 0.02)
    """
    return ends_of(section.get("skill") or {}, "mse") if name == "skill" else ends_of(section, name)


def value_of(section: Mapping[str, Any], name: str) -> float | None:
    """A figure of a section; `skill` is the one by squared error."""
    value = (section.get("skill") or {}).get("mse") if name == "skill" else section.get(name)
    return None if value is None else float(value)


def verdict(report: Mapping[str, Any]) -> Verdict:
    """What a person should take away, the good and the bad."""
    overall = report["overall"]
    skill = value_of(overall, "skill")
    said = tuple(str(sentence) for sentence in report.get("verdict") or ())
    if skill is None:
        reason = (overall.get("skill") or {}).get("undefined", {}).get("mse", "its skill has no value on this data")
        return Verdict("No verdict is possible", "fair", (f"{reason}.", *_plain_words(overall)), said)
    headline, tone = _headline(overall, skill)
    reasons = (
        _against_constant(overall, skill),
        *_calibration_words(overall),
        *_plain_words(overall),
        *_calibrated(report),
    )
    return Verdict(headline, tone, reasons, said)


def _headline(overall: Mapping[str, Any], skill: float) -> tuple[str, Tone]:
    found = assessment(overall)
    against, calibration = found["skill"]["verdict"], found["calibration"]
    if against == "too few problems":
        return few_problems(found["num_problems"]).capitalize(), "fair"
    if against == "worse":
        return f"Worse than {_ALWAYS_MEAN}", "bad"
    if against == "not told apart" or skill <= 0.0:
        return f"No better than {_ALWAYS_MEAN}, as far as these problems show", "bad"
    if unbeaten := unbeaten_baselines(overall):
        return f"Better than a constant, but a simple baseline does as well: {unbeaten[0]}", "bad"
    if skill < LEAST_SKILL:
        return f"Hardly better than {_ALWAYS_MEAN}", "bad"
    quality: str
    tone: Tone
    if skill < FAIR_SKILL:
        # Nothing good is said of its calibration: a constant at the right mean has that too.
        quality, tone = f"A little better than {_ALWAYS_MEAN}", "fair"
    elif skill < GOOD_SKILL:
        quality, tone = f"Clearly better than {_ALWAYS_MEAN}", "fair"
    else:
        quality, tone = f"Far better than {_ALWAYS_MEAN}", "good"
    ece, said = calibration["ece"], calibration["verdict"]
    if ece is None or (skill < FAIR_SKILL and said != "off"):
        return quality, tone
    if said in _CALIBRATION:
        return f"{quality}, and its confidence is {_CALIBRATION[said]}", tone
    bias = calibration["bias"] or 0.0
    how = "is off by" if abs(bias) < ece / 2 else "is too high by" if bias > 0 else "is too low by"
    return f"{quality}, but its confidence {how} about {number(ece)}, its ECE", "bad" if ece > 2 * ROUGH_ECE else "fair"


_ALWAYS_MEAN = "always answering the mean"
_CALIBRATION = {
    "within noise": "calibrated, as far as so few steps can show",
    "close": "close to calibrated",
    "rough": "roughly right",
}


def unbeaten_baselines(section: Mapping[str, Any]) -> list[str]:
    """Names of the baselines that a scorer does not beat in squared error or in ranking.

    >>> unbeaten_baselines({"beats_baselines": {"mean": {"mse": True, "auroc": None}, "tf-idf": {"mse": False}}})
    ['tf-idf']
    """
    found: Mapping[str, Mapping[str, Any]] = section.get("beats_baselines") or {}
    return [name for name, beaten in found.items() if beaten.get("mse") is False or beaten.get("auroc") is False]


def _against_constant(overall: Mapping[str, Any], skill: float) -> str:
    against = (overall.get("skill") or {}).get("against", "constant_baseline")
    if against == "constant_baseline":
        constant = overall["constant_baseline"]
        which = "the training mean" if constant.get("source") == "training_mean" else "these labels' own mean"
        beside = f"a constant ({which}, {number(constant.get('constant'))})"
    else:
        beside = "constants, each dataset's own mean"
    said = number(skill)
    by_how_much = f"{'less' if skill > 0 else 'more'} by that share than "
    how = "" if said == number(0.0) else by_how_much
    return (
        f"Its skill is {said}: its squared error is {how}that of {beside}, over "
        f"{counted(overall['num_steps'], 'labelled step')} of {counted(overall['num_problems'], 'problem')}."
    )


def _calibration_words(overall: Mapping[str, Any]) -> list[str]:
    """The ECE beside what a perfectly calibrated model would show, since noise alone keeps it above 0."""
    found = assessment(overall)["calibration"]
    noise = (found["if_calibrated"] or {}).get("high")
    if found["ece"] is None or noise is None:
        return []
    ends = "" if found["low"] is None else f" ({interval_text((found['low'], found['high']))})"
    verdict = (
        "so its calibration cannot be told from a perfect one"
        if found["verdict"] == "within noise"
        else "so it is not calibrated perfectly"
        if found["verdict"] != "too few problems"
        else "but the problems are too few to say"
    )
    return [
        f"Its ECE is {number(found['ece'])}{ends}; a perfectly calibrated model would show at most {number(noise)} "
        f"on as many steps, {verdict}."
    ]


def _plain_words(overall: Mapping[str, Any]) -> list[str]:
    sentences = []
    filled = [row for row in overall["reliability"]["equal_width"] if row["count"]]
    if filled:
        ends = filled[-1:] if len(filled) == 1 else [filled[-1], filled[0]]
        parts = [
            f"{row['lower']:g} to {row['upper']:g}, the mean label was {number(row['mean_label'])} "
            f"({counted(row['count'], 'step')})"
            for row in ends
        ]
        sentences.append("Where the confidence was " + "; where it was ".join(parts) + ".")
    auroc = value_of(overall, "auroc")
    if auroc is not None:
        sentences.append(
            f"Its AUROC is {number(auroc)}: how often a right step gets more confidence than a wrong one "
            "(0.5 is chance)."
        )
    return sentences


def _calibrated(report: Mapping[str, Any]) -> list[str]:
    """What the calibration map did, where one was applied."""
    said = report.get("calibration") or {}
    before, after = (((said.get(when) or {}).get("overall") or {}).get("ece") for when in ("before", "after"))
    if before is None or after is None:
        return []
    return [f"Its calibration map ({said.get('applied')}) took ECE from {number(before)} to {number(after)}."]


def _shown(section: Mapping[str, Any], name: str, title: str, meaning: str) -> ShownFigure:
    against = (section.get("skill") or {}).get("against", "constant_baseline")
    constant = 0.0 if name == "skill" else (section.get(against) or {}).get(name)
    undefined: Mapping[str, Any] = section.get("undefined") or {}
    return ShownFigure(
        name=name,
        title=title,
        meaning=meaning,
        value=number(value_of(section, name)),
        interval=interval_text(interval_of(section, name)),
        method=_method(section, name),
        constant="" if constant is None else number(float(constant)),
        if_calibrated=_if_calibrated(section, name),
        reason=str(undefined.get("mse" if name == "skill" else name, "")),
    )


def all_figures(report: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, str, list[tuple[str, str]]]]]:
    """Every figure of the table of figures that the report has: names of the sections; title, meaning and cells.

    A cell is the figure and its interval.
    """
    sections = dict(report["per_dataset"])
    if len(sections) != 1:
        sections["overall"] = report["overall"]
    rows = [
        (
            figure.title,
            figure.meaning,
            [(number(found.get(name)), interval_text(ends_of(found, name))) for found in sections.values()],
        )
        for name, figure in TABLE.items()
        if name in report["overall"]
    ]
    return list(sections), rows


def regret_by_part(report: Mapping[str, Any]) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Part of the data, its counts of steps, and regret to the truth of all, clean and noisy ones, with intervals.

    The first row is all of them. Empty where no truth is known.
    """
    return [
        (
            row["part"],
            f"{row.get('num_steps_clean', 0):,} clean, {counted(row.get('num_steps_noisy', 0), 'noisy step')}",
            [
                (number(row.get(name), SMALL_DIGITS), interval_text(ends_of(row, name), SMALL_DIGITS))
                for name in PART_REGRETS
            ],
        )
        for row in regret_rows(report["overall"])
    ]


def _method(section: Mapping[str, Any], name: str) -> str:
    holder = section.get("skill") or {} if name == "skill" else section
    found = (holder.get("intervals") or {}).get("mse" if name == "skill" else name) or {}
    return str(found.get("method", ""))


def _if_calibrated(section: Mapping[str, Any], name: str) -> str:
    """What a perfectly calibrated scorer with as many steps would show: its mean and what it seldom exceeds."""
    found = (section.get("if_calibrated") or {}).get(name) or {}
    if found.get("mean") is None or found.get("high") is None:
        return ""
    return f"{number(float(found['mean']))}, up to {number(float(found['high']))}"


def baselines_table(report: Mapping[str, Any]) -> tuple[list[str], list[list[tuple[str, str]]]]:
    """Titles and rows of the scorer beside its baselines; no rows where the report has none.

    A row's cells are pairs: the figure and its interval; first the name and what it is.
    """
    found: Sequence[Mapping[str, Any]] = report.get("baselines") or ()
    if not found:
        return [], []
    names = [(name, title) for name, title, _ in FIGURES if any(row.get(name) is not None for row in found)]

    def cells(row: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [(number(value_of(row, name)), interval_text(interval_of(row, name))) for name, _ in names]

    rows = [[("this model", ""), *cells(report["overall"])]]
    rows += [[(str(row.get("name", "?")), str(row.get("about", ""))), *cells(row)] for row in found]
    return ["scorer", *(title for _, title in names)], rows
