"""Whether a resumed run reads the data that it was started with.

A run's position (how many examples each dataset has given, which validation was the best) means something only on the
same trees: other files, another reader or another division would go on with other examples, and might train on problems
that were held out before. So the fingerprint of every source is kept with the state. What turns text into tokens is
compared where the checkpoint is loaded: the hashes of its formatter and tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from surestep.config.data import DataConfig
from surestep.data.sources.choose import Source, enabled_sources
from surestep.errors import CheckpointError, SurestepError

_WAY_ON = (
    "start again with --overwrite or another --experiment_name (--init_from takes the weights), or continue with other "
    "examples with --accept_changed_data"
)


def deciding_sources(data: DataConfig, phases: Mapping[str, DataConfig], *, seed: int) -> dict[str, Source]:
    """The sources that decide what a run trains on and is validated on, by dataset, split and, if any, phase."""
    trained = data.enabled()
    sources = []
    if not phases:
        sources += enabled_sources(data, "train", seed=seed)
    sources += [source for source in enabled_sources(data, "validation", seed=seed) if source.key in trained]
    if data.remove_overlap:  # then problems of the test splits are not trained on
        with suppress(SurestepError):  # a test split that is not there is said elsewhere
            sources += enabled_sources(data, "test", seed=seed)
    found = {f"{source.name} {source.split}": source for source in sources}
    for name, of_phase in phases.items():
        train = enabled_sources(of_phase, "train", seed=seed)
        found |= {f"{source.name} {source.split} of phase {name}": source for source in train}
    return found


def fingerprints(sources: Mapping[str, Source]) -> dict[str, str]:
    """Fingerprint of each source; what its files are called does not matter."""
    return {label: str(source.content()) for label, source in sources.items()}


def check_same_data(
    folder: Path, started_with: dict[str, str], sources: Mapping[str, Source], *, accept: bool
) -> str | None:
    """Compare with what the checkpoint in `folder` was trained on; a line where a difference is accepted.

    Args:
        folder: the checkpoint that is resumed.
        started_with: fingerprints that its training state holds; empty where Surestep did not keep them yet.
        sources: what is there now.
        accept: go on all the same.

    Raises:
        CheckpointError: the data differ, or cannot be compared.
    """
    if not started_with:
        problem = (
            f"{folder} was saved by an earlier Surestep, which did not normalise texts and kept no fingerprint of its "
            "data: its splits may be others"
        )
    else:
        now = fingerprints(sources)
        changed = [
            f"{_named(label, source)}{_what_changed(started_with[label], now[label])}"
            for label, source in sources.items()
            if label in started_with and started_with[label] != now[label]
        ]
        new = [_named(label, source) for label, source in sources.items() if label not in started_with]
        gone = [label for label in started_with if label not in now]
        if not (changed or gone or new):
            return None
        parts = [f"changed: {', '.join(changed)}"] if changed else []
        parts += [f"not read then: {', '.join(new)}"] if new else []
        parts += [f"no longer read: {', '.join(gone)}"] if gone else []
        problem = f"the data are not those that the run of {folder} was started with ({'; '.join(parts)})"
    if accept:
        return f"{problem}; continuing nevertheless (--accept_changed_data)"
    raise CheckpointError(f"{problem}; {'restore them, ' if started_with else ''}{_WAY_ON}")


def _what_changed(then: str, now: str) -> str:
    """Where the file itself is the one it was, something else must have changed."""
    half = len(now) // 2
    return ", the same file, read or divided otherwise" if then[:half] == now[:half] else ""


def _named(label: str, source: Source) -> str:
    files = ", ".join(str(path) for path in source.files)
    return f"{label} ({files})" if files else label
