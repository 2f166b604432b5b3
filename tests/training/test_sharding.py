"""Weights that are shared out over two processes are trained as one process trains them whole."""

from __future__ import annotations

import json
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from runs import Watcher, assert_same_bits
from runs_together import assert_same_run, run_together, same_weights
from strategies import random_tree
from surestep.config import Config
from surestep.encoding.encoded_tree import encode_trees
from surestep.encoding.packing import pack_trees
from surestep.errors import BackboneError, CheckpointError
from surestep.model.saved_weights import load_backbone_tensors, save_weights
from surestep.model.sharding import is_sharded, joined, local, shard_model, whole_weights
from surestep.scoring.checkpoint.find import list_checkpoints
from surestep.scoring.checkpoint.load import load_checkpoint, load_weights
from surestep.scoring.checkpoint.manifest import write_manifest
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.model_scorer import to_batch
from surestep.training.run import train
from surestep.training.run_state import RunState, read_state
from surestep.training.sharding import start
from surestep.training.sharding.checkpoint import write_checkpoint
from surestep.training.sharding.start import may_fuse_layers
from surestep.training.sharding.state import SHARDED_FOLDER, names_in_shards, write_shards
from surestep.training.start.resume_point import find_resume_point
from two_processes import copy_up_to

HAS_PROCESSES = torch.distributed.is_available()
STEPS = {"eval_steps": 2, "max_steps": 4, "learning_rate": 0.01, "save_steps": 2, "token_budget": 120}
"""Small packs: the processes have different numbers of passes in a step, and in a validation."""
FULL = {**STEPS, "lora": False, "layer_learning_rate_decay": 0.7}
PHASED = {
    **FULL,
    "max_steps": 10_000,  # the length of a run with phases is theirs
    "phases": [
        {"name": "first", "training": {"max_steps": 2}},
        {"name": "then", "training": {"max_steps": 2, "learning_rate": 0.004, "weight_decay": 0.1}},
    ],
}
LORA = {**STEPS, "ema_decay": 0.5, "gradient_checkpointing": True}


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not HAS_PROCESSES, reason="this torch has no torch.distributed")
@pytest.mark.usefixtures("group")
def test_backbones_whose_weights_have_no_rows_or_belong_to_two_layers_are_refused_by_name(
    build_small: Callable[..., Any],
) -> None:
    model = build_small("llama").model
    model.transformer.layers[1].scale = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(BackboneError, match=r"layers\.1\.scale .*--fsdp false"):
        shard_model(model, torch.device("cpu"))
    model = build_small("llama").model
    model.transformer.layers[1].mlp = model.transformer.layers[0].mlp
    with pytest.raises(BackboneError, match=r"shares some between layers .*--fsdp false"):
        shard_model(model, torch.device("cpu"))
    assert not is_sharded(model)


@pytest.mark.skipif(not HAS_PROCESSES, reason="this torch has no torch.distributed")
@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("lora", [True, False])
def test_shards_are_whole_again_and_filled_again(build_small: Callable[..., Any], tmp_path: Path, lora: bool) -> None:
    """Each weight has its name and values in a checkpoint's files, and gets them back from there."""
    built = build_small("llama, mix", lora=lora)
    before = {name: weight.detach().clone() for name, weight in built.model.named_parameters()}
    shard_model(built.model, torch.device("cpu"))
    assert is_sharded(built.model)
    weights = whole_weights(built.model, keep=True)
    assert weights.keys() == {name for name, weight in built.model.named_parameters() if weight.requires_grad}
    assert all(torch.equal(weights[name], before[name]) for name in weights)
    save_weights(built.model, tmp_path, whole=weights)
    for weight in built.model.parameters():
        if weight.requires_grad:
            local(weight.detach()).zero_()
    load_weights(built.model, tmp_path)
    if not lora:
        load_backbone_tensors(built.model, tmp_path)
    for name, weight in built.model.named_parameters():
        assert torch.equal(joined(weight.detach()), before[name]), name


