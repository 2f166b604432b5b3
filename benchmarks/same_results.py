"""Whether two folders of fixed runs (`fixed_runs.py`) hold the same results; exit code 1 where something differs.

    python benchmarks/same_results.py BEFORE AFTER

Compared byte for byte: safetensors of weights and of optimisers, charts, inputs. To the digit: every number and name in
JSON files (`state.json`, counts, figures, losses) and in predictions, whose rows are joined by what they are about and
may be gzipped on either side. To 1e-12 relative: intervals and what else comes from resampling, and the figures in
`SUMMED_IN_BINS`, whose sums may change order; `--close FIGURE` adds to these. In pages the numbers, in their order.

A file or key that only BEFORE has is a difference. What only AFTER has, and sentences that are worded otherwise, are
listed and are none. Left out: times, speeds, memory, versions, commits, paths, and hashes of files that hold these.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLOSE_ENOUGH = 1e-12
ROUNDING = 1e-15
"""Absolute: what may be left of a figure near 0, such as `brier_within_bin`, is the rounding of terms near 1."""

SUMMED_IN_BINS = (
    *("ece", "ece_equal_mass", "smooth_ece", "rms_calibration_error"),
    *("brier_reliability", "brier_resolution", "brier_within_bin"),
)
RESAMPLED = frozenset({"interval", "intervals", "if_calibrated", "low", "high", "difference"})
LEFT_OUT = frozenset(
    {
        *("seconds", "tokens_per_s", "labels_per_s", "memory_gb", "idle_gpu"),
        *("made", "versions", "git_commit", "command", "manifest_sha256", "predictions_sha256"),
    }
)
HASHED_FILES = frozenset({"files", "state_files", "pending"})
"""Of a manifest: its sizes and hashes are of files that are compared themselves."""

WITHOUT_ORDER = frozenset({"target_modules"})
"""PEFT keeps the names of adapted layers as a set, whose order is another one in each process."""

ROW_NAMES = ("kind", "dataset", "subset", "problem_id", "id", "tree", "step", "candidate")
NOT_COMPARED = frozenset({"cache", "printed.txt", "tensorboard"})
PAGES = frozenset({".html", ".md", ".svg"})
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_NO_RESULT = re.compile(
    r"\b\d{4}-\d\d-\d\d[T ]?[\d:.Z+]*"
    r"|(?<![\w.])(?=\d*[a-f])[0-9a-f]{7,64}\b"
    r"|\b\d+\.\d+\.\d+[\w.+-]*"
    r"|(?<![<\w])/?[\w.-]*[A-Za-z_][\w.-]*(?:/[\w.-]+)+"
)
"""In pages: dates, hashes, versions, paths."""


@dataclass
class Tally:
    """What one run's comparison found.

    Attributes:
        files, values, equal: compared ones of both folders; values that are the same or close enough.
        differing: a line for each value, file or key that is not as before.
        largest: the largest relative difference among numbers that differ, and where it is.
        largest_close: the same among numbers that are close enough.
        added, words: what only the second folder has, and where sentences differ; with how often.
    """

    files: int = 0
    values: int = 0
    equal: int = 0
    differing: list[str] = field(default_factory=list)
    largest: tuple[float, str] = (0.0, "")
    largest_close: tuple[float, str] = (0.0, "")
    added: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)

    def differs(self, where: str, what: str, size: float = 0.0) -> None:
        """Count a difference."""
        self.differing.append(f"{where}: {what}")
        if size > self.largest[0]:
            self.largest = (size, where)


class Comparison:
    """Compares the files of two folders."""

    def __init__(self, before: Path, after: Path, *, close: Iterable[str] = ()) -> None:
        self.before, self.after = before, after
        self.close = frozenset({*SUMMED_IN_BINS, *close})
        self.tallies: dict[str, Tally] = {}

    def run(self) -> dict[str, Tally]:
        """Compare everything; a tally for each folder at the top."""
        old, new = _files(self.before), _files(self.after)
        for name in sorted(old.keys() | new.keys()):
            tally = self.tallies.setdefault(Path(name).parts[0], Tally())
            if name not in new:
                tally.differs(name, "the file is missing now")
            elif name not in old:
                tally.added[f"{name} (file)"] += 1
            else:
                tally.files += 1
                self._file(name, old[name], new[name], tally)
        return self.tallies

    def _file(self, name: str, old: Path, new: Path, tally: Tally) -> None:
        # Inputs were made for both sides by one script: any other byte is another question.
        if not name.startswith("inputs/"):
            if name.endswith(".jsonl"):
                return self._rows(name, _read_rows(old), _read_rows(new), tally)
            if name.endswith(".json"):
                return self._values(name, (), _read_json(old), _read_json(new), tally, words=True)
            if Path(name).suffix in PAGES:
                return _pages(name, old, new, tally)
        tally.values += 1
        if old.read_bytes() == new.read_bytes():
            tally.equal += 1
        else:
            size = _largest_in_tensors(old, new) if name.endswith(".safetensors") else None
            said = (
                "other bytes" if size is None else f"other bytes; largest relative difference {size[0]:.1e}, {size[1]}"
            )
            tally.differs(name, said, 0.0 if size is None else size[0])
        return None

    def _rows(self, name: str, old: list[Any], new: list[Any], tally: Tally) -> None:
        """Rows of a log or of predictions, joined by what they are about; texts in predictions are data."""
        before, after = _by_name(old), _by_name(new)
        is_data = "predictions" in name
        for key in before.keys() | after.keys():
            if key[0] == "note" and (key in before) != (key in after):
                tally.words[f"{name}: notes"] += 1
            elif key not in after:
                tally.differs(f"{name}: {_said(key)}", "the row is missing now")
            elif key not in before:
                tally.differs(f"{name}: {_said(key)}", "the row is new")
            else:
                self._values(name, (_said(key),), before[key], after[key], tally, words=not is_data)

    def _values(self, name: str, path: tuple[str, ...], old: Any, new: Any, tally: Tally, *, words: bool) -> None:
        where = f"{name}: {'.'.join(path)}"
        if isinstance(old, dict) and isinstance(new, dict):
            for key in old.keys() | new.keys():
                if key in LEFT_OUT or (name.endswith("manifest.json") and path[:1] and path[0] in HASHED_FILES):
                    continue
                if key not in new:
                    tally.differs(f"{where}.{key}", "the key is missing now")
                elif key not in old:
                    tally.added[re.sub(r"\b\d+\b", "*", f"{where}.{key}")] += 1
                else:
                    self._values(name, (*path, key), old[key], new[key], tally, words=words)
        elif isinstance(old, list) and isinstance(new, list):
            if path[-1:] and path[-1] in WITHOUT_ORDER:
                old, new = sorted(old), sorted(new)
            if len(old) != len(new):
                tally.differs(where, f"{len(old)} entries before, {len(new)} now")
            for index, pair in enumerate(zip(old, new, strict=False)):
                self._values(name, (*path, str(index)), *pair, tally, words=words)
        elif not (words and isinstance(old, str) and isinstance(new, str) and _is_path(old) and _is_path(new)):
            self._value(where, path, old, new, tally, words=words)

    def _value(self, where: str, path: tuple[str, ...], old: Any, new: Any, tally: Tally, *, words: bool) -> None:
        """One number, name, sentence, truth value or null."""
        tally.values += 1
        if isinstance(old, bool) is isinstance(new, bool) and (old == new or (old != old and new != new)):
            tally.equal += 1
            return
        both = (old, new)
        if words and all(isinstance(text, str) and re.search(r"\s", text) for text in both):
            tally.words[re.sub(r"\b\d+\b", "*", where)] += 1
            return
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in both):
            tally.differs(where, f"{old!r} before, {new!r} now")
            return
        size = _relative(old, new)
        is_close = any("interval" in key or key in RESAMPLED for key in path) or bool(
            self.close.intersection(path[-1:])
        )
        is_float = any(isinstance(value, float) for value in both)
        if is_float and is_close and (size <= CLOSE_ENOUGH or abs(old - new) <= ROUNDING):
            tally.equal += 1
            if size > tally.largest_close[0]:
                tally.largest_close = (size, where)
            return
        tally.differs(where, f"{old!r} before, {new!r} now ({size:.1e})", size)


def _files(folder: Path) -> dict[str, Path]:
    """Each compared file by its path within `folder`, without .gz."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not NOT_COMPARED.intersection(inside.parts):
            found[inside.as_posix().removesuffix(".gz")] = path
    return found


