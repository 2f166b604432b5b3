"""What a solution costs that is scored step by step: in sessions, and by scoring every prefix again.

    python benchmarks/sessions.py [--shape small|qwen3-4b | --backbone FOLDER] [--device cpu] [--at_once 1 16]

For each number of solutions that grow at the same time (`--at_once`), three ways, on the same texts:

    prefixes    after every step, all solutions so far are scored in full, packed
    session     every step is added to its session, those of all solutions in one pass
    one pass    all solutions are scored once, when they are finished: what no step-by-step scoring can reach

and eight candidates for the next step in the middle of a solution, as `score_candidates` and as a packed tree. Tokens
are counted, times are medians of the repeats after one round to warm up; with `--processor_time` they are those of the
process on its processors, which others on the machine disturb less (CPU only). Random weights know nothing: differences
between session and one pass are those of the arithmetic. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from surestep.bench.backbone_shapes import SHAPES, build_shape
from surestep.bench.timing import environment, seconds
from surestep.config import TINY_BACKBONE, get_default_config
from surestep.encoding.encoded_tree import encode_trees
from surestep.scoring.build_model import BuiltModel, prepare_for_scoring
from surestep.scoring.hardware import choose_hardware
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.sessions import SessionScorer
from surestep.types import Node, ReasoningTree, chain

Measure = Callable[[Callable[[], object], int], dict[str, Any]]
"""Times some work over so many tokens."""

_CANDIDATES = 8


def solution(number: int, num_steps: int, additions: int = 1) -> tuple[str, list[str]]:
    """A problem and steps of so many additions of about 30 characters; the built-in tokenizer takes one by one."""
    draw = random.Random(number)
    total, steps = draw.randrange(1000), []
    problem = f"Problem {number}: what is {total} after {num_steps * additions} numbers are added to it, one by one?"
    for _ in range(num_steps):
        sentences = []
        for _ in range(additions):
            added = draw.randrange(1000)
            sentences.append(f"{total} + {added} = {total + added}, so it is {total + added}.")
            total += added
        steps.append(" ".join(sentences))
    return problem, steps


def built_model(arguments: argparse.Namespace) -> tuple[BuiltModel, ModelScorer]:
    """A model with a head whose scores differ, settled, and its scorer."""
    config = get_default_config()
    config.model.backbone = arguments.backbone or TINY_BACKBONE
    config.lora.use_lora = True  # frozen weights in half precision, as most checkpoints have them
    hardware = choose_hardware(arguments.device, arguments.precision)
    built = build_shape(config, hardware, arguments.shape)
    with torch.no_grad():
        torch.manual_seed(1)
        built.model.head.output.weight.normal_()
    config.eval.scoring_weights = "merged"
    prepare_for_scoring(built, config.eval.scoring_weights)
    if arguments.compile:
        config.model.compile = True
        built.compile_if_worth(config.model.compile, 1e9)
    scorer = built.scorer(config)
    if arguments.cuda_graphs:
        scorer.record_passes()
    return built, scorer


def packed_tokens(scorer: ModelScorer, trees: Sequence[ReasoningTree]) -> int:
    return sum(tree.num_tokens for tree in encode_trees(trees, scorer.tokenizer, scorer.formatter))


def last_scores(scorer: ModelScorer, trees: Sequence[ReasoningTree]) -> list[float]:
    return [float(found.raw_N[-1]) for found in scorer.score(trees)]


def growing(
    scorer: ModelScorer, at_once: int, num_steps: int, additions: int, measure: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Solutions that grow side by side, the three ways."""
    solutions = [solution(number, num_steps, additions) for number in range(at_once)]
    whole = [chain(problem, steps) for problem, steps in solutions]
    prefixes = [[chain(problem, steps[: count + 1]) for problem, steps in solutions] for count in range(num_steps)]
    sessions = SessionScorer(scorer)
    found: list[list[float | None]] = []

    def by_session() -> None:
        opened = [sessions.open(problem) for problem, _ in solutions]
        found[:] = [
            sessions.add_many([(session, steps[count]) for session, (_, steps) in zip(opened, solutions, strict=True)])
            for count in range(num_steps)
        ]
        for session in opened:
            session.close()

    before = sessions.usage().tokens_computed
    by_session()
    computed = sessions.usage().tokens_computed - before
    one_pass = np.array([scores.raw_N for scores in scorer.score(whole)]).T
    return {
        "at_once": at_once,
        "steps": num_steps,
        "additions": additions,
        "prefixes": measure(
            lambda: [last_scores(scorer, trees) for trees in prefixes],
            sum(packed_tokens(scorer, trees) for trees in prefixes),
        ),
        "session": measure(by_session, computed),
        "one_pass": measure(lambda: last_scores(scorer, whole), packed_tokens(scorer, whole)),
        "largest_difference": float(np.abs(np.array(found, dtype=np.float64) - one_pass).max()),
        "spread": float(one_pass.std()),
        "bytes_per_token": sessions._passes.layout.bytes_per_slot,
    }


