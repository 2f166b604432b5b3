"""A threshold chosen on other data, which is named, and which shares no solution with what is evaluated.

Beside it the papers' protocol, which chooses on an evaluated subset, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surestep.data.datasets.processbench import Solution
from surestep.data.records.bad_rows import BadRows
from surestep.data.records.reading_report import ReadReport
from surestep.data.trees.identity import normalize_text
from surestep.data.trees.text import clean_text
from surestep.errors import ConfigError
from surestep.evaluation.benchmarks.result_file import file_facts, find_data
from surestep.evaluation.benchmarks.solutions import SolutionSet, read_files, score_paths, score_solutions
from surestep.metrics.benchmarks.first_error import ChosenThreshold, choose_threshold
from surestep.scoring.protocol import Scorer
from surestep.scoring.stored_split import ProgressFactory, silent

FIRST_ERROR_LAYOUT = "processbench"

PAPERS_SUBSET = "gsm8k"
"""The subset that the papers tune the threshold on, and report."""


@dataclass(frozen=True)
class ThresholdData:
    """Other data to choose the threshold on, who scores it, and its layout.

    Attributes:
        layout: `processbench`, or one of `TREE_LAYOUTS`: then each path of a tree is a solution.
    """

    path: Path
    scorer: Scorer
    layout: str = FIRST_ERROR_LAYOUT


def choose(
    other: ThresholdData,
    paths: Sequence[Path],
    solutions: Sequence[Solution],
    progress: ProgressFactory = silent,
    *,
    bad_rows: BadRows = "stop",
) -> dict[str, Any]:
    """The threshold with the highest mean F1 over the subsets of `other`, as the result file says it.

    Args:
        other: what to choose on.
        paths: the evaluated files.
        solutions: the evaluated solutions.
        progress: is told of every tree.
        bad_rows: see `read_rows`.

    Raises:
        ConfigError: a file or a solution is evaluated too, or right or wrong solutions are lacking.
        DataError: a file is missing, malformed or without solutions.
    """
    files = find_data(other.path)
    facts = file_facts(files)
    evaluated = {fact["sha256"]: fact["path"] for fact in file_facts(paths)}
    for fact in facts:
        if fact["sha256"] in evaluated:
            raise ConfigError(
                f"--threshold-data {fact['path']} is the evaluated file {evaluated[fact['sha256']]} by content: a "
                "threshold is never tuned on what it is measured on; name other data"
            )
    reading = ReadReport()
    if other.layout == FIRST_ERROR_LAYOUT:
        found = read_files(files, reading, bad_rows)
        _refuse_shared(other.path, found, solutions)  # before the model has to score them
        subsets = score_solutions(other.scorer, found, progress)
    else:
        subsets = [score_paths(other.scorer, file, other.layout, reading, progress, bad_rows) for file in files]
        _refuse_shared(other.path, _all(subsets), solutions)
    try:
        best = choose_threshold([subset.first_errors() for subset in subsets])
    except ValueError:
        raise ConfigError(
            f"--threshold-data {other.path} has a subset without erroneous or without correct solutions that were "
            "scored to their end, so that F1 has no value there; name data with both, or give --threshold"
        ) from None
    problems = {normalize_text(solution.tree.problem) for solution in solutions}
    return {
        "threshold": best.threshold,
        "how": f"highest mean F1 on {other.path}",
        "chosen_on": facts,
        "layout": other.layout,
        "num_solutions": len(_all(subsets)),
        "problems_shared_with_evaluated": len(
            {normalize_text(solution.tree.problem) for solution in _all(subsets)} & problems
        ),
        "f1_there": best.f1,
        "equal_there": _equal(best),
        "solutions_not_measured_there": sum(subset.solutions_not_measured for subset in subsets),
        "steps_not_scored_there": sum(subset.steps_not_scored for subset in subsets),
        "reading_there": reading.to_dict(),
        "scorer_there": {name: value for name, value in other.scorer.about().items() if name.startswith("predictions")},
    }


def choose_as_the_papers(subsets: Sequence[SolutionSet]) -> dict[str, Any]:
    """The threshold with the highest F1 on the evaluated subset `PAPERS_SUBSET`, as the result file says it.

    Source: ProcessBench (arXiv 2412.06559), section 4, and its authors' answer in its repository's issue 3: "we
    determine the threshold based on the F1 score on the GSM8K subset". They name neither the thresholds that were tried
    nor the choice among equals: here all that change a prediction, and the one nearest to 0.5.

    Raises:
        ConfigError: the subset is not there, or has no wrong or no right solution.
    """
    found = [subset for subset in subsets if subset.name == PAPERS_SUBSET]
    if not found:
        raise ConfigError(
            f"--protocol paper chooses the threshold on the subset {PAPERS_SUBSET!r}, and --data holds "
            f"{', '.join(repr(subset.name) for subset in subsets)}; add the file {PAPERS_SUBSET}.json, or leave "
            "--protocol out"
        )
    try:
        best = choose_threshold([found[0].first_errors()])
    except ValueError:
        raise ConfigError(
            f"--protocol paper: the subset {PAPERS_SUBSET!r} has no erroneous or no correct solutions that were scored "
            "to their end, so that F1 has no value there; give its whole file, or leave --protocol out"
        ) from None
    return {
        "threshold": best.threshold,
        "how": f"the paper's protocol: highest F1 on {PAPERS_SUBSET}, which is evaluated too",
        "tuned_on": [PAPERS_SUBSET],
        "f1_there": best.f1,
        "equal_there": _equal(best),
    }


def _equal(best: ChosenThreshold) -> dict[str, float]:
    """The thresholds that give the same figures: from the first on, below the second."""
    return {"from": best.low, "below": best.high}


def _all(subsets: Sequence[SolutionSet]) -> list[Solution]:
    return [solution for subset in subsets for solution in subset.solutions]


def _refuse_shared(path: Path, found: Sequence[Solution], evaluated: Sequence[Solution]) -> None:
    known = {_identity(solution) for solution in evaluated}
    if shared := sum(_identity(solution) in known for solution in found):
        raise ConfigError(
            f"--threshold-data {path} holds {shared} of the evaluated solutions: a threshold is never tuned on what it "
            "is measured on; name other data"
        )


def _identity(solution: Solution) -> tuple[str, tuple[str, ...]]:
    return normalize_text(solution.tree.problem), tuple(clean_text(node.text) for node in solution.tree.nodes)
