"""What a problem is: variants of typing are one problem, and whatever means something else is another."""

from __future__ import annotations

import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from surestep.config import TINY_BACKBONE
from surestep.data.inspect.near_copies import find_near_copies
from surestep.data.inspect.overlaps import find_overlap
from surestep.data.trees import identity
from surestep.data.trees.identity import key_of, normalize_text, problem_key
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.token_store import write_store
from surestep.types import Node, ReasoningTree

NUMBERS = st.integers(0, 99).map(str)
TERMS = st.one_of(NUMBERS, st.sampled_from(["x", "n", "(a+b)", "\\frac{1}{2}", "é"]))
SIGNS = st.sampled_from(["+", "-", "=", "<", "/", "^"])
WORDS = st.sampled_from(["Find", "the value of", "What is", "Solve", "größer", "café"])


@st.composite
def formulas(draw: st.DrawFn) -> list[str]:
    """Terms with a sign between each two."""
    parts = [draw(TERMS)]
    for _ in range(draw(st.integers(1, 3))):
        parts += [draw(SIGNS), draw(TERMS)]
    return parts


PLAIN = str.maketrans({"−": "-", "–": "-", "—": "-", "‐": "-"})
FULL_WIDTH = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F) if chr(code) not in "\\{}$"})


@given(st.data(), WORDS, formulas())
def test_ways_to_type_one_problem_are_one_problem(data: st.DataObject, words: str, parts: list[str]) -> None:
    plain = f"{words} {''.join(parts)}"
    blank, digits = st.sampled_from(["", " ", "  ", "\u00a0"]), st.booleans()
    typed = "".join(part if part not in "+-=</^" else f"{data.draw(blank)}{part}{data.draw(blank)}" for part in parts)
    if data.draw(digits):
        typed = typed.translate(FULL_WIDTH)
    typed = typed.replace("-", data.draw(st.sampled_from("-−–—‐")))
    opening, closing = data.draw(st.sampled_from([("", ""), ("$", "$"), ("$$", "$$"), ("\\(", "\\)"), ("\\[", "\\]")]))
    spaced = data.draw(st.sampled_from(["", " "])) if opening else ""
    typed = f"{opening}{spaced}{typed}{spaced}{closing}"
    space = data.draw(st.sampled_from([" ", "\n", "\t ", "\u3000"]))
    ends = data.draw(st.sampled_from(["", ".", "?", " ?", ":", "。", "\n"]))
    form = data.draw(st.sampled_from(["NFC", "NFD"]))
    variant = unicodedata.normalize(form, f"{data.draw(st.sampled_from(['', ' ']))}{words}{space}{typed}{ends}")
    variant = data.draw(st.sampled_from([str, str.upper]))(variant) if "\\" not in variant else variant
    assert normalize_text(variant) == normalize_text(plain)


@given(formulas(), st.data())
def test_another_sign_number_or_name_is_another_problem(parts: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(parts) - 1))
    other = data.draw(SIGNS if place % 2 else TERMS)
    assume(other != parts[place])
    changed = [*parts[:place], other, *parts[place + 1 :]]
    assume("".join(changed) != "".join(parts))
    first, second = (f"Find {' '.join(each)}." for each in (parts, changed))
    assert normalize_text(first) != normalize_text(second)


@given(st.lists(NUMBERS, min_size=1, max_size=4), st.lists(NUMBERS, min_size=1, max_size=4))
def test_numbers_never_run_together(first: list[str], second: list[str]) -> None:
    """With or without delimiters of mathematics: `2 3`, `$2$ $3$` and `$2$$3$` are not 23."""
    for wrap in ("{}", "${}$", "\\({}\\)"):
        one, two = ("".join(f" {wrap.format(number)}" for number in numbers) for numbers in (first, second))
        assert (normalize_text(one) == normalize_text(two)) == (first == second)
    joined = "".join(f"${number}$" for number in first)
    assert normalize_text(joined) == normalize_text(" ".join(first))


@given(st.text(alphabet="ab1 $-−.\\(){}?! \n", max_size=12))
def test_white_space_around_never_counts_and_nothing_raises(text: str) -> None:
    assert normalize_text(f" {text}\r\n") == normalize_text(text)


DIFFERENT = [
    *("-3", "3", "+3", "2 3", "23", "2.3", "2,3", "x-y", "x y", "xy", "x+y", "y-x", "5!", "5", "$5", "5%", "x²", "x2"),
    *("a × b", "a ⋅ b", "a * b", "2**3", "2*3", "½", "1/2", "1 1/2", "11/2", "n!", "n", "(a+b)!", "a+b", "x < y"),
    *(
        "x ≤ y",
        "x > y",
        "$5 and $6",
        "5 and 6",
        "1,000",
        "1, 000",
        "6 ÷ 2",
        "|x|",
        "x_1",
        "x'",
        "a/b",
        "a\\b",
        "?",
        "..",
    ),
    *("x \\in A", "x \\notin A", "x \\int A", "\\left x", "≤ x", "a \\cup b", "a \\cap b", "a \\times b \\to"),
    *("𝟏", "𝟙", "\\alpha!", "\\alpha", "x=-3", "x=3", "2 + 2 = 4?", "2 + 2 = 5?"),
]


