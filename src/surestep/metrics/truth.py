"""How far a scorer is from the best possible one, where the true probabilities are known.

Only for data made so that p* = P(label = 1 | text so far) is known by construction. The *clean* part is
where p* is 0 or 1, the *noisy* part where it lies between. Knows numbers only, not how they were made.

Legend: p confidence, p* true confidence, y label.
"""

from __future__ import annotations

import numpy as np

from surestep.metrics.columns import FloatArray, check_unit_interval
from surestep.metrics.figure_table import compute_figures
from surestep.metrics.pointwise import mse, nll

CLEAN_FIGURES = ("mse", "mae", "r2", "ece")


def truth_report(confidence: FloatArray, label: FloatArray, true_confidence: FloatArray) -> dict[str, object] | None:
    """Regret to the known truth, JSON-ready; None where no step's truth is known.

    Regret is mean (p − p*)². It is what MSE exceeds the best possible by, in expectation:
    E (p − y)² = (p − p*)² + p* (1 − p*) for a binary y; `best_mse` is what p* itself scores on the very
    labels drawn. Steps of unknown truth are left out and counted.

    Args:
        confidence: shape (N,), in [0, 1].
        label: shape (N,), in [0, 1].
        true_confidence: shape (N,), in [0, 1], NaN where unknown.

    Returns:
        `num_steps`, `num_steps_without_truth`, `num_steps_noisy`, `num_steps_clean`;
        `num_contradictions`, clean steps whose label is not p*, which data made as stated never has;
        `regret`, `regret_noisy`, `regret_clean`, `mse`, `best_mse`, `nll`, `best_nll`,
        `mse_noisy`, `best_mse_noisy`; `clean` with MSE, MAE, R² and ECE against p*; nulls have their
        reason in `undefined`.

    Raises:
        DataError: a value is outside [0, 1].

    >>> report = truth_report(np.array([0.9, 0.5]), np.array([1.0, 1.0]), np.array([1.0, 0.75]))
    >>> report["regret_noisy"], report["best_mse_noisy"]
    (0.0625, 0.0625)
    """
    known = ~np.isnan(true_confidence)
    if not known.any():
        return None
    p, y, truth = confidence[known], label[known], true_confidence[known]
    check_unit_interval("true_confidence", truth)
    clean = (truth == 0.0) | (truth == 1.0)
    noisy = ~clean
    undefined: dict[str, str] = {}
    for part, mask in (("noisy", noisy), ("clean", clean)):
        if not mask.any():
            reason = f"no step of known truth is {part}"
            names = [f"regret_{part}"] + (["mse_noisy", "best_mse_noisy"] if part == "noisy" else [])
            undefined |= dict.fromkeys(names, reason)
    return {
        "num_steps": int(known.sum()),
        "num_steps_without_truth": int((~known).sum()),
        "num_steps_noisy": int(noisy.sum()),
        "num_steps_clean": int(clean.sum()),
        "num_contradictions": int((y[clean] != truth[clean]).sum()),
        "regret": mse(p, truth),
        "regret_noisy": mse(p[noisy], truth[noisy]) if noisy.any() else None,
        "regret_clean": mse(p[clean], truth[clean]) if clean.any() else None,
        "mse": mse(p, y),
        "best_mse": mse(truth, y),
        "nll": nll(p, y),
        "best_nll": nll(truth, y),
        "mse_noisy": mse(p[noisy], y[noisy]) if noisy.any() else None,
        "best_mse_noisy": mse(truth[noisy], y[noisy]) if noisy.any() else None,
        "clean": compute_figures(p[clean], truth[clean], names=CLEAN_FIGURES).to_json(),
        "undefined": undefined,
    }
