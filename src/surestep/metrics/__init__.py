"""Figures of merit for scored steps: numpy in, numbers out; no torch, no files, no printing."""

from surestep.metrics.columns import UndefinedFigureError
from surestep.metrics.figures import FIGURES, FigureSet, compute_figures
from surestep.metrics.figures.binned import (
    ece,
    ece_equal_mass,
    ece_equal_mass_over,
    ece_over,
    rms_calibration_error,
    rms_calibration_error_by_problem,
)
from surestep.metrics.figures.bins import (
    ReliabilityBin,
    equal_mass_bins,
    equal_width_bins,
    reliability_equal_mass,
    reliability_equal_width,
)
from surestep.metrics.figures.brier_parts import (
    brier_reliability,
    brier_resolution,
    brier_uncertainty,
    brier_within_bin,
)
from surestep.metrics.figures.figure import Figure
from surestep.metrics.figures.pointwise import (
    LabelRangeError,
    accuracy,
    brier,
    calibration_in_the_large,
    mae,
    mae_by_label_range,
    mse,
    nll,
    r2,
    step_nll,
)
from surestep.metrics.figures.ranking import (
    auroc,
    auroc_without_half,
    average_precision,
    average_precision_error,
    average_precision_error_without_half,
    average_precision_without_half,
    spearman,
)
from surestep.metrics.figures.risk_coverage import risk_coverage_area, risk_coverage_excess
from surestep.metrics.figures.smooth import smooth_ece
from surestep.metrics.measure import Measure, resample
from surestep.metrics.paired import Difference, paired_differences
from surestep.metrics.report import Baseline, ConstantBaseline, build_report

__all__ = [
    "FIGURES",
    "Baseline",
    "ConstantBaseline",
    "Difference",
    "Figure",
    "FigureSet",
    "LabelRangeError",
    "Measure",
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
    "ece_equal_mass_over",
    "ece_over",
    "equal_mass_bins",
    "equal_width_bins",
    "mae",
    "mae_by_label_range",
    "mse",
    "nll",
    "paired_differences",
    "r2",
    "reliability_equal_mass",
    "reliability_equal_width",
    "resample",
    "risk_coverage_area",
    "risk_coverage_excess",
    "rms_calibration_error",
    "rms_calibration_error_by_problem",
    "smooth_ece",
    "spearman",
    "step_nll",
]
