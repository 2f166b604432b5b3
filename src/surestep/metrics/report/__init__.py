"""One JSON-ready report of scored steps: overall and per dataset, each beside its constant baseline.

Knows the layout of `eval_metrics.json` and says in it how every figure was made. Knows no file, no
model and no text; whoever writes the file adds what was scored and how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial

import numpy as np

from surestep.metrics.bootstrap.draws import seed_for
from surestep.metrics.bootstrap.interval import DEFAULT_LEVEL, percentile
from surestep.metrics.figures import compute_figures
from surestep.metrics.report.baselines import Baseline as Baseline
from surestep.metrics.report.baselines import baseline_table, constant_baselines
from surestep.metrics.report.constants import ConstantBaseline as ConstantBaseline
from surestep.metrics.report.constants import dataset_constants
from surestep.metrics.report.notes import notes
from surestep.metrics.report.section import Bootstrap, Section, for_each, make_section
from surestep.scored import ScoredSteps

MIXED_MEANS = "training_mean_where_known_else_evaluated_mean"

Json = dict[str, object]


def build_report(
    steps: ScoredSteps,
    *,
    baseline: ConstantBaseline | None = None,
    baselines: Sequence[Baseline] | None = None,
    part_of_tree: Sequence[str] = (),
    resamples: int = 0,
    seed: int = 0,
    beside: Sequence[Callable[[str], object]] = (),
) -> Json:
    """All figures of `steps`, overall and per dataset.

    Args:
        steps: rows without a label or without a confidence are left out; every name in `dataset_names` gets its
            section, also one without a step, whose figures are then null with that reason.
        baseline: mean training labels; where one is missing the evaluated labels' own mean takes its
            place, and `constant_baseline.source` says so.
        baselines: further predictors on the same steps. Where given, even empty, the report has the table
            `baselines`, in which the constants come first, and `verdict`.
        part_of_tree: the part of its dataset that each tree is of, one for each of `steps.tree_ids`, "" for none: where
            true confidences are known, `truth_by_part` has the regret of each.
        resamples: how often the problems are resampled for intervals; 0 for none.
        seed: of the resamples.
        beside: called with the name of each dataset while its section is made: what asks for the same draws of the same
            problems finds them kept then.

    Returns:
        `overall`, `per_dataset` by name, and `notes`, which say how each figure was made. A section
        has `num_steps`, `num_problems`, all of `FIGURES`, `intervals` (or `no_intervals`, the reason),
        `if_calibrated`, `mae_by_label_range`, `reliability`, `by_position`, `by_label`,
        `constant_baseline`, `skill`, `assessment`, `beats_baselines`, `truth` (and `truth_by_part`) where true
        confidences are known, and `undefined`. Only plain dicts, lists, strings and finite numbers:
        `json.dumps(..., allow_nan=False)` takes it.

    >>> report = build_report(ScoredSteps.of_columns([0.25, 0.75], [0.0, 1.0], problem=["a", "a"]))
    >>> report["overall"]["mse"], report["overall"]["skill"]["mse"]
    (0.0625, 0.75)
    """
    baseline = baseline if baseline is not None else ConstantBaseline()
    bootstrap = Bootstrap(resamples, seed)
    steps = steps.measured().densely()
    overall, sections = _sections(steps, baseline, bootstrap, part_of_tree, beside)
    per_dataset = {name: section.json for name, section in sections.items()}
    overall.json |= _mean_r2(sections)
    overall.json["dataset_mean_baseline"] = _dataset_mean_baseline(steps, baseline, overall, sections)
    report: Json = {"overall": overall.json, "per_dataset": per_dataset, "notes": notes()}
    if baselines is not None:
        constants = constant_baselines(steps, baseline)
        report |= baseline_table(steps, [*constants, *baselines], overall, sections)
    report["bootstrap"] = {"resamples": resamples, "seed": seed, "level": DEFAULT_LEVEL}
    return report


def _sections(
    steps: ScoredSteps,
    baseline: ConstantBaseline,
    bootstrap: Bootstrap,
    part_of_tree: Sequence[str],
    beside: Sequence[Callable[[str], object]],
) -> tuple[Section, dict[str, Section]]:
    """The section of all steps, and those of the datasets by name."""
    counts = np.bincount(steps.dataset, minlength=len(steps.dataset_names))

    def made(name: str | None) -> Section:
        if name is None:
            return _overall(steps, baseline, bootstrap, part_of_tree)
        of_name = partial(_section_of, name, steps, baseline.per_dataset.get(name), bootstrap, part_of_tree)
        work: list[Callable[[], object]] = [of_name, *(partial(other, name) for other in beside)]
        section, *_ = for_each(lambda one: one(), work, len(steps))
        assert isinstance(section, Section)
        return section

    if len(steps) in counts:  # one dataset holds all steps: a copy of its own, compared with its own constant
        parts = list(for_each(made, steps.dataset_names, len(steps)))
        of_all = parts[counts.tolist().index(len(steps))]
        overall = Section(deepcopy(of_all.json), of_all.draws, of_all.measure, of_all.constants)
    else:
        overall, *parts = for_each(made, [None, *steps.dataset_names], len(steps))  # the largest first
    return overall, dict(zip(steps.dataset_names, parts, strict=True))


def _section_of(
    name: str, steps: ScoredSteps, training_mean: float | None, bootstrap: Bootstrap, part_of_tree: Sequence[str]
) -> Section:
    """The section of one dataset.

    Its draws are its own: alike for all of them, they would make the interval of their mean too wide. A dataset that
    holds all steps is drawn as all of them are: it is the same section.
    """
    part = steps.for_dataset(name).densely()
    own = bootstrap if len(part) == len(steps) else Bootstrap(bootstrap.resamples, seed_for(bootstrap.seed, name))
    return make_section(part, training_mean, own, part_of_tree=part_of_tree)


def _overall(
    steps: ScoredSteps, baseline: ConstantBaseline, bootstrap: Bootstrap, part_of_tree: Sequence[str]
) -> Section:
    """The section of all steps of several datasets."""
    constants, _ = dataset_constants(steps, baseline)
    dataset_means = constants[steps.dataset] if len(steps.dataset_names) > 1 else None
    return make_section(steps, baseline.overall, bootstrap, dataset_means=dataset_means, part_of_tree=part_of_tree)


def _mean_r2(sections: Mapping[str, Section]) -> Json:
    found = {name: section for name, section in sections.items() if isinstance(section.json["r2"], float)}
    result: Json = {
        "r2_mean_per_dataset": float(np.mean([s.json["r2"] for s in found.values()])) if found else None,
        "r2_mean_per_dataset_over": list(found),
    }
    draws = [section.measure.draws("r2") for section in found.values() if section.draws is not None]
    if found and len(draws) == len(found):
        # Each dataset is resampled by itself: the mean over them is a stratified bootstrap.
        result["r2_mean_per_dataset_interval"] = percentile(np.mean(draws, axis=0)).to_json()
    return result


def _dataset_mean_baseline(
    steps: ScoredSteps, baseline: ConstantBaseline, overall: Section, sections: Mapping[str, Section]
) -> Json:
    """Figures of a predictor that knows only which dataset a step came from."""
    for section in sections.values():
        if section.num_steps == len(steps) > 0:
            of_constant = section.json["constant_baseline"]
            return {name: value for name, value in of_constant.items() if name not in {"constant", "intervals"}}
    constants, sources = dataset_constants(steps, baseline)
    confidence = constants[steps.dataset] if constants.size else np.empty(0)
    figures = compute_figures(confidence, steps.label, problem=steps.problem)
    overall.constants.append((confidence, figures))
    return {"source": _common_source(list(sources.values())), **figures.to_json()}


def _common_source(sources: Sequence[str]) -> str | None:
    if len(set(sources)) > 1:
        return MIXED_MEANS
    return sources[0] if sources else None
