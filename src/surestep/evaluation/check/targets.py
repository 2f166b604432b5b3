"""What `surestep check` demands: a tier's targets, and a user's file over them.

The tiers are files of this package (`tiers/*.yaml`) in the very form that users write. Knows the schema; measures
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from surestep.config.read import merge, read_config_file
from surestep.errors import ConfigError
from surestep.evaluation.check.probe_changes import PERTURBATIONS
from surestep.evaluation.check.sign_off import SignedItem
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS
from surestep.metrics.figures import FIGURES
from surestep.metrics.report.section import SKILL_FIGURES
from surestep.settings import Section, describe
from surestep.untrusted import parse_yaml

TIERS = ("quick", "full", "production")
SKILLS = tuple(f"skill_{name}" for name in SKILL_FIGURES)

Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _one_of(names: Callable[[], Iterable[str]]) -> AfterValidator:
    """A name that stands in a table at the time it is read."""

    def check(name: str) -> str:
        if name not in (allowed := list(names())):
            raise ValueError(f"one of {', '.join(allowed)}")
        return name

    return AfterValidator(check)


class Bound(Section):
    """The most or the least that a figure may be."""

    max: float | None = None
    min: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.max is None) == (self.min is None):
            raise ValueError("one number, as max or as min")
        return self

    @property
    def value(self) -> float:
        """The number, whichever side it bounds."""
        return self.max if self.max is not None else float(self.min or 0.0)

    def met_by(self, value: float) -> bool:
        """Whether `value` keeps to it; the bound itself does."""
        return value <= self.value if self.max is not None else value >= self.value

    def __str__(self) -> str:
        return f"{'≤' if self.max is not None else '≥'} {self.value:g}"


FigureBounds = dict[Annotated[str, _one_of(lambda: (*FIGURES, *SKILLS))], Bound | None]


class LeakBounds(Section):
    """How many problems of an evaluated set may stand in the training data."""

    max_shared: NonNegativeInt = 0
    max_near: NonNegativeInt | None = None


class ProbeBound(Section):
    """How far a change that adds nothing may move a solution's score, in the mean over problems."""

    max_rise: Share | None = None
    max_move: Share | None = None

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        if self.max_rise is None and self.max_move is None:
            raise ValueError("max_rise, max_move or both; null in place of them all sets no bound")
        return self


class ProbeTargets(Section):
    """Bounds by probe, and how steps' confidences are joined to a solution's score.

    Attributes:
        aggregations: those judged; the first of them names the figures of hackability.
        bounds: by perturbation; one that is no probe of every check is tried where it has a bound here.
        max_mean_rise: the most that perturbations may raise a solution's score, each solution by its strongest, in the
            mean; needs `--probes robustness`.
        max_flipped: the largest share of problems in which the attack on best-of-N may turn a right choice into a wrong
            one; needs the same.
    """

    aggregations: list[Annotated[str, _one_of(lambda: AGGREGATIONS)]] = Field(list(AGGREGATIONS), min_length=1)
    bounds: dict[Annotated[str, _one_of(lambda: PERTURBATIONS)], ProbeBound | None] = Field(default_factory=dict)
    max_mean_rise: Share | None = None
    max_flipped: Share | None = None


class Targets(Section):
    """All demands of one check.

    Attributes:
        name: shown in the result.
        min_steps: optimiser steps that the checkpoint must have.
        figures: bounds on each evaluated dataset, and on all of them together where there are several; a figure of
            `FIGURES`, `skill_mse` or `skill_nll`; null takes a tier's bound away.
        datasets: the same for one dataset, over `figures`; `overall` names all of them together.
        plausible_r2: see `metrics.implied`.
        sign_offs: points that must be shown or signed off by a person: `backup`, `error_analysis`.
        contradictions: whether a target that contradicts the data fails the check.
    """

    name: str
    min_steps: PositiveInt
    figures: FigureBounds
    datasets: dict[str, FigureBounds] = Field(default_factory=dict)
    plausible_r2: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    contradictions: Literal["fail", "allow"] = "fail"
    sign_offs: list[SignedItem] = Field(default_factory=list)
    leaks: LeakBounds = Field(default_factory=lambda: LeakBounds())
    probes: ProbeTargets = Field(default_factory=lambda: ProbeTargets())

    def bounds_of(self, dataset: str) -> dict[str, Bound]:
        """The bounds that hold for one dataset, or for `overall`."""
        merged = {**self.figures, **self.datasets.get(dataset, {})}
        return {name: bound for name, bound in merged.items() if bound is not None}


def load_targets(tier: str, path: Path | None = None) -> Targets:
    """The tier's targets, with a JSON or YAML file laid over them field by field.

    Raises:
        ConfigError: the file cannot be read, or holds unknown fields or bad values: all of them at once.
    """
    values: dict[str, Any] = parse_yaml(
        files("surestep.evaluation.check").joinpath("tiers", f"{tier}.yaml").read_text(encoding="utf-8")
    )
    if path is None:
        return Targets.model_validate(values)
    over = read_config_file(path, what="targets file")
    try:
        return Targets.model_validate(merge(values, {"name": f"{tier}, changed by {path.name}", **over}))
    except ValidationError as error:
        problems = [problem.replace(".[key]", "") for problem in describe(error, Targets)]
        raise ConfigError([f"{path}: {problem}" for problem in problems]) from None
