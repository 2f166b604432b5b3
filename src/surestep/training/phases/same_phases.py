"""Whether a resumed run still has the phases that it has gone through: its position means something only in them.

Phases to come, and the rest of the one that was cut short, may be set anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from surestep.config import PhaseConfig
from surestep.errors import CheckpointError


def check_same_phases(then: Sequence[PhaseConfig], now: Sequence[PhaseConfig], *, step: int) -> None:
    """Compare the phases that began before `step` with those that the checkpoint of that step was trained in.

    Raises:
        CheckpointError: one of them is another, or ended at another step.
    """
    before, begun = _begun(then, step), _begun(now, step)
    if before == begun:
        return
    raise CheckpointError(
        f"at step {step:,} the run had gone through {_said(before)}, and would now have gone through {_said(begun)}: "
        "give the phases up to there as they were (later ones may change), or start again with --overwrite or another "
        "--experiment_name"
    )


def _begun(phases: Sequence[PhaseConfig], step: int) -> list[tuple[str, int | None]]:
    """Name of each phase that has begun, and the step at which it ended; None for the one that `step` is in."""
    found: list[tuple[str, int | None]] = []
    first = 0
    for phase in phases:
        if first >= step:
            break
        last = first + phase.training.max_steps
        found.append((phase.name, last if last <= step else None))
        first = last
    return found


def _said(phases: list[tuple[str, int | None]]) -> str:
    """The phases in words.

    >>> _said([("easy", 10), ("hard", None)]), _said([])
    ("'easy' (to step 10) and a part of 'hard'", 'no phases')
    """
    parts = [f"a part of {name!r}" if last is None else f"{name!r} (to step {last:,})" for name, last in phases]
    return " and ".join(parts) or "no phases"
