"""The report of a run's best checkpoint on the whole validation set, when all its steps are done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from surestep.config import EvalConfig
from surestep.errors import ConfigError
from surestep.files import METRICS
from surestep.model.sharding import is_sharded
from surestep.scoring.checkpoint.load import load_all_weights
from surestep.scoring.evaluation_file import standing_result
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.spread.spread_scorer import SpreadScorer
from surestep.training.events.validate import write_validation_report
from surestep.training.passes.shared_gradients import take_over_weights
from surestep.training.sharding.passes import for_validation, in_step_of
from surestep.training.trainer import Trainer
from surestep.training.training_sets import RunData


def final_report(
    trainer: Trainer,
    data: RunData,
    *,
    best: Path,
    last: Path,
    scorer: Callable[[], ModelScorer],
    folder: Path,
    settings: EvalConfig,
) -> dict[str, Any] | None:
    """The best checkpoint on the whole validation set, scored by all processes; None on those behind the main one."""
    training, built, together = trainer.settings, trainer.built, trainer.together
    if best != last or training.ema_decay is not None:  # the model holds the weights behind it
        if together.is_first or is_sharded(built.model):
            load_all_weights(built.model, best)
        if together.count > 1 and not is_sharded(built.model):
            take_over_weights(built.model)
    own = for_validation(scorer())
    own.say = trainer.view.say
    if together.is_first and (line := _replaced(folder)):
        trainer.view.say(line)
    is_spread = together.count > 1
    return write_validation_report(
        folder,
        SpreadScorer(own, together, attention=built.attention_per_token, in_step=in_step_of(built, together))
        if is_spread
        else own,
        data,
        writes=together.is_first,
        checkpoint=best,
        settings=settings,
        loss=training.loss_options(),
    )


def _replaced(folder: Path) -> str | None:
    """A line where the result takes the place of another command's; one of a training before it is the run's own."""
    try:
        there = standing_result(folder)
    except ConfigError:  # a run that was trained to its end leaves its result
        return f"the validation result replaces {folder / METRICS}, which is no result of an evaluation"
    return None if there is None or there.is_of_training else f"the validation result replaces {there.words()}"
