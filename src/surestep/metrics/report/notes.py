"""What `eval_metrics.json` says of itself: each figure's own note, and what concerns several of them."""

from __future__ import annotations

from surestep.metrics.figures import FIGURES
from surestep.metrics.figures.pointwise import NUM_LABEL_RANGES
from surestep.metrics.report.groups import MOST_LABEL_VALUES


def notes() -> dict[str, str]:
    """How every figure and table of a report is made, by the key that it explains."""
    return {**_NOTES, **{name: figure.note for name, figure in FIGURES.items() if figure.note}}


_NOTES: dict[str, str] = {
    "soft_labels": (
        "MSE, MAE, R², NLL and ECE use the label as it is. AUROC and average precision count a label of at "
        "least 0.5 as right; their _without_half variants leave labels of exactly 0.5 out. Brier uses the "
        "binary label (label >= 0.5). Accuracy compares confidence >= 0.5 with label > 0.5 and leaves labels "
        "of exactly 0.5 out."
    ),
    "raw_confidence": (
        "AUROC, average precision, Spearman and risk-coverage order the steps by the raw confidence where a "
        "calibration map was applied; all other figures use the calibrated one."
    ),
    "intervals": (
        "95 %, by bootstrap over problems, since steps of one problem are not independent. 'percentile': the middle "
        "95 % of the resampled values (Efron and Tibshirani 1993). 'test inversion': see intervals_of_calibration_"
        "error. undefined_resamples counts resamples in which a figure has no value (one class only); they are left "
        "out, and where more than half are, there is no interval. Below about 30 problems intervals are too narrow, "
        "and nothing is called better or worse by them. "
        "The constants of the baselines, the bins of equal mass and the groups by position and label are held fixed."
    ),
    "intervals_of_calibration_error": (
        "ece, ece_equal_mass, smooth_ece, rms_calibration_error, brier_reliability and brier_resolution are sizes of "
        "gaps, and noise lengthens every gap: the plain value is biased upward and a percentile bootstrap does not "
        "cover a true value of 0. Their interval holds the true values that are not rejected when gaps of that size "
        "plus the resampled noise are compared with what was seen (test inversion: Carpenter 1999; Chuang and Lai "
        "2000). It may lie wholly below the plain value. if_calibrated gives the mean and the 97.5 % quantile that a "
        "perfectly calibrated model with the same noise would show; a value below `high` is no sign of "
        "miscalibration."
    ),
    "brier_decomposition": (
        "brier = brier_reliability - brier_resolution + brier_uncertainty + brier_within_bin (Murphy 1973; the "
        "remainder within bins: Stephenson, Coelho, Jolliffe 2008), over the bins of ece."
    ),
    "risk_coverage": (
        "Area under the risk (mean of 1 - label) of the most confident share of the steps, over all shares (Geifman "
        "and El-Yaniv 2017); risk_coverage_excess: above the best possible order (Geifman et al. 2019)."
    ),
    "mae_by_label_range": (
        f"{NUM_LABEL_RANGES} ranges of the label, edges owned as by the ECE bins; null where count is 0."
    ),
    "by_position": "Positions from 1; later ones in ranges, the last without an end (to: null).",
    "by_label": f"By value where there are at most {MOST_LABEL_VALUES}, else in {NUM_LABEL_RANGES} ranges.",
    "r2_mixture": (
        "R² over a mixture of datasets mostly measures which dataset a step came from: compare "
        "dataset_mean_baseline, which knows nothing else, and read r2_mean_per_dataset, the plain mean of "
        "the R² within the datasets named in r2_mean_per_dataset_over."
    ),
    "constant_baseline": (
        "One constant for every step: the mean training label where known (source training_mean), else the "
        "mean of the labels evaluated here (source evaluated_mean), which no model could have known "
        "beforehand. skill is 1 - figure / figure of the constant: 0 is no better than it, 1 is perfect. Over "
        "several datasets it is measured against dataset_mean_baseline, each dataset's own constant, as each dataset's "
        "skill is; skill.against names it."
    ),
    "baselines": (
        "A baseline is beaten in a figure where the 95 % interval of the paired difference over the same resampled "
        "problems lies wholly on the model's side; model_difference is model less baseline."
    ),
    "undefined": "A null figure has no value on this data; 'undefined' beside it gives the reason.",
}
