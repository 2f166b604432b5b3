"""8-bit AdamW and frozen weights in NF4 on a GPU, with bitsandbytes' own kernels.

Random weights and noise for text: what is shown is that the numbers are those they should be, not how well a model
learns. Tolerances: a 4-bit product is off by 8 to 9 percent of its norm on normally distributed weights, so hidden
states of four layers agree to about a quarter (bound: 35 %; unrelated ones differ by about 140 %), and confidences that
spread by 0.12 agree to about 0.02 (bound: 0.05), as seen with the library's CPU kernels. The same weights taken out of
their 4 bits must agree as bf16 does: 3 %.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from runs import Watcher, logged, write_own
from scores import scores_of
from surestep.cli.main import main
from surestep.config import Config, TrainingConfig, get_default_config, get_lora_config
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.packing import pack_trees
from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer
from surestep.model.attention.prepared_mask import prepare_mask
from surestep.model.fast.compile_layers import compile_layers
from surestep.model.precision.bitsandbytes_available import bitsandbytes_problem, load_bitsandbytes
from surestep.scoring.build_model import BuiltModel, build_model, is_nf4
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.hardware import choose_hardware
from surestep.scoring.model_scorer import to_batch
from surestep.training.optimizer.parameter_groups import build_optimizer, moment_bytes, parameter_names
from surestep.training.run import train
from surestep.training.run_state import RunState, load_state, save_state
from surestep.types import Node, ReasoningTree

_MISSING = "needs a CUDA GPU" if not torch.cuda.is_available() else bitsandbytes_problem()
pytestmark = pytest.mark.skipif(_MISSING is not None, reason=str(_MISSING))

DEVICE = "cuda"
VOCABULARY = 320
TREES = [
    ReasoningTree(
        f"what is {n} + {n}?", (Node(f"two times {n}"), Node(f"is {2 * n}", 0), Node("is 5", 0), Node("so it is", 1))
    )
    for n in range(2, 12)
]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 whose matrices are large enough for 8 and for 4 bits, with the tiny tokenizer."""
    from transformers import Qwen3Config, Qwen3Model

    folder = tmp_path_factory.mktemp("qwen3")
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 2048,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    Qwen3Model(Qwen3Config(**shape)).save_pretrained(folder)
    build_tiny_tokenizer().save_pretrained(folder)
    return folder


def settings(backbone: Path, *, base: str | None, precision: str = "bf16") -> Config:
    """LoRA over a base held as `base`; None: full fine-tuning."""
    config = get_default_config() if base is None else get_lora_config()
    config.model.backbone = str(backbone)
    config.model.mlp_hidden_dims = [64]
    config.model.mlp_dropout = config.lora.lora_dropout = 0.0
    config.model.compile = False
    config.lora.base_precision = base or "same"
    config.lora.lora_target_modules = "all-linear"
    config.training.device, config.training.mixed_precision = DEVICE, precision
    config.training.learning_rate = 1e-3
    return config


def build(config: Config) -> BuiltModel:
    """A model whose head answers to what it reads and whose adapters do something."""
    built = build_model(config, choose_hardware(config.training.device, config.training.mixed_precision))
    torch.manual_seed(1)
    with torch.no_grad():
        built.model.head.output.weight.normal_(std=0.3)
        for name, parameter in built.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    return built


