"""Ids of ASCII texts from a table of words, for tokenizers that split a text by a pattern and then encode word by word.

Such a tokenizer's own call takes most of its time to split a text and to keep each piece's place in it, which nobody
here asks for: looking up the words that Python's `re` finds gives the same ids in a tenth of the time. Everything else
(other characters, other kinds of tokenizers, patterns that `re` might read otherwise) is left to the tokenizer. Knows
the parts of Hugging Face tokenizers.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surestep.data.records.helper_process import batches
from surestep.encoding.tiny_tokenizer import PIECES
from surestep.encoding.words.id_table import IdTable
from surestep.encoding.words.word_starts import END, QWEN, qwen_starts, tiny_starts
from surestep.untrusted import parse_json

MOST_WORDS = 300_000
"""In the table at once; real texts have some ten thousand. About 150 bytes each."""
SLICE = 2**17
"""Characters that are worked on at once: what is made of them stays in a core's cache."""

Starts = Callable[[NDArray[np.uint8]], NDArray[np.int64]]

_STARTS: dict[str | None, Starts] = {QWEN: qwen_starts, PIECES: tiny_starts}
"""Of patterns for which that is known."""
_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What a `ByteLevel` splits by where it has to: the pattern of tokenizers' own source."""
_ALIKE = re.compile(
    r"""(?: \\p\{[LN]\} | \\[sSdrn] | \(\?(?:i:|:|!) | [)|?+*] | \{[0-9]+(?:,[0-9]*)?\}
    | \[\^?(?: \\p\{[LN]\} | \\[sSdrn] | [^][\\&^-] )+\] | [A-Za-z0-9\ ',;:!"\#%/<=>@_`~] )+""",
    re.VERBOSE,
)
"""Patterns that mean the same to Oniguruma and to `re`, of ASCII texts: no nested or intersected sets, no anchors."""
_REPEATED_TWICE = re.compile(r"[?+*}][?+*{]")
"""Lazy or possessive, which not every engine reads alike."""
_BYTE_CHARACTERS = {byte: 256 + byte for byte in range(33)} | {127: 289}
"""How a byte-level vocabulary spells the ASCII characters that it does not spell as they are."""
_PROBE = "It's  HE'LL say\t12,345 (x^2+y) = \\frac{1}{2}...\r\n\n  so  \n \n'tis  $5.00%  \x0b a\x1cb \x00 _d'Ve \n"


class WordIds:
    """The table; filled as words come. Several threads may ask. Pickled, it is empty again.

    Args:
        model: of the tokenizer, byte-level byte-pair encoding.
        splits: finds the words of an ASCII text, all of it.
        starts: where the words of many texts begin, as `splits` finds them, where that is known.
    """

    def __init__(self, model: Any, splits: re.Pattern[str], starts: Starts | None = None) -> None:
        self._made_of = model, splits, starts
        self._find, self._starts = splits.findall, starts
        table = _Table(model)
        self._id_of = table.__getitem__
        self._many = IdTable(table.ids, most=MOST_WORDS)

    def __reduce__(self) -> tuple[type[WordIds], tuple[Any, ...]]:
        return WordIds, self._made_of

    def joined(self, text: str) -> bytes:
        """The ids of an ASCII text without added tokens, int32 each."""
        return b"".join(map(self._id_of, self._find(text)))

    def of_texts(self, texts: Sequence[str], *, least: int = 2**14) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """`joined` of each, one after another, and how many ids each has.

        Args:
            texts: likewise.
            least: characters from which the passes over all of them are worth their beginning.
        """
        if self._starts is None or sum(map(len, texts)) < least:
            parts = list(map(self.joined, texts))
            lengths = np.fromiter(map(len, parts), np.int64, count=len(parts)) // 4
            return np.frombuffer(b"".join(parts), np.int32), lengths
        found = [self._of_slice(part, self._starts) for part in batches(texts, SLICE, len)]
        return np.concatenate([ids for ids, _ in found]), np.concatenate([lengths for _, lengths in found])

    def _of_slice(self, texts: list[str], starts_of: Starts) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        end = chr(END)
        data = f"{end.join(texts)}{end}".encode("latin-1")
        numbers = np.frombuffer(data, np.uint8)
        starts = starts_of(numbers)
        is_end = numbers[starts] == END
        ids, counts = self._many.ids(data, starts, ~is_end)
        return ids, np.diff(np.cumsum(counts)[is_end], prepend=0)


