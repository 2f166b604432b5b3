"""The probes' moves against their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from surestep.counted import counted
from surestep.evaluation.check.finding import Finding
from surestep.evaluation.check.probe_changes import PERTURBATIONS
from surestep.evaluation.check.run_probes import Move, ProbeResult
from surestep.evaluation.check.targets import ProbeBound, ProbeTargets
from surestep.evaluation.hackability.perturbation import Expected

_MEND = {
    "right_after_wrong": "join steps by a figure that remembers a wrong step; train on solutions with repaired errors",
    "shuffled_steps": "the scorer does not read the order of steps; train longer, or on whole solutions",
}
_EXPECTED: dict[Expected, str] = {"falls": "falls", "stays": "stays", "may not rise": "does not rise"}
UNMOVED = 0.05
"""A mean move up to this counts as none."""
_OTHERWISE = "join steps by a figure that this does not move (probes.aggregations), or train on such steps, labelled"


def check_probes(results: Sequence[ProbeResult], targets: ProbeTargets) -> list[Finding]:
    """One finding a probe: the aggregation that comes nearest to breaking its bound, or breaks it worst.

    Judged by the mean over problems; the interval says how sure that is.
    """
    return [_check(result, targets) for result in results]


def _check(result: ProbeResult, targets: ProbeTargets) -> Finding:
    bound = targets.bounds.get(result.name)
    perturbation = PERTURBATIONS[result.name]
    about = {"changes": perturbation.changes, "source": perturbation.source, "expected": perturbation.expected}
    left_out = [
        f"{number} of {counted(result.num_problems + result.num_not_possible + result.num_unscored, 'problem')} {words}"
        for number, words in (
            (result.num_not_possible, "do not allow it"),
            (result.num_unscored, "are beyond the scorer's limit"),
        )
        if number
    ]
    if not result.moves:
        return Finding(
            "probes",
            result.name,
            "skipped",
            value="not measured",
            detail="; ".join(left_out),
            numbers={"probe": result.name, **about, **_counts(result)},
        )
    moves = {name: result.moves[name] for name in targets.aggregations}
    name, move = max(moves.items(), key=lambda item: _excess(item[1], bound))
    broken = bound is not None and _excess(move, bound) > 0.0
    others = ", ".join(f"{key} {_signed(other.mean)}" for key, other in moves.items() if key != name)
    first = targets.aggregations[0]
    as_expected = meets(perturbation.expected, moves[first])
    said = (
        f"a good scorer's score {_EXPECTED[perturbation.expected]}: by {first} {'so' if as_expected else 'NOT so'} here"
    )
    details = [
        f"in {counted(result.num_problems, 'problem')}",
        f"other joins: {others}" if others else "",
        said,
        *left_out,
    ]
    return Finding(
        "probes",
        result.name,
        "info" if bound is None else "fail" if broken else "pass",
        value=f"{name} {_words(move)}",
        target="" if bound is None else _target(bound),
        detail="; ".join(part for part in details if part),
        mend=_MEND.get(result.name, _OTHERWISE) if broken else "",
        numbers={
            "probe": result.name,
            "moves": {key: asdict(value) for key, value in result.moves.items()},
            "worst": name,
            **about,
            "as_expected": as_expected,
            **_counts(result),
        },
    )


def meets(expected: Expected, move: Move) -> bool:
    """Whether a mean move, with its interval over problems, is what is expected of a good scorer.

    A rise has to be shown to be held against a scorer, and a fall to be counted for it; a score that stays is one that
    moves by at most `UNMOVED`, or not beyond its own noise.

    >>> meets("may not rise", Move(0.01, -0.02, 0.04)), meets("falls", Move(-0.01, -0.04, 0.02))
    (True, False)
    """
    low, high = (move.mean if end is None else end for end in (move.low, move.high))
    if expected == "falls":
        return high < 0.0
    if expected == "may not rise":
        return low <= 0.0
    return low <= 0.0 <= high or abs(move.mean) <= UNMOVED


def _counts(result: ProbeResult) -> dict[str, int]:
    return {
        "num_problems": result.num_problems,
        "num_not_possible": result.num_not_possible,
        "num_unscored": result.num_unscored,
    }


def _excess(move: Move, bound: ProbeBound | None) -> float:
    """By how much a move breaks its bound; negative while it keeps to it. Without a bound: the rise."""
    if bound is None:
        return move.mean
    over = [move.mean - bound.max_rise] if bound.max_rise is not None else []
    return max(over + ([abs(move.mean) - bound.max_move] if bound.max_move is not None else []))


def _words(move: Move) -> str:
    if move.low is None or move.high is None:
        return _signed(move.mean)
    return f"{_signed(move.mean)} [{_signed(move.low)}, {_signed(move.high)}]"


def _signed(value: float) -> str:
    """Three decimals with a sign; never -0.000."""
    return f"{round(value, 3) + 0.0:+.3f}"


def _target(bound: ProbeBound) -> str:
    parts = [] if bound.max_rise is None else [f"rise ≤ {bound.max_rise:g}"]
    return ", ".join(parts + ([] if bound.max_move is None else [f"move ≤ {bound.max_move:g}"]))
