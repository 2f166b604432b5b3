"""The production checklist on one checkpoint: files, figures against targets, leaks, anti-hacking probes.

Everything that can be looked at is looked at, also after a failure, so that one run shows all there is to mend.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from surestep.config import Config, DataConfig
from surestep.data.benchmarks.candidates import CandidateSet
from surestep.data.datasets import DATASET_NAMES, DATASETS
from surestep.data.sources.choose import enabled_sources
from surestep.disk import real_path
from surestep.errors import SurestepError
from surestep.evaluation.check.backup import check_backup
from surestep.evaluation.check.figures import check_figures
from surestep.evaluation.check.finding import Finding
from surestep.evaluation.check.folder import (
    check_calibration,
    check_config,
    check_documented,
    check_error_analysis,
    check_evaluated,
    check_intact,
    check_steps,
)
from surestep.evaluation.check.leaks import (
    ProblemSet,
    benchmark_files,
    check_leaks,
    read_problems,
    read_split,
    training_problems,
)
from surestep.evaluation.check.probe_bounds import check_probes
from surestep.evaluation.check.probe_changes import PERTURBATIONS, PROBES
from surestep.evaluation.check.robustness import attack_not_measured, check_attack, check_rises, rises_not_measured
from surestep.evaluation.check.run_probes import DEFAULT_PROBLEMS, probe_results, sample_problems, score_probed
from surestep.evaluation.check.sign_off import SIGNED_ITEMS, SignedItem, SignOff, check_signed, read_sign_offs
from surestep.evaluation.check.targets import LeakBounds, ProbeTargets, Targets
from surestep.evaluation.hackability.attack_data import built_in_candidates, read_attack_data, sample_sets
from surestep.evaluation.results.find import FoundEvaluation, find_evaluation
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.manifest import Manifest
from surestep.scoring.protocol import Scorer
from surestep.types import ReasoningTree

_FIELDS_OF_TESTS = tuple(field for name in DATASET_NAMES for field in (f"use_{name}", *DATASETS[name].test_fields))
"""Fields of `data` that decide which problems the test splits hold."""

BOXES: tuple[tuple[str, str], ...] = (
    ("steps", "Trained for sufficient steps"),
    ("evaluated", "Evaluated on all test sets"),
    ("figures", "Per-dataset metrics acceptable"),
    ("calibration", "Calibration (ECE) checked"),
    ("error_analysis", "Error analysis performed"),
    ("config", "Configuration saved"),
    ("backup", "Checkpoints backed up"),
    ("documented", "Results documented"),
    ("intact", "Every file as it was written"),
    ("leaks", "No training problem in an evaluated set"),
    ("probes", "No score changed by what adds no content"),
)
"""Item of the findings to its box: the eight of the best-practices document, then three of ours."""


@dataclass
class CheckResult:
    """All findings of one check.

    Attributes:
        checkpoint: what was checked.
        targets: what was demanded.
        evaluation: the result that the figures come from.
    """

    checkpoint: Path
    targets: Targets
    evaluation: Path | None = None
    findings: list[Finding] = field(default_factory=list)

    def count(self, status: str) -> int:
        """How many findings stand so."""
        return sum(finding.status == status for finding in self.findings)

    @property
    def passed(self) -> bool:
        """Nothing failed, and no target contradicts the data (unless the targets allow that).

        A contradicting target is no pass: a check that passed on it would pass on nothing, and one that dropped it
        in silence would hide that the demand was never met. Skipped points and mere information do not count.
        """
        return not self.count("fail") and (self.targets.contradictions == "allow" or not self.count("contradicts-data"))

    def boxes(self) -> list[tuple[str, bool]]:
        """Each box of the checklist and whether it is ticked.

        Ticked: something was looked at, nothing of it failed, nothing contradicts the data (unless the targets allow
        that), and no point that only a person can see to is left open.
        """
        open_states = {"fail"} | (set() if self.targets.contradictions == "allow" else {"contradicts-data"})
        ticked = []
        for item, title in BOXES:
            found = [finding.status for finding in self.findings if finding.item == item]
            looked_at = [status for status in found if status != "skipped"]
            left_open = item in SIGNED_ITEMS and "skipped" in found
            ticked.append((title, bool(looked_at) and not left_open and not open_states & set(looked_at)))
        return ticked

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "checkpoint": str(self.checkpoint),
            "evaluation": None if self.evaluation is None else str(self.evaluation),
            "passed": self.passed,
            "counts": {name: self.count(name) for name in ("pass", "fail", "contradicts-data", "skipped", "info")},
            "boxes": dict(self.boxes()),
            "targets": self.targets.model_dump(mode="json"),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def run_check(
    folder: Path,
    config: Config | None,
    targets: Targets,
    *,
    config_error: str = "",
    given: Collection[str] = (),
    evaluation: Path | None = None,
    leak_files: Sequence[Path] = (),
    backup: Path | None = None,
    probe_problems: int = DEFAULT_PROBLEMS,
    robustness: bool = False,
    attack_files: Sequence[Path] = (),
    seed: int = 0,
    make_scorer: Callable[[], Scorer] | None = None,
    progress: Callable[[str], object] = lambda _title: None,
) -> CheckResult:
    """Walk the checklist.

    Args:
        folder: a checkpoint.
        config: its configuration, with what the user overrides; None where it cannot be read.
        targets: what is demanded.
        config_error: why there is no configuration.
        given: dotted paths of the fields that the user set now; the others of the test sets are as evaluated.
        evaluation: the result to judge; unset: the checkpoint's own on the test split.
        leak_files: further evaluated sets that training must not hold.
        backup: a copy of the checkpoint, or of a folder that holds it, which is compared.
        probe_problems: problems that are probed; 0 leaves the probes out.
        robustness: try every perturbation, measure how far a score can be raised, and attack best-of-N.
        attack_files: candidates for that attack; none: the built-in arithmetic, where it is among the tests.
        seed: of the sample, the changes and the draws.
        make_scorer: makes what is probed; unset: the checkpoint's own scorer.
        progress: is told what is being done.

    Raises:
        DataError: a file of `leak_files` or `attack_files`, or the evaluation that was named, cannot be read.
    """
    extra = {path: read_problems(path) for path in leak_files}
    names = [path.name for path in attack_files]
    attacked = {
        path.name if names.count(path.name) == 1 else str(path): read_attack_data(path) for path in attack_files
    }
    result = CheckResult(folder, targets)
    add = result.findings
    progress("checking the checkpoint's files")
    manifest, intact = check_intact(folder)
    trained_seed, data = (None, None) if config is None else (config.training.seed, config.data)
    add += [intact, check_steps(folder, manifest, targets.min_steps), check_config(folder, trained_seed, config_error)]
    found, error = _find(folder, evaluation)
    result.evaluation = None if found is None else found.path
    add += check_evaluated(folder, found, error, data)
    if found is not None:
        add += check_figures(found.report, targets)
    add += check_calibration(folder, found)
    add += [check_error_analysis(found), *_seen_to(folder, manifest, backup, targets), check_documented(found)]
    if config is None:
        add += [Finding(item, item, "fail", value="not looked at", detail=config_error) for item in ("leaks", "probes")]
        return result
    evaluated = _as_evaluated(config.data, found, given)
    tests, missing = _read_tests(evaluated, seed=config.training.seed)
    add += missing + _changed_data(evaluated, found, seed=config.training.seed)
    progress("comparing training problems with every evaluated set")
    for name, trained in (config.data_of_phases() or {"": config.data}).items():
        add += _leaks(trained, tests, extra, targets.leaks, seed=config.training.seed, phase=name)
    progress("probing")
    make = make_scorer or (lambda: load_checkpoint(folder, config=config).scorer(config))
    if robustness and not attacked and "arithmetic" in tests:
        attacked = {"built-in arithmetic": built_in_candidates(probe_problems, seed=seed)}
    asked = attacked if robustness else None
    add += _probes(make, tests, targets.probes, number=probe_problems, seed=seed, attacked=asked, progress=progress)
    return result


def _seen_to(folder: Path, manifest: Manifest | None, backup: Path | None, targets: Targets) -> list[Finding]:
    """The points that a person sees to: the errors were read, a copy lies elsewhere."""
    signed: list[SignOff] | str
    try:
        signed = read_sign_offs(folder)
    except SurestepError as error:
        signed = str(error)

    def given(item: SignedItem, what: str, mend: str) -> Finding:
        return check_signed(item, what, folder, signed, demanded=item in targets.sign_offs, mend=mend)

    sign = f"surestep check {folder} --by 'YOUR NAME' --sign_off"
    read = given(
        "error_analysis",
        "error analysis performed",
        f"read the worst mistakes of the report, then {sign} error_analysis",
    )
    if backup is not None:
        return [read, check_backup(folder, manifest, backup)]
    mend = f"compare a copy with --backup FOLDER, or, where this machine cannot see it, {sign} backup"
    return [read, given("backup", "checkpoint backed up", mend)]


def _find(folder: Path, evaluation: Path | None) -> tuple[FoundEvaluation | None, str]:
    if evaluation is not None:
        return find_evaluation(evaluation), ""
    try:
        return find_evaluation(folder, split="test"), ""
    except SurestepError as error:
        return None, str(error)


def _as_evaluated(data: DataConfig, found: FoundEvaluation | None, given: Collection[str]) -> DataConfig:
    """`data` with the test sets that were scored: an evaluation may have named others than training did."""
    settings = {} if found is None else found.report.get("settings")
    if not isinstance(settings, dict) or "data" not in settings:
        return data
    try:
        scored = Config.from_dict(settings).data
    except SurestepError:
        return data
    merged = data.model_copy(deep=True)
    for name in _FIELDS_OF_TESTS:
        if f"data.{name}" not in given:
            setattr(merged, name, getattr(scored, name))
    return merged


def _read_tests(data: DataConfig, *, seed: int) -> tuple[dict[str, list[ReasoningTree]], list[Finding]]:
    try:
        return read_split(data, "test", seed=seed), []
    except SurestepError as error:
        mend = "name the folder of the data (--data_dir, --own_test, ...)"
        return {}, [Finding("leaks", "own test splits", "fail", value="cannot be read", detail=str(error), mend=mend)]


def _changed_data(data: DataConfig, found: FoundEvaluation | None, *, seed: int) -> list[Finding]:
    """A finding for each test set whose files are no longer those that were evaluated."""
    if found is None:
        return []
    try:
        sources = enabled_sources(data, "test", seed=seed)
    except SurestepError:
        return []  # said already
    findings = []
    for source in sources:
        then = found.report.get("datasets", {}).get(source.name, {}).get("fingerprint")
        if then is not None and then != source.fingerprint():
            detail = f"fingerprint {then[:8]} when evaluated, {source.fingerprint()[:8]} now"
            findings.append(
                Finding(
                    "evaluated", f"{source.name} data", "fail", value="changed", detail=detail, mend="evaluate again"
                )
            )
    return findings


def _leaks(
    data: DataConfig,
    tests: dict[str, list[ReasoningTree]],
    extra: Mapping[Path, ProblemSet],
    bounds: LeakBounds,
    *,
    seed: int,
    phase: str = "",
) -> list[Finding]:
    """What the training data of a run, or of one of its phases, have in common with what is evaluated."""
    try:
        training = training_problems(data, [tree for trees in tests.values() for tree in trees], seed=seed)
        if phase:
            training = [replace(one, name=f"{one.name} (phase {phase})") for one in training]
    except SurestepError as error:
        mend = "name the folder of the training data (--data_dir, --own_train, ...)"
        return [Finding("leaks", "training data", "fail", value="cannot be read", detail=str(error), mend=mend)]
    evaluated = [ProblemSet(f"{name} test", [tree.problem for tree in trees]) for name, trees in tests.items()]
    unreadable = []
    named = {real_path(path) for path in extra}
    for path in (path for path in benchmark_files(data.data_dir) if real_path(path) not in named):
        try:
            evaluated.append(read_problems(path))
        except SurestepError as error:
            unreadable.append(Finding("leaks", path.name, "skipped", value="cannot be read", detail=str(error)))
    return check_leaks(training, [*evaluated, *extra.values()], bounds) + unreadable


def _probes(
    make_scorer: Callable[[], Scorer],
    tests: dict[str, list[ReasoningTree]],
    bounds: ProbeTargets,
    *,
    number: int,
    seed: int,
    attacked: Mapping[str, list[CandidateSet]] | None,
    progress: Callable[[str], object],
) -> list[Finding]:
    """The probes; and, where `attacked` is not None, the figures of hackability, best-of-N attacked on it."""
    if number == 0:
        left_out = Finding("probes", "all probes", "skipped", value="left out", detail="--probe_problems is 0")
        return [left_out, *_not_asked(bounds, left_out.detail)]
    problems = sample_problems([tree for trees in tests.values() for tree in trees], number, seed=seed)
    if not problems:
        return [
            Finding("probes", "all probes", "fail", value="no test problem to probe", mend="see the leaks' findings")
        ]
    try:
        scorer = make_scorer()
    except SurestepError as error:
        detail, mend = str(error), "restore the checkpoint, or name its backbone with --backbone"
        return [Finding("probes", "all probes", "fail", value="cannot be scored", detail=detail, mend=mend)]
    tried = {
        name: perturbation
        for name, perturbation in PERTURBATIONS.items()
        if name in PROBES or attacked is not None or bounds.bounds.get(name) is not None
    }
    probed = score_probed(scorer, problems, tried, seed=seed, with_wrong=attacked is not None)
    found = check_probes(probe_results(probed, tried, seed=seed), bounds)
    if attacked is None:
        return found + _not_asked(bounds, "it takes more perturbations than every check")
    found += check_rises(probed, bounds, seed=seed)
    for source, sets in attacked.items():
        progress(f"attacking best-of-N on {source}")
        found += check_attack(scorer, sample_sets(sets, number, seed=seed), source, bounds, seed=seed)
    if not attacked:
        why = "no candidates of known correctness: arithmetic is not among the test sets"
        found.append(attack_not_measured(bounds, why, "name a file of candidates with --attack_data"))
    return found


def _not_asked(bounds: ProbeTargets, why: str) -> list[Finding]:
    """A failure for each figure of hackability that the targets bound and this check does not measure."""
    mend = "check with --probes robustness, and at least one problem"
    found = rises_not_measured(bounds, why, mend), attack_not_measured(bounds, why, mend)
    return [finding for finding in found if finding.status == "fail"]
