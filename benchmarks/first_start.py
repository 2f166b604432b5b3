"""How long a run takes from its files to its first training examples, with nothing in the cache, and what memory.

    python benchmarks/first_start.py --prm800k FOLDER --tokenizer FOLDER     # FOLDER holds PRM800K/phase2_train.jsonl
    python benchmarks/first_start.py --own FILE --tokenizer builtin:tiny

Reads, tokenises and stores as `surestep train` does before it builds its model (training, validation and test splits
where there are such), in an empty cache folder that is removed again, and prints one JSON line: wall-clock and
processor seconds, those of other processes among them, the larger peak of memory of one process, the longest time
without a word, and one hash over all that was stored, by which two versions of the code are compared.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import tempfile
import time
from pathlib import Path

LAST_WORD = [0.0, 0.0]
"""When something was said last, and the longest silence so far, in seconds."""


def spoke() -> None:
    """Something is shown."""
    now = time.monotonic()
    LAST_WORD[:] = now, max(LAST_WORD[1], now - LAST_WORD[0])


class Listener:
    """Progress that is listened to, not shown."""

    def __init__(self, _title: str) -> None:
        spoke()

    def __call__(self, _count: int, /) -> None:
        spoke()

    def reading(self, _reason: str, _done: int, _expected: int | None, /) -> None:
        """A row is read."""
        spoke()

    def expect(self, _total: int, /) -> None:
        """All are read."""
        spoke()


def stored_hash(cache: Path) -> str:
    """One hash over every store's files, in order of their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in cache.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(cache)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def prepare(args: argparse.Namespace, cache: Path) -> dict[str, object]:
    """Read and store everything once."""
    from surestep.config import Config
    from surestep.encoding.formatter import Formatter
    from surestep.encoding.load_tokenizer import load_tokenizer
    from surestep.training.run import load_run_data

    config = Config()
    data = config.data
    data.use_prm800k = data.use_eqasc = data.use_reveal = data.use_arithmetic = False
    data.cache_dir = cache
    if args.own is not None:
        data.use_own, data.own_train = True, args.own
    else:
        data.use_prm800k, data.data_dir = True, args.prm800k
    tokenizer = load_tokenizer(args.tokenizer)
    before, start = os.times(), time.monotonic()
    LAST_WORD[:] = start, 0.0
    run = load_run_data(config, tokenizer, Formatter(), max_positions=None, progress=Listener)
    spoke()
    after = os.times()
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    store = next(iter(run.training.values())).store
    return {
        "wall_s": round(time.monotonic() - start, 1),
        "processor_s": round(sum(after[:4]) - sum(before[:4]), 1),
        "of_it_other_processes_s": round(sum(after[2:4]) - sum(before[2:4]), 1),
        "peak_mb": round(max(own.ru_maxrss, children.ru_maxrss) * 1024 / 1e6),
        "longest_silence_s": round(LAST_WORD[1], 1),
        "trees": len(store),
        "tokens": store.num_tokens,
    }


def main() -> None:
    """Measure once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prm800k", type=Path, help="data folder with PRM800K in it")
    parser.add_argument("--own", type=Path, help="a file of your own")
    parser.add_argument("--tokenizer", default="builtin:tiny")
    parser.add_argument("--keep", type=Path, help="leave the stores in this folder")
    args = parser.parse_args()
    if (args.prm800k is None) == (args.own is None):
        parser.error("name one of --prm800k and --own")
    with tempfile.TemporaryDirectory() as name:
        cache = args.keep or Path(name)
        found = prepare(args, cache)
        found["stores"] = stored_hash(cache)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
