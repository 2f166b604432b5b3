"""Temperature, Platt and beta maps by maximum likelihood: one logistic regression on functions of the confidence.

Soft labels count as they are: the loss of a label y is y times that of a right step plus 1 − y times that of a wrong
one. No regularisation. The loss is convex, so Newton's method with halved steps finds its minimum, and where slopes
must not be negative the best of the borders does.

Legend: N steps, K coefficients; p confidence, y label, w weight.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from surestep.calibration.gain import FloatArray
from surestep.calibration.maps.confidence_map import Beta, Platt, Temperature, clipped, logit, sigmoid

_MAX_NEWTON_STEPS = 100
_MAX_HALVINGS = 40
_LEAST_GAIN = 1e-15
_RIDGE = 1e-10
"""Share of the Hessian's trace added to its diagonal: where all confidences are equal it has no inverse."""

MAX_TEMPERATURE = 1000.0
"""At this T every confidence is 0.5 to the second digit; where no slope above 0 helps, T stays here."""


def fit_temperature(confidence: FloatArray, label: FloatArray, weights: FloatArray) -> Temperature:
    """The temperature of least NLL, at most `MAX_TEMPERATURE`.

    >>> p = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1])
    >>> y = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    >>> round(fit_temperature(p, y, np.ones(8)).temperature, 6)
    2.0
    """
    (slope,) = minimise_nll(logit(confidence)[:, None], label, weights)
    return Temperature(1.0 / max(float(slope), 1.0 / MAX_TEMPERATURE))


def fit_platt(confidence: FloatArray, label: FloatArray, weights: FloatArray) -> Platt:
    """Slope (at least 0) and intercept of least NLL."""
    features = np.stack([logit(confidence), np.ones_like(confidence)], axis=1)
    slope, intercept = _with_slopes_from_zero(features, label, weights, num_slopes=1)
    return Platt(float(slope), float(intercept))


def fit_beta(confidence: FloatArray, label: FloatArray, weights: FloatArray) -> Beta:
    """a, b (at least 0) and c of least NLL."""
    p = clipped(confidence)
    features = np.stack([np.log(p), -np.log1p(-p), np.ones_like(p)], axis=1)
    a, b, c = _with_slopes_from_zero(features, label, weights, num_slopes=2)
    return Beta(float(a), float(b), float(c))


def _with_slopes_from_zero(
    features: FloatArray, label: FloatArray, weights: FloatArray, *, num_slopes: int
) -> FloatArray:
    """Coefficients [K] of least NLL among those whose first `num_slopes` are at least 0.

    A convex loss has its least value inside the allowed region, or on a border: with some of the slopes at 0.
    """
    num_features = features.shape[1]
    best, best_loss = np.zeros(num_features), np.inf
    for num_zero in range(num_slopes + 1):
        for zero in combinations(range(num_slopes), num_zero):
            free = [k for k in range(num_features) if k not in zero]
            found = np.zeros(num_features)
            found[free] = minimise_nll(features[:, free], label, weights)
            loss = _loss(features, found, label, weights)
            if (found[:num_slopes] >= 0).all() and loss < best_loss:
                best, best_loss = found, loss
        if best_loss < np.inf and num_zero == 0:
            break  # the least value of all is allowed
    return best


def minimise_nll(features: FloatArray, label: FloatArray, weights: FloatArray) -> FloatArray:
    """Coefficients [K] of the logistic model of least weighted NLL.

    Args:
        features: float64 [N, K].
        label: float64 [N], in [0, 1].
        weights: float64 [N], at least 0, not all 0.

    Where features part right from wrong steps without exception the least value is at infinity; the search then ends
    after a fixed number of steps.

    >>> minimise_nll(np.ones((4, 1)), np.array([1.0, 1.0, 1.0, 0.0]), np.ones(4)).round(6).tolist()
    [1.098612]
    """
    share = weights / weights.sum()
    found = np.zeros(features.shape[1])
    loss = _loss(features, found, label, share)
    for _ in range(_MAX_NEWTON_STEPS):
        q = sigmoid(features @ found)
        gradient = features.T @ (share * (q - label))
        hessian = features.T @ (features * (share * q * (1.0 - q))[:, None])
        ridge = _RIDGE * max(float(np.trace(hessian)), 1e-12)
        step = np.linalg.solve(hessian + ridge * np.eye(len(found)), gradient)
        for _ in range(_MAX_HALVINGS):
            trial = found - step
            trial_loss = _loss(features, trial, label, share)
            if trial_loss <= loss:
                break
            step = step / 2.0
        else:
            break
        gain, found, loss = loss - trial_loss, trial, trial_loss
        if gain <= _LEAST_GAIN:
            break
    return found


def _loss(features: FloatArray, found: FloatArray, label: FloatArray, weights: FloatArray) -> float:
    z = features @ found
    # ln(1 + e^z) − y z, the NLL of sigmoid(z), exact at both ends.
    return float(np.sum(weights * (np.logaddexp(0.0, z) - label * z)))
