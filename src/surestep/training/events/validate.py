"""Validation during training, and the report of the best checkpoint on the whole validation set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surestep.config import EvalConfig, TrainingConfig
from surestep.config.loss import LossOptions
from surestep.metrics import nll
from surestep.metrics.figures import FIGURES
from surestep.metrics.measure import Measure
from surestep.metrics.report import ConstantBaseline
from surestep.scored import ScoredSteps
from surestep.scoring.evaluation_file import OF_TRAINING, dataset_facts, evaluation_report, write_evaluation_files
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.protocol import Scorer
from surestep.scoring.score_split import score_split
from surestep.scoring.spread.spread_scorer import LeftOffError, SpreadScorer
from surestep.scoring.spread.together import Together
from surestep.scoring.stored_split import ProgressFactory, StoredSplit, silent
from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.records import StepDone, ValidationRecord
from surestep.training.schedule import Rhythm
from surestep.training.training_sets import RunData

SHOWN = ("mse", "mae", "r2", "ece", "nll", "brier", "auroc", "accuracy")
"""The figures of each validation, beside the one that decides."""
_FEWEST_PROBLEMS = 16
_SHARE_OF_WORK = 0.1
_FORWARD_SHARE = 3.0
"""A forward pass costs about a third of a training pass, so three times the tokens take the same time."""


def choose_subsets(
    splits: Mapping[str, StoredSplit], training: TrainingConfig, *, tokens_per_step: float
) -> dict[str, StoredSplit]:
    """Problems to score at each validation, the same ones every time: as set, or a tenth of the work."""
    allowed = _SHARE_OF_WORK * _FORWARD_SHARE * training.eval_steps * tokens_per_step / max(len(splits), 1)
    subsets = {}
    for name, split in splits.items():
        mean_tokens = max(split.num_tokens / max(len(split), 1), 1.0)
        count = min(training.validation_samples or max(int(allowed / mean_tokens), _FEWEST_PROBLEMS), len(split))
        chosen = np.random.default_rng([training.seed, len(split)]).permutation(len(split))[:count]
        subsets[name] = split.take(np.sort(chosen))
    return subsets


@dataclass(eq=False)
class Validate(TrainingEvents):
    """Scores the subsets by rhythm, on all processes, and counts validations without a better one.

    Attributes:
        together: the processes of the run, which share the trees out.
        make_scorer: a scorer of the model's current weights, asked for once.
        subsets: the problems of each dataset.
        metric: whose mean over datasets decides.
        constants: mean training label of each dataset.
        bound: how far above a constant's the NLL may be (`ValidationRecord.is_beyond`); None: as far as it likes.
        attention: what context costs, for even shares (`encoding.packing.tree_costs`).
        in_step: entered around a process's own scoring (`SpreadScorer`).
        averaged_weights: puts the weights in place that are validated, where they are not those that are trained.
    """

    rhythm: Rhythm
    together: Together
    make_scorer: Callable[[], ModelScorer]
    subsets: Mapping[str, StoredSplit]
    metric: str
    constants: Mapping[str, float]
    bound: float | None
    attention: float = 0.0
    in_step: Callable[[], AbstractContextManager[None]] = nullcontext
    averaged_weights: Callable[[], AbstractContextManager[None]] = nullcontext
    _scorer: ModelScorer | None = field(default=None, init=False)

    def started(self, run: RunView) -> None:
        self._run = run

    def step_done(self, done: StepDone) -> None:
        if self.rhythm.is_validating(done.step):
            self._validate_or_owe()

    def step_resumed(self) -> None:
        self._validate_or_owe()

    def _validate_or_owe(self) -> None:
        """Validate; where a signal comes, leave off between two trees: the resumed run begins with it."""
        state = self._run.state
        try:
            self._validate()
            state.validation_due = False
        except LeftOffError:
            state.validation_due = True
            self._run.say("the validation was left off; --resume begins with it")

    def _go_on(self, _title: str) -> Callable[[int], None]:
        def advance(_count: int) -> None:
            if self._run.is_told_to_stop():
                raise LeftOffError

        return advance

    def _validate(self) -> None:
        state = self._run.state
        if self._scorer is None:
            self._scorer = self.make_scorer()  # once: a budget that has shrunk stays so
            self._scorer.say = self._run.say
        scorer: Scorer = self._scorer
        if is_spread := self.together.count > 1:
            scorer = SpreadScorer(
                scorer,
                self.together,
                attention=self.attention,
                is_told_to_stop=self._run.is_told_to_stop,
                in_step=self.in_step,
            )
        with self.averaged_weights():
            # Each process finds the same figures, from the scores of all.
            record = validate(
                scorer,
                self.subsets,
                step=state.step,
                metric=self.metric,
                best=state.best_seen,
                constants=self.constants,
                progress=silent if is_spread else self._go_on,
            )
        state.validations_without_better += 1
        if record.is_best:
            state.best_seen = record.value
            state.validations_without_better = 0
        is_beyond = self.bound is not None and record.is_beyond(self.bound)
        state.validations_diverged = state.validations_diverged + 1 if is_beyond else 0
        if self.together.is_first:
            self._run.validated(record)


def validate(
    scorer: Scorer,
    subsets: Mapping[str, StoredSplit],
    *,
    step: int,
    metric: str,
    best: float | None,
    constants: Mapping[str, float] | None = None,
    progress: ProgressFactory = silent,
) -> ValidationRecord:
    """Score the labelled steps of `subsets`; the deciding value is the plain mean over datasets of `metric`.

    `constants` are the mean training labels, which the same labels are compared with; `progress` is told of each tree.
    """
    steps = score_split(scorer, list(subsets.values()), wanted="labelled", progress=progress)
    names = list(dict.fromkeys((*SHOWN, metric)))
    measured = steps.measured()
    per_dataset = {name: _figures_of(measured.for_dataset(name), names) for name in steps.dataset_names}
    mean = {figure: _mean([figures[figure] for figures in per_dataset.values()]) for figure in names}
    value = mean[metric]
    if value is None:  # one class only, say: the likelihood always has a value
        metric, value = "nll", mean["nll"]
    assert value is not None, "a validation set has at least one label"
    constant = _constant_nll(measured, constants or {})
    return ValidationRecord(step, metric, value, mean, per_dataset, is_better(value, best, metric), constant)


def _figures_of(steps: ScoredSteps, names: Sequence[str]) -> dict[str, float | None]:
    """Plain values as a report has them: all of a report, with its tables, takes longer than scoring a few problems."""
    steps = steps.densely()
    return Measure(steps, [FIGURES[name] for name in names], num_problems=steps.num_problems).values


def _constant_nll(steps: ScoredSteps, constants: Mapping[str, float]) -> float | None:
    """NLL of each dataset's constant on its labels, as mean over datasets; None where one has no constant."""
    found = []
    for index, name in enumerate(steps.dataset_names):
        label = steps.label[steps.dataset == index]
        if not label.size:
            continue
        if name not in constants:
            return None
        found.append(nll(np.full(label.shape, constants[name]), label))
    return _mean(found)


