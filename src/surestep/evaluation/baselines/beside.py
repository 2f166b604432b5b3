"""Baselines fitted by a process of their own while the model still scores: to the digit those fitted afterwards.

A fit reads texts and labels, never a confidence, so it can begin before there is one. Only where the model is on a GPU:
on a CPU its threads take every core, and a fit beside it would make them wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from surestep.cores import num_cores
from surestep.data.records.helper_process import HelperProcess, NoResultError, helpers
from surestep.evaluation.baselines.fitted import FittedScores
from surestep.evaluation.baselines.scores import Baselines, FitPlan, FitTask
from surestep.scored import ScoredSteps
from surestep.scoring.score_split import expected_steps
from surestep.scoring.stored_split import StoredSplit

if TYPE_CHECKING:
    from surestep.scoring.build_model import BuiltModel

PlanOf = Callable[[ScoredSteps], FitPlan]
"""Which baselines are to be fitted beside these steps."""


def leaves_a_core(built: BuiltModel) -> bool:
    """Whether a model that scores leaves a core to others."""
    return built.hardware.device.type != "cpu" and num_cores() > 1


@contextmanager
def fitted_beside(splits: Sequence[StoredSplit], plan_of: PlanOf | None) -> Iterator[FittingBeside]:
    """Baselines of the steps of `splits` are fitted while the block scores them; the process ends with the block.

    `plan_of` None: nothing is begun.
    """
    if plan_of is None:
        yield FittingBeside(FitPlan(), [])
        return
    with helpers(1, _import_fits) as started:
        yield FittingBeside(plan_of(expected_steps(splits)) if started else FitPlan(), started)


class FittingBeside:
    """What a process was asked to fit; what was fitted before is not fitted again.

    Args:
        plan: of all labelled steps.
        started: the one process, if any.
    """

    def __init__(self, plan: FitPlan, started: Sequence[HelperProcess]) -> None:
        self._is_begun, self._left_out = bool(started), plan.left_out
        self._begun = [(task, task.kept() or _asked(helper, task)) for helper in started for task in plan.tasks]

    def of(self, steps: ScoredSteps) -> Baselines | None:
        """The baselines of what was scored, once they are fitted; None where they have to be fitted afterwards.

        Nothing was begun, a labelled step got no score in the end, or the process was lost or could not fit: whoever
        fits afterwards reports why.
        """
        if not self._is_begun or (np.isnan(steps.confidence) & ~np.isnan(steps.label)).any():
            return None
        try:
            found = [
                (task, fitted if isinstance(fitted, FittedScores) else task.keep(fitted.result()))
                for task, fitted in self._begun
            ]
        except NoResultError:
            return None
        return Baselines([task.baseline(fitted) for task, fitted in found], self._left_out)


def _asked(helper: HelperProcess, task: FitTask) -> Future[FittedScores]:
    return helper.submit(task.function, *task.arguments())


def _import_fits() -> None:
    """Called in the process that fits: the modules are there, then."""
    import sklearn.feature_extraction.text
    import sklearn.linear_model  # noqa: F401
