"""Whether evaluations are about the same steps and labels: their split, their datasets, their data's fingerprints.

Knows reports; opens no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from surestep.counted import counted
from surestep.evaluation.results.find import FoundEvaluation

OVERALL = "overall"
"""The section over all datasets."""


def _names(run: FoundEvaluation, dataset: str) -> list[str]:
    return sorted(run.report["per_dataset"]) if dataset == OVERALL else [dataset]


def _fingerprint(run: FoundEvaluation, name: str) -> str | None:
    found = run.report.get("datasets", {}).get(name, {}).get("fingerprint")
    return None if found is None else str(found)


def _outline(run: FoundEvaluation, name: str) -> tuple[Any, ...]:
    """What two evaluations of the same labels share, whoever scored them."""
    section = run.report["per_dataset"][name]
    mean = section.get("mean_label")
    return section.get("num_steps"), section.get("num_problems"), None if mean is None else round(mean, 9)


def differences_of_data(runs: Sequence[FoundEvaluation], dataset: str) -> list[str]:
    """One sentence for each run that is not about what the first one is about."""
    first, *others = runs
    found = []
    for run in others:
        pair = f"{first.name} and {run.name}"
        if run.split != first.split:
            found.append(f"{pair} are of the splits {first.split} and {run.split}")
        ours, theirs = _names(first, dataset), _names(run, dataset)
        if ours != theirs:
            found.append(f"{pair} hold the datasets {', '.join(ours)} and {', '.join(theirs)}")
            continue
        for name in ours:
            prints = _fingerprint(first, name), _fingerprint(run, name)
            if None not in prints and prints[0] != prints[1]:
                found.append(f"{pair} read different data as {name} (fingerprints {prints[0]:.8}, {prints[1]:.8})")
            elif (one := _outline(first, name)) != (two := _outline(run, name)):
                found.append(f"{pair} measured {_words(one)} and {_words(two)} of {name}")
    return found


def _words(outline: tuple[Any, ...]) -> str:
    return f"{counted(outline[0], 'step')} in {counted(outline[1], 'problem')} with mean label {outline[2]}"


def unknown_data(runs: Sequence[FoundEvaluation], dataset: str) -> list[str]:
    """A sentence about the runs whose data has no fingerprint on record; empty where all have one."""
    unknown = [run.name for run in runs if any(_fingerprint(run, name) is None for name in _names(run, dataset))]
    if not unknown or len(runs) < 2:
        return []
    return [
        f"no fingerprint of the data is on record for {', '.join(unknown)}; numbers of steps and problems and the mean "
        "label were compared instead"
    ]
