"""What a section's figures come to: which baselines the model does not beat, and by what.

Knows the layout of a section; measures nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from surestep.metrics.figures import FIGURES
from surestep.metrics.report.assessment import few_problems, too_few
from surestep.metrics.report.wording import SMALL_DIGITS, number

COMPARED = ("mse", "nll", "auroc")
"""The figures in which a model is compared with every baseline."""

Json = dict[str, Any]


def sentences(where: str, section: Json, rows: Sequence[tuple[str, Json]]) -> list[str]:
    """Sentences on one section: which baselines the model does not beat, and by what.

    Args:
        where: name of the dataset, or "overall".
        section: the model's, with `beats_baselines`.
        rows: name of each baseline and its section on the same steps.

    >>> beaten = {"mean": {"mse": True, "nll": True, "auroc": True}}
    >>> sentences("a", {"num_problems": 50, "beats_baselines": beaten}, [])
    ['a: beats every baseline in MSE, NLL and AUROC.']
    """
    beaten: Mapping[str, Mapping[str, bool | None]] = section["beats_baselines"]
    if not beaten:
        return []
    if too_few(section["num_problems"]) and not section.get("no_intervals"):
        return [f"{where}: {few_problems(section['num_problems'])}."]
    figures = {name: dict(row) for name, row in rows}
    found = [
        _not_beaten(where, section, name, figure, figures[name])
        for name, result in beaten.items()
        for figure in COMPARED
        if result[figure] is False
    ]
    unknown = [figure for figure in COMPARED if all(result[figure] is None for result in beaten.values())]
    known = [figure for figure in COMPARED if figure not in unknown]
    if known and not found:
        found.append(f"{where}: beats every baseline in {_listed(_title(figure) for figure in known)}.")
    if unknown:
        reason = section.get("no_intervals") or "; ".join(section["undefined"].get(figure, "") for figure in unknown)
        found.append(
            f"{where}: no verdict in {_listed(_title(figure) for figure in unknown)}: "
            f"{reason or 'too few resamples have a value'}."
        )
    return found


def _not_beaten(where: str, section: Json, name: str, figure: str, row: Json) -> str:
    difference = row["model_difference"][figure]
    worse = difference["high"] < 0.0 if FIGURES[figure].direction == "higher" else difference["low"] > 0.0
    return (
        f"{where}: {'is worse than' if worse else 'does not beat'} {name} in {_title(figure)}: "
        f"{_text(section[figure])} against {_text(row[figure])}, difference {_signed(difference['value'])} "
        f"({_signed(difference['low'])} to {_signed(difference['high'])})."
    )


def _text(value: float) -> str:
    return number(value, minus="-")


def _signed(difference: float) -> str:
    return number(difference, SMALL_DIGITS, minus="-", sign="+")


def _title(figure: str) -> str:
    return FIGURES[figure].title


def _listed(words: Iterable[str]) -> str:
    """a, b and c."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
