"""Raw solutions to steps: every rule, nothing lost, nothing split that belongs together, and fast on any text."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep import split_steps
from surestep.config import Config
from surestep.data.benchmarks.candidates import read_candidates
from surestep.data.datasets.own import read_own
from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.choose import enabled_sources
from surestep.data.trees.split_steps import AUTO, RULES
from surestep.errors import ConfigError, DataError, InputError

PIECES = [
    "Add 2.", "So x = 4", " ", "\n", "\n\n", "\r\n", "\r", "\t", "\n \n", "\u2028", "\x0c", "\x85", "\u2029", "\x0b",
    "Step 1:", "step 2.", "**Step 2:**", "### Step 3:", "1. ", "2) ", "  1. ", "10. ", "<extra_0>", "ки", "```",
    "```py", "~~~", "$$", "$", "\\[", "\\]",
    "\\\\[2pt]", "\\begin{align}", "\\end{align}", "e.g. ", "3.14", "Why? ", "。",
    "?!", "é", "-",
]  # fmt: skip
texts = st.one_of(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), st.text(max_size=60))
rules = st.sampled_from([AUTO, *RULES, "tag:<extra_0>", "tag:ки", "tag:\n\n"])


@settings(max_examples=100)
@given(text=texts, rule=rules)
def test_nothing_is_lost_and_the_named_rule_gives_the_same(text: str, rule: str) -> None:
    found = split_steps(text, rule)
    assert found.joined() == text
    assert len(found.separators) == len(found.steps) + 1
    assert all(step and step == step.strip() for step in found.steps)
    assert split_steps(text, found.rule) == found
    assert found.rule != AUTO
    tag = found.rule.removeprefix("tag:") if found.rule.startswith("tag:") else ""
    for separator in found.separators:
        assert (separator.replace(tag, "") if tag else separator).strip() == ""


@settings(max_examples=60)
@given(before=texts, inner=texts, rule=rules, around=st.sampled_from([("```\n", "\n```"), ("~~~~ py\n", "\n~~~~")]))
def test_fenced_code_is_never_split(before: str, inner: str, rule: str, around: tuple[str, str]) -> None:
    if rule == AUTO or rule.startswith("tag:"):
        rule = "lines"
    block = around[0] + inner.replace("`", "").replace("~", "") + around[1]
    text = before.replace("`", "").replace("~", "") + "\n" + block + "\nSo 4."
    steps = split_steps(text, rule).steps
    assert sum(block in step for step in steps) == 1


@settings(max_examples=60)
@given(
    inner=texts,
    rule=st.sampled_from(list(RULES)),
    around=st.sampled_from([("$$", "$$"), ("\\[", "\\]"), ("\\begin{align*}", "\\end{align*}")]),
)
def test_displayed_formulas_are_never_split(inner: str, rule: str, around: tuple[str, str]) -> None:
    for sign in ("$", "\\", "`", "~"):
        inner = inner.replace(sign, "")
    block = f"{around[0]}x {inner} y{around[1]}"
    assert sum(block in step for step in split_steps(f"Add.\n{block}\nSo 4.", rule).steps) == 1


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x0c", "\x0b", "\x1c", "\x1d", "\x1e", "\x85"])
@pytest.mark.parametrize("rule", [AUTO, *RULES])
def test_only_line_ends_end_a_line(mark: str, rule: str) -> None:
    text = f"a{mark}b{mark}{mark}1. c{mark}Step 1: d"
    assert split_steps(text, rule).steps == (text,)


EXAMPLES = {
    "tags": ("Add 2.\n\n<extra_0>So 4.<extra_0>", "tag:<extra_0>", ["Add 2.", "So 4."]),
    "one tag at the end": ("Add 2.\n\nSo 4.<extra_0>", "tag:<extra_0>", ["Add 2.\n\nSo 4."]),
    "steps": ("Step 1: add.\nthen\n\nStep 2: halve.", "step", ["Step 1: add.\nthen", "Step 2: halve."]),
    "steps as headings": ("### Step 1: a\nx\n### Step 2: b", "step", ["### Step 1: a\nx", "### Step 2: b"]),
    "steps in bold": ("**Step 1:** a\n**Step 2:** b", "step", ["**Step 1:** a", "**Step 2:** b"]),
    "an introduction": ("We add.\nStep 1: a\nStep 2: b", "step", ["We add.", "Step 1: a", "Step 2: b"]),
    "a step that names another": ("Step 1: a\nStep 3: no\nStep 2: b", "step", ["Step 1: a\nStep 3: no", "Step 2: b"]),
    "numbers": ("1. a\n\n2. b\n\n3. c", "numbered", ["1. a", "2. b", "3. c"]),
    "numbers with brackets": ("1) a\n2) b", "numbered", ["1) a", "2) b"]),
    "numbers within numbers": ("1. a\n   1. x\n   2. y\n2. b", "numbered", ["1. a\n   1. x\n   2. y", "2. b"]),
    "decimals are no numbers": ("1.5 is more\n2.5 too", "lines", ["1.5 is more", "2.5 too"]),
    "a year is no number": ("It was\n1990. So\n1991. Then", "lines", ["It was", "1990. So", "1991. Then"]),
    "blank lines": ("a\nb\n\nc\n \t\n\nd", "blank_lines", ["a\nb", "c", "d"]),
    "blank lines of Windows": ("a\r\nb\r\n\r\nc", "blank_lines", ["a\r\nb", "c"]),
    "lines": ("a\nb\r\nc\rd", "lines", ["a", "b", "c", "d"]),
    "sentences": ('He said "no." Then 3.14 is, e.g. Fig. 2, less. So?  Yes!', "sentences",
                  ['He said "no."', "Then 3.14 is, e.g. Fig. 2, less.", "So?", "Yes!"]),
    "sentences that end with a variable": ("Thus y = x. Then z = y.", "sentences", ["Thus y = x.", "Then z = y."]),
    "sentences without blanks": ("加二。得四！", "sentences", ["加二。", "得四！"]),
    "a single step": ("So 4", "sentences", ["So 4"]),
    "nothing": (" \n ", "sentences", []),
    "a formula with blank lines": ("a\n\n\\[x\n\n= 4\\]\n\nb", "blank_lines", ["a", "\\[x\n\n= 4\\]", "b"]),
    "a line break of LaTeX": ("a \\\\[2pt] b\n\nc \\]\n\nd", "blank_lines", ["a \\\\[2pt] b", "c \\]", "d"]),
    "an open formula is none": ("a $$ b\n\nc", "blank_lines", ["a $$ b", "c"]),
    "code": ("a\n\n```py\nx = 1\n\ny = 2\n```\n\nb", "blank_lines", ["a", "```py\nx = 1\n\ny = 2\n```", "b"]),
    "code that is cut": ("a\n\n```\nx\n\ny", "blank_lines", ["a", "```\nx\n\ny"]),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str) -> None:
    text, rule, steps = EXAMPLES[name]
    found = split_steps(text)
    assert (found.rule, list(found.steps)) == (rule, steps)
    assert found.joined() == text


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["#" * 80_000, " " * 80_000, "." * 80_000 + "a", "\n" * 80_000, "\\" * 80_000, "\\[" * 40_000, "$$" * 39_999,
     "\\begin{a}" * 30_000, "```\n" * 20_001, "\n    " * 20_000, "a. " * 30_000, "\n1. a" * 20_000, "?\"" * 40_000,
     "~~~`\n" * 40_000, "\r" * 80_000],
    ids=lambda text: repr(text[:6]),
)  # fmt: skip
def test_any_text_is_split_in_time_proportional_to_it(text: str) -> None:
    begun = time.process_time()
    for rule in (AUTO, *RULES):
        assert split_steps(text, rule).joined() == text
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("rule", ["", "words", "tag", "Auto", None, 3, b"auto", ["lines"]])
def test_an_unknown_rule_names_those_there_are(rule: Any) -> None:
    with pytest.raises(InputError, match=r"allowed: auto, step, numbered, blank_lines, lines, sentences, tag:TEXT"):
        split_steps("a", rule)


@pytest.mark.parametrize("text", [None, b"a", ["a"], 3])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(InputError, match="'text' is of type"):
        split_steps(text)


def test_a_tag_without_a_text_is_refused() -> None:
    with pytest.raises(InputError, match="names no tag"):
        split_steps("a", "tag:")


def test_rows_of_our_own_layout_may_hold_raw_solutions(write_jsonl: Any) -> None:
    row = {"problem": "2 + 2?", "solution": "Add.\n\nSo 4.", "confidences": [1, 0.5]}
    path = write_jsonl(row)
    (tree,) = read_own(path, report=ReadReport(), split="auto")
    assert [(node.text, node.confidence) for node in tree.nodes] == [("Add.", 1.0), ("So 4.", 0.5)]
    with pytest.raises(DataError, match=r"'steps' is missing; .* --own_split auto"):
        list(read_own(path, report=ReadReport()))
    with pytest.raises(DataError, match="2 confidences for 1 step"):
        list(read_own(path, report=ReadReport(), split="tag:#"))
    report = ReadReport()
    (tree,) = read_own(write_jsonl(row | {"steps": ["Add."], "confidences": [1]}), report=report, split="auto")
    assert [node.text for node in tree.nodes] == ["Add."], "given steps go before a text"
    assert report["fields_not_read"] == 1
    with pytest.raises(DataError, match="'solution' is empty"):
        list(read_own(write_jsonl(row | {"solution": " \n"}), report=ReadReport(), split="auto"))


def test_the_rule_belongs_to_the_configuration_and_the_fingerprint(write_jsonl: Any) -> None:
    config = Config()
    config.data.use_own, config.data.use_prm800k, config.data.use_eqasc = True, False, False
    config.data.own_train = config.data.own_validation = config.data.own_test = write_jsonl(
        {"problem": "p", "solution": "a"}
    )
    prints = set()
    for rule in (None, "auto", "lines"):
        config.data.own_split = rule
        assert config.data.split_rule() == rule
        (source,) = enabled_sources(config.data, "train", seed=0)
        prints.add(source.fingerprint())
    assert len(prints) == 3
    with pytest.raises(ConfigError, match=r"own_split is 'words'; allowed: auto, step, .* or tag: and a text"):
        config.data.own_split = "words"


def test_candidates_split_solutions_at_their_lines_only(write_jsonl: Any) -> None:
    row = {"problem": "p", "solution": "a\u2028b\x0cc\n\n```\nx\n```\nd", "correct": True}
    ((candidate,),) = (found.candidates for found in read_candidates(write_jsonl(row), report=ReadReport()))
    assert candidate.steps == ("a\u2028b\x0cc", "```\nx\n```", "d")
