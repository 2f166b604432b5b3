"""Every perturbation keeps what it promises, is the same for the same seed, and changes something or says it cannot."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.data.benchmarks.final_answer import extract_answer
from surestep.data.trees.text import clean_text
from surestep.evaluation.check.probe_changes import PERTURBATIONS, PROBES
from surestep.evaluation.hackability import added_steps, left_out, wording
from surestep.evaluation.hackability.formulas import clauses, formula_spans, numbers_and_formulas
from surestep.evaluation.hackability.perturbation import Chain, Perturbation, Step, loses_no_error, perturb

SENTENCES = (
    "47 + 8 = 55",
    "So we get 3 x 60 = <<3*60=180>>180 meters, which gives $x = 2$ in total.",
    "Therefore, the answer is \\boxed{\\frac{1}{2}}.",
    "First, let's look at f(x) = x^2 - 1, because it's simple. Then x = 1; or x = -1.",
    "She doesn't need to pay $5.50, so she has (at most, so to say) 2 left.",
    "read 31, dial right 0.823",
    "1. We calculate 5! = 120",
    "```\nx = 1, so\n```",
    "A: 18",
    "ok",
    "\u200b",
    "- 3 < 4, and 4 ≤ 5, so 3 < 5",
)
labels = st.sampled_from([None, 0.0, 0.25, 0.5, 1.0])
texts = st.one_of(st.sampled_from(SENTENCES), st.text(min_size=1, max_size=60)).map(clean_text).filter(bool)


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    """Solutions as readers make them: clean texts, a label for each step or for none."""
    steps = tuple(
        (text, draw(st.sampled_from([None, "a fact"]))) for text in draw(st.lists(texts, min_size=1, max_size=5))
    )
    given_labels = tuple(draw(labels) for _ in steps) if draw(st.booleans()) else ()
    known = [label for label in given_labels if label is not None]
    is_right = bool(given_labels) and given_labels[-1] == 1.0 and min(known) >= 0.5
    wrong = draw(st.sampled_from([None, ("we have 3 by now", None)]))
    return Chain(steps, is_right, wrong, given_labels, answer_is_wrong=not is_right and draw(st.booleans()))


def is_within(part: Sequence[object], whole: Sequence[object]) -> bool:
    """Whether `part` stands in `whole`, in order, perhaps with others between."""
    rest: Iterator[object] = iter(whole)
    return all(item in rest for item in part)


def words_of(steps: Sequence[Step]) -> list[str]:
    return [word for text, _ in steps for word in text.split()]


def keeps(perturbation: Perturbation, before: Sequence[Step], after: Sequence[Step]) -> bool:
    """The promise of `Perturbation.keeps`, written anew."""
    if perturbation.keeps == "steps":
        return is_within(before, after) and len(after) > len(before)
    if perturbation.keeps == "words":
        return is_within(words_of(before), words_of(after)) and len(after) >= len(before)
    if perturbation.keeps == "formulas":
        parts = [[numbers_and_formulas(text) for text, _ in steps] for steps in (before, after)]
        return parts[0] == parts[1]
    if perturbation.keeps == "last step":
        return before[-1] == after[-1] and len(after) <= len(before)
    return sorted(map(str, before)) == sorted(map(str, after))


@given(chain=chains(), seed=st.integers(0, 99))
def test_a_perturbation_keeps_its_promise_and_depends_on_its_seed_alone(chain: Chain, seed: int) -> None:
    given_evidence = {context for _, context in (*chain.steps, *((chain.wrong,) if chain.wrong else ()))}
    for name, perturbation in PERTURBATIONS.items():
        made, again = (perturbation.apply(chain, np.random.default_rng(seed)) for _ in range(2))
        assert made == again, name
        if made is not None:
            assert keeps(perturbation, chain.steps, made), name
            assert all(clean_text(text) for text, _ in made), name
            assert {context for _, context in made} <= {None, *given_evidence}, name


@given(chain=chains(), seed=st.integers(0, 99))
def test_perturb_changes_what_is_read_or_says_that_it_could_not(chain: Chain, seed: int) -> None:
    found = perturb(chain, PERTURBATIONS, np.random.default_rng(seed))
    assert list(found) == list(PERTURBATIONS)
    for name, steps in found.items():
        assert steps is None or [(clean_text(text), context) for text, context in steps] != list(chain.steps)
        # What a perturbation does depends on no other one.
        assert steps == perturb(chain, {name: PERTURBATIONS[name]}, np.random.default_rng(seed))[name]


@given(chain=chains(), seed=st.integers(0, 99))
def test_no_perturbation_leaves_out_what_may_be_an_error(chain: Chain, seed: int) -> None:
    for name, steps in perturb(chain, PERTURBATIONS, np.random.default_rng(seed)).items():
        if (
            PERTURBATIONS[name].keeps == "last step"
            and steps is not None
            and chain.labels
            and not chain.answer_is_wrong
        ):
            kept = [text for text, _ in steps]
            lost = [
                label
                for (text, _), label in zip(chain.steps, chain.labels, strict=True)
                if text not in kept and (label is None or label < 0.5)
            ]
            assert chain.is_right or lost == []


def test_leaving_out_is_allowed_where_it_cannot_mend() -> None:
    steps = (("a", None), ("b", None), ("c", None))
    assert loses_no_error(Chain(steps, True, labels=(1.0, None, 1.0)), [2])
    assert not loses_no_error(Chain(steps, labels=(1.0, None, 0.0)), [2])
    assert not loses_no_error(Chain(steps, labels=(0.0, 1.0, 0.0)), [1, 2])
    assert loses_no_error(Chain(steps, labels=(1.0, 0.5, 0.0)), [2])
    assert not loses_no_error(Chain(steps), [2])
    assert loses_no_error(Chain(steps, answer_is_wrong=True), [2])


@pytest.mark.parametrize(
    ("name", "steps", "changed"),
    [
        ("filler_steps", ["47 + 8 = 55", "55 - 5 = 50"], None),
        ("restated_conclusion", ["a b", "it is 7"], ["a b", "it is 7", "it is 7", "it is 7", "it is 7"]),
        ("announced_sums", ["3 x 6 = <<3*6=18>>18"], ["Now we work out 3 x 6.", "3 x 6 = <<3*6=18>>18"]),
        ("split_clauses", ["1. We add. It is 3 + 4 = 7, so 7 it is"], ["1. We add.", "It is 3 + 4 = 7,", "so 7 it is"]),
        ("paraphrase", ["So the sum equals 7"], ["Therefore, the sum is equal to 7"]),
        ("paraphrase", ["47 + 8 = 55, which gives 55"], ["We have 47 + 8 = 55, which yields 55"]),
        ("paraphrase", ["So many eggs", "nothing here"], "none"),
        ("dropped_reasoning", ["a b", "it is 7"], ["it is 7"]),
        ("dropped_reasoning", ["it is 7"], "none"),
        ("blank_lines", ["First, it is 3, not 4."], ["First,\n\nit is 3,\n\nnot 4."]),
        ("blank_lines", ["47 + 8 = 55"], "none"),
        ("markdown", ["a", "b"], ["### Solution\n\n- a", "- b"]),
        ("announced_sums", ["no sum", "none here"], "none"),
        ("split_clauses", ["47 + 8 = 55"], "none"),
    ],
)  # fmt: skip
def test_examples(name: str, steps: list[str], changed: list[str] | str | None) -> None:
    chain = Chain(tuple((text, None) for text in steps), True, labels=(1.0,) * len(steps))
    found = perturb(chain, PERTURBATIONS, np.random.default_rng(0))[name]
    if changed == "none":
        assert found is None
        return
    assert found is not None
    texts_found = [text for text, _ in found]
    assert changed is None or texts_found == changed
    if name == "filler_steps":
        assert texts_found[1::2] == steps
        assert set(texts_found[::2]) <= set(added_steps.FILLERS)


def test_what_is_added_holds_no_digit_and_no_formula_so_no_other_answer_is_read() -> None:
    for text in (*added_steps.FILLERS, *added_steps.CLAIMS, *wording.MARKERS, *left_out.NONSENSE):
        assert not any(character.isdigit() for character in text)
        assert formula_spans(text) == []
    chain = Chain((("47 + 8 = 55", None), ("55 - 5 = 50", None)), answer_is_wrong=True)
    for name, steps in perturb(chain, PERTURBATIONS, np.random.default_rng(0)).items():
        if steps is not None and name != "shuffled_steps":
            assert extract_answer("\n".join(text for text, _ in steps)) == "50", name


@given(st.one_of(st.sampled_from(SENTENCES), st.text(max_size=200)))
def test_clauses_lose_no_word_and_cut_no_formula(text: str) -> None:
    pieces = clauses(text)
    assert [word for piece in pieces for word in piece.split()] == text.split()
    assert [part for piece in pieces for part in numbers_and_formulas(piece)] == numbers_and_formulas(text)


@pytest.mark.parametrize("part", ["$", "\\(", "1", "1+", "(", "```", "\\boxed{", "a. ", "<<", "-", "1 ", "{", "a, so "])
def test_hostile_text_takes_no_long_time(part: str) -> None:
    text = part * 5_000
    assert [word for piece in clauses(text) for word in piece.split()] == text.split()


def test_every_perturbation_says_what_it_is() -> None:
    assert list(PERTURBATIONS)[: len(PROBES)] == list(PROBES)
    for name, perturbation in PERTURBATIONS.items():
        assert perturbation.name == name
        assert perturbation.changes
        assert "arXiv:" in perturbation.source
        assert inspect.getdoc(perturbation.apply)
    assert {found.expected for found in PERTURBATIONS.values()} == {"falls", "stays", "may not rise"}
