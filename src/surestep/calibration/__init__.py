"""Calibration: maps from a model's confidence to one that can be trusted; numpy in, numbers out; no torch, no files."""

from surestep.calibration.calibration import Calibration
from surestep.calibration.choose import METHODS, Choice, assign_folds, choose_map, cross_validate, held_out_by_choice
from surestep.calibration.fit import DatasetVerdict, Fitted, fit_calibration
from surestep.calibration.gain import CalibrationData
from surestep.calibration.maps.confidence_map import (
    Beta,
    ConfidenceMap,
    Identity,
    Isotonic,
    Platt,
    Temperature,
    map_from_json,
    map_to_json,
)
from surestep.calibration.maps.isotonic import clip_for, fit_isotonic
from surestep.calibration.maps.logistic_fit import fit_beta, fit_platt, fit_temperature

__all__ = [
    "METHODS",
    "Beta",
    "Calibration",
    "CalibrationData",
    "Choice",
    "ConfidenceMap",
    "DatasetVerdict",
    "Fitted",
    "Identity",
    "Isotonic",
    "Platt",
    "Temperature",
    "assign_folds",
    "choose_map",
    "clip_for",
    "cross_validate",
    "fit_beta",
    "fit_calibration",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "held_out_by_choice",
    "map_from_json",
    "map_to_json",
]
