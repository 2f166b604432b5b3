"""Ids of very many words at once: a table in NumPy of short words, whose bytes are a number.

Knows words and ids; knows no tokenizer and no text.

Legend: W words, U of those without a place in the table, I ids.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SHORT = 7
"""Bytes of a word that is one number of 64 bits with its length."""
_PLACES_BITS = 17
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MASKS = np.array([2 ** (8 * size) - 1 for size in range(SHORT + 1)], np.uint64)
_LENGTHS = np.array([(0x80 | size) << 56 for size in range(SHORT + 1)], np.uint64)
"""Behind a word's bytes; no word of ASCII characters has such a byte."""

_Ids = NDArray[np.int32]
_Places = NDArray[np.int64]


class IdTable:
    """Filled as words come. Several threads may ask.

    Args:
        ids_of: the ids of a word, int32 each.
        most: words that are kept at once.
    """

    def __init__(self, ids_of: Callable[[str], bytes], *, most: int) -> None:
        self._ids_of, self._most, self._lock = ids_of, most, threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._numbers: dict[bytes, int] = {}
        """Of a word: its id; of one with several or none, -1 minus its number among these."""
        self._several = array("i")
        self._several_starts = array("q", [0])
        self._keys = np.zeros(2**_PLACES_BITS, np.uint64)
        self._values = np.zeros(2**_PLACES_BITS, np.int32)

    def ids(self, data: bytes, starts: _Places, is_wanted: NDArray[np.bool_]) -> tuple[_Ids, _Places]:
        """The ids of words that lie one behind the other.

        Args:
            data: ASCII words, with whatever lies between them.
            starts: [W], where each begins; it ends where the next one begins, the last with `data`.
            is_wanted: [W]; the others have no ids.

        Returns:
            int32 [I], and int64 [W], how many each word has.
        """
        with self._lock:
            if len(self._numbers) >= self._most:
                self._clear()
            sizes = np.diff(starts, append=len(data))
            numbers = np.zeros(len(starts), np.int32)
            is_short = is_wanted & (sizes <= SHORT)
            short = np.flatnonzero(is_short)
            numbers[short] = self._of_short(data, starts[short], sizes[short])
            long = np.flatnonzero(is_wanted & ~is_short)
            find = self._number_of
            numbers[long] = [
                find(data[start : start + size])
                for start, size in zip(starts[long].tolist(), sizes[long].tolist(), strict=True)
            ]
            return self._spread(numbers, is_wanted)

    def _of_short(self, data: bytes, starts: _Places, sizes: _Places) -> _Ids:
        padded = np.frombuffer(data + bytes(8), np.uint8)
        eight = np.ndarray((len(data) + 1,), np.dtype("<u8"), padded, strides=(1,))
        keys = (eight[starts] & _MASKS[sizes]) | _LENGTHS[sizes]
        places = ((keys * _SPREAD) >> np.uint64(64 - _PLACES_BITS)).astype(np.int64)
        numbers = self._values[places]
        absent = np.flatnonzero(self._keys[places] != keys)
        if len(absent):
            _, first, of_word = np.unique(keys[absent], return_index=True, return_inverse=True)
            chosen = absent[first]
            found = [
                self._number_of(data[start : start + size])
                for start, size in zip(starts[chosen].tolist(), sizes[chosen].tolist(), strict=True)
            ]
            numbers[absent] = np.array(found, np.int32)[of_word]
            # Who comes first keeps a place: taken again and again, it would serve nobody.
            free, among = np.unique(places[chosen], return_index=True)
            is_free = self._keys[free] == 0
            free, chosen = free[is_free], chosen[among[is_free]]
            self._keys[free], self._values[free] = keys[chosen], numbers[chosen]
        return numbers

    def _number_of(self, word: bytes) -> int:
        number = self._numbers.get(word)
        if number is None:
            ids = array("i", self._ids_of(word.decode("ascii")))
            if len(ids) == 1:
                number = ids[0]
            else:
                number = -len(self._several_starts)
                self._several.extend(ids)
                self._several_starts.append(len(self._several))
            self._numbers[word] = number
        return number

    def _spread(self, numbers: _Ids, is_wanted: NDArray[np.bool_]) -> tuple[_Ids, _Places]:
        """Ids for the numbers of words."""
        counts = is_wanted.astype(np.int64)
        several = np.flatnonzero(numbers < 0)
        if not len(several):
            return numbers[is_wanted], counts
        starts, several_ids = np.array(self._several_starts, np.int64), np.array(self._several, np.int32)
        first = starts[-1 - numbers[several]]
        size = starts[-numbers[several]] - first
        counts[several] = size
        ids = np.repeat(numbers, counts)
        place = (np.cumsum(counts) - counts)[several]
        within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        ids[np.repeat(place, size) + within] = several_ids[np.repeat(first, size) + within]
        return ids, counts
