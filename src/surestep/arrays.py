"""The arrays that scored steps and figures are made of, and the checks that name the first row that cannot be."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from surestep.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
KeyArray = npt.NDArray[np.uint64]


_Scalar = TypeVar("_Scalar", bound=np.generic)


def distinct(values: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    """`np.unique` of numbers without NaN: each once, in order. With where each is: `distinct_and_places`.

    NumPy from 2.3 on looks for copies in a hash table: a million different numbers take a second; here, 12 ms.

    >>> distinct(np.array([3, 1, 3])).tolist()
    [1, 3]
    """
    ordered = np.sort(np.asarray(values), axis=None)
    is_first = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return ordered[is_first]


MOST_LOOKED_UP = 4096
"""Distinct numbers among which each of many is looked up faster than all are put in order."""


def distinct_and_places(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], IntArray]:
    """The distinct values, ascending, and where among them each of `values`, (N,), is: `np.unique` with its inverse.

    Several times faster where whole numbers lie close together, or few numbers are distinct. Of 0.0 and -0.0, which are
    equal, 0.0 is the value, whichever comes first.

    >>> [found.tolist() for found in distinct_and_places(np.array([0.5, 0.25, 0.5]))]
    [[0.25, 0.5], [1, 0, 1]]
    """
    if values.size and values.dtype.kind == "i":
        least = int(values.min())
        span = int(values.max()) - least + 1
        if span <= 2 * values.size + MOST_LOOKED_UP:
            from_least = values.astype(np.int64, copy=False) - least  # which narrow numbers may not hold
            is_there = np.zeros(span, np.bool_)
            is_there[from_least] = True
            found = (np.flatnonzero(is_there) + least).astype(values.dtype, copy=False)
            return found, (np.cumsum(is_there) - 1)[from_least]
    elif values.size and values.dtype.kind == "f":
        ordered = np.sort(values)
        found = ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))] + 0.0  # without the sign of -0.0
        if found.size <= MOST_LOOKED_UP and not np.isnan(ordered[-1]):
            return found, np.searchsorted(found, values).astype(np.int64, copy=False)
    unique, place = np.unique(values, return_inverse=True)
    return unique + 0.0 if values.dtype.kind == "f" else unique, place.astype(np.int64, copy=False)


def check_unit_interval(name: str, values: FloatArray, hint: str = "") -> None:
    """Refuse values outside [0, 1], naming the first.

    Args:
        name: what the values are, for the message.
        values: shape (N,).
        hint: how to mend it, appended to the message.

    Raises:
        DataError: a value is below 0, above 1 or NaN.
    """
    # Written as "not inside" so that NaN, which compares false with everything, is refused too.
    wrong = ~((values >= 0.0) & (values <= 1.0))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"prediction row {row} (counted from 0) has {name} {values[row]}; allowed: 0 to 1, not NaN"
            + (f"; {hint}" if hint else "")
        )


def whole_numbers(name: str, values: IntArray) -> IntArray:
    """As int64.

    Raises:
        DataError: they are of another type: 1.5 or NaN are refused rather than cut to a whole number.
    """
    raw = np.asarray(values)
    if raw.size and not np.issubdtype(raw.dtype, np.integer):
        raise DataError(f"{name} is of type {raw.dtype}; allowed: whole numbers")
    return own_array(values, np.int64)


def own_array(values: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """`values` as a read-only array that nobody writes to: a copy, or itself where it is such an array.

    >>> first = own_array([0.5, 1.0], np.float64)
    >>> own_array(first, np.float64) is first, own_array(first[:1], np.float64).base is None
    (True, True)
    """
    if isinstance(values, np.ndarray) and values.dtype == dtype and values.base is None and not values.flags.writeable:
        return values
    array: npt.NDArray[Any] = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array


def check_range(name: str, values: IntArray, least: int, greatest: int | None) -> None:
    """Refuse whole numbers below `least` or above `greatest` (None: no bound), naming the first.

    Raises:
        DataError: there is one.
    """
    wrong = values < least
    if greatest is not None:
        wrong |= values > greatest
    if wrong.any():
        row = int(np.argmax(wrong))
        allowed = f"at least {least}" if greatest is None else f"{least} to {greatest}"
        raise DataError(f"prediction row {row} (counted from 0) has {name} {values[row]}; allowed: {allowed}")
