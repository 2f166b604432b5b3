"""JSON within every bound: whole files, logs, and the texts of a data file's records."""

from __future__ import annotations

import gc
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

from surestep.untrusted.bounds import DEPTH, DIGITS, DOCUMENT, Bound, shown
from surestep.untrusted.encodings import not_utf8
from surestep.untrusted.fast_json import LONGEST_NUMBER, UNSURE, sure_parser, sure_parser_of_many
from surestep.untrusted.places import open_regular

_PARSED_AT_ONCE = 16
"""Lines: more gains little, and one that is unusual has all of them parsed alone."""


def read_document(path: Path, *, bound: Bound = DOCUMENT) -> str:
    """The whole text of a small UTF-8 file.

    Raises:
        OSError: see `open_regular`.
        ValueError: it is longer than `bound`, or not UTF-8.
    """
    with open_regular(path) as file:
        content = file.read(bound() + 1)
    if len(content) > bound():
        raise ValueError(bound.exceeded("it holds"))
    if (reason := not_utf8(content)) != "":
        raise ValueError(reason)
    try:
        return content.decode("utf-8-sig")  # a mark of byte order in front, as Windows writes it, means nothing
    except UnicodeDecodeError as error:
        place = f"byte 0x{content[error.start]:02x} at place {error.start + 1}"
        raise ValueError(f"not UTF-8 text ({place}); save the file as UTF-8") from None


def read_json(path: Path, *, allow_nan: bool = False) -> Any:
    """The values of a JSON file that is read whole; a key that an object has twice is an error.

    Raises:
        OSError: see `open_regular`.
        ValueError: it is too large, no UTF-8 or no JSON, or beyond a bound.
    """
    return parse_json(read_document(path), allow_nan=allow_nan, unique_keys=True)


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a log of one object a line; a line that is none is passed over.

    A run killed while it wrote leaves half a line.

    Raises:
        OSError: see `open_regular`.
        ValueError: the file is too large, or not UTF-8.
    """
    for line in io.StringIO(read_document(path)):
        try:
            values = parse_json(line)
        except ValueError:
            continue
        if isinstance(values, dict):
            yield values


def parse_json(text: str, *, allow_nan: bool = True, unique_keys: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        text: of any length; whoever reads it has bounded that.
        allow_nan: whether NaN and Infinity, which JSON does not know, are numbers.
        unique_keys: whether an object that names a key twice is an error; else the last one holds.

    Raises:
        ValueError: `json.JSONDecodeError` for what is no JSON; else a bound, naming it.

    >>> parse_json('{"step": 3}')
    {'step': 3}
    """
    decoder = _decoder(allow_nan=allow_nan, unique_keys=unique_keys, has_long_numbers=has_long_number(text))
    try:
        value = decoder.decode(text)
    except RecursionError:
        raise ValueError(DEPTH.exceeded("it is nested")) from None
    check_depth(value, text)
    return value


def record_parser() -> Callable[[str], Any]:
    """`parse_json` for many records of a file, no key twice: the bounds that hold now are looked up once.

    >>> record_parser()('{"step": 3}')
    {'step': 3}
    """
    digits, depth = DIGITS(), DEPTH()
    decode = _decoder(allow_nan=True, unique_keys=True, has_long_numbers=False).decode
    parse_if_sure = None if digits < LONGEST_NUMBER else sure_parser(depth)

    def parse(text: str) -> Any:
        if parse_if_sure is not None and (value := parse_if_sure(text)) is not UNSURE:
            return value
        # Fewer characters than digits, and fewer brackets than levels, are within every bound.
        if len(text) > digits and has_long_number(text):
            return parse_json(text, unique_keys=True)
        if text.count("[") + text.count("{") <= depth:
            return decode(text)
        try:
            value = decode(text)
        except RecursionError:
            raise ValueError(DEPTH.exceeded("it is nested")) from None
        check_depth(value)
        return value

    return parse


def records_parser() -> Callable[[Sequence[str]], list[Any] | None]:
    """The values of several records, sooner than `record_parser` gives each; None where it is to be asked after all.

    >>> records_parser()(['{"step": 3}', '{"step": 4}']), records_parser()(['{"step": 3}', "{"])
    ([{'step': 3}, {'step': 4}], None)
    """
    parse = None if DIGITS() < LONGEST_NUMBER else sure_parser_of_many(DEPTH())
    return (lambda _texts: None) if parse is None else parse


