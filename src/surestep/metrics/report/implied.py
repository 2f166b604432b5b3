"""What a target would ask of a scorer on this very data, and whether the data can give it.

A target such as "MSE below 0.015" means something else wherever labels vary differently. Here it is turned into the
R² that it implies, and compared with the best that is possible (where the true probabilities are known) or plausible
(where they are not). Knows numbers only.

Legend: V variance of the labels, t target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

IMPLYING = ("mse", "mae", "r2")
"""The figures whose targets imply an R²."""


@dataclass(frozen=True, slots=True)
class Implied:
    """What meeting a target means.

    Attributes:
        r2: the least R² of a scorer that meets it; None where the figure or the data implies none.
        contradicts: whether the data cannot, or cannot plausibly, give that.
        reason: why, in words; empty unless it contradicts.
    """

    r2: float | None = None
    contradicts: bool = False
    reason: str = ""


def label_variance(section: Mapping[str, object]) -> float | None:
    """V of a report's section: what the constant at its mean label would score as MSE.

    The report holds the MSE of a constant c, which is V + (c − ȳ)².

    >>> label_variance({"mean_label": 0.5, "constant_baseline": {"constant": 0.75, "mse": 0.3125}})
    0.25
    """
    baseline = section.get("constant_baseline")
    if not isinstance(baseline, Mapping):
        return None
    constant, mse, mean = baseline.get("constant"), baseline.get("mse"), section.get("mean_label")
    if not all(isinstance(value, int | float) for value in (constant, mse, mean)):
        return None
    return max(float(mse) - (float(constant) - float(mean)) ** 2, 0.0)  # type: ignore[arg-type]


def implied_by(
    figure: str,
    target: float,
    *,
    variance: float | None,
    best_mse: float | None,
    plausible_r2: float,
) -> Implied:
    """What a target asks for on labels of this variance.

    MSE ≤ t means R² ≥ 1 − t / V. No error exceeds 1, so MSE ≤ MAE and MAE ≤ t implies the same. A target on R² implies
    itself. Other figures imply nothing: an ECE of 0 is reached by the constant at the mean label.

    The rule: where `best_mse` is known, a target contradicts the data if it asks for an MSE below it, which the true
    probabilities themselves do not reach. Elsewhere it does if the R² it implies exceeds `plausible_r2`. That is a
    convention, not a proof: it says that the target was made for labels that vary less.

    Args:
        figure: its name; others than `IMPLYING` imply nothing.
        target: t, the most allowed (mse, mae) or the least (r2).
        variance: V of the labels; None or 0 where nothing is implied.
        best_mse: MSE of the true probabilities on these labels, where they are known.
        plausible_r2: in (0, 1].

    >>> found = implied_by("mse", 0.015, variance=0.2, best_mse=None, plausible_r2=0.9)
    >>> round(found.r2, 3), found.contradicts
    (0.925, True)
    >>> implied_by("mse", 0.015, variance=0.07, best_mse=None, plausible_r2=0.9).contradicts
    False
    """
    if figure not in IMPLYING or not variance:
        return Implied()
    most_mse = (1.0 - target) * variance if figure == "r2" else target
    r2 = 1.0 - most_mse / variance
    if best_mse is not None:
        if most_mse >= best_mse:
            return Implied(r2)
        reason = f"it needs an MSE of at most {most_mse:.4f}; the true probabilities have {best_mse:.4f} here"
        return Implied(r2, True, reason)
    if r2 <= plausible_r2:
        return Implied(r2)
    reason = f"at label variance {variance:.3f} it needs R² ≥ {r2:.3f}, and more than {plausible_r2:g} is not plausible"
    return Implied(r2, True, reason)