@pytest.mark.skipif(not HAS_PROCESSES, reason="this torch has no torch.distributed")
@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("lora", [True, False])
def test_shards_give_the_gradients_of_whole_weights_where_products_are_in_half(
    build_small: Callable[..., Any], lora: bool
) -> None:
    def gradients(sharded: bool) -> dict[str, torch.Tensor]:
        built = build_small("llama", lora=lora)
        if sharded:
            shard_model(built.model, torch.device("cpu"), torch.bfloat16)
        tree = encode_trees([random_tree(3)], built.tokenizer, built.formatter)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = built.model(to_batch(pack_trees([tree])))
        assert logits.dtype == torch.float32, "the head stays in float32"
        (logits**2).sum().backward()
        trained = {name: weight for name, weight in built.model.named_parameters() if weight.requires_grad}
        return {name: joined(weight.grad) for name, weight in trained.items()}

    whole, shards = gradients(False), gradients(True)
    assert whole.keys() == shards.keys()
    for name, gradient in whole.items():
        assert shards[name].dtype == torch.float32
        error = float((shards[name] - gradient).norm() / gradient.norm())
        assert error < 0.02, (name, error)


@pytest.mark.skipif(not HAS_PROCESSES, reason="this torch has no torch.distributed")
@pytest.mark.usefixtures("group")
def test_a_place_that_takes_no_shards_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write_shards(tmp_path / "file" / "within", {"weight": torch.zeros(2)})


