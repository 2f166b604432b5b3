"""Whether a scorer has seen the problems that are to certify it: in training, in the choice of its checkpoint, or in
the fit of its calibration maps.

A promise for new problems holds only for problems that are as new to the scorer as those it was certified on. Compared
are normalised texts and near copies, whatever a problem's group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from surestep.calibration.calibration import Calibration
from surestep.config import DataConfig, TrainingConfig
from surestep.data.inspect.near_copies import find_near_copies
from surestep.data.trees.identity import normalize_text
from surestep.errors import CheckpointError, ConfigError, DataError, SurestepError
from surestep.evaluation.check.leaks import read_problems, read_split, training_problems
from surestep.scored import problem_hash
from surestep.scoring.checkpoint.load import read_config
from surestep.types import ReasoningTree

PROBLEMS = "problem_texts"
"""Key of a calibration's record: hashes of the texts of its problems, sorted."""

_SHOWN = 60

_Unknown = Callable[[str, str], None]
"""Is told what cannot be compared, and why."""


@dataclass(frozen=True)
class Seen:
    """What was found.

    Attributes:
        compared: what the problems were compared with, and how many problems that holds.
        texts: normalised text of each seen problem -> where it was seen.
        not_compared: a sentence for each thing that could not be compared.
    """

    compared: Mapping[str, int]
    texts: Mapping[str, str]
    not_compared: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        counts: dict[str, int] = {}
        for where in self.texts.values():
            counts[where] = counts.get(where, 0) + 1
        return {"compared_with": dict(self.compared), "seen": counts, "not_compared": list(self.not_compared)}


@dataclass
class _Comparison:
    evaluated: list[str]
    compared: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def with_texts(self, where: str, problems: Sequence[str]) -> None:
        """Exact and near copies among problems whose texts are known."""
        exact = {normalize_text(problem) for problem in problems}
        self.compared[where] = len(exact)
        for text in map(normalize_text, self.evaluated):
            if text in exact:
                self.texts.setdefault(text, where)
        for problem, _ in find_near_copies(problems, self.evaluated):
            self.texts.setdefault(normalize_text(problem), f"{where} (a near copy)")

    def with_hashes(self, where: str, known: set[str]) -> None:
        """Exact copies among problems of which only the hashes are known."""
        self.compared[where] = len(known)
        for text in map(normalize_text, self.evaluated):
            if text_hash(text) in known:
                self.texts.setdefault(text, where)


def text_hash(normalised: str) -> str:
    """The hash by which a calibration's record names the text of a problem."""
    return f"{problem_hash(normalised):016x}"


@dataclass(frozen=True)
class _Run:
    """A run whose weights are in the checkpoint; `of` names it in a sentence, "" for the checkpoint's own."""

    data: DataConfig
    seed: int
    of: str


def _runs(
    data: DataConfig, training: TrainingConfig, phases: Mapping[str, DataConfig], unknown: _Unknown
) -> Iterator[_Run]:
    """The checkpoint's own run with its phases, and each run that it began from (`--init_from`)."""
    yield _Run(data, training.seed, "")
    for name, of_phase in phases.items():
        yield _Run(of_phase, training.seed, f" of phase {name}")
    known: set[Path] = set()
    while (start := training.init_from) is not None and start not in known:
        known.add(start)
        try:
            config = read_config(start)
        except CheckpointError as error:
            unknown(f"the data of {start}, from which training began,", str(error))
            return
        training = config.training
        yield _Run(config.data, training.seed, f" of {start.name}, from which it began")
        for name, of_phase in config.data_of_phases().items():
            yield _Run(of_phase, training.seed, f" of phase {name} of {start.name}, from which it began")


