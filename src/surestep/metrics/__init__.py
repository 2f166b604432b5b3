"""Figures of merit for scored steps: numpy in, numbers out; no torch, no files, no printing."""

from surestep.metrics.baseline_table import Baseline
from surestep.metrics.baselines import ConstantBaseline, position_baseline
from surestep.metrics.calibration_error import (
    ReliabilityBin,
    ece,
    ece_equal_mass,
    equal_mass_bins,
    equal_width_bins,
    reliability_equal_mass,
    reliability_equal_width,
)
from surestep.metrics.columns import UndefinedFigureError
from surestep.metrics.debiased_error import rms_calibration_error, rms_calibration_error_by_problem
from surestep.metrics.decomposition import (
    brier_reliability,
    brier_resolution,
    brier_uncertainty,
    brier_within_bin,
)
from surestep.metrics.figure_table import FIGURES, RANKING_FIGURES, FigureSet, compute_figures
from surestep.metrics.old_report import build_report
from surestep.metrics.pointwise import (
    LabelRangeError,
    accuracy,
    brier,
    calibration_in_the_large,
    mae,
    mae_by_label_range,
    mse,
    nll,
    r2,
)
from surestep.metrics.predictions import Predictions
from surestep.metrics.rank_correlation import spearman
from surestep.metrics.ranking import (
    auroc,
    auroc_without_half,
    average_precision,
    average_precision_error,
    average_precision_error_without_half,
    average_precision_without_half,
)
from surestep.metrics.risk_coverage import risk_coverage_area, risk_coverage_excess
from surestep.metrics.smooth_error import smooth_ece
from surestep.metrics.truth import truth_report

__all__ = [
    "FIGURES",
    "RANKING_FIGURES",
    "Baseline",
    "ConstantBaseline",
    "FigureSet",
    "LabelRangeError",
    "Predictions",
    "ReliabilityBin",
    "UndefinedFigureError",
    "accuracy",
    "auroc",
    "auroc_without_half",
    "average_precision",
    "average_precision_error",
    "average_precision_error_without_half",
    "average_precision_without_half",
    "brier",
    "brier_reliability",
    "brier_resolution",
    "brier_uncertainty",
    "brier_within_bin",
    "build_report",
    "calibration_in_the_large",
    "compute_figures",
    "ece",
    "ece_equal_mass",
    "equal_mass_bins",
    "equal_width_bins",
    "mae",
    "mae_by_label_range",
    "mse",
    "nll",
    "position_baseline",
    "r2",
    "reliability_equal_mass",
    "reliability_equal_width",
    "risk_coverage_area",
    "risk_coverage_excess",
    "rms_calibration_error",
    "rms_calibration_error_by_problem",
    "smooth_ece",
    "spearman",
    "truth_report",
]