def parsed_lines(
    lines: Iterable[tuple[int, str]], refuse: Callable[[Exception, int, str], NoReturn]
) -> Iterator[tuple[int, Any]]:
    """The values of numbered lines, blank ones passed over; of a list, for which nobody waits, several parsed at once.

    Args:
        lines: one JSON text each.
        refuse: is told, in its turn, of a line that is none: why, its number and its text.
    """
    parse, parse_several = record_parser(), records_parser()
    step = _PARSED_AT_ONCE if isinstance(lines, list) else 1
    coming = ((line, text) for line, text in lines if text and not text.isspace())
    while part := list(islice(coming, step)):
        values = parse_several([text for _, text in part]) if step > 1 else None
        if values is not None:
            yield from zip((line for line, _ in part), values, strict=True)
            continue
        for line, text in part:
            try:
                value = parse(text)
            except (ValueError, RecursionError) as error:
                refuse(error, line, text)
            yield line, value


_DIGIT = re.compile("[0-9]")
_LONG_NUMBERS: dict[int, re.Pattern[str]] = {}


def fault_of(error: json.JSONDecodeError) -> str:
    """What is wrong, in the parser's words, of which some end as if a place followed.

    >>> fault_of(json.JSONDecodeError("Unterminated string starting at", "", 0))
    'Unterminated string'
    """
    return error.msg.removesuffix(" at").removesuffix(" starting")


def has_long_number(text: str) -> bool:
    """Whether `text` has more digits in a row than a number may have; they may also stand within a string."""
    most = DIGITS()
    if len(text) <= most:
        return False
    # So many digits in a row cover one of the places `most + 1` apart, which are looked at first: there are few.
    for place in _DIGIT.finditer(text[:: most + 1]):
        pattern = _LONG_NUMBERS.setdefault(most, re.compile(rf"[0-9]{{{most + 1}}}"))
        middle = place.start() * (most + 1)
        if pattern.search(text, max(0, middle - most), middle + most + 1) is not None:
            return True
    return False


def json_decoder(text: str) -> json.JSONDecoder:
    """What decodes a data file's `text`: no key twice, numbers bounded; `check_depth` is for its results."""
    return _decoder(allow_nan=True, unique_keys=True, has_long_numbers=has_long_number(text))


@cache
def _decoder(*, allow_nan: bool, unique_keys: bool, has_long_numbers: bool) -> json.JSONDecoder:
    # A function per number or object is several times slower than none, so only where there is something to find.
    return json.JSONDecoder(
        parse_int=_whole_number if has_long_numbers else None,
        parse_constant=None if allow_nan else _refuse_constant,
        object_pairs_hook=_unique if unique_keys else None,
    )


_CONTAINERS = frozenset({dict, list})


def check_depth(value: object, text: str | None = None) -> None:
    """Raise where lists and objects lie too deep within each other.

    Args:
        value: what was parsed.
        text: what it was parsed from; where that has few brackets, nothing need be walked through.

    Raises:
        ValueError: naming the bound.
    """
    most = DEPTH()
    if text is not None and text.count("[") + text.count("{") <= most:
        return
    level, depth = [value] if isinstance(value, dict | list) else [], 0
    while level:
        # What these lists and objects hold, in one call: a third of the time of asking each.
        level = [inner for inner in gc.get_referents(*level) if type(inner) in _CONTAINERS]
        depth += 1
        if depth > most:
            raise ValueError(DEPTH.exceeded("it is nested"))


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def has_lone_surrogate(value: object) -> bool:
    """Whether a text in a JSON value holds half of a surrogate pair, which JSON can spell and UTF-8 cannot hold.

    >>> has_lone_surrogate({"a": ["\\ud83d"]}), has_lone_surrogate("\U0001f600")
    (True, False)
    """
    if isinstance(value, str):
        return _LONE_SURROGATE.search(value) is not None
    if isinstance(value, dict):
        return any(has_lone_surrogate(part) for pair in value.items() for part in pair)
    return isinstance(value, list) and any(map(has_lone_surrogate, value))


def _whole_number(text: str) -> int:
    if len(text.lstrip("-")) > DIGITS():
        raise ValueError(DIGITS.exceeded("a number has"))
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}; allowed: finite numbers")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} stands twice in one object; keep one")
    return values