def chains(count: int, seed: int = 0) -> list[EncodedTree]:
    """Chains of random tokens, a step about every ten of them."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        offsets = np.concatenate([[0], np.cumsum(random.integers(5, 15, 6))]).astype(np.int64)
        tokens = random.integers(0, 256, offsets[-1]).astype(np.int32)
        label = random.integers(0, 2, 6).astype(np.float32)
        label[0] = np.nan
        found.append(EncodedTree(tokens, offsets, np.arange(-1, 5, dtype=np.int32), label, np.arange(-1, 5)))
    return found


def confidences(built: BuiltModel, config: Config) -> np.ndarray[Any, Any]:
    return np.array([score for tree in scores_of(built.scorer(config), TREES) for score in tree])


def hidden_and_gradient(built: BuiltModel, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states at the steps in bf16, and the gradient of all that is trained but the head."""
    model = built.model
    batch = to_batch(pack_trees(chains(count, seed=count))).to(built.hardware.device)
    model.zero_grad()
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        hidden = model._packed(prepare_mask(batch, model.route))  # type: ignore[arg-type]
    weights = torch.linspace(-1, 1, hidden.numel(), device=hidden.device).view_as(hidden)
    (hidden.float() * weights).sum().backward()
    gradient = torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])
    return hidden.detach().float(), gradient


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


# 8-bit AdamW

EIGHT = TrainingConfig(learning_rate=1e-3, weight_decay=0.1, optimizer="adamw_8bit")


def random_step(model: Any, optimizer: torch.optim.Optimizer, seed: int) -> None:
    """One update with random gradients: bits can be compared, which those of a backward pass cannot."""
    random = torch.Generator().manual_seed(seed)
    for parameter in (p for p in model.parameters() if p.requires_grad):
        parameter.grad = torch.randn(parameter.shape, generator=random).to(parameter.device)
    optimizer.step()
    model.zero_grad(set_to_none=True)


def test_8_bit_moments_are_saved_and_go_on_to_the_bit(backbone: Path, tmp_path: Path) -> None:
    config = settings(backbone, base=None)
    first, second = build(config).model, build(config).model
    optimizer = build_optimizer(first, EIGHT)
    for number in range(10):
        random_step(first, optimizer, number)
    save_state(tmp_path, RunState(step=10), optimizer, parameter_names(first))
    second.load_state_dict(first.state_dict())
    other = build_optimizer(second, EIGHT)
    assert load_state(tmp_path, other, parameter_names(second)).step == 10
    for number in range(10, 20):
        random_step(first, optimizer, number)
        random_step(second, other, number)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(first.parameters(), second.parameters(), strict=True))
    saved = load_file(tmp_path / "optimizer.safetensors")
    assert sum(value.dtype == torch.uint8 for value in saved.values()) == 2 * 7 * 4


def test_8_bit_steps_stay_near_those_of_adamw_and_take_the_bytes_that_were_planned(backbone: Path) -> None:
    moved, taken = [], []
    for name in ("adamw", "adamw_8bit"):
        model = build(settings(backbone, base=None)).model
        config = EIGHT.model_copy(update={"optimizer": name})
        before = torch.cat([p.detach().flatten() for p in model.parameters()])
        optimizer = build_optimizer(model, config)
        for number in range(10):
            random_step(model, optimizer, number)
        moved.append(torch.cat([p.detach().flatten() for p in model.parameters()]) - before)
        states = [state for moments in optimizer.state.values() for key, state in moments.items() if "qmap" not in key]
        taken.append(sum(s.numel() * s.element_size() for s in states if isinstance(s, torch.Tensor) and s.ndim))
        assert taken[-1] == moment_bytes(model, config)
    assert distance(moved[1], moved[0]) < 0.1
    assert taken[1] < 0.4 * taken[0]


def test_20_steps_of_8_bit_adamw_lower_the_loss(backbone: Path) -> None:
    built = build(settings(backbone, base=None))
    model = built.model.train()
    optimizer = build_optimizer(model, EIGHT)
    trees = chains(8)
    batch = to_batch(pack_trees(trees)).to(built.hardware.device)
    labels = torch.from_numpy(np.concatenate([tree.label_N[1:] for tree in trees])).to(built.hardware.device)
    losses = []
    for _ in range(20):
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            logits = model(batch)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


# NF4


@pytest.fixture(scope="module")
def plain(backbone: Path) -> tuple[Config, BuiltModel]:
    config = settings(backbone, base="same")
    return config, build(config)


