"""A file of the size and shape of PRM800K's phase 2 (`phase2_train.jsonl`), where that is not at hand: for timing only.

    python benchmarks/phase2_stand_in.py FOLDER --source phase1_train.jsonl

Writes `FOLDER/PRM800K/phase2_train.jsonl`: 97,782 records about 10,828 problems in random order, 409 MB, 33 million
tokens of Qwen3 once the shared steps of a problem's records are merged. Texts, ratings and choices are those of real
records of phase 1 with other digits; a record of a problem repeats the first steps of the problem's first one, as the
real ones do. The same source and seed write the same bytes. What a model learns from it says nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

PROBLEMS, RECORDS = 10_828, 97_782
_DIGIT = re.compile(r"[0-9]")
ALTERNATIVES = 0.12
"""Share of the completions beside the chosen one that is kept: phase 2 rates fewer of them than phase 1."""
_LENGTH = 0.8
"""A record with a common beginning is as long as this share of another record."""
_SHARED = 0.56
"""Mean share of a record's steps that it has in common with its problem's first one."""


def with_other_digits(text: str, draw: random.Random) -> str:
    """The text with every digit drawn anew."""
    digits = f"{draw.getrandbits(64):020d}"
    place = iter(range(10**6))
    return _DIGIT.sub(lambda _: digits[next(place) % 20], text)


def steps_like(steps: list[dict[str, Any]], draw: random.Random) -> list[dict[str, Any]]:
    """Steps with other digits and fewer completions; the chosen one and its place among them stay right."""
    made = []
    for step in steps:
        chosen = step["chosen_completion"]
        kept = [n for n in range(len(step["completions"] or [])) if n == chosen or draw.random() < ALTERNATIVES]
        completions = [dict(step["completions"][n]) for n in kept]
        for completion in completions:
            completion["text"] = with_other_digits(completion["text"], draw)
        made.append({**step, "completions": completions, "chosen_completion": None if chosen is None else
                     kept.index(chosen) if chosen in kept else None})  # fmt: skip
    return made


def write_stand_in(path: Path, source: Path, *, records: int, problems: int, seed: int) -> None:
    """Write the file.

    Args:
        path: where.
        source: real labelling records, one a line.
        records: how many.
        problems: how many problems they are about.
        seed: decides everything.
    """
    draw = random.Random(seed)
    with source.open(encoding="utf-8") as file:
        real = [json.loads(line) for line in file]
    about = [*range(problems), *(draw.randrange(problems) for _ in range(records - problems))][:records]
    draw.shuffle(about)
    first: dict[int, tuple[str, list[dict[str, Any]]]] = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for problem in about:
            record = draw.choice(real)
            steps = steps_like(record["label"]["steps"], draw)
            if problem in first:
                text, before = first[problem]
                shared = draw.randrange(int(2 * _SHARED * len(before)) + 1) if before else 0
                steps = [*before[:shared], *steps[: max(1, int(_LENGTH * len(steps)) - shared)]]
            else:
                text = f"{with_other_digits(record['question']['problem'], draw)} ({problem})"
                first[problem] = text, steps
            row = {**record, "question": {**record["question"], "problem": text}}
            row["label"] = {**record["label"], "steps": steps}
            file.write(json.dumps(row) + "\n")


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source", type=Path, required=True, help="PRM800K's phase1_train.jsonl")
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--problems", type=int, default=PROBLEMS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    path = args.folder / "PRM800K" / "phase2_train.jsonl"
    write_stand_in(path, args.source, records=args.records, problems=args.problems, seed=args.seed)
    print(f"{path}: {path.stat().st_size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
