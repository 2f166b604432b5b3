"""Whether new scores still come like those of calibration: a martingale on their ranks, without any label.

Each score is ranked among the reference scores and all that came before it; were all exchangeable, the ranks would be
independent and uniform, and a game that bets on anything else would not win (Vovk, Gammerman and Shafer, Algorithmic
learning in a random world, 2005, chapter 7; the simple jumper of Vovk et al., Retrain or not retrain, 2021). By Ville's
inequality its capital ever reaches 20 with probability at most 1/20. The bag of earlier scores grows with every score:
ranks against a fixed bag depend on each other.

It sees scores only. An alarm says that they are no longer exchangeable, not that the promise is broken; silence says
nothing about labels: harder problems that the scorer is blind to pass it in nine of ten cases.

Legend: n reference scores, m new ones.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from surestep.counted import counted
from surestep.guarantees.format_version import check_format_version

FORMAT_VERSION = 1
WARN_AT = 20.0
"""Capital at which it warns: 5 % of streams without a change ever reach it."""
_BETS = (-1.0, 0.0, 1.0)
_JUMP = 0.01

SILENCE = "no warning says nothing about labels: errors that the scorer does not see leave its scores as they were"


@dataclass
class ScoreMartingale:
    """The game, and all that it needs to go on later.

    Attributes:
        reference: scores of the calibration problems, one each, in any order.
        seed: of the numbers that break ties; the same seed and scores give the same game.
        new: the scores since, in their order.
        unscored: how many problems came without a score; they are counted and not ranked.
        log_capital, log_highest: now, and the highest so far.
        warned_at: the number of the new score, from 1, at which it first warned; None if it never did.
    """

    reference: tuple[float, ...]
    seed: int = 0
    new: list[float] = field(default_factory=list)
    unscored: int = 0
    log_capital: float = 0.0
    log_highest: float = 0.0
    warned_at: int | None = None
    _shares: list[float] = field(default_factory=lambda: [1.0 / len(_BETS)] * len(_BETS))
    _bag: list[float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.reference:
            raise ValueError("there are no reference scores; allowed: at least one")
        for score in (*self.reference, *self.new):
            if not math.isfinite(score):
                raise ValueError(f"a score is {score}; allowed: finite numbers")
        self._bag = sorted([*self.reference, *self.new])

    @property
    def capital(self) -> float:
        """What is left of, or won from, 1."""
        return math.exp(min(self.log_capital, 700.0))

    @property
    def warns(self) -> bool:
        """Whether the capital has ever reached `WARN_AT`."""
        return self.warned_at is not None

    def add(self, score: float) -> float:
        """Take one new problem's score; its p-value, uniform where nothing has changed.

        A score that is not finite (no scored step) is counted and gives NaN.
        """
        if not math.isfinite(score):
            self.unscored += 1
            return math.nan
        below, not_above = bisect.bisect_left(self._bag, score), bisect.bisect_right(self._bag, score)
        # A number of its own for each place in the stream, so that a game that was stored goes on alike.
        broken = np.random.default_rng([self.seed, len(self.new)]).random()
        p = (below + broken * (not_above - below + 1)) / (len(self._bag) + 1)
        self._bag.insert(not_above, score)
        self.new.append(score)
        self._bet(p)
        return float(p)

    def _bet(self, p: float) -> None:
        jumped = [(1.0 - _JUMP) * share + _JUMP / len(_BETS) for share in self._shares]
        won = [share * (1.0 + bet * (p - 0.5)) for share, bet in zip(jumped, _BETS, strict=True)]
        total = sum(won)
        self._shares = [share / total for share in won]
        self.log_capital += math.log(total)
        self.log_highest = max(self.log_highest, self.log_capital)
        if self.warned_at is None and self.log_capital >= math.log(WARN_AT):
            self.warned_at = len(self.new)

    def in_words(self) -> str:
        """What it says, in a line."""
        count = f"{counted(len(self.new), 'new problem')} beside {len(self.reference)} of calibration"
        if self.unscored:
            count += f" ({self.unscored} more have no score)"
        if self.warned_at is not None:
            return (
                f"the scores have changed (capital {math.exp(min(self.log_highest, 700.0)):.3g}, warning from "
                f"{WARN_AT:g}, at new problem {self.warned_at}; {count}): they are not exchangeable with those of "
                "calibration, so the promise has lost its ground; whether more is wrong only labels can say"
            )
        return f"no change of scores found (capital {self.capital:.3g}, warning from {WARN_AT:g}; {count}); {SILENCE}"

    def to_json(self) -> dict[str, Any]:
        """Plain values; from them the game goes on as if it had not been stored."""
        return {
            "format_version": FORMAT_VERSION,
            "reference": list(self.reference),
            "seed": self.seed,
            "new": list(self.new),
            "unscored": self.unscored,
            "log_capital": self.log_capital,
            "log_highest": self.log_highest,
            "warned_at": self.warned_at,
            "shares": list(self._shares),
        }

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """What `to_json` gave.

        Raises:
            ValueError: another format version, or a field that is missing or of the wrong kind.
        """
        check_format_version(values, FORMAT_VERSION, "shift test")
        try:
            warned_at = values["warned_at"]
            made = cls(
                tuple(float(score) for score in values["reference"]),
                int(values["seed"]),
                [float(score) for score in values["new"]],
                int(values["unscored"]),
                float(values["log_capital"]),
                float(values["log_highest"]),
                None if warned_at is None else int(warned_at),
                [float(share) for share in values["shares"]],
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"a field of a shift test is missing or of the wrong kind ({error})") from None
        if not (math.isfinite(made.log_capital) and math.isfinite(made.log_highest)):
            raise ValueError("the capital of a shift test is not a number")
        if len(made._shares) != len(_BETS) or not math.isclose(sum(made._shares), 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares of a shift test are {made._shares}; allowed: {len(_BETS)} that sum to 1")
        return made
