"""Answers that say the same, by spelling, as numbers and as mathematics; in any thread, and never for long."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep.data.benchmarks import answers
from surestep.data.benchmarks.answers import comparison, equivalent, group_equivalent

SAME = [
    ("1,200", "$1200.0$"),
    ("0.5", r"\frac{1}{2}"),
    ("1/3", r"\dfrac{1}{3}"),
    (r"\text{ Even }", "even"),
    ("x=5", "5"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\{1,2\}", r"\{2,1\}"),
    ("2^{10}", "1024"),
    (r"50\%", "50"),
    ("1e", "1e"),
    ("", " "),
]
DIFFERENT = [
    ("3", "4"),
    ("0.3333", "1/3"),
    ("(1,2)", "(2,1)"),
    ("[1,2)", "(1,2)"),
    ("", "0"),
    ("1/0", "2"),
    ("a", "b"),
    ("listen", "silent"),
    (r"\text{cat}", "act"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_the_same(a: str, b: str) -> None:
    assert equivalent(a, b)
    assert equivalent(b, a)


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_different(a: str, b: str) -> None:
    assert not equivalent(a, b)
    assert not equivalent(b, a)


DEAR = [
    "9^{9^{9^9}}", "9**9**9", "10^{1000}", "((9^{99})^{99})^{99}", "100000!", r"\sum_{k=1}^{10000000} k", "(" * 150,
    "9" * 150, r"\frac{" * 40, "9^(99)^99", "x^" * 60, "+".join("abcdefghij" * 9), r"\binom{99999}{5555}", "9^ 9^ 9^ 9",
]  # fmt: skip


@pytest.mark.parametrize("answer", DEAR)
def test_what_could_take_long_is_compared_by_its_spelling(answer: str) -> None:
    begun = time.monotonic()
    assert not equivalent(answer, r"\frac{x}{2}")
    assert equivalent(answer, f" {answer}")
    assert time.monotonic() - begun < 2


def test_in_threads() -> None:
    """math-verify's own time limit works in the main thread only."""
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda i: equivalent(f"\\sqrt{{{4 * i}}}", f"2\\sqrt{{{i}}}"), range(2, 10)))


@given(st.lists(st.sampled_from(["1", "1.0", "2/2", "2", r"\frac{4}{2}", "x", None]), max_size=8))
def test_groups(given_: list[str | None]) -> None:
    numbers = group_equivalent(given_)
    assert sorted(set(numbers)) == list(range(len(set(numbers))))
    value = {"1": 1, "1.0": 1, "2/2": 1, "2": 2, r"\frac{4}{2}": 2, "x": 3}
    for i, a in enumerate(given_):
        for j, b in enumerate(given_):
            same = i == j or (a is not None and b is not None and value[a] == value[b])
            assert (numbers[i] == numbers[j]) is same


@settings(max_examples=10)
@given(st.text(max_size=12), st.text(max_size=12))
def test_any_text_compares_either_way_round(a: str, b: str) -> None:
    assert equivalent(a, a)
    assert equivalent(a, b) is equivalent(b, a)


def test_without_math_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_has_math_verify", lambda: False)
    answers._equivalent.cache_clear()
    assert "math-verify is not installed" in comparison()
    assert equivalent("0.5", "1/2")
    assert not equivalent(r"\sqrt{8}", r"2\sqrt{2}")
    answers._equivalent.cache_clear()