@pytest.mark.parametrize(
    "place",
    ["no JSON", "[]", "{}", '{"weight": 1}', '{"weight": {"saved_offsets": [1, 2, "x"]}}', "[" * 100_000],
)
def test_shards_whose_place_in_the_whole_is_no_place_are_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / SHARDED_FOLDER).mkdir()
    with pytest.raises(CheckpointError, match="holds no shards"):
        names_in_shards(tmp_path)
    path = tmp_path / SHARDED_FOLDER / "shard-00001-model-00001-of-00001.safetensors"
    save_file({"weight": torch.zeros(2, 3)}, path, metadata={"DCP_SHARDING_INFO": place})
    with pytest.raises(CheckpointError, match="cannot be read"):
        names_in_shards(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cannot be read"):
        names_in_shards(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PROCESSES, reason="this torch has no torch.distributed")
def test_shards_are_trained_saved_and_resumed_as_whole_weights_are(
    run_config: Callable[..., Config], tmp_path: Path, quick_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(name: str, settings: dict[str, Any], *, batch: int = 2, fsdp: bool = True) -> Config:
        return run_config(experiment_name=name, per_device_train_batch_size=batch, fsdp=fsdp, **settings)

    whole, whole_lora = made("whole", FULL, batch=4), made("whole-lora", LORA, batch=4)
    for config in (whole, whole_lora):
        watcher = Watcher()
        train(config, watcher)
        assert any("fsdp: nothing to share out" in line for line in watcher.of("say"))
    shards, lora, again, split = (
        made(name, settings) for name, settings in (("shards", FULL), ("lora", LORA), ("again", FULL), ("split", LORA))
    )
    free = {name: value for name, value in STEPS.items() if name != "token_budget"}
    calm, tight = made("calm", free, fsdp=False), made("tight", free, fsdp=False)
    runs: list[dict[str, Any]] = [
        {"config": shards},
        {"config": lora},
        {"config": again, "resume": shards.experiment_dir, "step": 2},  # 2 processes to 2
        {"config": split, "resume": whole_lora.experiment_dir, "step": 2},  # 1 to 2
        {"config": calm},
        {"config": tight, "breaks": 3},
    ]
    done = run_together(quick_python, tmp_path, runs)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert any("each holds 1/2 of weights, gradients and moments" in line for line in said[0])
    assert_same_run(shards, whole)
    assert_same_run(lora, whole_lora)
    last = "checkpoint_step_4"
    assert_same_bits(again.experiment_dir / last, shards.experiment_dir / last)
    same_weights(split, whole_lora)

    # Memory that ran out on one process alone: both ran the step again, and nothing else changed.
    assert any("out of memory: continuing with" in line for line in said[5])
    assert not any("out of memory" in line for line in said[4])
    assert_same_bits(tight.experiment_dir / last, calm.experiment_dir / last)

    # Nothing is pickled; each process has written its shards, and any process reads both.
    for config in (shards, lora):
        state = config.experiment_dir / last / "training_state"
        assert sorted(path.name for path in state.rglob("*") if path.is_file()) == [
            "shard-00001-model-00001-of-00001.safetensors",
            "shard-00002-model-00001-of-00001.safetensors",
            "state.json",
        ]

    def refuse(*_arguments: Any, **_settings: Any) -> None:
        raise AssertionError("something was unpickled")

    alone = made("alone", LORA, batch=4)  # 2 processes to 1
    copy_up_to(lora.experiment_dir, alone.experiment_dir, 2)
    with monkeypatch.context() as patch:
        patch.setattr(pickle, "load", refuse)
        patch.setattr(torch, "load", refuse)
        train(alone, Watcher(), resume=True)
    same_weights(alone, whole_lora)

    scorer = load_checkpoint(shards.experiment_dir / last).built.model
    assert all(np.isfinite(weight.detach().numpy()).all() for weight in scorer.parameters())

    broken = next((shards.experiment_dir / last / "training_state").rglob("shard-00002*"))
    broken.unlink()
    point = find_resume_point(shards.experiment_dir)
    assert point.checkpoint.name == "checkpoint_step_2"
    assert "shard-00002" in point.said[0]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PROCESSES, reason="this torch has no torch.distributed")
def test_a_process_that_dies_ends_the_run_which_goes_on_from_its_last_checkpoint(
    run_config: Callable[..., Config], tmp_path: Path, quick_python: Path
) -> None:
    cut = run_config(experiment_name="cut", per_device_train_batch_size=2, fsdp=True, **PHASED)
    start = time.monotonic()
    # On a busy machine the launcher would end the other process before that one has said anything.
    done = run_together(quick_python, tmp_path, [{"config": cut, "dies": 3}], timeout=90, looks_every_s=5.0)
    assert done.returncode != 0
    assert time.monotonic() - start < 75, "60 s is promised, and the start takes some"
    assert [step for step, _ in list_checkpoints(cut.experiment_dir)] == [2]
    assert "another process of this run has ended" in done.stderr
    cut.training.per_device_train_batch_size = 4
    train(cut, Watcher(), resume=True)
    whole = run_config(experiment_name="whole", per_device_train_batch_size=4, **PHASED)
    train(whole, Watcher())
    same_weights(cut, whole)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PROCESSES, reason="this torch has no torch.distributed")
