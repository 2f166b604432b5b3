"""Candidates for the attack on best-of-N: the built-in arithmetic, or files of candidates or of labelled solutions.

Knows texts and their correctness; scores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from surestep.data.benchmarks.candidates import Candidate, CandidateSet, read_candidates
from surestep.data.benchmarks.final_answer import extract_answer
from surestep.data.datasets.processbench import read_solutions
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import read_records
from surestep.data.synthetic.arithmetic_candidates import arithmetic_candidates
from surestep.data.trees.identity import key_of
from surestep.errors import DataError


def built_in_candidates(number: int, *, seed: int) -> list[CandidateSet]:
    """So many problems of the built-in arithmetic, with eight candidates each."""
    return [arithmetic_candidates(index, seed=seed) for index in range(number)]


def read_attack_data(path: Path) -> list[CandidateSet]:
    """The problems of a file with their candidates: a file for best-of-N, or one of ProcessBench's layout.

    In ProcessBench's layout a solution is right where no step is wrong, and those of one problem are its candidates;
    steps without text, which some list, are no steps here.

    Raises:
        DataError: the file is missing, malformed or holds no candidates.
    """
    first = next(read_records(path), None)
    if first is None:
        raise DataError("holds no candidates", path=path)
    report = ReadReport()
    has_first_errors = "label" in first.values and not {"correct", "candidates"} & first.values.keys()
    return _labelled(path, report) if has_first_errors else read_candidates(path, report=report)


def sample_sets(sets: Sequence[CandidateSet], number: int, *, seed: int) -> list[CandidateSet]:
    """At most `number` problems, drawn by seed, in the order of the file."""
    drawn = np.random.default_rng([seed, 2]).permutation(len(sets))[:number]
    return [sets[index] for index in sorted(drawn.tolist())]


def _labelled(path: Path, report: ReadReport) -> list[CandidateSet]:
    sets: dict[str, CandidateSet] = {}
    for number, solution in enumerate(read_solutions(path, report=report), start=1):
        tree = solution.tree
        steps = tuple(node.text for node in tree.nodes if node.text.strip())
        found = sets.setdefault(key_of(tree.problem), CandidateSet(tree.problem, tree.id, number))
        found.candidates.append(Candidate(steps, solution.label == -1, extract_answer("\n".join(steps))))
    if not sets:
        raise DataError("holds no candidates", path=path)
    return list(sets.values())