def find_seen(
    data: DataConfig,
    training: TrainingConfig,
    calibration: Calibration | None,
    trees: Sequence[ReasoningTree],
    *,
    accept_unknown: bool,
    phases: Mapping[str, DataConfig] = MappingProxyType({}),
) -> Seen:
    """Which problems of `trees` the checkpoint has seen.

    Args:
        data: the checkpoint's own, with the places where they lie now.
        training: the checkpoint's own, which says what it began from.
        calibration: its maps, with the record of what they were fitted on.
        trees: the calibration problems.
        phases: what each phase of the run read, by name, where it had phases.
        accept_unknown: go on where something that was used cannot be read here; it is recorded as not compared.

    Raises:
        DataError: something that was used cannot be read here.
    """
    comparison = _Comparison(list(dict.fromkeys(tree.problem for tree in trees)))
    not_compared: list[str] = []

    def unknown(what: str, why: str) -> None:
        if not accept_unknown:
            raise DataError(
                f"{what} cannot be compared with these problems ({why}): name where it lies (--data_dir, --own_train, "
                "...), or say that none of it is among them with --unchecked_training, which the certificate records"
            )
        not_compared.append(f"{what} was not compared ({why})")

    for run in _runs(data, training, phases, unknown):
        try:
            removed = _removed_by_training(run.data, seed=run.seed)
            trained = training_problems(run.data, removed, seed=run.seed)
            comparison.with_texts(f"training{run.of}", [problem for one in trained for problem in one.problems])
        except SurestepError as error:
            unknown(f"the training data{run.of}", str(error))
        try:
            validation = read_split(run.data, "validation", seed=run.seed)
            chosen = [tree.problem for found in validation.values() for tree in found]
            comparison.with_texts(f"the choice of the checkpoint{run.of} (validation)", chosen)
        except SurestepError as error:
            unknown(f"the validation data{run.of}", str(error))
    if calibration is not None:
        _compare_calibration(comparison, calibration, unknown)
    return Seen(comparison.compared, comparison.texts, tuple(not_compared))


def _removed_by_training(data: DataConfig, *, seed: int) -> list[ReasoningTree]:
    """The test problems that training itself left out (`remove_overlap`)."""
    if not data.remove_overlap:
        return []
    try:
        return [tree for trees in read_split(data, "test", seed=seed).values() for tree in trees]
    except SurestepError:  # no test split: training removed nothing
        return []


def _compare_calibration(comparison: _Comparison, calibration: Calibration, unknown: _Unknown) -> None:
    where = "the fit of the calibration maps"
    hashes = calibration.about.get(PROBLEMS)
    if not isinstance(hashes, list):
        unknown(
            "what the calibration maps were fitted on",
            "they were stored by a Surestep that kept no record of their problems: run `surestep calibrate` again",
        )
        return
    known = {str(one) for one in hashes}
    comparison.with_hashes(where, known)
    datasets = calibration.about.get("datasets", {})
    for facts in datasets.values() if isinstance(datasets, dict) else ():
        for path in map(Path, facts.get("files", ())):
            if path.is_file():
                try:
                    problems = read_problems(path).problems
                except SurestepError:  # a layout that it cannot read: the hashes alone are compared
                    continue
                # The file may hold other splits too.
                fitted = [problem for problem in problems if text_hash(normalize_text(problem)) in known]
                comparison.with_texts(f"{where} ({path.name})", fitted)


def refuse_seen(seen: Seen, count: int) -> None:
    """Raise where a calibration problem was seen before.

    Raises:
        ConfigError: naming how many, where, and the first.
    """
    if not seen.texts:
        return
    places = ", ".join(f"{number:,} in {where}" for where, number in seen.to_json()["seen"].items())
    first = next(iter(seen.texts))
    shown = first if len(first) <= _SHOWN else first[: _SHOWN - 1] + "…"
    raise ConfigError(
        f"{len(seen.texts):,} of {count:,} problems were used before: {places} (the first: {shown!r}); a promise for "
        "new problems needs problems that nothing has seen: name other --data, or leave these out with --remove_seen"
    )
