"""What an `eval_metrics.json` must hold so that tables, pages and comparisons can be made of it.

Figures that are not known are let through as numbers, so that files of other versions are read. Knows no file.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from surestep.metrics.figures import FIGURES
from surestep.untrusted import checked

_Count = Annotated[int, Field(ge=0, lt=2**53)]
_Number = Annotated[float, Field(strict=True)] | None
_Name = Annotated[str, Field(max_length=10_000)]


class _Part(BaseModel):
    """An object whose figures are numbers or null; fields that are not known stay as they are."""

    model_config = ConfigDict(strict=True, extra="allow")

    undefined: dict[_Name, _Name] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _figures_are_numbers(self) -> Self:
        for name in FIGURES:
            value = (self.model_extra or {}).get(name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueError(f"{name} is no number")
        return self


class _Interval(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    low: _Number = None
    high: _Number = None
    method: _Name = ""


_Intervals = dict[_Name, _Interval]


class _Group(_Part):
    intervals: _Intervals = Field(default_factory=dict)


class _Positions(_Group):
    """Steps at one position, or at a range of them; `to` is null for the last, which has no end."""

    first: _Count = Field(alias="from")
    to: _Count | None
    num_steps: _Count
    mse: float
    mean_confidence: float
    mean_label: float


class _Truth(_Part):
    num_steps: _Count = 0
    num_steps_clean: _Count = 0
    num_steps_noisy: _Count = 0
    regret: _Number = None
    regret_clean: _Number = None
    regret_noisy: _Number = None
    intervals: _Intervals = Field(default_factory=dict)


class _TruthOfPart(_Truth):
    part: _Name


class _Bin(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    count: _Count


class _Skill(_Part):
    mse: _Number = None
    nll: _Number = None
    against: _Name = "constant_baseline"
    intervals: _Intervals = Field(default_factory=dict)


class _Section(_Part):
    num_steps: _Count = 0
    num_problems: _Count = 0
    intervals: _Intervals = Field(default_factory=dict)
    reliability: dict[_Name, list[_Bin]] = Field(default_factory=dict)
    by_position: list[_Positions] = Field(default_factory=list)
    by_label: list[_Group] = Field(default_factory=list)
    mae_by_label_range: list[_Group] = Field(default_factory=list)
    constant_baseline: _Group | None = None
    dataset_mean_baseline: _Group | None = None
    skill: _Skill | None = None
    truth: _Truth | None = None
    truth_by_part: list[_TruthOfPart] = Field(default_factory=list)
    beats_baselines: dict[_Name, dict[_Name, bool | None]] = Field(default_factory=dict)


class _Report(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    overall: _Section
    per_dataset: dict[_Name, _Section]
    step: _Count | None = None
    split: _Name = ""
    checkpoint: _Name | None = None
    settings: dict[str, Any] | None = None
    datasets: dict[_Name, dict[str, Any]] = Field(default_factory=dict)
    baselines: list[dict[str, Any]] = Field(default_factory=list)
    calibration: dict[str, Any] | None = None
    backbone: dict[str, Any] | None = None


_REPORT = TypeAdapter(_Report)


def check_figures(values: object) -> None:
    """Refuse `values` that cannot be the content of `eval_metrics.json`.

    Raises:
        ValueError: the first field that is missing or of another type.
    """
    checked(values, _REPORT)
