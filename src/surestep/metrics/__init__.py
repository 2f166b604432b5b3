"""Figures of merit for scored steps: numpy in, numbers out; no torch, no files, no printing."""

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
from surestep.metrics.figures import FIGURES, FigureSet, compute_figures
from surestep.metrics.pointwise import (
    LabelRangeError,
    accuracy,
    brier,
    mae,
    mae_by_label_range,
    mse,
    nll,
    r2,
)
from surestep.metrics.predictions import Predictions
from surestep.metrics.ranking import (
    auroc,
    auroc_without_half,
    average_precision,
    average_precision_error,
    average_precision_error_without_half,
    average_precision_without_half,
)
from surestep.metrics.report import build_report
from surestep.metrics.truth import truth_report

__all__ = [
    "FIGURES",
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
    "build_report",
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
    "truth_report",
]
