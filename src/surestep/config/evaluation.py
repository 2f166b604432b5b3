"""How a checkpoint scores, and how its predictions are measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from surestep.settings import Section

ScoringWeights = Literal["as_trained", "merged", "fp8"]


class EvalConfig(Section):
    """How predictions are measured."""

    eval_token_budget: PositiveInt | None = Field(
        None, description="Tokens in one scoring pass; unset: what memory allows."
    )
    scoring_weights: ScoringWeights = Field(
        "as_trained",
        description=(
            "The weights that score. `merged`: adapters merged into the backbone's; a twentieth faster, rounds anew. "
            "`fp8`: merged and in 8-bit floats, on Hopper GPUs and later; faster again, less exact. Training and its "
            "validations always have them as trained."
        ),
    )
    save_predictions: bool = Field(
        True, description="Keep `predictions.jsonl.gz`, one line per step: what `compare` and the worst mistakes read."
    )
    report: bool = Field(True, description="Write `report.html`, its plots as PNG, and `MODEL_CARD.md`.")
    bootstrap_resamples: NonNegativeInt = Field(
        1000, description="How often the problems are resampled for the 95 % intervals; 0: no intervals."
    )
    bootstrap_seed: NonNegativeInt = Field(0, description="Seeds the resamples.")
    baselines: bool = Field(
        True,
        description=(
            "Measure baselines on the same steps: constants, position and length, and TF-IDF with logistic regression "
            "fitted on the training split; `false` leaves only the constants."
        ),
    )