@pytest.mark.usefixtures("group")
def test_a_kill_anywhere_in_a_sharded_save_leaves_the_checkpoint_before_it(
    build_small: Callable[..., Any],
    small_config: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kill runs nothing of ours: what it leaves is the folder as it stands at that moment, which is copied here."""
    built, config = build_small("llama", lora=True), small_config("llama", lora=True)
    shard_model(built.model, torch.device("cpu"))
    run, left = tmp_path / "run", list[Path]()

    def killed_here() -> None:
        left.append(Path(shutil.copytree(run, tmp_path / f"left-{len(left)}")))

    def shards_with_kills(place: Path, shards: Any) -> None:
        killed_here()
        write_shards(place, shards)
        killed_here()
        killed_here()
        (shard,) = left[-1].glob(f".checkpoint_step_4.*/training_state/{SHARDED_FOLDER}/*.safetensors")
        shard.write_bytes(shard.read_bytes()[:-1])  # in the middle of the file

    def manifest_with_kills(folder: Path, manifest: Any) -> None:
        killed_here()
        write_manifest(folder, manifest)
        killed_here()

    def save(folder: Path, **what: Any) -> None:
        save_checkpoint(folder, built, config, label_means={}, **what)

    step = SimpleNamespace(averaged_weights=nullcontext, shards=lambda: {"moment": torch.zeros(4)})
    together = SimpleNamespace(is_first=True, told=lambda place: place, wait=lambda: None)
    state = RunState(step=2)
    write_checkpoint(step, built, together, save, run / "checkpoint_step_2", state)  # type: ignore[arg-type]
    monkeypatch.setattr("surestep.training.sharding.checkpoint.write_shards", shards_with_kills)
    monkeypatch.setattr("surestep.scoring.checkpoint.save.write_manifest", manifest_with_kills)
    state = RunState(step=4)
    write_checkpoint(step, built, together, save, run / "checkpoint_step_4", state)  # type: ignore[arg-type]
    assert len(left) == 5
    for folder in left:
        assert [number for number, _ in list_checkpoints(folder)] == [2]
        point = find_resume_point(folder)
        assert (point.checkpoint, point.damaged) == (folder / "checkpoint_step_2", ())
        assert read_state(point.checkpoint / "training_state").step == 2
        assert names_in_shards(point.checkpoint / "training_state") == {"moment": (4,)}
    assert find_resume_point(run).checkpoint.name == "checkpoint_step_4"


@pytest.mark.skipif(not HAS_PROCESSES, reason="this torch has no torch.distributed")
@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bf16"])
def test_fused_layers_that_are_trained_in_full_stay_fused_when_sharded(
    build_small: Callable[..., Any], dtype: torch.dtype
) -> None:
    built = build_small("qwen3")
    model = built.model.requires_grad_(True).train()
    trees = [random_tree(seed, num_nodes=9) for seed in range(3)]
    batch = to_batch(pack_trees(encode_trees(trees, built.tokenizer, built.formatter)))

    def logits_and_gradients() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
            logits_S = model(batch).float()
        logits_S.square().sum().backward()
        gradients = {name: joined(p.grad).float() for name, p in model.named_parameters() if p.grad is not None}
        return logits_S.detach(), gradients

    expected, gradients = logits_and_gradients()
    assert model.fuse_layers()
    object.__setattr__(model.transformer.layers[-1].self_attn, "surestep_is_last", True)  # narrowed before it was fused
    shard_model(model, torch.device("cpu"), dtype)
    assert is_sharded(model)
    for _ in range(2):  # in the second pass the weights have been given up once
        found, sharded = logits_and_gradients()
        scale = 1e-5 if dtype == torch.float32 else 2e-2
        assert (found - expected).norm() <= scale * expected.norm().clamp_min(1.0)
        assert sharded.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert (sharded[name] - gradient).norm() <= 5 * scale * gradient.norm().clamp_min(1e-3), name


@pytest.mark.parametrize(
    ("device", "fused", "words"),
    [
        ("cuda", True, "layers are not compiled"),
        ("cuda", False, "neither fused nor compiled"),
        ("cpu", False, "as set)"),
    ],
)
def test_what_sharding_costs_on_a_gpu_is_said(
    device: str, fused: bool, words: str, small_config: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "shard_model", lambda *_: None)
    hardware = SimpleNamespace(device=torch.device(device), compute_dtype=torch.float32)
    built: Any = SimpleNamespace(model=SimpleNamespace(is_fused=fused), hardware=hardware)
    training, two = small_config("qwen3").training, SimpleNamespace(num_processes=2, scaler=None)
    training.fsdp = True
    said = start.shard_if_asked(built, training, two)  # type: ignore[arg-type]
    assert said is not None
    assert said.endswith(words)


def test_only_layers_with_frozen_weights_are_not_fused_before_they_are_sharded(
    small_config: Callable[..., Any],
) -> None:
    config = small_config("qwen3")
    for lora, fsdp, processes, fused in (
        (False, False, 1, True),
        (True, False, 4, True),
        (True, True, 1, True),
        (True, True, 2, False),
        (False, True, 2, True),
    ):
        config.lora.use_lora, config.training.fsdp = lora, fsdp
        assert may_fuse_layers(config.training, config.lora, processes) is fused