def _text(path: Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(_text(path))


def _read_rows(path: Path) -> list[Any]:
    return [json.loads(line) for line in _text(path).split("\n") if line]


def _by_name(rows: list[Mapping[str, Any]]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """Rows by what they are about; rows about the same, such as notes, by their order too."""
    seen: Counter[tuple[Any, ...]] = Counter()
    found = {}
    for row in rows:
        key = tuple(row.get(name) for name in ROW_NAMES)
        found[(*key, seen[key])] = row
        seen[key] += 1
    return found


def _said(key: tuple[Any, ...]) -> str:
    return "/".join(str(part) for part in key[:-1] if part is not None)


def _is_path(text: str) -> bool:
    return "/" in text and not re.search(r"\s", text)


def _relative(old: float, new: float) -> float:
    """|old - new| as a share of the larger one; infinite where only one is a finite number.

    >>> _relative(2.0, 1.0), _relative(0.0, 0.0), _relative(1.0, math.nan)
    (0.5, 0.0, inf)
    """
    if old == new:
        return 0.0
    if not (math.isfinite(old) and math.isfinite(new)):
        return math.inf
    return abs(old - new) / max(abs(old), abs(new))


def _largest_in_tensors(old: Path, new: Path) -> tuple[float, str] | None:
    """The largest difference of two tensors, as a share of the tensor's largest number, and which; None: no numbers."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        before, after = load_file(old), load_file(new)
    except (SafetensorError, KeyError, TypeError):
        return None
    largest = (0.0, "no number differs")
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after or before[name].shape != after[name].shape:
            return math.inf, f"{name} is missing or has another shape"
        one, two = before[name].astype(np.float64), after[name].astype(np.float64)
        size = float(np.abs(one - two).max(initial=0.0) / max(np.abs(one).max(initial=0.0), 1e-300))
        largest = max(largest, (size, name))
    return largest


def _pages(name: str, old: Path, new: Path, tally: Tally) -> None:
    """The numbers that a page shows, also as lengths in its charts, and whether its words are the same."""
    before, after = (_shown(_text(path)) for path in (old, new))
    old_numbers, new_numbers = (_NUMBER.findall(text) for text in (before, after))
    tally.values += len(old_numbers)
    tally.equal += sum(one == two for one, two in zip(old_numbers, new_numbers, strict=False))
    if len(old_numbers) != len(new_numbers):
        tally.differs(name, f"{len(old_numbers)} numbers before, {len(new_numbers)} now")
    elif old_numbers != new_numbers:
        pairs = list(zip(old_numbers, new_numbers, strict=True))
        found = [(index, *pair) for index, pair in enumerate(pairs, start=1) if pair[0] != pair[1]]
        index, one, two = found[0]
        tally.differs(name, f"number {index}: {one} before, {two} now, and {len(found) - 1} more of {len(pairs)}")
    elif before != after:
        tally.words[name] += 1


def _shown(page: str) -> str:
    """A page without its style, the names of its tags, and what is no result."""
    for pattern in (re.compile(r"<style.*?</style>", re.DOTALL), _NO_RESULT, re.compile(r"</?[A-Za-z]\w*")):
        page = pattern.sub(" ", page)
    return page


def _lines(tallies: Mapping[str, Tally], show: int) -> Iterator[str]:
    """The table, then what differs, what is new and what is worded otherwise in each run."""
    width = max(len(name) for name in (*tallies, "run"))
    heads = f"{'files':>5}  {'values':>7}  {'equal':>7}  {'differ':>6}  {'new':>4}  {'words':>5}"
    yield f"{'run':{width}}  {heads}  largest relative difference"
    for name, tally in tallies.items():
        size, where = max(tally.largest, tally.largest_close)
        counts = f"{tally.files:>5}  {tally.values:>7}  {tally.equal:>7}  {len(tally.differing):>6}"
        others = f"{tally.added.total():>4}  {tally.words.total():>5}"
        yield f"{name:{width}}  {counts}  {others}  " + (f"{size:.1e}, {where}" if where else "none")
    for name, tally in tallies.items():
        kinds = {
            "differs": sorted(tally.differing),
            "only in the second": [f"{where} ({count} times)" for where, count in sorted(tally.added.items())],
            "worded otherwise": [f"{where} ({count} times)" for where, count in sorted(tally.words.items())],
        }
        for kind, found in kinds.items():
            yield from (f"{name}, {kind}: {line}" for line in found[:show])
            if len(found) > show:
                yield f"{name}, {kind}: {len(found) - show} more (--show)"


def main() -> int:
    """Compare; 0 where nothing differs, 1 where something does."""
    parser = argparse.ArgumentParser(description="Compare two folders of fixed runs.", allow_abbrev=False)
    parser.add_argument("before", type=Path, metavar="BEFORE")
    parser.add_argument("after", type=Path, metavar="AFTER")
    parser.add_argument("--close", nargs="+", default=[], metavar="FIGURE", help="compare these to 1e-12 as well")
    parser.add_argument("--show", type=int, default=20, metavar="N", help="lines of a kind and run (default: 20)")
    arguments = parser.parse_args()
    for folder in (arguments.before, arguments.after):
        if not folder.is_dir() or not _files(folder):
            parser.error(f"{folder} holds no results: name a folder that fixed_runs.py made")
    tallies = Comparison(arguments.before, arguments.after, close=arguments.close).run()
    for line in _lines(tallies, arguments.show):
        print(line)
    differing = sum(len(tally.differing) for tally in tallies.values())
    found = "1 difference" if differing == 1 else f"{differing:,} differences"
    print(found if differing else "nothing differs")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