def test_different_problems_have_different_keys() -> None:
    found: dict[str, str] = {}
    for text in DIFFERENT:
        assert found.setdefault(normalize_text(text), text) == text
    assert "" not in found


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("What is  $2 + 2$? ", "what is 2+2"),
        ("３ × ４", "3*4"),
        ("3 · 4", "$3 \\cdot 4$"),
        ("a × b", "$a \\times b$"),
        ("the $n$th term", "the nth term"),
        ("if $x \\le 2$", "if $x\\le2$"),
        ("if $x \\leq 2$", "if x≤2"),
        ("$1 \\neq n \\geq 0$", "1≠n≥0"),
        ("$8 \\div 2$", "8÷2"),
        ("$f: A \\to B$", "$f: A→B$"),
        ("$x \\in A \\cup B$", "x∈A∪B"),
        ("If \\[x = 1\\], find $y$.", "If $x=1$, find y"),
        ("It costs $5.", "It costs \\$5"),
        ("f( x ) is", "f(x) is"),
        ("the ratio 3 : 4", "the ratio 3:4"),
        ("Carla’s “best”", 'Carla\'s "best"'),
        ("STRASSE", "straße"),
        ("zero\u200bwidth", "zerowidth"),
        ("Good luck!", "Good luck"),
        ("1, 2, …, 9", "1, 2, ..., 9"),
        ("٣ apples", "3 apples"),
    ],
)
def test_variants_are_one_problem(first: str, second: str) -> None:
    assert normalize_text(first) == normalize_text(second)


GROUPS = st.text(alphabet="a1: \x1f\x00", max_size=3)
NAMES = st.from_regex(r"[A-Za-z0-9_.-]{1,3}", fullmatch=True)


@pytest.mark.slow
@given(st.tuples(NAMES, GROUPS), st.tuples(NAMES, GROUPS))
def test_a_group_is_one_problem_of_its_dataset_and_of_no_other(first: tuple[str, str], second: tuple[str, str]) -> None:
    keys = [key_of("p", group=group, dataset=dataset) for dataset, group in (first, second)]
    both_plain = not first[1] and not second[1]
    assert (keys[0] == keys[1]) == (first == second or both_plain)


def test_text_is_one_problem_in_every_dataset_and_id_does_not_count() -> None:
    trees = [
        ReasoningTree(problem, (Node("s"),), id=name, dataset=dataset)
        for problem, name, dataset in (("1 + 1 = ?", "a", "own"), ("$1+1=$", "b", "other"))
    ]
    assert len({problem_key(tree) for tree in trees}) == 1


def store_hash(tree: ReasoningTree) -> int:
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(Path(folder) / "store", [tree], load_tokenizer(TINY_BACKBONE), Formatter(), notes={})
        return int(store.text_hashes[0])


def test_overlaps_leaks_and_the_store_compare_texts_whatever_the_group() -> None:
    first = ReasoningTree("What is $2 − 3$?", (Node("s"),), group="g1", dataset="own")
    second = ReasoningTree("what is 2-3", (Node("s"),), group="g2", dataset="own")
    assert problem_key(first) != problem_key(second)
    assert store_hash(first) == store_hash(second)
    assert find_overlap([first.problem], [second.problem]).num_shared == 1
    long = "A shop sells 12 - 3 pens to each of the 40 children who come in on a rainy morning in May"
    assert find_near_copies([long.replace(" - ", "−")], [f"${long}$."]) == []


LOOKED_FOR = [*"ab 57.?:;!,()[]{}+-*/=<^%$'", "  ", "\\", "\\times", "\\le", "\\$", "×", "⋅", "é", "ß", "５", "\n",
              " : ", " !", "abc", "\\(", "\\)", "$$", "\\pm!", "word!"]  # fmt: skip


@given(st.lists(st.sampled_from(LOOKED_FOR), max_size=12).map("".join))
def test_patterns_that_are_passed_over_would_have_found_nothing(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "_SPACES", [(pattern, instead, None) for pattern, instead, _ in identity._SPACES])
        patch.setattr(identity, "_ENDS", "".join(map(chr, range(0x3000))))  # so that all of a text is looked through
        expected = normalize_text(text)
    assert normalize_text(text) == expected
