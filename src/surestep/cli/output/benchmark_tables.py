"""Benchmarks as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from surestep.cli.output.fitted_table import FittedTable
from surestep.cli.output.solution_tables import solutions_table
from surestep.cli.output.tables import scorer_lines
from surestep.counted import counted
from surestep.metrics.report.wording import number, with_interval


def print_result(report: dict[str, Any], console: Console) -> None:
    """The result's tables, then everything that was left out or must be known."""
    for table in _TABLES[report["benchmark"]](report):
        console.print(table)
    whole = solutions_table(report.get("solution_level", {}))
    if whole is not None:
        console.print(whole)
    for line in (*_lines(report), *scorer_lines(report)):
        console.print(f"· {line}", markup=False, highlight=False)


def figure(section: dict[str, Any], name: str) -> str:
    """A share as a percentage with its interval, or a dash where it is undefined."""
    return _with_interval(section[name], section["intervals"][name])


def _with_interval(value: float | None, interval: dict[str, Any] | None) -> str:
    ends = None if interval is None else (100 * interval["low"], 100 * interval["high"])
    return number(None, 1) if value is None else with_interval(100 * value, ends, 1)


def _processbench(report: dict[str, Any]) -> list[FittedTable]:
    tables = []
    for at in report["thresholds"]:
        name = "ProcessBench" if report["benchmark"] == "processbench" else "First errors"
        table = FittedTable(f"{name} at threshold {at['threshold']:.4g}: {at['how']}")
        table.add_columns_of("solutions", "erroneous", "correct", "F1", "F1 blind", first="subset")
        rows = [(name, f"{section['num_solutions']:,}", section) for name, section in at["subsets"].items()]
        if len(rows) > 1:
            rows += [("mean", "", at["mean"]), ("mean by solutions", "", at["mean_by_count"])]
        if len(rows) > 1 and "mean_of_unseen" in at:
            rows.append(("mean of the others", "", at["mean_of_unseen"]))
        for name, count, section in rows:
            blind = report["blind"].get(name)
            table.add_row(
                f"{name} (tuned on it)" if name in at.get("tuned_on", []) else name,
                count,
                *(figure(section, f) for f in ("accuracy_erroneous", "accuracy_correct", "f1")),
                _with_interval(blind["f1"] if blind else None, None) if name in report["blind"] else "",
            )
        tables.append(table)
    tables[-1].remark = (
        "percent, [95 % interval by bootstrap over problems]; erroneous, correct: accuracy on these; F1 blind: "
        "the best that calling each step wrong with one chance could reach"
    )
    return tables


def _prmbench(report: dict[str, Any]) -> list[FittedTable]:
    table = FittedTable(f"PRMBench at threshold {report['threshold']:.4g}")
    table.add_columns_of("solutions", "PRM score", "F1", "negative F1", first="errors")
    figures = ("prm_score", "f1", "negative_f1")
    for group, section in report["groups"].items():
        table.add_row(group, "", figure(section, "prm_score"), "", "", style="bold")
        for name in report["members"][group]:
            if name in report["categories"]:
                found = report["categories"][name]
                table.add_row(f"  {name}", f"{found['num_solutions']:,}", *(figure(found, f) for f in figures))
    overall, trivial = report["overall"], report["all_right"]
    table.add_row("overall", f"{overall['num_solutions']:,}", *(figure(overall, f) for f in figures), style="bold")
    table.add_row("  all called right", "", *(_with_interval(trivial[f], None) for f in figures), style="dim")
    table.remark = "percent, [95 % interval by bootstrap over problems]"
    return [table, _prmbench_others(report)]


def _prmbench_others(report: dict[str, Any]) -> FittedTable:
    """The benchmark's other figures; `correct` are the solutions before the change."""
    table = FittedTable("PRMBench's other figures")
    names = {
        "total_step_acc": "all steps",
        "accuracy_right_steps": "right steps",
        "accuracy_wrong_steps": "wrong steps",
        "first_error_acc": "first errors",
        "similarity": "similarity",
    }
    table.add_columns_of(*names.values())
    rows = {**report["categories"], "correct": report["correct"], "overall": report["overall"]}
    for name, section in rows.items():
        if section is not None:
            table.add_row(name, *(number(_percent(section[figure]), 1) for figure in names))
    table.remark = (
        "percent judged rightly; similarity: how far the share of steps called right moves with the change, 0 where "
        "the scorer does not see it"
    )
    return table


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _best_of_n(report: dict[str, Any]) -> list[FittedTable]:
    return [best_of_n_table(report["by_n"])]


