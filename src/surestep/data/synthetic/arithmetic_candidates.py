"""Candidate solutions of the built-in arithmetic, of known correctness: for choosing one of N without any file.

A problem is a list of sums as in `arithmetic`, without readings; each candidate works them out step by step and errs at
some. A step carries out its operation on the value that the step before it stated, right or wrong, so a candidate is
right if and only if every step is; one whose errors cancel is drawn again. Knows no model and no file.
"""

from __future__ import annotations

import random

from surestep.data.benchmarks.candidates import Candidate, CandidateSet
from surestep.data.synthetic.arithmetic import split_of_problem
from surestep.data.synthetic.operations import Operation, can_continue, draw_operations, write_step, wrong_steps

WRONG_SHARE = 0.3
"""Share of the steps that are wrong."""

DEFAULT_CANDIDATES = 8


def arithmetic_candidates(index: int, *, seed: int, num_candidates: int = DEFAULT_CANDIDATES) -> CandidateSet:
    """Problem number `index` of the test split with its candidates; the same for the same arguments.

    >>> found = arithmetic_candidates(0, seed=0)
    >>> found.problem.startswith("start "), len(found.candidates)
    (True, 8)
    """
    rng = random.Random(f"arithmetic candidates:{seed}:{index}")
    while True:
        drawn = draw_operations(rng, [""] * rng.randint(3, 5), held_out=False)
        if drawn is None:
            continue
        start, operations = drawn
        problem = "; ".join((f"start {start}", *map(str, operations)))
        if split_of_problem(problem) == "test":
            break
    candidates = [_candidate(rng, start, operations) for _ in range(num_candidates)]
    return CandidateSet(problem, f"arithmetic-candidates-{index:06d}", index, candidates)


def _candidate(rng: random.Random, start: int, operations: list[Operation]) -> Candidate:
    right = start
    for operation in operations:
        right = operation.apply(right)
    while True:
        value, is_correct, steps = start, True, []
        for place, operation in enumerate(operations):
            made = [write_step(value, operation, operation.apply(value))]
            if rng.random() < WRONG_SHARE:
                rest = operations[place + 1 :]
                wrong = wrong_steps(rng, value, operation)
                made = [found for found in wrong if can_continue(found[1], rest, held_out=False)] or made
            text, result = rng.choice(made)
            is_correct = is_correct and result == operation.apply(value)
            value = result
            steps.append(text)
        if is_correct == (value == right):
            return Candidate(tuple(steps), is_correct, str(value))
