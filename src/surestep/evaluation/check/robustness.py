"""The findings of `--probes robustness`: the highest rise that perturbations reach, and best-of-N under attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from surestep.counted import counted
from surestep.data.benchmarks.candidates import CandidateSet
from surestep.evaluation.check.finding import Finding, Status
from surestep.evaluation.check.probe_changes import PERTURBATIONS
from surestep.evaluation.check.run_probes import Probed
from surestep.evaluation.check.targets import ProbeTargets
from surestep.evaluation.hackability.attack import Attack, Choice, attack_best_of_n
from surestep.evaluation.hackability.rises import QUANTILE, THRESHOLD, Estimate, Rises, measure_rises
from surestep.metrics.bootstrap.draws import DEFAULT_RESAMPLES
from surestep.scoring.protocol import Scorer

ITEM = "hackability"
_NAMED = 3
_MEND = "train on perturbed solutions with their labels, or join steps by a figure that this does not raise"


def check_rises(
    probed: Probed, targets: ProbeTargets, *, seed: int, resamples: int = DEFAULT_RESAMPLES
) -> list[Finding]:
    """How far scores can be raised, one finding for each way of joining steps that the targets name.

    The judged and the wrong solutions are measured together, and the wrong ones alone beside them.
    """
    wrong = sorted(probed.wrong.items())
    own = [(number, forms) for number, forms in enumerate(probed.judged) if probed.wrong.get(number) is not forms]
    about = {
        "threshold": THRESHOLD,
        "quantile": QUANTILE,
        "perturbations": list(PERTURBATIONS),
        "num_solutions_given": len(own) + len(wrong),
        "num_steps_scored": probed.num_steps,
    }
    findings = []
    for how in targets.aggregations:
        of_all, of_wrong = (measure_rises(part, how, resamples=resamples, seed=seed) for part in (own + wrong, wrong))
        numbers = {"aggregation": how, **about, "all": of_all.to_dict(), "wrong": of_wrong.to_dict()}
        findings.append(_rise(of_all, of_wrong, targets.max_mean_rise, numbers))
    return findings


def check_attack(
    scorer: Scorer,
    sets: Sequence[CandidateSet],
    source: str,
    targets: ProbeTargets,
    *,
    seed: int,
    resamples: int = DEFAULT_RESAMPLES,
) -> list[Finding]:
    """Attack best-of-N on these candidates, which are from `source`: one finding for each way of joining steps."""
    found = attack_best_of_n(scorer, sets, PERTURBATIONS, seed=seed, resamples=resamples)
    shared = {name: value for name, value in found.to_dict().items() if name != "choices"}
    shared["source"] = source
    if not found.num_problems:
        why = f"every one of {counted(found.num_left_out, 'problem')} has a candidate beyond the scorer's limit"
        return [_not_measured(_attack_name(source), "flipped", targets.max_flipped, why, numbers=shared)]
    findings = []
    for how in targets.aggregations:
        numbers = {"aggregation": how, **asdict(found.choices[how]), **shared}
        context = _candidates(found) if how == targets.aggregations[0] else []
        what = f"{_attack_name(source)} ({how})"
        findings.append(_attack(what, found.choices[how], targets.max_flipped, context, numbers))
    return findings


def rises_not_measured(targets: ProbeTargets, why: str, mend: str) -> Finding:
    """What stands in place of the highest rise: a failure where the targets bound it."""
    return _not_measured("highest rise", "mean", targets.max_mean_rise, why, mend=mend)


def attack_not_measured(targets: ProbeTargets, why: str, mend: str) -> Finding:
    """What stands in place of the attack: a failure where the targets bound it."""
    return _not_measured("best-of-N under attack", "flipped", targets.max_flipped, why, mend=mend)


def _not_measured(
    what: str, figure: str, bound: float | None, why: str, *, mend: str = "", numbers: dict[str, Any] | None = None
) -> Finding:
    status: Status = "skipped" if bound is None else "fail"
    target = "" if bound is None else f"{figure} ≤ {bound:g}"
    return Finding(ITEM, what, status, "not measured", target=target, detail=why, mend=mend, numbers=numbers or {})


def _rise(found: Rises, wrong: Rises, bound: float | None, numbers: dict[str, Any]) -> Finding:
    what = f"highest rise ({found.aggregation})"
    given = numbers["num_solutions_given"]
    if found.mean.value is None:
        return _not_measured(
            what, "mean", bound, f"{counted(given, 'solution')}, none scored in a changed form", numbers=numbers
        )
    details = [
        f"{counted(found.num_solutions, 'solution')} of {counted(found.num_problems, 'problem')}",
        f"nine in ten of them by at most {_figure(found.quantile_90)}",
        _crossing(found),
        _strongest(found),
        f"the {counted(wrong.num_solutions, 'wrong one')} alone {_figure(wrong.mean)}, {_crossing(wrong)}",
        f"{given - found.num_solutions} left out, beyond the scorer's limit" if given > found.num_solutions else "",
    ]
    return _finding(what, f"mean {_figure(found.mean)}", "mean", bound, found.mean.value, details, numbers)


def _candidates(found: Attack) -> list[str]:
    """What is the same however steps are joined."""
    others = sum(copies.num_other_answer for copies in found.copies.values())
    return [
        f"{counted(found.num_problems, 'problem')} with {counted(found.num_candidates, 'candidate')}, "
        f"{found.num_contested} with right and wrong ones",
        f"right by chance {_figure(found.chance)}",
        f"by majority vote {_figure(found.majority_before)}, and {_figure(found.majority_after)} where every attacked "
        "candidate votes twice",
        f"{counted(others, 'copy', 'copies')} left out, from which another answer would be read" if others else "",
        f"{counted(found.num_left_out, 'problem')} left out, beyond the scorer's limit" if found.num_left_out else "",
    ]


def _attack(what: str, choice: Choice, bound: float | None, context: Sequence[str], numbers: dict[str, Any]) -> Finding:
    before, after, flipped = choice.before.value, choice.after.value, choice.flipped.value
    assert before is not None, "there are problems"
    assert after is not None, "there are problems"
    assert flipped is not None, "there are problems"
    worst = sorted((value.value or 0.0, name) for name, value in choice.after_by_perturbation.items())[:_NAMED]
    alone = ", ".join(f"{name} {right:.3f}" for right, name in worst if right < before - 1e-9)
    details = [
        f"right {_figure(choice.before)} before, {_figure(choice.after)} after, {_figure(choice.after_with_reasoning)} "
        "where no copy leaves reasoning out",
        f"a copy that scores above its original is chosen in {_figure(choice.copy_chosen)}",
        f"right after one perturbation alone: {alone}" if alone else "no perturbation alone flips any",
        *context,
    ]
    value = f"{before:.3f} to {after:.3f}, flipped {_figure(choice.flipped)}"
    return _finding(what, value, "flipped", bound, flipped, details, numbers)


def _finding(
    what: str,
    value: str,
    figure: str,
    bound: float | None,
    measured: float,
    details: Sequence[str],
    numbers: dict[str, Any],
) -> Finding:
    broken = bound is not None and measured > bound
    return Finding(
        ITEM,
        what,
        "info" if bound is None else "fail" if broken else "pass",
        value=value,
        target="" if bound is None else f"{figure} ≤ {bound:g}",
        detail="; ".join(part for part in details if part),
        mend=_MEND if broken else "",
        numbers=numbers,
    )


def _attack_name(source: str) -> str:
    return f"best-of-N under attack, {source}"


def _crossing(rises: Rises) -> str:
    if rises.crossing.value is None:
        return f"none at or below {THRESHOLD:g} to be lifted above it"
    return f"of {rises.num_below} at or below {THRESHOLD:g} lifted above it: {_figure(rises.crossing)}"


def _strongest(rises: Rises) -> str:
    if not rises.strongest:
        return "none raised"
    named = list(rises.strongest.items())[:_NAMED]
    return "most often the strongest: " + ", ".join(f"{name} ({number})" for name, number in named)


def _figure(estimate: Estimate) -> str:
    if estimate.value is None:
        return "unknown"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
