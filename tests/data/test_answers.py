"""Answers of solutions: which of several places counts, and which spellings are one answer."""

from __future__ import annotations

import pytest

from surestep.data.benchmarks.final_answer import extract_answer, normalize_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"\boxed{\frac{3}{4}} and #### 5", "3/4"),
        (r"\boxed{a_{1} + b_{2}}", "a_{1}+b_{2}"),
        (r"\fbox{7}", "7"),
        ("#### 1,000\nnot 3", "1000"),
        ("so 4\n\n# Answer\n\n12", "12"),
        ("He makes 9 * 2 = $<<9*2=18>>18 a day\nA: 18", "18"),
        ("it costs -3.50 dollars", "-3.5"),
        ("a total of $70,000.", "70000"),
        ("the values 1,2,3", "1,2,3"),  # a list is no number with thousands: its commas stay
        (r"never closed \boxed{1", "1"),
        ("no number at all", None),
        ("", None),
    ],
)
def test_where_the_answer_stands(text: str, expected: str | None) -> None:
    assert extract_answer(text) == expected


@pytest.mark.parametrize(
    "spellings",
    [
        ["18", "18.", "18.0", "18.00", " $18 ", r"\$18", "018", "18%", r"18\%"],
        ["1234567", "1,234,567", "1,234,567.0"],
        ["1/2", r"\frac{1}{2}", r"\dfrac{1}{2}", r"$\tfrac{1}{2}$"],
        ["0", "0.0", "-0", "00"],
        ["0.5", ".5", "0.50"],
        ["even", "Even", r"\text{Even}", r"\text{even}."],
        [r"\left(1,2\right)", "(1, 2)"],
        [r"30^\circ", "30"],
    ],
)
def test_spellings_of_one_answer(spellings: list[str]) -> None:
    assert len({normalize_answer(text) for text in spellings}) == 1


@pytest.mark.parametrize(("left", "right"), [("1/2", "0.5"), ("12", "1,2"), ("100", "1"), ("-3", "3"), ("10", "1")])
def test_what_stays_apart(left: str, right: str) -> None:
    assert normalize_answer(left) != normalize_answer(right)


def test_nothing_is_no_answer() -> None:
    assert normalize_answer(" $ ") is None
    assert extract_answer(r"\boxed{}") is None