def best_of_n_table(by_n: dict[str, Any]) -> FittedTable:
    """Accuracy of every way of choosing, a column for each N (`surestep.metrics.benchmarks.choices`)."""
    table = FittedTable("Best-of-N: right answers over all N-subsets")
    table.add_column("choice")
    for n, section in by_n.items():
        table.add_column(f"N = {n}\n{counted(section['num_problems'], 'problem')}", justify="right")
    for method in next(iter(by_n.values()))["methods"]:
        found = [section["methods"][method] for section in by_n.values()]
        style = "dim" if method in ("pass", "random_choice") else None
        label = f"{method}@N" if method == "pass" else method.replace("_", " ")
        table.add_row(label, *(_with_interval(f["accuracy"], f["interval"]) for f in found), style=style)
    _add_answered_only(table, by_n)
    table.remark = "percent, [95 % interval by bootstrap over problems]; pass@N is the ceiling"
    return table


def _add_answered_only(table: FittedTable, by_n: dict[str, Any]) -> None:
    """The same without the candidates that have no answer, where there are such."""
    sections = [section.get("answered_only", section["methods"]) for section in by_n.values()]
    if not any("answered_only" in section for section in by_n.values()):
        return
    table.add_section()
    table.add_row("only candidates with an answer", *("" for _ in sections), style="bold")
    for method in sections[0]:
        if method != "pass":
            found = [section[method] for section in sections]
            label = f"  {method.replace('_', ' ')}"
            style = "dim" if method == "random_choice" else None
            table.add_row(label, *(_with_interval(f["accuracy"], f["interval"]) for f in found), style=style)


def all_candidates_table(shares: dict[str, Any]) -> FittedTable:
    """Accuracy of every way of choosing among all candidates (`surestep.inference.generation.accuracy`)."""
    table = FittedTable("Right answers among all candidates of a problem")
    table.add_columns_of("accuracy", first="choice")
    for name, share in shares.items():
        table.add_row(name.replace("_", " "), _with_interval(share["accuracy"], share["interval"]))
    table.remark = "percent, [95 % interval by bootstrap over problems]; pass: whether any candidate is right"
    return table


_TABLES = {"processbench": _processbench, "first-error": _processbench, "prmbench": _prmbench, "best-of-n": _best_of_n}


_PLAIN_COUNTS = ("records", "trees", "steps", "labels", "candidates", "shared_steps", "after_error")


