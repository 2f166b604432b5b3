"""The constants that a model must beat."""

from __future__ import annotations

import math

import pytest

from surestep.errors import DataError
from surestep.metrics import ConstantBaseline


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_a_constant_outside_its_range_is_refused(bad: float) -> None:
    with pytest.raises(DataError, match=r"baseline of a is .*allowed: 0 to 1"):
        ConstantBaseline(per_dataset={"a": bad})
    with pytest.raises(DataError, match=r"all datasets is .*allowed: 0 to 1"):
        ConstantBaseline(overall=bad)
