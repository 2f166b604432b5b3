"""Ids of the texts that a table of words is enough for, so that a process without the tokenizer can find them, too.

Which texts are left to the tokenizer is decided by the text alone. Knows no tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from surestep.encoding.words.word_ids import WordIds


@dataclass(frozen=True, slots=True)
class PartlyEncoded:
    """Texts, some of which have their ids. Can be pickled.

    Attributes:
        is_plain: bool [texts], which ones.
        ids: int32, theirs, one after another.
        lengths: int64, how many each of them has.
        others: the other texts.
    """

    is_plain: NDArray[np.bool_]
    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]
    others: list[str]


@dataclass(frozen=True, slots=True)
class PlainTexts:
    """Texts in ASCII without the text of an added token. Can be pickled.

    Attributes:
        words: their ids.
        may_be_added: finds what an added token begins with.
        is_added: finds a whole one, which takes longer.
    """

    words: WordIds
    may_be_added: re.Pattern[str]
    is_added: re.Pattern[str]

    def encode(self, texts: Sequence[str]) -> PartlyEncoded:
        """The ids of those texts that are plain."""
        may_be, is_added = self.may_be_added.search, self.is_added.search
        is_plain = np.array(
            [text.isascii() and (may_be(text) is None or is_added(text) is None) for text in texts], bool
        )
        if is_plain.all():
            return PartlyEncoded(is_plain, *self.words.of_texts(texts), [])
        plain = self.words.of_texts(list(compress(texts, is_plain)))
        return PartlyEncoded(is_plain, *plain, list(compress(texts, ~is_plain)))


def plain_texts(words: WordIds, added_tokens: Iterable[str]) -> PlainTexts:
    """The texts in which none of these tokens stands."""
    added = sorted(filter(None, added_tokens))
    starts = sorted({token[0] for token in added})
    return PlainTexts(
        words,
        re.compile(f"[{re.escape(''.join(starts))}]" if starts else r"(?!)"),
        re.compile("|".join(map(re.escape, added)) or r"(?!)"),
    )
