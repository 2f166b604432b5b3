"""The error analysis in sentences: where a scorer fails, which way, and whose error the rest is.

What is said of a group is said where its interval allows it; where there are too few problems, that is said. Knows the
layout of `error_analysis`; knows no HTML and no terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from surestep.counted import counted
from surestep.metrics.bootstrap.draws import FEWEST_FOR_VERDICT
from surestep.metrics.error_analysis.section import TABLES
from surestep.metrics.report.wording import number

TITLES = {
    "by_kind": "kind of step",
    "by_position": "position",
    "by_length": "length in characters",
    "by_agreement": "ratings",
}
HEADER = ("steps", "problems", "share of error", "MSE", "AUROC", "R²", "bias")
_BIAS = "calibration_in_the_large"
_FIGURES = ("mse", "auroc", "r2", _BIAS)


def group_name(row: Mapping[str, Any]) -> str:
    """What a row of a table is about.

    >>> group_name({"kind": "algebra"}), group_name({"from": 1, "to": 1}), group_name({"from": 321, "to": None})
    ('algebra', '1', '321 and more')
    """
    if "from" not in row:
        return str(row.get("kind") or row.get("ratings"))
    if row["to"] is None:
        return f"{row['from']} and more"
    return str(row["from"]) if row["from"] == row["to"] else f"{row['from']}–{row['to']}"


def tables_of(section: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """The tables that a section has: title and rows."""
    return [(TITLES[name], section[name]) for name in TABLES if section.get(name)]


def cells_of(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A row under `HEADER`, each cell with its interval or ""."""
    cells = [
        (f"{row['num_steps']:,}", ""),
        (f"{row['num_problems']:,}{' (few)' if row['few_problems'] else ''}", ""),
        (f"{row['share_of_error']:.0%}", ""),
    ]
    return cells + [(number(row[name], 3), _interval(row, name)) for name in _FIGURES]


def sentences(name: str, section: Mapping[str, Any]) -> list[str]:
    """The section of the dataset `name` in words."""
    if not section.get("num_steps"):
        return [f"{name}: no labelled step, so there is no error to look into."]
    said = [sentence for table in TABLES if section.get(table) for sentence in _of_table(table, section[table])]
    if section["num_problems"] < FEWEST_FOR_VERDICT:
        said = [
            f"{counted(section['num_problems'], 'problem is', 'problems are')} too few to say where the model fails "
            f"(at least {FEWEST_FOR_VERDICT} are needed); the tables show what was counted."
        ]
    elif "no_intervals" in section:
        said = [f"No intervals, so nothing is concluded from the tables ({section['no_intervals']})."]
    judged = sum(not row["few_problems"] for table in TABLES for row in section.get(table) or ())
    if judged and "no_intervals" not in section:
        said.append(
            f"{counted(judged, 'group was', 'groups were')} looked at; of intervals of 95 %, about one in twenty is "
            "off by chance: take a single group that barely stands out for no finding."
        )
    # Why there is no table by ratings is why nothing is known of raters, which follows.
    left_out = {table: reason for table, reason in section["left_out"].items() if table != "by_agreement"}
    said += [f"Not looked at by {TITLES[table]}: {reason}." for table, reason in left_out.items()]
    return [*said, *_of_raters(section["raters"])]


def error_lines(sections: Mapping[str, Any]) -> list[str]:
    """The sentences of every dataset that has labelled steps, each after the dataset's name: what a terminal shows."""
    return [
        f"{name}: {sentence}"
        for name, section in sections.items()
        if section["num_steps"]
        for sentence in sentences(name, section)
    ]


def _of_table(table: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which group has the most of the error, which are scored too high or low, which are not told apart."""
    judged = [row for row in rows if not row["few_problems"]]
    what = TITLES[table]
    said = []
    if len(rows) > 1:
        most = max(rows, key=lambda row: row["share_of_error"])
        steps = sum(row["num_steps"] for row in rows)
        said.append(
            f"By {what}: {_quoted(table, most)} {'has' if table != 'by_position' else 'have'} "
            f"{most['share_of_error']:.0%} of the squared error in {most['num_steps'] / steps:.0%} of the steps."
        )
    for sign, words in ((1, "too high"), (-1, "too low")):
        found = [row for row in judged if _sign(row, _BIAS, 0.0) == sign]
        if found:
            said.append(
                f"By {what}, scored {words}, by the 95 % interval: "
                + ", ".join(f"{group_name(row)} (by {abs(row[_BIAS]):.2f})" for row in found)
                + "."
            )
    blind = [row for row in judged if row.get("auroc") is not None and _sign(row, "auroc", 0.5) != 1]
    if blind:
        said.append(
            f"By {what}, right and wrong steps are not shown to be told apart: {', '.join(map(group_name, blind))}."
        )
    return said


def _quoted(table: str, row: Mapping[str, Any]) -> str:
    name = group_name(row)
    return {
        "by_kind": f"{name} steps as a kind",
        "by_position": f"positions {name}",
        "by_length": f"the range {name}",
        "by_agreement": f"“{name}”",
    }[table]


def _sign(row: Mapping[str, Any], figure: str, reference: float) -> int:
    """1 or -1 where the whole interval lies above or below `reference`, else 0."""
    interval = (row.get("intervals") or {}).get(figure) or {}
    low, high = interval.get("low"), interval.get("high")
    if low is None or high is None:
        return 0
    return 1 if low > reference else -1 if high < reference else 0


def _of_raters(raters: Mapping[str, Any]) -> list[str]:
    if "left_out" in raters:
        return [f"How much of the error is the raters' cannot be said: {raters['left_out']}."]
    again, mse = raters["num_steps"], raters["mse"]
    said = (
        f"On the {counted(again, 'step')} rated more than once ({counted(raters['num_problems'], 'problem')}), "
        f"{_range(raters['of_raters'])} of the MSE of {number(mse, 4)} is the raters' and {_range(raters['of_model'])} "
        f"the model's; ratings certainly differ on {raters['num_steps_not_alike']:,} of them."
    )
    found = [said]
    if raters["few_problems"]:
        found.append(
            f"{counted(raters['num_problems'], 'problem is', 'problems are')} too few to say how far raters limit "
            f"the model (at least {FEWEST_FOR_VERDICT} are needed)."
        )
    if raters["num_steps_not_alike"] * 20 < again:
        found.append(
            "Ratings of one step are alike nearly everywhere, as copies of one rating would be: take the raters' part "
            "as a lower bound."
        )
    return found


def _range(part: Mapping[str, Any]) -> str:
    """A part of the error, with both ends where they differ, and its interval.

    >>> _range({"low": 0.01, "high": 0.02, "interval": {"low": 0.0, "high": 0.05}}), _range({"low": 0.01, "high": 0.01})
    ('0.0100 to 0.0200 [0.0000, 0.0500]', '0.0100')
    """
    low, high = number(part["low"], 4), number(part["high"], 4)
    said = low if low == high else f"{low} to {high}"
    interval = part.get("interval")
    return said if not interval else f"{said} [{number(interval['low'], 4)}, {number(interval['high'], 4)}]"


def _interval(row: Mapping[str, Any], figure: str) -> str:
    interval = (row.get("intervals") or {}).get(figure) or {}
    if interval.get("low") is None:
        return ""
    return f"[{number(interval['low'], 3)}, {number(interval['high'], 3)}]"
