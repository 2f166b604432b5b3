"""After certifying: whether scores still look like those of calibration, and whether labels still keep the promise."""

from surestep.guarantees.shift.audit import LabelledAudit
from surestep.guarantees.shift.score_martingale import ScoreMartingale

__all__ = ["LabelledAudit", "ScoreMartingale"]
