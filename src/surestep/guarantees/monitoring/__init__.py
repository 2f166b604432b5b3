"""Watching a solution while it runs: alarms on right solutions are rare, at whatever step one looks."""

from surestep.guarantees.monitoring.evidence import alarms_in_a_batch, conformal_e_value, merged_e_value
from surestep.guarantees.monitoring.monitor import Monitor, MonitorReading, MonitorRun
from surestep.guarantees.monitoring.running_statistics import STATISTICS, LowestStep, MixedRatio, RunningProduct
from surestep.guarantees.monitoring.solutions import calibrated_monitor, monitored_solutions

__all__ = [
    "STATISTICS",
    "LowestStep",
    "MixedRatio",
    "Monitor",
    "MonitorReading",
    "MonitorRun",
    "RunningProduct",
    "alarms_in_a_batch",
    "calibrated_monitor",
    "conformal_e_value",
    "merged_e_value",
    "monitored_solutions",
]
