"""What the phases of a run share: problems with each other, and datasets with what the run is validated on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from surestep.arrays import distinct
from surestep.counted import counted
from surestep.scoring.stored_split import StoredSplit
from surestep.training.phases.plan import TrainingPhase


def overlap_lines(phases: Sequence[TrainingPhase], validation: Mapping[str, StoredSplit]) -> list[str]:
    """A line on what each phase has in common with those before it and with validation; none where there is one phase.

    Problems are compared by their normalised texts, whatever their groups.
    """
    if len(phases) == 1:
        return []
    texts = [_texts(phase) for phase in phases]
    lines = []
    for index, (phase, mine) in enumerate(zip(phases, texts, strict=True)):
        others = np.concatenate([np.zeros(0, np.uint64), *texts[:index], *texts[index + 1 :]])
        earlier = np.concatenate([np.zeros(0, np.uint64), *texts[:index]])
        if index and (shared := int(np.isin(mine, earlier).sum())):
            lines.append(
                f"phase {phase.name}: {shared:,} of its {counted(len(mine), 'problem')} "
                f"{'was' if shared == 1 else 'were'} in a phase before it"
            )
        if not set(phase.data) & set(validation):
            alone = ", nor share any of its problems with another phase" if not np.isin(mine, others).any() else ""
            lines.append(
                f"warning: phase {phase.name} trains on {', '.join(phase.data)}, and validation holds only "
                f"{', '.join(validation)}{alone}: it does not measure what this phase is for; name the phase's data in "
                "the run's own `data` too, outside of the phases"
            )
        elif index and not np.isin(mine, earlier).any():
            lines.append(f"phase {phase.name}: none of its {counted(len(mine), 'problem')} was in a phase before it")
    return lines


def _texts(phase: TrainingPhase) -> NDArray[np.uint64]:
    return distinct(np.concatenate([dataset.store.text_hashes[dataset.chosen] for dataset in phase.data.values()]))
