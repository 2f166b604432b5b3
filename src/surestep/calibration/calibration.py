"""What a checkpoint stores: one map for all data, and a dataset's own where it earned one.

Knows which map a request gets, and the JSON form. Knows no file and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from surestep.calibration.gain import FloatArray
from surestep.calibration.maps import map_from_json, map_to_json
from surestep.calibration.maps.confidence_map import ConfidenceMap

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Calibration:
    """The maps of a model.

    Attributes:
        pooled: fitted on all calibration data together: the default.
        datasets: maps of their own, by the dataset's name.
        about: how they were made (data, counts, cross-validated figures), JSON-ready; decides nothing.
    """

    pooled: ConfidenceMap
    datasets: Mapping[str, ConfidenceMap] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def map_for(self, dataset: str | None = None) -> ConfidenceMap:
        """A dataset's own map where the request names one that has it, else the pooled map.

        >>> from surestep.calibration.maps import Identity, Platt
        >>> calibration = Calibration(Identity(), {"own": Platt(0.5, 0.0)})
        >>> [calibration.map_for(name).kind for name in (None, "own", "another")]
        ['identity', 'platt', 'identity']
        """
        return self.pooled if dataset is None else self.datasets.get(dataset, self.pooled)

    def calibrated(self, raw_N: FloatArray, dataset: str | None = None) -> FloatArray:
        """Confidences for a scorer's own, float64 [N] in [0, 1]; NaN, where there is none, stays NaN.

        Args:
            raw_N: float64 [N].
            dataset: its name, where it may have a map.
        """
        confidence_N, known = raw_N.copy(), ~np.isnan(raw_N)
        confidence_N[known] = self.map_for(dataset).apply(raw_N[known])
        return confidence_N

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `calibration.json`."""
        return {
            "format_version": FORMAT_VERSION,
            "pooled": map_to_json(self.pooled),
            "datasets": {name: map_to_json(made) for name, made in self.datasets.items()},
            "about": dict(self.about),
        }

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """What `to_json` gave.

        Raises:
            ValueError: another format version, a missing field, a map that is none.
        """
        if not isinstance(values, dict) or values.get("format_version") != FORMAT_VERSION:
            found = values.get("format_version") if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"calibration of format version {found!r}; this Surestep reads {FORMAT_VERSION}")
        missing = {"pooled", "datasets", "about"} - values.keys()
        if missing:
            raise ValueError(f"calibration without {', '.join(sorted(missing))}")
        for name in ("datasets", "about"):
            if not isinstance(values[name], dict):
                raise ValueError(f"{name} of a calibration is a {type(values[name]).__name__}; allowed: an object")
        return cls(
            pooled=map_from_json(values["pooled"]),
            datasets={name: map_from_json(made) for name, made in values["datasets"].items()},
            about=values["about"],
        )