class _Table(dict[str, bytes]):
    """Word to its ids."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self._tokenize = model.tokenize

    def ids(self, word: str) -> bytes:
        """The model's, int32 each."""
        return array("i", [token.id for token in self._tokenize(word.translate(_BYTE_CHARACTERS))]).tobytes()

    def __missing__(self, word: str) -> bytes:
        ids = self.ids(word)
        if len(self) >= MOST_WORDS:
            self.clear()
        self[word] = ids
        return ids


def word_ids(backend: Any) -> WordIds | None:
    """The table of a tokenizer; None where its ids may depend on more than the words.

    Args:
        backend: the `tokenizers.Tokenizer`.
    """
    from tokenizers import models, normalizers

    plain = isinstance(backend.normalizer, normalizers.NFC | None)
    if not plain or not isinstance(backend.model, models.BPE) or backend.model.dropout is not None:
        return None
    pattern = _split_pattern(backend.pre_tokenizer)
    translated = None if pattern is None else in_python(pattern)
    if translated is None or array("i").itemsize != 4:
        return None
    try:
        found = WordIds(backend.model, re.compile(translated, re.ASCII), _STARTS.get(pattern))
        same = array("i", backend.encode(_PROBE, add_special_tokens=False).ids).tobytes()
        is_same = found.joined(_PROBE) == same == found.of_texts([_PROBE], least=0)[0].tobytes()
        return found if is_same else None
    except (re.error, ValueError):
        return None


def _split_pattern(pre_tokenizer: Any) -> str | None:
    """What a tokenizer finds words by; None where that is not known."""
    if pre_tokenizer is None:
        return None
    try:
        stated = parse_json(pre_tokenizer.__getstate__().decode())
    except (AttributeError, TypeError, ValueError):  # written in Python
        return None
    parts = stated.get("pretokenizers", [stated])
    *before, last = parts
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space") is not False:
        return None
    if not before and last.get("use_regex") is True:
        return _GPT2
    if len(before) != 1 or last.get("use_regex") is not False:
        return None
    (split,) = before
    pattern: str | None = (split.get("pattern") or {}).get("Regex") if split.get("type") == "Split" else None
    if split.get("behavior") != "Isolated" or split.get("invert") is not False:
        return None
    return pattern


def in_python(pattern: str) -> str | None:
    r"""A tokenizer's pattern as `re` reads it of ASCII texts, without groups, so that `findall` gives whole words; None
    where it might mean something else.

    What no alternative takes is a word of its own, as the tokenizer keeps it.

    >>> in_python(r"[^\s\p{L}]|\p{N}{1,3}")
    '[^\\sA-Za-z]|[0-9]{1,3}|(?:(?!(?:[^\\sA-Za-z]|[0-9]{1,3}))[\\S\\s])+'
    >>> in_python(r"\p{L}++") is None, in_python(r"\p{L}*") is None
    (True, True)
    """
    if _ALIKE.fullmatch(pattern) is None:
        return None
    translated = re.sub(
        r"\[[^]]*\]", lambda found: found[0].replace(r"\p{L}", "A-Za-z").replace(r"\p{N}", "0-9"), pattern
    )
    translated = translated.replace(r"\p{L}", "[A-Za-z]").replace(r"\p{N}", "[0-9]")
    if _REPEATED_TWICE.search(translated) is not None or re.match(translated, "") is not None:
        return None  # behind a word of no characters, one is passed over
    return rf"{translated}|(?:(?!(?:{translated}))[\S\s])+"
