"""Solution-level figures as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surestep.cli.output.fitted_table import FittedTable
from surestep.counted import counted
from surestep.metrics.report.wording import FIGURE_DIGITS, ends_of, number, with_interval

_COLUMNS = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "f1": "F1",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "MCC",
    "pairwise_accuracy": "pairs",
    "precision_at_1": "P@1",
    "ndcg": "NDCG",
}


def solutions_table(sections: Mapping[str, dict[str, Any]]) -> FittedTable | None:
    """Figures of whole solutions by every aggregate, a dataset or subset after the other; None where there are none.

    AUROC stands with its interval; all intervals are in the result file.
    """
    table = FittedTable("Whole solutions, scored by an aggregate of their steps")
    table.add_columns_of(*_COLUMNS.values(), first="dataset")
    for name, section in sections.items():
        if not (section["num_right"] and section["num_wrong"]):
            continue
        table.add_cells(
            f"{name}: {section['num_right']:,} right, {section['num_wrong']:,} wrong", *[""] * len(_COLUMNS)
        )
        for how, found in section["by_aggregate"].items():
            ranked = with_interval(found["auroc"], ends_of(found, "auroc"), FIGURE_DIGITS)
            table.add_cells(f"  {how}", ranked, *(number(found[column], minus="-") for column in list(_COLUMNS)[1:]))
    several = [
        f"{name}: {section['num_problems_with_several']:,} of {section['num_problems']:,} problems have several"
        for name, section in sections.items()
        if section["num_right"] and section["num_wrong"]
    ]
    table.remark = f"pairs, P@1 and NDCG are within problems; {'; '.join(several)}"
    return table if table.row_count else None


def sibling_lines(sections: Mapping[str, dict[str, Any]]) -> list[str]:
    """How often the better of two steps that follow the same step has the higher confidence, a line each."""
    return [
        f"{name}: of {counted(found['num_pairs'], 'pair')} of sibling steps the better one has the higher "
        f"confidence in {with_interval(100 * found['accuracy'], _percent(found['interval']), 1)} percent"
        for name, section in sections.items()
        if (found := section.get("sibling_pairs")) and found["num_pairs"]
    ]


def _percent(interval: dict[str, Any] | None) -> tuple[float, float] | None:
    if interval is None or interval["low"] is None:
        return None
    return 100 * interval["low"], 100 * interval["high"]
