"""Every reader under its name, with the version that its trees depend on.

Knows the readers; knows no configuration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from surestep.data.datasets import eqasc, math_shepherd, own, prm800k, processbench, reveal, stepwise
from surestep.data.records.read_report import ReadReport
from surestep.data.records.record import PathOrPaths
from surestep.data.synthetic import arithmetic
from surestep.data.synthetic import operations as arithmetic_steps
from surestep.data.synthetic.arithmetic import Split, generate_arithmetic
from surestep.types import ReasoningTree

Reader = Callable[..., Iterator[ReasoningTree]]
"""What every reader is: `reader(paths, *, report, **its own options)`."""


def read_arithmetic(
    paths: PathOrPaths, *, report: ReadReport, split: Split, num_problems: int, seed: int
) -> Iterator[ReasoningTree]:
    """The built-in arithmetic as a reader; `paths` is empty."""
    for tree in generate_arithmetic(split, num_problems=num_problems, seed=seed):
        report.count("trees")
        report.count("steps", len(tree.nodes))
        report.count("labels", tree.num_labels)
        yield tree


READERS: dict[str, Reader] = {
    "arithmetic": read_arithmetic,
    "eqasc": eqasc.read_eqasc,
    "math_shepherd": math_shepherd.read_math_shepherd,
    "own": own.read_own,
    "prm800k": prm800k.read_prm800k,
    "processbench": processbench.read_processbench,
    "reveal": reveal.read_reveal,
    "stepwise": stepwise.read_stepwise,
}

_VERSIONS = {
    "eqasc": eqasc.VERSION,
    "math_shepherd": math_shepherd.VERSION,
    "own": own.VERSION,
    "prm800k": prm800k.VERSION,
    "processbench": processbench.VERSION,
    "reveal": reveal.VERSION,
    "stepwise": stepwise.VERSION,
}


def reader_version(name: str) -> str:
    """What changes when a reader makes other trees from the same input.

    >>> reader_version("prm800k")
    '2'
    """
    if name != "arithmetic":
        return str(_VERSIONS[name])
    # It has no input: any change to the generator may change its problems.
    sources = (Path(str(module.__file__)).read_bytes() for module in (arithmetic, arithmetic_steps))
    return hashlib.sha256(b"\x00".join(sources)).hexdigest()
