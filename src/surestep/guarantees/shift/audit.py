"""Whether labelled new problems still keep the promise: a game against "the risk is what this rule's risk can be".

A rule's own risk varies between calibration sets, Beta(k, n + 1 − k) at worst, so alpha itself is exceeded by chance in
nearly half of them. The audit takes the 95 % quantile alpha' of that and bets on losses above it: the mean over b of
Π (1 + b (L_t − alpha')) has mean at most 1 while the risk is at most alpha', so it ever reaches 20 with probability at
most 1/20 (Ville), at whatever moment one looks. It warns late rather than early: silence over few labels says little.

Legend: L_t in [0, 1], the loss of the t-th labelled problem: 1 where its kept part holds a wrong step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self

from surestep.counted import counted
from surestep.guarantees.binomial import beta_quantile
from surestep.guarantees.format_version import check_format_version

FORMAT_VERSION = 1
WARN_AT = 20.0
"""The wealth at which it warns."""
BETS = (0.5, 1.0, 2.0, 3.0)
_QUANTILE = 0.95


@lru_cache(maxsize=256)
def _tolerated(k: int, n: int) -> float:
    return beta_quantile(_QUANTILE, k, n)


@dataclass
class LabelledAudit:
    """The game, and all that it needs to go on later.

    Attributes:
        k: the rule is the k-th largest of n critical values, k from 1 to n.
        n: calibration problems.
        count: labelled problems so far.
        losses: their summed loss.
        log_wealth: of each bet.
        log_highest: of their mean, the highest so far.
        warned_at: the number of the labelled problem, from 1, at which it first warned; None if it never did.
    """

    k: int
    n: int
    count: int = 0
    losses: float = 0.0
    log_wealth: list[float] = field(default_factory=list)
    log_highest: float = 0.0
    warned_at: int | None = None
    tolerated: float = field(init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.n:
            raise ValueError(
                f"an audit of the {self.k}th largest of {counted(self.n, 'value')}; allowed: 1 to {self.n}"
            )
        self.tolerated = _tolerated(self.k, self.n)
        if not self.log_wealth:
            self.log_wealth = [0.0] * len(self.bets)
        if len(self.log_wealth) != len(self.bets):
            raise ValueError(f"an audit with {counted(len(self.log_wealth), 'wealth')}; allowed: {len(self.bets)}")

    @property
    def bets(self) -> tuple[float, ...]:
        """Those that cannot lose everything on one good problem: b < 1 / alpha'."""
        safe = tuple(bet for bet in BETS if bet * self.tolerated < 1.0)
        return safe or (0.5 / self.tolerated,)

    @property
    def wealth(self) -> float:
        """The mean over the bets, from 1 on."""
        return math.exp(min(self._log_mean(), 700.0))

    @property
    def warns(self) -> bool:
        """Whether the wealth has ever reached `WARN_AT`."""
        return self.warned_at is not None

    def add(self, loss: float) -> float:
        """Take the loss of one more labelled problem, in [0, 1]; the wealth after it.

        Raises:
            ValueError: the loss is outside [0, 1].
        """
        if not 0.0 <= loss <= 1.0:
            raise ValueError(f"the loss of a problem is {loss}; allowed: 0 to 1")
        self.count += 1
        self.losses += loss
        pairs = zip(self.log_wealth, self.bets, strict=True)
        self.log_wealth = [log + math.log1p(bet * (loss - self.tolerated)) for log, bet in pairs]
        now = self._log_mean()
        self.log_highest = max(self.log_highest, now)
        if self.warned_at is None and now >= math.log(WARN_AT):
            self.warned_at = self.count
        return self.wealth

    def _log_mean(self) -> float:
        top = max(self.log_wealth)
        return top + math.log(sum(math.exp(one - top) for one in self.log_wealth) / len(self.log_wealth))

    def in_words(self) -> str:
        """What it says, in a line."""
        if not self.count:
            return "no audit: none of the new problems has labels, and without labels nothing is known of the risk"
        found = f"{self.losses:g} of {counted(self.count, 'labelled problem')} kept a wrong step"
        tolerated = f"{100 * self.tolerated:.1f}%, the most that chance in calibration explains (95%)"
        if self.warned_at is not None:
            return (
                f"the promise is broken: {found}; above {tolerated} (wealth "
                f"{math.exp(min(self.log_highest, 700.0)):.3g}, warning from {WARN_AT:g}, at labelled problem "
                f"{self.warned_at}); certify again on problems like these"
            )
        return (
            f"no evidence against the promise so far: {found}; tested against {tolerated} (wealth {self.wealth:.3g}, "
            f"warning from {WARN_AT:g}); that is no proof of safety"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; from them the game goes on as if it had not been stored."""
        return {
            "format_version": FORMAT_VERSION,
            "k": self.k,
            "n": self.n,
            "count": self.count,
            "losses": self.losses,
            "log_wealth": list(self.log_wealth),
            "log_highest": self.log_highest,
            "warned_at": self.warned_at,
        }

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """What `to_json` gave.

        Raises:
            ValueError: another format version, or a field that is missing, of the wrong kind or out of range.
        """
        check_format_version(values, FORMAT_VERSION, "audit")
        try:
            warned_at = values["warned_at"]
            logs = [float(one) for one in (*values["log_wealth"], values["log_highest"], values["losses"])]
            if not all(map(math.isfinite, logs)):
                raise ValueError("the wealth of an audit is not a number")
            return cls(
                int(values["k"]),
                int(values["n"]),
                int(values["count"]),
                float(values["losses"]),
                [float(one) for one in values["log_wealth"]],
                float(values["log_highest"]),
                None if warned_at is None else int(warned_at),
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"a field of an audit is missing or of the wrong kind ({error})") from None
