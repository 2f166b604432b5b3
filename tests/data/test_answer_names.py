"""Which answers are one vote: spellings of a value, an equivalence relation, the same in any order and any company."""

from __future__ import annotations

import random
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep.data.benchmarks import answer_process
from surestep.data.benchmarks.answer_process import AnswerProcess
from surestep.data.benchmarks.answer_spelling import clean_answer, normalize_answer
from surestep.data.benchmarks.answers import answer_name, equivalent, group_equivalent, kinds_of
from surestep.data.benchmarks.composed_answers import composed_name
from surestep.data.benchmarks.mathematical_form import mathematical_name

ONE_VOTE = [
    [
        r"\frac{1}{2}",
        r"\frac12",
        r"\tfrac12",
        r"\dfrac{1}{2}",
        r"\frac 1 2",
        "1/2",
        "0.5",
        ".50",
        "½",
        r"$\frac{1}{2}$.",
    ],
    ["x=5", "5", "x = 5.0", "$5$", r"\boxed{5}", "5 = x", "f(x) = 5", r"5 \text{ cm}", "5 apples", "**5**", "５"],
    ["(C)", r"\text{(C)}", "C", r"\textbf{(C)}", "c.", "(c)", r"\mathrm{C}", "(C) 12"],
    ["-5", "−5", "–5", "- 5", "$-5$", r"\boxed{−5}"],
    ["300000", "300,000", r"3 \times 10^{5}", r"3\cdot10^5", "3e5", "3×10⁵", r"300{,}000", r"300,\!000", r"\$300,000"],
    ["1.8", r"1\frac{4}{5}", "1 4/5", r"\frac95", "9/5"],
    [r"0.\overline{3}", "1/3", r".\overline{3}"],
    ["3 million", "3,000,000", r"3 \text{ million dollars}"],
    ["90", r"90^\circ", "90°", "90 degrees", r"90^{\circ}"],
    ["50%", r"50\%", "50", "50 percent"],
    ["(1,2)", "( 1, 2 )", r"\left(1,2\right)", r"\langle 1, 2 \rangle", r"(\frac22, 2.0)"],
    ["1, 2", "2,1", r"\{1,2\}", "x=1 or x=2", r"x = 1 \text{ or } x = 2", "1 and 2", "x=1, x=2", "x=1,2"],
    [r"(-\infty, 2] \cup (3, \infty)", r"(3,\infty) \cup (-\infty,2]", r"x \in (-\infty, 2]\cup(3,\infty)"],
    [r"\begin{pmatrix} 1 \\ \frac12 \end{pmatrix}", r"\begin{bmatrix}1\\0.5\end{bmatrix}"],
    ["Evelyn", r"\text{Evelyn}", "evelyn."],
    ["52_8", "52_{8}", "052_8"],
    ["7 p.m.", "7 pm", "7PM"],
]
ONE_VOTE_AS_MATHEMATICS = [
    [r"2\sqrt{2}", r"\sqrt{8}", "√8", r"2\sqrt2", r"\sqrt 8"],
    ["x^2 + 2x + 1", "(x+1)^2", "1+2x+x²", "x**2+2x+1", "y = (1+x)^2"],
    [r"3 \pm \sqrt{2}", r"3+\sqrt2, 3-\sqrt2", r"\{3-\sqrt{2}, 3+\sqrt{2}\}"],
    ["x > 3", r"(3, \infty)", "3 < x", r"x \in (3,\infty)"],
    [r"(1+\sqrt2)(\sqrt2-1)", "1"],
    ["5!", "120"],
    [r"\sin 30^\circ", "1/2"],
    ["(1+i)^2", "2i"],
    ["2x + y = 4", "4 - y = 2x", "x + y/2 = 2"],
]
APART = [
    ("1/3", "0.333333"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "1,2"),
    ("[1,2)", "(1,2)"),
    ("(1,200)", "1200"),
    ("52_8", "52"),
    ("52_8", "42"),
    ("3 million", "3"),
    ("10 am", "10 pm"),
    ("10:30", "5:15"),
    ("x=1, y=2", "x=2, y=1"),
    ("listen", "silent"),
    ("no", "on"),
    (r"\sqrt{x^2}", "x"),
    ("2x+y=4", "2x+y=5"),
    ("3 dozen", "3"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}"),
    (r"\frac{1}{2}x", r"\frac{1}{2x}"),
    ("", "0"),
]


@pytest.mark.slow
@pytest.mark.parametrize("spellings", [*ONE_VOTE, *ONE_VOTE_AS_MATHEMATICS], ids=lambda spellings: spellings[0])
def test_spellings_of_one_answer_are_one_vote(spellings: list[str]) -> None:
    names = {spelling: answer_name(spelling) for spelling in spellings}
    assert len(set(names.values())) == 1, names
    assert group_equivalent(spellings) == [0] * len(spellings)


@pytest.mark.parametrize(("a", "b"), APART)
def test_what_says_something_else_is_another_vote(a: str, b: str) -> None:
    assert not equivalent(a, b), answer_name(a)