def _lines(report: dict[str, Any]) -> list[str]:
    lines = _reading(report["reading"])
    for key in ("steps_not_scored", "candidates_not_scored_to_the_end"):
        value = report.get(key, 0)
        count = sum(value.values()) if isinstance(value, dict) else value
        if count:
            lines.append(
                f"{count:,} {key.replace('_', ' ')}: they are beyond the position limit, or the scorer gave none"
            )
    lines += _left_out(report)
    lines += _ties(report)
    lines += [f"not in the data: {name}" for name in report.get("categories_not_in_data", [])]
    for at in report.get("thresholds", []):
        for name, section in at["subsets"].items():
            blind, interval = report["blind"][name], section["intervals"]["f1"]
            if blind and interval and interval["low"] <= blind["f1"]:
                lines.append(
                    f"{name} at {at['threshold']:.4g}: F1 is not shown to be above {100 * blind['f1']:.1f}, which a "
                    "scorer that does not read could reach"
                )
            lines += [f"{name}: {figure} undefined: {why}" for figure, why in section["undefined"].items()]
        lines += [f"the threshold's data: {line}" for line in _reading(at.get("reading_there"))]
        if left_out := at.get("solutions_not_measured_there"):
            lines.append(
                f"the threshold's data: {counted(left_out, 'solution')} left out: a step of theirs was not scored"
            )
        if unscored := at.get("steps_not_scored_there"):
            lines.append(f"the threshold's data: {counted(unscored, 'step')} not scored")
        if shared := at.get("problems_shared_with_evaluated"):
            lines.append(f"{counted(shared, 'problem')} of the threshold's data evaluated too, with other solutions")
    if silent := report.get("candidates_without_answer"):
        lines.append(
            f"{counted(silent, 'candidate has', 'candidates have')} no answer: measured with them, and only with "
            "those that have one"
        )
    if "answers" in report:
        kinds = report["answers"]["distinct_by_kind"]
        lines.append(report["answers"]["comparison"])
        if kinds.get("spelling"):
            lines.append(f"{counted(kinds['spelling'], 'distinct answer')} could be compared by their spelling only")
    first: dict[str, Any] = next(iter(report.get("by_n", {}).values()), {"methods": {}})["methods"]
    if "best_score" in first and "weighted_majority_score" not in first:
        lines.append("no vote is weighted by 'score': some scores are below 0")
    counts = report.get("num_candidates", {"smallest": 0, "largest": 0})
    if counts["smallest"] < counts["largest"]:
        lines.append(
            f"problems have {counts['smallest']:,} to {counted(counts['largest'], 'candidate')}; --n measures "
            "larger N on those that have enough"
        )
    for n, section in report.get("by_n", {}).items():
        if section["problems_with_fewer_candidates"]:
            lines.append(
                f"N = {n}: {counted(section['problems_with_fewer_candidates'], 'problem has', 'problems have')} "
                "fewer candidates"
            )
        if section["weighted_majority_subsets"]["problems_with_drawn"]:
            worst = max(section["weighted_majority_subsets"]["standard_error"].values(), default=0.0)
            lines.append(
                f"N = {n}: weighted majority over drawn subsets, standard error up to {100 * worst:.2f} points"
            )
    if report.get("predictions_not_used"):
        lines.append(
            f"{counted(report['predictions_not_used'], 'line')} of the predictions without an evaluated solution"
        )
    for name, source in report.get("sources", {}).items():
        lines.append(f"{name or 'unnamed'}: {100 * source['accuracy']:.1f} % of {source['num_candidates']:,} are right")
    return list(dict.fromkeys(lines))


def _left_out(report: dict[str, Any]) -> list[str]:
    """Solutions that are in no figure, and why."""
    value = report.get("solutions_not_measured", 0)
    count = sum(value.values()) if isinstance(value, dict) else value
    lines = [f"{counted(count, 'solution')} left out of every figure: a step of theirs was not scored"] if count else []
    if report["benchmark"] == "prmbench":
        found = {*report["categories"], *report["categories_not_in_data"]}
        lines += [
            f"{name}: no solution was scored to its end, so it has no figures"
            for names in report["members"].values()
            for name in names
            if name not in found
        ]
    if absent := report.get("originals_not_in_predictions"):
        lines.append(
            f"{counted(absent, 'solution')} before the change without a line in the predictions: in neither `correct` "
            "nor `similarity`"
        )
    if repeated := report.get("predictions_repeated"):
        lines.append(f"{counted(repeated, 'line')} of the predictions for a solution once more: its first line counts")
    return lines


def _ties(report: dict[str, Any]) -> list[str]:
    """How many steps lie on a threshold, where the rule for equality decides."""
    found = [(at["threshold"], at["ties"]) for at in report.get("thresholds", [])]
    if "ties" in report:
        found.append((report["threshold"], report["ties"]))
    return [
        f"{counted(ties, 'step has', 'steps have')} a confidence equal to the threshold {threshold:.4g}: called "
        "wrong, as right means above it"
        for threshold, ties in found
        if ties
    ]


def _reading(reading: dict[str, Any] | None) -> list[str]:
    """What reading left out, without the plain counts of what was read."""
    if reading is None:
        return []
    lines = []
    for reason, count in reading["counts"].items():
        where = f" ({'; '.join(reading['places'][reason])})" if reason in reading["places"] else ""
        if reason not in _PLAIN_COUNTS:
            lines.append(f"{count:,} {reading['meanings'][reason]}{where}")
    return [*lines, *reading["notes"]]
