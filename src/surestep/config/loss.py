"""What is minimised in training besides the plain loss, each part with the name of its field; all off by default.

The types of fields, which `TrainingConfig` puts together, and what follows from their values. Knows no tensor; the
formulas stand in `surestep.training.loss`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

LossName = Literal["bce", "mse", "none"]

Loss = Annotated[
    LossName,
    Field(
        description=(
            "`bce`: cross-entropy with soft labels; `mse`: squared error of the confidence; `none`: only what "
            "`pairwise_weight` and `pqm_weight` add."
        )
    ),
]
LabelSmoothing = Annotated[
    float,
    Field(
        ge=0.0,
        lt=1.0,
        description=(
            "Label smoothing (Szegedy et al., 2016): a label y is learned as (1 - e) y + e / 2. Of `loss` only; the "
            "comparisons and every figure see y."
        ),
    ),
]
PosWeight = Annotated[
    float,
    Field(
        gt=0.0,
        le=1000.0,
        description=(
            "Weight of the positive part of `bce` (torch's `pos_weight`). Other than 1 it moves every confidence: "
            "calibrate afterwards."
        ),
    ),
]
PairwiseWeight = Annotated[
    float,
    Field(
        ge=0.0,
        le=1000.0,
        description=(
            "Adds so many times a pairwise loss over sibling steps, those with the same beginning (Bradley-Terry; "
            "RankNet, Burges et al., 2005). Calibrate afterwards."
        ),
    ),
]
PqmWeight = Annotated[
    float,
    Field(
        ge=0.0,
        le=1000.0,
        description=(
            "Adds so many times the ranking loss of the Process Q-value Model (Li and Li, 2024) over the steps of each "
            "chain. Calibrate afterwards."
        ),
    ),
]
PqmMargin = Annotated[
    float,
    Field(ge=0.0, le=100.0, description="The margin, zeta, between right and wrong steps in that ranking loss."),
]
RatingCorrelation = Annotated[
    float,
    Field(
        ge=0.0,
        le=1.0,
        description=(
            "How alike the ratings of one step are, rho: a label that is the mean of n ratings counts "
            "n / (1 + (n - 1) rho) labels (Kish, 1965). 1: every label counts once; 0: the binomial likelihood."
        ),
    ),
]
BalancePositions = Annotated[
    bool,
    Field(
        description=(
            "Weighs right and wrong labels so that a step's position says nothing of its label (reweighing, Kamiran "
            "and Calders, 2012). Calibrate afterwards."
        )
    ),
]


@dataclass(frozen=True, slots=True)
class LossOptions:
    """What of the fields decides the loss of a step, as plain values; the defaults are the plain loss.

    >>> LossOptions().is_plain, LossOptions(pairwise_weight=0.5).compares
    (True, True)
    """

    loss: LossName = "bce"
    label_smoothing: float = 0.0
    pos_weight: float = 1.0
    pairwise_weight: float = 0.0
    pqm_weight: float = 0.0
    pqm_margin: float = 4.0
    rating_correlation: float = 1.0
    balance_positions: bool = False

    @property
    def compares(self) -> bool:
        """Whether steps of a tree are compared with each other, so that it must go through the model as a whole."""
        return self.pairwise_weight > 0.0 or self.pqm_weight > 0.0

    @property
    def is_plain(self) -> bool:
        """Whether nothing is on but the loss of each step by itself, each label once."""
        shaped = self.label_smoothing > 0.0 or self.pos_weight != 1.0 or self.rating_correlation < 1.0
        return not shaped and not self.compares and not self.balance_positions

    def miscalibrating(self) -> list[str]:
        """The parts whose minimum is not where the confidence is the mean label; a map has to be fitted after them.

        >>> LossOptions(pqm_weight=0.5, pos_weight=2.0).miscalibrating()
        ['pos_weight 2', 'pqm_weight 0.5']
        >>> LossOptions("mse", rating_correlation=0.0).miscalibrating()
        []
        """
        found = {
            "label_smoothing": self.label_smoothing > 0.0,
            "pos_weight": self.pos_weight != 1.0,
            "pairwise_weight": self.pairwise_weight > 0.0,
            "pqm_weight": self.pqm_weight > 0.0,
        }
        parts = [f"{name} {getattr(self, name):g}" for name, is_on in found.items() if is_on]
        return [*parts, "balance_positions"] if self.balance_positions else parts

    def problems(self) -> list[str]:
        """What contradicts, a sentence each.

        >>> LossOptions("none").problems()[0][:60]
        'training.loss is none, but neither training.pairwise_weight '
        """
        found = []
        if self.loss == "none" and not self.compares:
            found.append(
                "training.loss is none, but neither training.pairwise_weight nor training.pqm_weight is above 0, so "
                "nothing would be learned: set one of them, or use --loss bce"
            )
        if self.pos_weight != 1.0 and self.loss != "bce":
            found.append(
                f"training.pos_weight is {self.pos_weight:g}, which weighs the parts of bce, but training.loss is "
                f"{self.loss}: use --loss bce, or leave it at 1"
            )
        if self.balance_positions and self.loss == "none":
            found.append(
                "training.balance_positions is true, which the comparisons do not see, but training.loss is none: use "
                "--loss bce or mse, or leave it false"
            )
        if self.label_smoothing > 0.0 and self.loss == "none":
            found.append(
                f"training.label_smoothing is {self.label_smoothing:g}, which the comparisons do not see, but "
                "training.loss is none: use --loss bce or mse, or leave it at 0"
            )
        return found
