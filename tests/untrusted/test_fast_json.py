"""Records that orjson reads are those that Python's reader gives, with the same refusals."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from surestep.untrusted import fast_json as fast_json_module
from surestep.untrusted import parse_json
from surestep.untrusted.fast_json import UNSURE, sure_parser
from surestep.untrusted.json_text import record_parser, records_parser

PIECES = [
    *('"', '"a"', '"b"', ":", " ", ",", "{", "}", "[", "]", "1", "-0", "1e5", "9" * 18, "9" * 20, "1e400", "\t", "\n"),
    *('\\"', "\\u0022", "\\u003a", "\\", '"a\\":b"', '"a":', '"a" :', "null", "NaN", '"\\ud800"', '"é"', "1.5"),
    *('{"a":1,"a":2}', '{"a" : 1, "a":2}', '{"a\\"":1,"a\\u0022":2}', '{"a":"\\":","b":[', '{"a":{"b":1},"c":'),
]
KEYS = st.sampled_from(["a", "b", '"', '":', "a:", " :", "\\"])
TEXTS = st.text('a":\\ :é\ud800\u2028', max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(KEYS, inner), max_size=3).map(tuple),
    max_leaves=10,
)


def outcome(text: str, *, fast: bool) -> str:
    """The value, told apart from equal ones of another type, or the refusal."""
    try:
        return repr(record_parser()(text) if fast else parse_json(text, unique_keys=True))
    except (ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


def spelled(value: object, between: tuple[str, str], by_number: bool) -> str:
    """JSON of a value; a tuple is an object, which may have a key twice."""
    comma, colon = between
    if isinstance(value, tuple):
        pairs = [f"{spelled(k, between, by_number)}{colon}{spelled(v, between, by_number)}" for k, v in value]
        return f"{{{comma.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{comma.join(spelled(part, between, by_number) for part in value)}]"
    if isinstance(value, str) and by_number:
        return f'"{"".join(f"{chr(92)}u{ord(sign):04x}" for sign in value)}"'
    return json.dumps(value)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@example('{"a":"\\u0022:","a":1}')
@example('{"a":"\\u0022\\u003a","b":1,"b":2}')
def test_any_text_is_read_or_refused_alike(text: str) -> None:
    assert outcome(text, fast=True) == outcome(text, fast=False)


def check_many(texts: list[str]) -> None:
    found = records_parser()(texts)
    assert found is None or list(map(repr, found)) == [outcome(text, fast=False) for text in texts]


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), min_size=1, max_size=4))
@example(['{"a":1},{"b":[{}', "{}]}"])
@example(['{"a":1', '"a":2}'])
@example(['{"a":"\\u0022:","a":1}', "{}"])
@example(["1,2", "3"])
def test_several_texts_are_read_as_each_alone(texts: list[str]) -> None:
    check_many(texts)


@given(st.lists(st.tuples(VALUES, st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")])), min_size=1, max_size=5))
def test_several_values_are_read_as_each_alone(values: list[tuple[object, tuple[str, str]]]) -> None:
    check_many([spelled(value, between, by_number=False) for value, between in values])


def test_what_stands_between_records_is_known_by_no_text() -> None:
    number = fast_json_module._NUMBER_BETWEEN
    for texts in ([f'{{"a":1}},{number},{{"b":[{{}}', "{}]}"], [f"1,{number},2", "3"], [f"[{number}]", f"{number}"]):
        check_many(texts)


@given(VALUES, st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :"), ("\t,", "\t:"), (",", "\r:")]), st.booleans())
def test_values_are_read_alike_however_they_are_spelled(
    value: object, between: tuple[str, str], by_number: bool
) -> None:
    text = spelled(value, between, by_number)
    assert outcome(text, fast=True) == outcome(text, fast=False)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_the_bound_on_nesting_holds_to_the_level(opening: str, closing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("100", "3", "253", "254", "300"):
        monkeypatch.setenv("SURESTEP_MAX_DEPTH", bound)
        for levels in {1, 2, 3, 4, 50, 99, 100, 101, 127, 253, 254, 255, 299, 301}:
            text = opening * levels + "1" + closing * levels
            assert outcome(text, fast=True) == outcome(text, fast=False)
            check_many([text, text])


def test_a_lower_bound_on_digits_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURESTEP_MAX_DIGITS", "5")
    for text in ('{"a": 12345}', '{"a": 123456}', '{"a": "123456"}'):
        assert outcome(text, fast=True) == outcome(text, fast=False)
        check_many([text, "{}"])


def test_ordinary_records_are_sure_and_others_are_not() -> None:
    parse = sure_parser(100)
    assert parse is not None
    for text in ('{"a": [1, 2.5, null, true], "b": {"c": "x: \\"y\\" é \\u2028"}}\n', "[]", '"a:b"'):
        assert parse(text) == json.loads(text)
    for text in ('{"a": 1, "a": 1}', "NaN", "9" * 19, '"\\ud800"', "{", '{"a" : "b :"}\t', "\udcff"):
        assert parse(text) is UNSURE
        assert records_parser()(["{}", text]) is None
    assert records_parser()(['{"a": [1, 2.5]}\n', "[]\n"]) == [{"a": [1, 2.5]}, []]
    assert sure_parser(10_000) is None