def candidates(scorer: ModelScorer, num_steps: int, measure: Measure) -> dict[str, Any]:
    """Candidates for the next step, in the middle of a solution."""
    problem, steps = solution(0, num_steps)
    above, half = steps[: num_steps // 2], num_steps // 2
    proposed = [solution(number, half + 1)[1][-1] for number in range(1, _CANDIDATES + 1)]
    nodes = [Node(step, number - 1) for number, step in enumerate(above)]
    tree = ReasoningTree(problem, (*nodes, *(Node(step, len(nodes) - 1) for step in proposed)))
    sessions = SessionScorer(scorer)
    with sessions.open(problem) as session:
        sessions.add_many([(session, step) for step in above])
        before = sessions.usage().tokens_computed
        found = session.score_candidates(proposed)
        computed = sessions.usage().tokens_computed - before
        (expected,) = (scores.raw_N[len(above) :] for scores in scorer.score([tree]))
        return {
            "candidates": _CANDIDATES,
            "steps_above": len(above),
            "session": measure(lambda: session.score_candidates(proposed), computed),
            "one_pass": measure(lambda: list(scorer.score([tree])), packed_tokens(scorer, [tree])),
            "largest_difference": float(np.abs(np.array(found, dtype=np.float64) - expected).max()),
        }


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=sorted(SHAPES), help="random weights of this shape (default: builtin:tiny)")
    parser.add_argument("--backbone", help="a folder, instead of --shape")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--precision", default="auto", choices=("auto", "no", "bf16", "fp16"))
    parser.add_argument("--compile", action="store_true", help="compile the decoder layers")
    parser.add_argument("--cuda_graphs", action="store_true", help="record short passes, as a server does")
    parser.add_argument("--processor_time", action="store_true", help="seconds of processors, on a CPU")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--additions", type=int, default=1, help="in a step, about 30 tokens each (default: 1)")
    parser.add_argument("--at_once", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="append the JSON line to this file too")
    arguments = parser.parse_args()
    built, scorer = built_model(arguments)
    if arguments.processor_time and built.hardware.device.type != "cpu":
        parser.error("--processor_time says nothing of a GPU; add --device cpu, or leave it out")

    def measured(work: Callable[[], object]) -> float:
        if not arguments.processor_time:
            return seconds(work, built.hardware.device)
        start = time.process_time()
        work()
        return time.process_time() - start

    def measure(work: Callable[[], object], tokens: int) -> dict[str, Any]:
        work()
        times = [measured(work) for _ in range(arguments.repeats)]
        return {"tokens": tokens, "seconds": float(np.median(times)), "times_s": times}

    record = {
        "bench": "sessions",
        "backbone": built.backbone.name,
        "route": built.model.route,
        "compiled": built.is_compiled,
        "recorded": scorer.recorded is not None,
        "clock": "processor" if arguments.processor_time else "wall",
        **environment(built.hardware),
        "growing": [
            growing(scorer, at_once, arguments.steps, arguments.additions, measure) for at_once in arguments.at_once
        ],
        "next_step": candidates(scorer, arguments.steps, measure),
    }
    for row in record["growing"]:
        row["times_fewer_tokens"] = row["prefixes"]["tokens"] / row["session"]["tokens"]
        row["times_faster"] = row["prefixes"]["seconds"] / row["session"]["seconds"]
    line = json.dumps(record)
    print(line)
    if arguments.output is not None:
        with arguments.output.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    main()
