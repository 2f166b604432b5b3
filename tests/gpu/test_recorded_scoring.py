"""Recorded scoring passes give the numbers of usual ones, up to what another length of pack changes, in any order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strategies import random_tree
from surestep.bench.backbone_shapes import build_shape
from surestep.config import get_default_config
from surestep.encoding.encoded_tree import encode_trees
from surestep.scoring.build_model import prepare_for_scoring
from surestep.scoring.hardware import Precision, choose_hardware
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.sessions import SessionScorer
from surestep.types import chain

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def made_scorer(*, compiled: bool, precision: Precision = "bf16") -> ModelScorer:
    """The same random weights on every call."""
    config = get_default_config()
    config.eval.scoring_weights = "merged"
    config.lora.use_lora = True
    built = build_shape(config, choose_hardware("cuda", precision), "small")
    with torch.no_grad():
        built.model.head.output.weight.normal_(generator=torch.Generator("cuda").manual_seed(1))
    prepare_for_scoring(built, config.eval.scoring_weights)
    if compiled:
        config.model.compile = True
        built.compile_if_worth(config.model.compile, 1e9)
    return built.scorer(config)


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_requests_of_any_size_and_order(compiled: bool) -> None:
    scorer = made_scorer(compiled=compiled)
    work = [
        encode_trees(
            [random_tree(10 * seed + n, num_nodes=5 + n) for n in range(count)], scorer.tokenizer, scorer.formatter
        )
        for seed, count in enumerate((1, 2, 5, 1, 9, 3, 1, 20))
    ]
    usual = [np.concatenate(list(scorer.score_encoded(trees))) for trees in work]
    assert "recorded once" in (scorer.record_passes() or "")
    assert scorer.recorded is not None
    for _ in range(3):
        for trees, expected in zip(work, usual, strict=True):
            found = np.concatenate(list(scorer.score_encoded(trees)))
            np.testing.assert_allclose(found, expected, atol=2e-3)
    assert scorer.recorded._works
    assert scorer.recorded._recorded


def test_sessions_are_no_farther_from_whole_scoring_than_bf16_from_float32() -> None:
    """As those that are not recorded (test_sessions.py): what a product rounds depends on its shape."""
    scorer, exact = made_scorer(compiled=False), made_scorer(compiled=False, precision="no")
    steps = [[f"{n} + {i} = {n + i}." for i in range(12)] for n in range(5)]
    trees = [chain(f"Problem {n}", steps[n]) for n in range(5)]
    whole, in_float32 = (np.array([found.raw_N for found in one.score(trees)]) for one in (scorer, exact))
    rounding = np.abs(whole - in_float32)
    scorer.record_passes()
    for _ in range(2):
        sessions = SessionScorer(scorer, max_tokens=4000)
        opened = [sessions.open(f"Problem {n}") for n in range(5)]
        added = [sessions.add_many([(opened[n], steps[n][i]) for n in range(5)]) for i in range(12)]
        apart = np.abs(np.array(added, float).T - whole)
        # The largest of 60 says little: 0.0075 and 0.0071 were seen.
        assert apart.mean() <= rounding.mean()
        assert np.sqrt((apart**2).mean()) <= np.sqrt((rounding**2).mean())
        for session in opened:
            session.close()
    assert scorer.recorded is not None
    assert scorer.recorded._works