@pytest.fixture(scope="module")
def small(backbone: Path) -> tuple[Config, BuiltModel]:
    config = settings(backbone, base="nf4")
    return config, build(config)


def test_nf4_is_said_and_takes_half_a_byte_a_weight(small: tuple[Config, BuiltModel]) -> None:
    built = small[1]
    assert is_nf4(built.model)
    assert not built.model.is_fused
    assert any("nf4" in line and "not fused" in line for line in built.reasons)
    layers = [m for m in built.model.modules() if isinstance(m, load_bitsandbytes().nn.Linear4bit)]
    assert len(layers) == 7 * 4
    for layer in layers:
        assert layer.weight.device.type == DEVICE
        assert layer.weight.numel() == layer.in_features * layer.out_features / 2
        assert layer.weight.quant_state.nested
        assert layer.compute_dtype == torch.bfloat16
    trained = {name for name, p in built.model.named_parameters() if p.requires_grad}
    assert all("lora_" in name or name.startswith(("head.", "confidence_row")) for name in trained)


def test_nf4_scores_are_near_those_of_bf16(plain: tuple[Config, BuiltModel], small: tuple[Config, BuiltModel]) -> None:
    hidden, gradient = hidden_and_gradient(small[1])
    expected, expected_gradient = hidden_and_gradient(plain[1])
    assert distance(hidden, expected) < 0.35
    assert distance(gradient, expected_gradient) < 0.4
    scores, exact = confidences(small[1], small[0]), confidences(plain[1], plain[0])
    assert np.abs(scores - exact).mean() < 0.05
    assert np.abs(scores - exact).max() < 0.15


def test_nf4_layers_compute_with_the_weights_that_they_hold(
    plain: tuple[Config, BuiltModel], small: tuple[Config, BuiltModel]
) -> None:
    """The same weights taken out of their 4 bits, in plain layers: only the rounding of bf16 is left."""
    unpack = load_bitsandbytes().functional.dequantize_4bit
    copied = build(plain[0])  # not a copy: fused layers would keep their old weights beside the new ones
    held = {name: m for name, m in small[1].model.named_modules() if name.endswith("base_layer")}
    with torch.no_grad():
        for name, module in copied.model.named_modules():
            if name in held:
                weight = held[name].weight
                module.weight.copy_(unpack(weight.data, weight.quant_state))
    expected, expected_gradient = hidden_and_gradient(copied)
    hidden, gradient = hidden_and_gradient(small[1])
    assert distance(hidden, expected) < 0.03
    assert distance(gradient, expected_gradient) < 0.06


def test_nf4_recomputed_activations_give_the_same_gradient(backbone: Path, small: tuple[Config, BuiltModel]) -> None:
    config = settings(backbone, base="nf4")
    config.training.gradient_checkpointing = True
    built = build(config)
    built.model.train()
    small[1].model.train()
    hidden, gradient = hidden_and_gradient(built)
    expected, expected_gradient = hidden_and_gradient(small[1])
    assert distance(hidden, expected) < 0.01
    assert distance(gradient, expected_gradient) < 0.02


def test_nf4_a_checkpoint_scores_as_before_and_exports_into_the_original_weights(
    small: tuple[Config, BuiltModel], tmp_path: Path
) -> None:
    config, built = small
    folder = tmp_path / "checkpoint_step_1"
    save_checkpoint(folder, built, config, step=1, label_means={"own": 0.5})
    assert not any("absmax" in key for path in folder.rglob("*.safetensors") for key in load_file(path))
    before = confidences(built, config)
    loaded = load_checkpoint(folder)
    assert is_nf4(loaded.built.model)
    assert np.abs(confidences(loaded.built, loaded.config) - before).max() < 1e-3
    assert main(["export", "--checkpoint", str(folder), "--output_dir", str(tmp_path / "merged")]) == 0
    merged = load_checkpoint(tmp_path / "merged")
    assert not is_nf4(merged.built.model)
    assert np.abs(confidences(merged.built, merged.config) - before).mean() < 0.05


