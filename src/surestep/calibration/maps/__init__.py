"""Every calibration map, from the simplest to the most flexible: one file and one entry of `MAPS` each.

    identity      q = p                                    nothing is fitted
    temperature   logit q = logit p / T                    1 number
    platt         logit q = slope · logit p + intercept    2
    beta          logit q = a ln p − b ln(1 − p) + c       3
    isotonic      q = a rising function through points     as many as the data ask for

`calibrate --method`, cross-validation and storage read this table. Legend: p confidence, q calibrated confidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surestep.calibration.maps.beta import Beta
from surestep.calibration.maps.confidence_map import ConfidenceMap, Identity
from surestep.calibration.maps.isotonic import Isotonic
from surestep.calibration.maps.platt import Platt
from surestep.calibration.maps.temperature import Temperature

__all__ = [
    "MAPS",
    "Beta",
    "ConfidenceMap",
    "Identity",
    "Isotonic",
    "Platt",
    "Temperature",
    "map_from_json",
    "map_to_json",
]

MAPS: dict[str, type[ConfidenceMap]] = {entry.kind: entry for entry in (Identity, Temperature, Platt, Beta, Isotonic)}
"""Every map by its kind, from simple to flexible: of equally good maps the first is chosen."""


def map_to_json(entry: ConfidenceMap) -> dict[str, Any]:
    """The kind and the numbers of a map, JSON-ready.

    >>> map_to_json(Platt(1.5, -0.25))
    {'kind': 'platt', 'slope': 1.5, 'intercept': -0.25}
    """
    return entry.to_json()


def map_from_json(values: Any) -> ConfidenceMap:
    """The map that `map_to_json` wrote.

    Raises:
        ValueError: an unknown kind, a missing or unknown field, a number out of range.

    >>> map_from_json({"kind": "temperature", "temperature": 1.5})
    Temperature(temperature=1.5)
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"a calibration map is a {type(values).__name__}; allowed: an object with a kind")
    fields = dict(values)
    kind = fields.pop("kind", None)
    if not isinstance(kind, str) or kind not in MAPS:
        raise ValueError(f"calibration map of kind {kind!r}; allowed: {', '.join(MAPS)}")
    return MAPS[kind].from_json(fields)
