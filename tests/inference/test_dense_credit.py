"""Credit of tokens sums to the return, wherever padding stands and in whatever order the responses come."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.errors import InputError
from surestep.inference.dense_credit import (
    FORMS,
    Form,
    returns_to_go,
    step_credit,
    token_advantages,
    token_rewards,
    token_spans,
    token_spans_by_decoding,
)

confidence = st.floats(0.0, 1.0)


@st.composite
def responses(draw: st.DrawFn) -> tuple[list[float], list[int], int]:
    """Scores, the last token of each step, the number of tokens."""
    scores = draw(st.lists(confidence, min_size=1, max_size=6))
    length = draw(st.integers(1, 12))
    ends = sorted(draw(st.lists(st.integers(0, length - 1), min_size=len(scores), max_size=len(scores))))
    return scores, ends, length


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[list[float]], list[list[int]], np.ndarray[Any, Any]]:
    """Responses whose tokens stand in order among padding and tokens of tools."""
    rows = draw(st.lists(responses(), min_size=1, max_size=5))
    width = max(length for _, _, length in rows) + draw(st.integers(0, 5))
    mask = np.zeros((len(rows), width), bool)
    for row, (_, _, length) in enumerate(rows):
        mask[row, draw(st.permutations(range(width)))[:length]] = True
    return [scores for scores, _, _ in rows], [ends for _, ends, _ in rows], mask


def wanted(scores: list[float], form: str) -> float:
    return scores[-1] if form == "potential" else min(scores)


@pytest.mark.parametrize("form", FORMS)
@given(batch=batches())
def test_each_row_sums_to_its_return_and_credits_response_tokens_only(form: Form, batch: Any) -> None:
    scores, ends, mask = batch
    rewards = token_rewards(scores, ends, mask, form=form)
    assert rewards.sum(axis=1) == pytest.approx([wanted(row, form) for row in scores], abs=1e-12)
    assert not rewards[~mask].any()
    for row, of_row in enumerate(ends):
        off_the_ends = np.delete(rewards[row][mask[row]], of_row)
        assert not off_the_ends.any(), "credit stands on the last tokens of steps"


@pytest.mark.parametrize("form", FORMS)
@given(batch=batches(), data=st.data())
def test_padding_and_order_of_responses_change_nothing(form: Form, batch: Any, data: st.DataObject) -> None:
    scores, ends, mask = batch
    rewards = token_rewards(scores, ends, mask, form=form)
    order = data.draw(st.permutations(range(len(scores))))
    permuted = token_rewards([scores[i] for i in order], [ends[i] for i in order], mask[list(order)], form=form)
    assert np.array_equal(permuted, rewards[list(order)])
    for row in range(len(scores)):
        length = int(mask[row].sum())
        left, right = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
        alone = np.pad(np.ones((1, length), bool), ((0, 0), (left, right)))
        found = token_rewards([scores[row]], [ends[row]], alone, form=form)
        assert np.array_equal(found[alone], rewards[row][mask[row]])


@given(response=responses(), gamma=st.floats(0.5, 1.0))
def test_discounted_potentials_telescope(response: Any, gamma: float) -> None:
    scores, ends, length = response
    rewards = token_rewards([scores], [ends], np.ones((1, length), bool), form="potential", gamma=gamma)
    discounted = float((gamma ** np.arange(length) * rewards[0]).sum())
    assert discounted == pytest.approx(gamma**length * scores[-1], abs=1e-9)


def test_the_minimum_is_credited_where_it_is_first_reached() -> None:
    mask = np.ones((1, 8), bool)
    scores, ends = [[0.9, 0.25, 0.5, 0.25]], [[1, 3, 5, 7]]
    assert token_rewards(scores, ends, mask)[0].tolist() == [0, 0, 0, 0.25, 0, 0, 0, 0]
    drops = token_rewards(scores, ends, mask, form="minimum_drops")[0]
    assert drops.tolist() == pytest.approx([0, 0.9, 0, -0.65, 0, 0, 0, 0])
    returns = returns_to_go(drops[None], mask)[0]
    assert returns.tolist() == pytest.approx([0.25, 0.25, -0.65, -0.65, 0, 0, 0, 0])


def test_steps_without_a_score_are_refused_or_carried() -> None:
    mask = np.ones((1, 4), bool)
    with pytest.raises(InputError, match="row 0, step 1 has no score"):
        token_rewards([[0.5, None]], [[1, 3]], mask)
    for form in FORMS:
        carried = token_rewards([[0.5, None]], [[1, 3]], mask, form=form, unscored="carry")
        assert carried.tolist() == [[0, 0.5, 0, 0]]
    with pytest.raises(InputError, match="row 0, step 0 has no score"):
        token_rewards([[None, 0.5]], [[1, 3]], mask, unscored="carry")
    assert not token_rewards([None], [[]], mask).any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": [[0.5]]}, "1 score and 2 last tokens"),
        ({"scores": [[0.5, 1.5]]}, "score 1.5; allowed: 0 to 1"),
        ({"scores": [[0.5, float("nan")]]}, "score nan"),
        ({"scores": [[]], "last_tokens": [[]]}, "no step to credit"),
        ({"last_tokens": [[1, 4]]}, "ends at token 4; allowed: 1 to 3"),
        ({"last_tokens": [[3, 1]]}, "ends at token 1; allowed: 3 to 3"),
        ({"last_tokens": []}, "as many"),
        ({"mask": np.ones(4, bool)}, r"allowed: \[responses, columns\]"),
        ({"mask": np.ones((1, 4))}, "type float64"),
        ({"gamma": 0.0}, "gamma is 0.0"),
        ({"form": "sum"}, "form is 'sum'"),
        ({"unscored": "skip"}, "unscored is 'skip'"),
    ],
)
def test_what_does_not_fit_is_refused_by_row_and_step(change: dict[str, Any], reason: str) -> None:
    arguments = {"scores": [[0.5, 0.25]], "last_tokens": [[1, 3]], "mask": np.ones((1, 4), bool)} | change
    with pytest.raises(InputError, match=reason):
        token_rewards(**arguments)


@given(batch=batches(), gamma=st.floats(0.5, 1.0))
def test_returns_to_go_are_the_plain_sum(batch: Any, gamma: float) -> None:
    scores, ends, mask = batch
    rewards = token_rewards(scores, ends, mask, form="potential")
    returns = returns_to_go(rewards, mask, gamma=gamma)
    for row in range(len(scores)):
        values = rewards[row][mask[row]]
        plain = [sum(gamma**k * value for k, value in enumerate(values[start:])) for start in range(len(values))]
        assert returns[row][mask[row]].tolist() == pytest.approx(plain, abs=1e-9)


def test_advantages_are_returns_less_the_mean_of_their_group() -> None:
    mask = np.array([[True, True, False], [False, True, True], [True, False, False]])
    rewards = token_rewards([[0.5], [1.0], [0.25]], [[1], [1], [0]], mask)
    advantages = token_advantages(rewards, mask, ["a", "a", "b"])
    assert advantages.tolist() == [[-0.25, -0.25, 0], [0, 0.25, 0.25], [0, 0, 0]]


@given(
    parts=st.lists(st.text("ab \n", min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=5), data=st.data()
)
def test_tokens_of_steps_are_found_by_offsets_and_by_decoding(parts: list[str], data: st.DataObject) -> None:
    text = "\n".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(text)), max_size=len(text))) - {len(text)})
    offsets = list(zip([0, *cuts], [*cuts, len(text)], strict=True))
    starts = [sum(len(part) + 1 for part in parts[:index]) for index in range(len(parts))]
    spans = [(start, start + len(part)) for start, part in zip(starts, parts, strict=True)]
    found = token_spans(offsets, spans)
    for (first, end), (start, stop) in zip(found, spans, strict=True):
        holding = [index for index, (begin, finish) in enumerate(offsets) if begin < stop and finish > start]
        assert (first, end) == (holding[0], holding[-1] + 1)
    pieces = [text[begin:finish] for begin, finish in offsets]
    decoded = token_spans_by_decoding(range(len(pieces)), lambda ids: "".join(pieces[index] for index in ids), spans)
    assert decoded == found


def test_half_a_character_is_no_end_of_a_step() -> None:
    data = "à b".encode()
    spans = token_spans_by_decoding(list(data), lambda ids: bytes(ids).decode(errors="replace"), [(0, 1), (2, 3)])
    assert spans == [(1, 2), (3, 4)]
    with pytest.raises(InputError, match="behind the last token"):
        token_spans_by_decoding([1], lambda ids: "a" * len(ids), [(0, 2)])
    with pytest.raises(InputError, match="behind the last token"):
        token_spans([(0, 1)], [(0, 2)])


def test_the_credit_of_one_step_is_its_score() -> None:
    assert {form: step_credit([0.5], form) for form in FORMS} == {form: [0.5] for form in FORMS}


@pytest.mark.parametrize("form", ["minimum", "minimum_drops", "potential"])
@pytest.mark.parametrize("scores", [[math.nan, 0.5], [0.5, math.inf], [None, 0.5], [0.5, None]])
def test_credit_of_what_is_no_number_is_refused(scores: list[Any], form: Any) -> None:
    with pytest.raises(InputError, match="allowed: a number"):
        step_credit(scores, form)


@pytest.mark.parametrize("groups", [[], ["a"], ["a", "b", "c"]])
def test_every_response_has_a_group(groups: list[str]) -> None:
    with pytest.raises(InputError, match="one for each response"):
        token_advantages(np.zeros((2, 3)), np.ones((2, 3), dtype=bool), groups)