@st.composite
def spelled_numbers(draw: st.DrawFn) -> tuple[Fraction, str]:
    """A fraction in one of the ways to write it."""
    top, bottom = draw(st.integers(-2000, 2000)), draw(st.sampled_from([1, 1, 2, 3, 4, 5, 7, 8, 12]))
    value = Fraction(top, bottom)
    sign, size = ("-", -value) if value < 0 else ("", value)
    whole, part = divmod(size.numerator, size.denominator)
    ways = [
        f"{sign}{size.numerator}/{size.denominator}",
        rf"{sign}\frac{{{size.numerator}}}{{{size.denominator}}}",
        rf"\dfrac{{{sign}{size.numerator}}}{{{size.denominator}}}",
    ]
    if size.denominator in (1, 2, 4, 5, 8):
        ways += [
            f"{sign}{float(size):,.3f}",
            f"{sign}{float(size)}",
            rf"{sign}{float(size) * 100:.1f} \times 10^{{-2}}",
        ]
    if whole and part:
        ways.append(rf"{sign}{whole}\frac{{{part}}}{{{size.denominator}}}")
    text = draw(st.sampled_from(ways))
    around = [
        "{}",
        "${}$",
        "x = {}",
        r"\boxed{{{}}}",
        "{}.",
        r" {} \text{{ cm}}",
        r"\left. {} \right.",
        "**{}**",
        r"{}^\circ",
    ]
    text = draw(st.sampled_from(around)).format(text)
    return value, text.replace("-", draw(st.sampled_from("-−–")))


@settings(max_examples=70, deadline=None)
@given(st.lists(spelled_numbers(), min_size=2, max_size=4))
def test_numbers_are_equal_exactly_where_their_values_are(numbers: list[tuple[Fraction, str]]) -> None:
    for value, text in numbers:
        assert answer_name(text) == f"number:{value}", text
    groups = group_equivalent([text for _, text in numbers])
    for (value, _), group in zip(numbers, groups, strict=True):
        assert [other for other, one in zip(numbers, groups, strict=True) if one == group and other[0] != value] == []


POOL = sorted({one for group in (*ONE_VOTE, *ONE_VOTE_AS_MATHEMATICS) for one in group[:4]} | {a for a, _ in APART})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*POOL, None]), max_size=12), st.randoms(use_true_random=False))
def test_votes_do_not_hang_on_the_order_or_on_the_company(answers: list[str | None], order: random.Random) -> None:
    places = list(range(len(answers)))
    order.shuffle(places)
    before, after = group_equivalent(answers), group_equivalent([answers[place] for place in places])
    assert sorted(set(before)) == list(range(len(set(before))))
    for i, a in enumerate(places):
        for j, b in enumerate(places):
            together = before[a] == before[b]
            assert (after[i] == after[j]) is together
            one, other = answers[a], answers[b]
            assert together is (a == b or (one is not None and other is not None and equivalent(one, other)))


@settings(max_examples=70, deadline=None)
@given(st.text(alphabet=st.sampled_from("12x-−/.,(){}[]$\\ =^_%½²and"), max_size=14))
def test_any_text_has_a_name_and_keeps_it_when_it_is_cleaned(text: str) -> None:
    cleaned = clean_answer(text)
    assert clean_answer(cleaned) == clean_answer(clean_answer(cleaned))
    assert isinstance(answer_name(text), str)
    assert equivalent(text, f" {text}\n")
    normalize_answer(text)


@pytest.mark.parametrize(
    "answer", ["(1, 2]", "(1,2)", "(1,2,3)", r"\{2,1\}", "1, -2", r"(2,\infty)", r"(0,9) \cup (9,36)"]
)
def test_parts_are_named_as_math_verify_reads_the_whole(answer: str) -> None:
    assert composed_name(clean_answer(answer), answer_name) == mathematical_name(answer)


def test_how_answers_were_compared() -> None:
    assert kinds_of(["1", "2", "even", "(C)", r"\sqrt{2}", "9^{9^9}", None]) == {
        "choice": 1, "mathematics": 1, "number": 2, "spelling": 1, "words": 1,
    }  # fmt: skip


def test_what_is_long_or_deep_is_named_soon() -> None:
    begun = time.monotonic()
    for text in ("(" * 5000, "1," * 5000, "{" * 5000, r"\frac" * 3000, "-" * 9000, "(1" * 60, "x=" * 90, "**" * 4000):
        assert answer_name(text)
    assert time.monotonic() - begun < 20


@pytest.mark.slow
def test_a_process_that_does_not_answer_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    process = AnswerProcess()
    try:
        assert process.name_of("x+x") == process.name_of("2x")
        monkeypatch.setattr(answer_process, "LONGEST_WAIT_S", 0.5)
        begun = time.monotonic()
        assert process.name_of("9^{9^{9^9}}") is None
        assert time.monotonic() - begun < 10
        monkeypatch.setattr(answer_process, "LONGEST_WAIT_S", 60.0)
        assert process.lost == 1
        assert process.name_of("3x") is not None
    finally:
        process.end()
