"""A deep ensemble is the mean of what its members say, in any order, and its members read the same tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_checkpoints import write_members
from strategies import random_tree, trees
from surestep import Scorer
from surestep.calibration.calibration import Calibration
from surestep.calibration.maps.temperature import Temperature
from surestep.config import Config
from surestep.errors import CheckpointError, ConfigError, InputError
from surestep.scoring.checkpoint.load import load_checkpoint, read_config
from surestep.scoring.ensemble.ensemble_scorer import EnsembleScorer
from surestep.scoring.ensemble.load_ensemble import LoadedEnsemble, check_same_tokens, load_ensemble
from surestep.scoring.protocol import Scorer as ScorerProtocol


@pytest.fixture(scope="module")
def members(
    build_small: Callable[..., Any], small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Three LoRA checkpoints of one backbone, each with a map of its own."""
    folder = tmp_path_factory.mktemp("ensemble")
    calibration = Calibration(Temperature(3.0), {}, {})
    return write_members(folder, build_small, small_config("llama", lora=True), 3, calibration=calibration)


def loaded(folders: list[Path]) -> LoadedEnsemble:
    return load_ensemble([(folder, read_config(folder)) for folder in folders])


@pytest.fixture(scope="module")
def alone(members: list[Path]) -> list[Any]:
    """Each member as a scorer of its own, loaded apart from the others."""
    found = [load_checkpoint(folder) for folder in members]
    return [one.built.scorer(one.config, calibrated=False) for one in found]


@pytest.fixture(scope="module")
def ensembles(members: list[Path]) -> list[EnsembleScorer]:
    """The same three, named in two orders."""
    orders = (members, [members[2], members[0], members[1]])
    return [loaded(order).scorer() for order in orders]


@pytest.mark.slow
@settings(max_examples=8)
@given(forest=st.lists(trees(), min_size=1, max_size=3), wanted=st.sampled_from(["all", "labelled"]))
def test_the_confidence_is_the_mean_of_the_members_in_any_order(alone, ensembles, forest, wanted) -> None:
    found = [list(scorer.score(forest, wanted=wanted)) for scorer in ensembles]
    each = [list(scorer.score(forest, wanted=wanted)) for scorer in alone]
    assert len(found[0]) == len(forest)
    for number in range(len(forest)):
        one, other = found[0][number], found[1][number]
        raw_MN = np.stack([scores[number].raw_N for scores in each])
        np.testing.assert_array_equal(one.raw_N, other.raw_N)
        np.testing.assert_array_equal(one.confidence_N, one.raw_N)
        np.testing.assert_allclose(one.raw_N, sum(raw_MN) / 3, rtol=1e-14)
        expected = np.sqrt(sum((raw_MN - sum(raw_MN) / 3) ** 2) / 3)
        assert one.spread_N is not None
        np.testing.assert_allclose(one.spread_N, expected, rtol=1e-7, atol=1e-12)


def test_members_share_their_backbone_and_leave_their_promises_behind(members: list[Path]) -> None:
    ensemble = loaded(members)
    scorer = ensemble.scorer()
    assert isinstance(scorer, ScorerProtocol)
    models = [member.built.model for member in ensemble.members]
    places = [{name: weight.data_ptr() for name, weight in model.named_parameters()} for model in models]
    shared = {name for name, place in places[0].items() if place == places[1][name] == places[2][name]}
    assert shared == {name for name in places[0] if name.startswith("backbone.") and "lora_" not in name}
    saved = sum(weight.numel() * 4 for name, weight in models[0].named_parameters() if name in shared) * 2
    (memory,) = [reason for reason in ensemble.reasons if "weights in memory" in reason]
    assert f"{saved / 1e6:.2f} MB more are shared" in memory
    assert any("own calibration maps are not applied (checkpoint_step_1, check" in line for line in ensemble.reasons)
    assert scorer.calibration is None
    assert scorer.about()["scorer"]["form"] == "ensemble"
    assert [one["step"] for one in scorer.about()["scorer"]["members"]] == [1, 2, 3]
    forest = [random_tree(1, num_nodes=5)]
    list(scorer.score(forest))
    assert scorer.tokens_used().read == sum(member.tokens_used().read or 0 for member in scorer.members) > 0


def test_members_that_differ_in_what_they_read_are_refused(members: list[Path]) -> None:
    with pytest.raises(CheckpointError, match="checkpoint_step_1 is named twice"):
        loaded([members[0], members[1], members[0]])
    first = load_checkpoint(members[0])
    for field, said in (("tokenizer_hash", "tokenizers"), ("formatter_hash", "formats of the text")):
        other = replace(first, manifest=replace(first.manifest, **{field: "another"}))
        with pytest.raises(CheckpointError, match=rf"have different {said} .*read the same tokens") as caught:
            check_same_tokens(first, other)
        assert "\n" not in str(caught.value)


def test_a_full_and_a_lora_model_of_one_tokenizer_are_an_ensemble(
    members: list[Path], build_small: Callable[..., Any], small_config: Callable[..., Config], tmp_path: Path
) -> None:
    full = write_members(tmp_path, build_small, small_config("llama"), 1)
    scorer = Scorer.load([members[0], *full])
    each = [Scorer.load(folder, calibrated=False) for folder in (members[0], *full)]
    steps = ["one and one", "is two"]
    mean, apart = scorer.score("add", steps), [one.score("add", steps) for one in each]
    expected = [sum(values) / 2 for values in zip(*(one.raw for one in apart), strict=True)]
    assert mean.confidences == pytest.approx(expected, rel=1e-14)
    assert mean.spread == pytest.approx([abs(a - b) / 2 for a, b in zip(*(one.raw for one in apart), strict=True)])
    assert apart[0].spread is None
    assert "x 2" in repr(scorer)
    with pytest.raises(InputError, match="a session is of one checkpoint, and this is an ensemble"):
        scorer.session("add")


@pytest.mark.parametrize("path", [[], [""], [3], 3, ["a", None]])
def test_what_names_no_checkpoints_is_refused(path: Any) -> None:
    with pytest.raises(InputError, match="'path'"):
        Scorer.load(path)


def test_a_calibration_file_is_of_an_ensemble(members: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one checkpoint is named, which keeps its own map"):
        Scorer.load(members[0], calibration_file=tmp_path / "map.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        Scorer.load(members, calibration_file=tmp_path / "map.json")
