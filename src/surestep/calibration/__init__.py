"""Calibration: maps from a model's confidence to one that can be trusted; numpy in, numbers out; no torch, no files."""

from surestep.calibration.calibration import Calibration
from surestep.calibration.choose import (
    Choice,
    Judgement,
    assign_folds,
    choose_map,
    cross_validate,
    held_out_by_choice,
    judge,
)
from surestep.calibration.fit import DatasetVerdict, Fitted, fit_calibration
from surestep.calibration.gain import CalibrationData, Change
from surestep.calibration.maps import (
    MAPS,
    Beta,
    ConfidenceMap,
    Identity,
    Isotonic,
    Platt,
    Temperature,
    map_from_json,
    map_to_json,
)
from surestep.calibration.maps.isotonic import clip_for

fit_temperature, fit_platt, fit_beta, fit_isotonic = Temperature.fit, Platt.fit, Beta.fit, Isotonic.fit

__all__ = [
    "MAPS",
    "Beta",
    "Calibration",
    "CalibrationData",
    "Change",
    "Choice",
    "ConfidenceMap",
    "DatasetVerdict",
    "Fitted",
    "Identity",
    "Isotonic",
    "Judgement",
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
    "judge",
    "map_from_json",
    "map_to_json",
]
