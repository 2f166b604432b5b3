"""Kinds of steps: the rule on texts made by it, and on any text at all."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.data.trees.step_kinds import STEP_KINDS, step_kind

NUMBERS = st.integers(0, 10_000).map(str) | st.decimals(0, 99, places=2).map(str)
VARIABLES = st.sampled_from("bcdefghjklmnpqrstuvwxyzBCDEFGHJKLMNPQRSTUVWXYZ")
OPERATORS = st.sampled_from(["+", "-", "*", "/", "^", "×", "·", "÷", "−", r"\cdot", r"\times"])
RELATIONS = st.sampled_from(["=", "<", ">", "≤", r"\leq", r"\neq"])
BLANKS = st.sampled_from(["", " ", "  "])
WORDS = st.lists(
    st.sampled_from(["so", "the", "number", "of", "apples", "is", "we", "know", "that", "two-digit", "km/h", "and/or"]),
    min_size=1,
    max_size=6,
).map(" ".join)


@st.composite
def equations(draw: st.DrawFn, *, with_variable: bool) -> str:
    """An equation of numbers, one of them a variable where asked for, plain or in TeX, within words."""
    terms = draw(st.lists(NUMBERS, min_size=2, max_size=4))
    if with_variable:
        terms[draw(st.integers(0, len(terms) - 1))] = draw(VARIABLES)
    blank = draw(BLANKS)
    text = terms[0]
    for term in terms[1:-1]:
        text += f"{blank}{draw(OPERATORS)} {term}"
    text += f" {draw(RELATIONS)} {terms[-1]}"
    text = draw(st.sampled_from(["{}", "${}$", r"\({}\)", "$$ {} $$", "({})"])).format(text)
    return f"{draw(WORDS)} {text} {draw(WORDS)}."


@given(equations(with_variable=False))
def test_numbers_beside_operators_are_arithmetic(text: str) -> None:
    assert step_kind(text) == "arithmetic"


@given(equations(with_variable=True))
def test_a_variable_in_an_equation_is_algebra(text: str) -> None:
    assert step_kind(text) == "algebra"


@given(WORDS, NUMBERS, WORDS)
def test_words_and_numbers_that_are_only_named_are_text(before: str, value: str, after: str) -> None:
    assert step_kind(f"{before} {value} {after}") == "text"


@given(equations(with_variable=False) | equations(with_variable=True) | WORDS, WORDS)
def test_words_around_and_a_number_in_front_change_nothing(text: str, words: str) -> None:
    assert step_kind(f"{words} {text} {words}") == step_kind(text)
    assert step_kind(f"3. {text}") == step_kind(f"  - {text}") == step_kind(text)


@given(st.text(st.characters() | st.sampled_from("$\\(){}[]^_=+-*/x1 "), max_size=60))
def test_every_text_has_a_kind(text: str) -> None:
    assert step_kind(text) in STEP_KINDS


@pytest.mark.parametrize("part", ["(", "$", "{", r"\(", r"\[", r"\frac{", r"\text{", "- ", "1 ", "x", "a ", " ", "1. "])
def test_a_hostile_text_takes_no_time(part: str) -> None:
    start = time.process_time()
    step_kind(part * (100_000 // len(part)))
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (r"So $x^2+y^2=25$.", "algebra"),
        (r"I want to find the smallest $n$ for which this holds.", "text"),
        (r"\frac{3}{4} of them are red", "arithmetic"),
        (r"That is $\frac{12 \cdot 5}{2} = 30$ pages.", "arithmetic"),
        ("f(x) is odd", "algebra"),
        ("Let x be the price of a pen.", "text"),
        ("A triangle has 3 sides.", "text"),
        ("A = 12", "algebra"),
        ("I - he said - know it", "text"),
        ("# Answer\n\n42", "text"),
        ("the x-axis", "text"),
        (r"Here \text{cost} = 5 dollars", "arithmetic"),
        ("", "text"),
    ],
)
def test_kinds_of_real_steps(text: str, kind: str) -> None:
    assert step_kind(text) == kind
