"""What temperature, Platt and beta maps share: log odds, the sigmoid, and a fit by maximum likelihood.

Each is a logistic regression on functions of the confidence. Soft labels count as they are: the loss of a label y is y
times that of a right step plus 1 − y times that of a wrong one. No regularisation. The loss is convex, so Newton's
method with halved steps finds its minimum, and where slopes must not be negative the best of the borders does.

**Why nothing falls in the last digit.** A logarithm or exponential of floats is right to its last digit or two, and may
fall by that much between two neighbouring floats. So the argument is rounded first, to 44 of 53 bits: rounding never
falls, and two different rounded arguments lie so far apart that the error cannot turn their results around. All other
steps are single additions, multiplications by a number of at least 0, and divisions, which do not fall either.

Legend: N steps, K coefficients; p confidence, y label, w weight, z logit of the calibrated confidence.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from surestep.calibration.gain import FloatArray

LOGIT_CLIP = 1e-12
"""A logit takes confidences as no closer than this to 0 and 1: it stays within ±27.6."""

_DROPPED_BITS = 9
_GREATEST_Z = 700.0
"""e^700 is still a float; the sigmoid is 1 long before."""
_Z_STEP = 2.0**-44

_MAX_NEWTON_STEPS = 100
_MAX_HALVINGS = 40
_LEAST_GAIN = 1e-15
_RIDGE = 1e-10
"""Share of the Hessian's trace added to its diagonal: where all confidences are equal it has no inverse."""


def log_parts(confidence: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """ln p, which never falls, and ln(1 − p), which never rises; p clipped by `LOGIT_CLIP`; shapes as given.

    >>> [float(part.round(6)) for part in log_parts(0.5)]
    [-0.693147, -0.693147]
    """
    p = clipped(confidence)
    return np.log(_rounded(p)), np.log(_rounded(1.0 - p))


def logit(confidence: npt.ArrayLike) -> FloatArray:
    """ln p − ln(1 − p), with p clipped by `LOGIT_CLIP`.

    >>> float(logit(0.5))
    0.0
    """
    log_p, log_rest = log_parts(confidence)
    odds: FloatArray = log_p - log_rest
    return odds


def sigmoid(values: npt.ArrayLike) -> FloatArray:
    """1 / (1 + e^−z), without overflow at either end; never falls.

    >>> sigmoid(np.array([-1e4, 0.0, 1e4])).tolist()[1:]
    [0.5, 1.0]
    """
    z = np.clip(np.asarray(values, dtype=np.float64), -_GREATEST_Z, _GREATEST_Z)
    # One formula for both signs: e^z / (1 + e^z) can fall where 1 + e^z is rounded up.
    result: FloatArray = 1.0 / (1.0 + np.exp(-np.rint(z / _Z_STEP) * _Z_STEP))
    return result


def sigmoid_of_sum(*terms: FloatArray | float) -> FloatArray:
    """`sigmoid` of the sum of terms none of which falls, however large they are.

    Terms beyond ±1e300 are taken as that, so that infinities of both signs never meet.
    """
    total: FloatArray | float = 0.0
    for term in terms:
        total = total + np.clip(term, -1e300, 1e300)
    return sigmoid(total)


def clipped(confidence: npt.ArrayLike) -> FloatArray:
    """float64, `LOGIT_CLIP` away from 0 and 1."""
    # Contiguous: numpy's vector and scalar functions may differ in the last digit.
    p = np.array(confidence, dtype=np.float64, order="C")
    return np.clip(p, LOGIT_CLIP, 1.0 - LOGIT_CLIP)


def _rounded(values: FloatArray) -> FloatArray:
    """Numbers above 0 with the last bits of their mantissa rounded away."""
    half, mask = np.int64(1 << (_DROPPED_BITS - 1)), np.int64(-1 << _DROPPED_BITS)
    bits = np.asarray(values).view(np.int64)
    rounded: FloatArray = np.asarray((bits + half) & mask).view(np.float64)
    return rounded


def minimise_nll_with_slopes_from_zero(
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