class CrashError(Exception):
    """Stands for a power cut."""


def crash() -> None:
    raise CrashError


def losses_of(watcher: Watcher) -> dict[int, float]:
    return {record.step: record.loss for record in watcher.of("logged")}


def test_nf4_and_8_bits_train_stop_and_resume(backbone: Path, tmp_path: Path) -> None:
    """A whole run with both settings, and one that was cut after step 15 and went on from step 10.

    Step 11 is done twice from the same state: its loss is the same. Later ones differ by what the backward pass of a
    GPU leaves to chance.
    """
    data = [write_own(tmp_path / f"{name}.jsonl", 40, seed=seed) for seed, name in enumerate(("train", "held", "test"))]
    runs = []
    for name in ("whole", "cut"):
        config = settings(backbone, base="nf4")
        config.experiment_name, config.output_dir = name, tmp_path / "outputs"
        config.data.use_prm800k = config.data.use_eqasc = False
        config.data.use_own, config.data.cache_dir = True, tmp_path / "cache"
        config.data.own_train, config.data.own_validation, config.data.own_test = data
        config.training.max_steps, config.training.warmup_steps, config.training.save_steps = 20, 0, 10
        config.training.eval_steps, config.training.logging_steps = 10, 1
        config.training.lr_scheduler_type, config.training.optimizer = "constant", "adamw_8bit"
        config.training.tensorboard = config.eval.report = config.eval.baselines = False
        config.lora.lora_r = 32
        watcher = Watcher({15: crash} if name == "cut" else {})
        if name == "cut":
            with pytest.raises(CrashError):
                train(config, watcher)
            before = losses_of(watcher)
            watcher = Watcher()
            train(config, watcher, resume=True)
            assert watcher.of("started") == [(10, 20)]
            after = losses_of(watcher)
            assert after[11] == pytest.approx(before[11], rel=1e-5)
            assert [after[step] for step in (12, 13, 14)] == pytest.approx(
                [before[step] for step in (12, 13, 14)], rel=0.01
            )
        else:
            train(config, watcher)
        said = " ".join(watcher.of("say"))
        assert "frozen weights: nf4" in said
        assert "moments in 8 bits" in said
        runs.append(config)
    whole, cut = ([loss for _, loss, *_ in logged(config.experiment_dir)["losses"]] for config in runs)
    assert np.mean(whole[-5:]) < np.mean(whole[:5])
    assert len(whole) == len(cut) == 20
    assert cut == pytest.approx(whole, rel=0.05)
    last = runs[0].experiment_dir / "checkpoint_step_20"
    moments = load_file(last / "training_state" / "optimizer.safetensors")
    assert any(value.dtype == torch.uint8 for value in moments.values())
    assert main(["evaluate", "--checkpoint", str(last), "--output_dir", str(tmp_path / "result")]) == 0


def test_nf4_of_random_weights_can_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    work = ["--shape", "small", "--base_precision", "nf4", "--optimizer", "adamw_8bit", "--compile", "false"]
    size = ["--steps", "1", "--repeats", "1", "--examples", "4", "--budgets", "2048"]
    assert main(["bench", "train", *work, *size]) == 0
    assert "frozen weights: nf4" in capsys.readouterr().out


def test_nf4_layers_compiled_agree_with_the_same_not_compiled(small: tuple[Config, BuiltModel]) -> None:
    """Last, for compiling changes what runs behind the attention's name for the whole process."""
    expected, expected_gradient = hidden_and_gradient(small[1])
    again = build(small[0])
    compile_layers(again.model.transformer)
    for count in (6, 9):
        hidden_and_gradient(again, count)
    hidden, gradient = hidden_and_gradient(again)
    assert distance(hidden, expected) < 0.03
    assert distance(gradient, expected_gradient) < 0.06