def is_better(value: float, best: float | None, metric: str) -> bool:
    """Whether `value` beats `best` in the direction of `metric`."""
    return best is None or FIGURES[metric].is_better(value, best)


def write_validation_report(
    folder: Path,
    scorer: Scorer,
    data: RunData,
    *,
    writes: bool = True,
    checkpoint: Path,
    settings: EvalConfig,
    loss: LossOptions | None = None,
) -> dict[str, Any] | None:
    """Score all held-out problems of `data`; write `eval_metrics.json` and, as `settings` say, all steps into `folder`.

    Of several processes that score together one `writes`; the others get no report.

    The same steps by the same road as `surestep evaluate --split validation`, so with the same figures.
    """
    splits = list(data.validation.values())
    steps = score_split(scorer, splits)
    if not writes:
        return None
    datasets = dataset_facts(splits, steps)
    moved_by = [] if loss is None else loss.miscalibrating()
    report = evaluation_report(
        steps,
        settings,
        {
            **({"miscalibrated_by": moved_by} if moved_by else {}),
            "split": "validation",
            "checkpoint": str(checkpoint),
            OF_TRAINING: "the best checkpoint on the whole validation set; the test splits were not used",
            "unscored": {name: facts["labels_beyond_position_limit"] for name, facts in datasets.items()},
            "datasets": datasets,
        },
        constants=ConstantBaseline(per_dataset=data.label_means, overall=data.label_mean),
    )
    write_evaluation_files(folder, report, steps if settings.save_predictions else None)
    return report


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
