"""Problems that are nearly, not exactly, the same: most of the shorter one's runs of words stand in the other.

Knows problem texts; knows no dataset and no file. Caught: other punctuation, spacing, case and markup, a sentence added
or cut, a few words changed in a long problem. Not caught: paraphrases, translations, the same problem with several
other numbers or names, and problems of fewer than 14 words. A problem that differs in one number counts as near.

The measure is the containment of Broder (On the resemblance and containment of documents, 1997), on runs of words.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from surestep.data.trees.identity import normalize_text

RUN_WORDS = 5
"""Words in a run."""
FEWEST_RUNS = 10
"""Problems with fewer different runs are not compared: too short to tell a copy from a common phrase."""
SHARE = 0.8
"""Share of the shorter problem's runs that the other must hold."""

_WORD = re.compile(r"\w+")


def word_runs(text: str) -> frozenset[int]:
    """Hashes of the runs of `RUN_WORDS` words; case and everything but letters, digits and _ is left aside.

    >>> word_runs("What is the sum, please?") == word_runs("what is the SUM please")
    True
    """
    words = _WORD.findall(text.lower())
    return frozenset(hash(tuple(words[i : i + RUN_WORDS])) for i in range(len(words) - RUN_WORDS + 1))


def find_near_copies(train: Iterable[str], evaluated: Iterable[str]) -> list[tuple[str, str]]:
    """Problems of `evaluated` with a near copy in `train`: pairs (evaluated, the nearest training problem).

    Problems with an exact copy (by `normalize_text`) are left out. Takes time in proportion to the text.

    >>> problem = "A train leaves the station at noon and travels at sixty miles an hour for two whole hours"
    >>> len(find_near_copies([problem + ". How far?"], [problem.upper() + " — how far does it go?"]))
    1
    """
    training = dict.fromkeys(train)
    exact = {normalize_text(text) for text in training}
    problems = {key: text for text in evaluated if (key := normalize_text(text)) not in exact}
    runs = {key: found for key, text in problems.items() if len(found := word_runs(text)) >= FEWEST_RUNS}
    holders: defaultdict[int, list[str]] = defaultdict(list)
    for key, found in runs.items():
        for run in found:
            holders[run].append(key)
    nearest: dict[str, tuple[float, str]] = {}
    for text in training:
        ours = word_runs(text)
        if len(ours) < FEWEST_RUNS:
            continue
        shared = Counter(key for run in ours for key in holders.get(run, ()))
        for key, number in shared.items():
            share = number / min(len(ours), len(runs[key]))
            if share >= SHARE and share > nearest.get(key, (0.0, ""))[0]:
                nearest[key] = (share, text)
    return [(problems[key], text) for key, (_, text) in nearest.items()]


def near_copies_within(problems: Iterable[str]) -> list[tuple[str, str]]:
    """Problems of one set that are near copies of an earlier one in it: pairs (the later, the earlier).

    Exact copies (by `normalize_text`) are one problem and are left out; so is what is only near a later one's copy.

    >>> problem = "A train leaves the station at noon and travels at sixty miles an hour for two whole hours"
    >>> len(near_copies_within([problem + ". How far?", "1 + 1", problem + " — how far does it go?"]))
    1
    """
    texts = {normalize_text(text): text for text in reversed(list(problems))}
    holders: defaultdict[int, list[str]] = defaultdict(list)
    num_runs: dict[str, int] = {}
    pairs = []
    for key, text in reversed(texts.items()):
        ours = word_runs(text)
        if len(ours) < FEWEST_RUNS:
            continue
        shared = Counter(earlier for run in ours for earlier in holders.get(run, ()))
        near = {k: number / min(len(ours), num_runs[k]) for k, number in shared.items()}
        nearest = max(near, key=lambda k: near[k], default=None)
        if nearest is not None and near[nearest] >= SHARE:
            pairs.append((text, texts[nearest]))
            continue
        num_runs[key] = len(ours)
        for run in ours:
            holders[run].append(key)
    return pairs
