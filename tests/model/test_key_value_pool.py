"""Slots are handed out once, come back empty, and hold what was written to them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from surestep.model.key_value_pool import PADDING_SLOT, KeyLayout, KeyValuePool

CPU = torch.device("cpu")
FIRST, SECOND = SimpleNamespace(), SimpleNamespace()


def layout() -> KeyLayout:
    """Two layers of other heads and sizes."""
    made = KeyLayout()
    made.exchange(FIRST, torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4))
    made.exchange(SECOND, torch.zeros(1, 1, 3, 6), torch.zeros(1, 1, 3, 5))
    return made


def test_a_layout_says_what_a_token_takes() -> None:
    made = layout()
    assert made.slot_shape == (2, 6)
    assert made.bytes_per_slot == 2 * 2 * 2 * 6 * 4
    with pytest.raises(NotImplementedError, match="different heads"):
        made.exchange(SimpleNamespace(), torch.zeros(1, 2, 3, 4), torch.zeros(1, 1, 3, 4))


@given(st.lists(st.integers(-3, 9), max_size=30))
def test_no_slot_is_out_twice_and_none_is_lost(requests: list[int]) -> None:
    """A positive number asks for slots, a negative one gives back what was asked for that many requests ago."""
    pool, out = KeyValuePool(layout(), 20, CPU), list[np.ndarray]()
    for count in requests:
        if count >= 0:
            slots = pool.allocate(count)
            assert (slots is None) == (count > 20 - sum(map(len, out)))
            if slots is not None:
                out.append(slots)
        elif len(out) >= -count:
            pool.free(out.pop(count))
        held = np.concatenate([np.zeros(0, np.int64), *out])
        assert len(set(held.tolist())) == len(held) == pool.num_used == 20 - pool.num_free
        assert PADDING_SLOT not in held
        assert pool.bytes_used == len(held) * pool.layout.bytes_per_slot
    for slots in out:
        pool.free(slots)
    assert pool.num_used == 0
    assert (whole := pool.allocate(20)) is not None
    assert sorted(whole.tolist()) == list(range(1, 21))


def test_what_is_written_is_read_back_in_the_order_asked_for() -> None:
    pool = KeyValuePool(layout(), 6, CPU)
    slots = pool.allocate(4)
    assert slots is not None
    for module, key, value in (
        (FIRST, torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4)),
        (SECOND, torch.randn(1, 1, 5, 6), torch.randn(1, 1, 5, 5)),
    ):
        pool.write(module, torch.from_numpy(slots), key, value)  # the fifth token is padding
        order = [2, 0, 3, 2]
        found = pool.gather(module, torch.from_numpy(slots[order]))
        assert torch.equal(found[0], key[:, :, order])
        assert torch.equal(found[1], value[:, :, order])


def test_slots_that_come_back_hold_nothing_of_who_had_them() -> None:
    pool = KeyValuePool(layout(), 4, CPU)
    slots = pool.allocate(3)
    assert slots is not None
    ones = torch.ones(1, 2, 3, 4)
    pool.write(FIRST, torch.from_numpy(slots), ones, ones)
    assert pool.slots.sum() == 2 * 3 * 2 * 4
    pool.free(slots[:1])
    assert pool.slots.sum() == 2 * 2 * 2 * 4
    pool.free(slots[1:])
    assert pool.slots.sum() == 0
    with pytest.raises(ValueError, match="come back"):
        pool.free(slots)


def test_a_pool_can_be_written_in_inference_mode_and_outside_of_it() -> None:
    with torch.inference_mode():
        pool = KeyValuePool(layout(), 2, CPU)
        slots = pool.allocate(2)
        assert slots is not None
        pool.write(FIRST, torch.from_numpy(slots), torch.ones(1, 2, 2, 4), torch.ones(1, 2, 2, 4))
    pool.free(slots)
    assert pool.slots.sum() == 0
