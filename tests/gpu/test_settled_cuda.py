"""Weights held as scoring reads them, on a GPU: near the scores of the weights as trained."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from surestep.bench.backbone_shapes import build_shape
from surestep.bench.example_work import bushy, chain, chain_lengths
from surestep.config import get_default_config, get_lora_config
from surestep.model.precision.fp8 import runs_fp8
from surestep.scoring.build_model import prepare_for_scoring
from surestep.scoring.hardware import choose_hardware

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def _distance(weights: Literal["as_trained", "merged", "fp8"], *, lora: bool, compiled: bool) -> tuple[float, float]:
    """Largest difference of a confidence to that of the weights as trained, and the spread of confidences."""
    config = get_lora_config() if lora else get_default_config()
    built = build_shape(config, choose_hardware("cuda", "bf16"), "small")
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in built.model.named_parameters():
            if "lora_B" in name or name.startswith("head"):
                parameter.add_(torch.randn_like(parameter) * 0.05)
    built.model.eval()
    random = np.random.default_rng(0)
    ids = {"num_ids": 8000, "confidence_id": built.model.confidence_id}
    trees = [chain(length, random, **ids) for length in chain_lengths(20)] + [bushy(random, **ids) for _ in range(4)]

    def confidences() -> np.ndarray:
        return np.concatenate(list(built.scorer(config).score_encoded(trees)))

    expected = confidences()
    config.eval.scoring_weights = weights
    prepare_for_scoring(built, config.eval.scoring_weights)
    if compiled:
        torch._dynamo.reset()
        config.model.compile = True
        built.compile_if_worth(config.model.compile, 1e9)
    return float(np.abs(confidences() - expected).max()), float(expected.std())


@pytest.mark.parametrize("compiled", [False, True], ids=["plain", "compiled"])
def test_merged_adapters_score_alike_in_bf16(compiled: bool) -> None:
    """bf16 has 8 bits: a confidence may move by a few of its roundings."""
    distance, spread = _distance("merged", lora=True, compiled=compiled)
    assert spread > 0.01
    assert distance < 0.02


def test_a_full_model_held_in_half_precision_scores_alike() -> None:
    distance, spread = _distance("as_trained", lora=False, compiled=False)
    assert spread > 0.01
    assert distance < 0.005


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_fp8_weights_stay_near(lora: bool) -> None:
    if not runs_fp8(torch.device("cuda")):
        pytest.skip("needs a GPU that multiplies 8-bit floats")
    distance, spread = _distance("fp8", lora=lora, compiled=False)
    assert spread > 0.01
    assert distance < 0.1
