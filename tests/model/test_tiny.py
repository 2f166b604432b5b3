"""`builtin:tiny`: the same everywhere, causal, small."""

from __future__ import annotations

import pytest
import torch

from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer
from surestep.encoding.tokenizer import StepTokenizer
from surestep.model.backbones.tiny import NUM_EMBEDDINGS, load_tiny_backbone


def test_a_seed_gives_the_same_weights_and_leaves_the_random_state() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (load_tiny_backbone(seed=seed, warm=False).state_dict() for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_later_tokens_do_not_change_earlier_states() -> None:
    model = load_tiny_backbone(seed=0).eval()
    tokens = torch.randint(0, 274, (1, 20), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 15:] = 7
    with torch.no_grad():
        one, other = (model(input_ids=ids).last_hidden_state for ids in (tokens, changed))
    torch.testing.assert_close(one[:, :15], other[:, :15], rtol=0, atol=1e-6)
    assert not torch.allclose(one[:, 15:], other[:, 15:], atol=1e-3)


def test_it_stays_small_enough_to_be_shipped() -> None:
    parameters = sum(parameter.numel() for parameter in load_tiny_backbone(seed=0).parameters())
    assert parameters * 4 <= 5_000_000  # bytes in float32


def test_there_is_a_row_for_every_token_and_the_confidence_token() -> None:
    tokenizer = StepTokenizer(build_tiny_tokenizer())
    assert tokenizer.confidence_id < NUM_EMBEDDINGS
    assert len(tokenizer.tokenizer) < NUM_EMBEDDINGS
    model = load_tiny_backbone(seed=0)
    assert model.get_input_embeddings().weight.shape[0] == NUM_EMBEDDINGS
    with torch.no_grad():
        output = model(input_ids=torch.tensor([[1, tokenizer.confidence_id]])).last_hidden_state
    assert output.isfinite().all()


def test_it_has_no_dropout_of_its_own() -> None:
    model = load_tiny_backbone(seed=0).train()
    tokens = torch.arange(30)[None]
    one, other = (model(input_ids=tokens).last_hidden_state for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize("length", [2048])
def test_it_reads_the_default_max_length(length: int) -> None:
    assert load_tiny_backbone(seed=0).config.max_position_embeddings >= length
