"""How far a scorer is from the best possible one, where the true probabilities are known.

Only for data made so that p* = P(label = 1 | text so far) is known by construction. The *clean* part is
where p* is 0 or 1, the *noisy* part where it lies between. Knows numbers only, not how they were made.

Legend: p confidence, p* true confidence, y label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from surestep.metrics.columns import BoolArray
from surestep.metrics.figures import compute_figures
from surestep.metrics.figures.figure import Figure
from surestep.metrics.figures.pointwise import mse, nll
from surestep.metrics.measure import Measure
from surestep.metrics.measured_rows import MeasuredRows
from surestep.scored import ScoredSteps

CLEAN_FIGURES = ("mse", "mae", "r2", "ece")
Json = dict[str, Any]


class TruthReport:
    """Regret to the known truth.

    Regret is mean (p − p*)². It is what MSE exceeds the best possible by, in expectation:
    E (p − y)² = (p − p*)² + p* (1 − p*) for a binary y; `best_mse` is what p* itself scores on the very
    labels drawn. Steps of unknown truth are left out and counted.

    Attributes:
        measures: by name of the value: `regret`, `regret_noisy`, `regret_clean`, `mse`, `best_mse`, `nll`,
            `best_nll`, `mse_noisy`, `best_mse_noisy`; those without a step are left out.
        json: `num_steps`, `num_steps_without_truth`, `num_steps_noisy`, `num_steps_clean`; `num_contradictions`,
            clean steps whose label is not p*, which data made as stated never has; the values; `clean` with MSE, MAE,
            R² and ECE against p*; nulls have their reason in `undefined`.

    >>> steps = ScoredSteps.of_columns([0.9, 0.5], [1.0, 1.0], true_confidence=[1.0, 0.75])
    >>> report = TruthReport(steps, num_problems=2).json
    >>> report["regret_noisy"], report["best_mse_noisy"]
    (0.0625, 0.0625)
    """

    def __init__(self, part: ScoredSteps, *, num_problems: int) -> None:
        known = part.select(~np.isnan(part.true_confidence))
        truth = known.true_confidence
        clean = (truth == 0.0) | (truth == 1.0)
        best, against_truth = known.with_confidence(truth), replace(known, label=truth)
        wanted = {
            "regret": (against_truth, None, mse),
            "regret_noisy": (against_truth, ~clean, mse),
            "regret_clean": (against_truth, clean, mse),
            "mse": (known, None, mse),
            "best_mse": (best, None, mse),
            "nll": (known, None, nll),
            "best_nll": (best, None, nll),
            "mse_noisy": (known, ~clean, mse),
            "best_mse_noisy": (best, ~clean, mse),
        }
        self.measures = {
            name: _measure(steps, rows, figure, num_problems)
            for name, (steps, rows, figure) in wanted.items()
            if rows is None or rows.any()
        }
        self._figures = {name: figure.name for name, (_, _, figure) in wanted.items()}
        missing = {name: _which(name) for name in wanted if name not in self.measures}
        self.json: Json = {
            "num_steps": len(known),
            "num_steps_without_truth": len(part) - len(known),
            "num_steps_noisy": int((~clean).sum()),
            "num_steps_clean": int(clean.sum()),
            "num_contradictions": int((known.label[clean] != truth[clean]).sum()),
            **{
                name: self.measures[name].values[self._figures[name]] if name in self.measures else None
                for name in wanted
            },
            "clean": compute_figures(known.confidence[clean], truth[clean], names=CLEAN_FIGURES).to_json(),
            "undefined": {name: f"no step of known truth is {part_name}" for name, part_name in missing.items()},
        }

    def add_intervals(self) -> None:
        """Put `intervals` beside the values, once the measures were resampled."""
        found = {name: measure.interval(self._figures[name]) for name, measure in self.measures.items()}
        self.json["intervals"] = {name: value.to_json() for name, value in found.items() if value is not None}


def truth_of(part: ScoredSteps, *, num_problems: int) -> TruthReport | None:
    """The report on measured steps; None where no step's truth is known."""
    return None if np.isnan(part.true_confidence).all() else TruthReport(part, num_problems=num_problems)


PART_REGRETS = ("regret", "regret_clean", "regret_noisy")


class PartRegret:
    """Regret to the known truth in one part of the data.

    Attributes:
        measures: by name of the value (`PART_REGRETS`); those without a step are left out.
        json: `part`, `num_problems`, `num_steps`, `num_steps_clean`, `num_steps_noisy` and the values; nulls have
            their reason in `undefined`.
    """

    def __init__(self, name: str, rows: ScoredSteps, *, num_problems: int) -> None:
        truth = TruthReport(rows, num_problems=num_problems)
        self.measures = {name: truth.measures[name] for name in PART_REGRETS if name in truth.measures}
        self.json: Json = {
            "part": name,
            "num_problems": rows.num_problems,
            **{key: truth.json[key] for key in ("num_steps", "num_steps_clean", "num_steps_noisy", *PART_REGRETS)},
            "undefined": {key: why for key, why in truth.json["undefined"].items() if key in PART_REGRETS},
        }

    def add_intervals(self) -> None:
        """Put `intervals` beside the values, once the measures were resampled."""
        found = {name: measure.interval(mse.name) for name, measure in self.measures.items()}
        self.json["intervals"] = {name: value.to_json() for name, value in found.items() if value is not None}


def truth_by_part(part: ScoredSteps, part_of_tree: Sequence[str], *, num_problems: int) -> list[PartRegret]:
    """Regret in each part of the data that has a measured step of known truth, in order of the parts' names.

    Args:
        part: measured steps.
        part_of_tree: the part that each tree is of, "" for none; may be empty, for no parts at all.
        num_problems: as drawn.
    """
    if not part_of_tree:
        return []
    known = part.select(~np.isnan(part.true_confidence))
    names = np.array(part_of_tree, dtype=object)[known.tree].astype(str)
    return [
        PartRegret(str(name), known.select(names == name), num_problems=num_problems)
        for name in np.unique(names)
        if name
    ]


def regret_rows(section: Mapping[str, Any]) -> list[Json]:
    """What a section says of regret, the whole first, then its parts; each as `PartRegret` has it. Empty without truth.

    >>> regret_rows({"truth": {"num_steps": 2, "regret": 0.25}, "truth_by_part": [{"part": "a", "regret": 0.5}]})
    [{'part': 'overall', 'num_steps': 2, 'regret': 0.25}, {'part': 'a', 'regret': 0.5}]
    """
    truth = section.get("truth")
    whole = [{"part": "overall", **truth}] if truth and truth.get("num_steps") else []
    return [*whole, *(section.get("truth_by_part") or ())]


def _which(name: str) -> str:
    return "clean" if name.endswith("clean") else "noisy"


def _measure(steps: ScoredSteps, rows: BoolArray | None, figure: Figure, num_problems: int) -> Measure:
    return Measure(MeasuredRows.of(steps, rows), (figure,), num_problems=num_problems)
