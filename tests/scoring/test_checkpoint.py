"""A checkpoint is complete or not there, comes back to the bit, and fails loudly where it is not what it was."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from backbones import save_backbone
from hostile import sealed
from scores import scores_of
from strategies import random_tree
from surestep.config import Config, get_lora_config
from surestep.disk import leftovers, remove_leftovers
from surestep.encoding.formatter import FORMER_HASHES, Formatter
from surestep.errors import CheckpointError, DeviceError, StorageError
from surestep.files import MANIFEST
from surestep.model.saved_weights import HEAD_FILE
from surestep.scoring.build_model import BuiltModel, build_model
from surestep.scoring.checkpoint import load as checkpoint_module
from surestep.scoring.checkpoint.find import checkpoint_path, list_checkpoints
from surestep.scoring.checkpoint.load import LoadedCheckpoint, load_checkpoint
from surestep.scoring.checkpoint.manifest import manifest_sha256, read_manifest, write_manifest
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.hardware import choose_hardware, for_scoring_here

Build = Callable[..., BuiltModel]
TREES = [random_tree(seed, num_nodes=8) for seed in range(3)]
CPU = choose_hardware("cpu", "no")


def write_state(folder: Path) -> None:
    (folder / "state.json").write_text('{"step": 5}')
    save_file({"moment": torch.arange(50_000.0)}, folder / "optimizer.safetensors")


@pytest.fixture(scope="module")
def saved(
    build_small: Build, small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[bool], tuple[Path, Config, BuiltModel]]:
    """A checkpoint of a model that differs from its beginning everywhere; tests copy what they damage."""
    made: dict[bool, tuple[Path, Config, BuiltModel]] = {}

    def make(lora: bool) -> tuple[Path, Config, BuiltModel]:
        if lora not in made:
            config = small_config("llama", lora=lora)
            built = build_small(config=config)
            torch.manual_seed(3)
            with torch.no_grad():
                for parameter in built.model.parameters():
                    if parameter.requires_grad:
                        parameter.add_(torch.randn_like(parameter) * 0.1)
            folder = tmp_path_factory.mktemp("lora" if lora else "full") / "checkpoint_step_5"
            save_checkpoint(folder, built, config, step=5, label_means={"own": 0.7}, write_state=write_state)
            made[lora] = (folder, config, built)
        return made[lora]

    return make


@pytest.fixture
def lora_copy(saved: Any, tmp_path: Path) -> Path:
    """A LoRA checkpoint that a test may damage."""
    return Path(shutil.copytree(saved(True)[0], tmp_path / "checkpoint_step_5"))


@pytest.fixture
def full_copy(saved: Any, tmp_path: Path) -> Path:
    """A full checkpoint that a test may damage."""
    return Path(shutil.copytree(saved(False)[0], tmp_path / "checkpoint_step_5"))


def refusal(folder: Path, **options: Any) -> str:
    """The one line with which loading fails."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def scores(loaded: LoadedCheckpoint) -> list[list[float | None]]:
    return scores_of(loaded.built.scorer(loaded.config), TREES)


@pytest.mark.parametrize("lora", [False, True])
def test_save_load_score_is_equal_to_the_bit(lora: bool, saved: Any) -> None:
    folder, config, built = saved(lora)
    loaded = load_checkpoint(folder)
    assert scores(loaded) == scores_of(built.scorer(config), TREES)
    assert loaded.config == for_scoring_here(config)
    assert (loaded.manifest.step, loaded.manifest.label_means) == (5, {"own": 0.7})
    for (name, a), (_, b) in zip(built.model.named_parameters(), loaded.built.model.named_parameters(), strict=True):
        assert torch.equal(a, b), name


ADAPTER_FIELDS: dict[str, Any] = {
    "r": 2,
    "lora_alpha": 7,
    "use_rslora": True,
    "use_dora": True,
    "bias": "all",
    "fan_in_fan_out": True,
    "rank_pattern": {"q_proj": 1},
    "alpha_pattern": {"q_proj": 3},
    "layers_to_transform": [0],
    "exclude_modules": ["q_proj"],
    "modules_to_save": ["norm"],
    "target_parameters": ["weight"],
    "peft_type": "LOHA",
}


@pytest.mark.parametrize("field", ADAPTER_FIELDS)
@pytest.mark.parametrize("is_sealed", [False, True], ids=["as it was hashed", "hashed anew"])
def test_what_adapters_are_applied_with_is_what_they_were_trained_with(
    field: str, is_sealed: bool, lora_copy: Path
) -> None:
    """A changed scale moves every confidence, and the weights do not show it."""
    path = lora_copy / "adapter" / "adapter_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {field: ADAPTER_FIELDS[field]}))
    if is_sealed:
        sealed(lora_copy)
    message = refusal(lora_copy)
    assert "adapter_config.json" in message
    assert is_sealed == (f"{field} is " in message)


@pytest.mark.parametrize("targets", [["q_proj"], ["up_proj"], ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]])
def test_other_layers_than_were_adapted_are_refused(targets: list[str], lora_copy: Path) -> None:
    path = lora_copy / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"target_modules": targets}))
    sealed(lora_copy)
    refusal(lora_copy)


def test_a_configuration_with_another_scale_of_the_adapters_is_refused(saved: Any) -> None:
    folder, config, _ = saved(True)
    other = config.model_copy(deep=True)
    other.lora.lora_alpha *= 2
    assert "lora_alpha is" in refusal(folder, config=other)


@pytest.mark.parametrize("lora", [False, True])
def test_saving_what_was_loaded_writes_the_same_weights(lora: bool, saved: Any, tmp_path: Path) -> None:
    folder, config, _ = saved(lora)
    again = tmp_path / "checkpoint_step_6"
    save_checkpoint(again, load_checkpoint(folder).built, config, step=6, label_means={})
    files = read_manifest(folder, with_state=False).files
    for name, entry in read_manifest(again, with_state=False).files.items():
        if name.endswith(".safetensors"):
            assert entry == files[name], name


def with_weights(config: Config, weights: str) -> Config:
    """The configuration, but for the weights that score."""
    other = config.model_copy(deep=True)
    other.eval.scoring_weights = weights  # type: ignore[assignment]
    return other


def test_merged_weights_score_alike_and_have_no_adapters_left(saved: Any) -> None:
    folder, config, built = saved(True)
    loaded = load_checkpoint(folder, config=with_weights(config, "merged"))
    expected = scores_of(built.scorer(config), TREES)
    for found, own in zip(scores(loaded), expected, strict=True):
        assert [score is None for score in found] == [score is None for score in own]
        assert [score for score in found if score is not None] == pytest.approx(
            [score for score in own if score is not None], abs=1e-5
        )
    assert not any(parameter.requires_grad for parameter in loaded.built.model.parameters())
    assert sum("adapters: merged" in reason for reason in loaded.built.reasons) == 1
    assert not any("merged" in reason for reason in load_checkpoint(folder).built.reasons)


def test_training_on_has_its_adapters_whatever_scores(saved: Any, tmp_path: Path) -> None:
    folder, config, built = saved(True)
    loaded = load_checkpoint(folder, config=with_weights(config, "merged"), trainable=True)
    for (name, own), (_, found) in zip(
        built.model.named_parameters(), loaded.built.model.named_parameters(), strict=True
    ):
        assert torch.equal(own, found), name
        assert own.requires_grad == found.requires_grad, name


def test_merging_is_nothing_to_a_full_checkpoint(saved: Any) -> None:
    folder, config, built = saved(False)
    loaded = load_checkpoint(folder, config=with_weights(config, "merged"))
    assert scores(loaded) == scores_of(built.scorer(config), TREES)
    assert not any("merged" in reason for reason in loaded.built.reasons)


def test_fp8_where_there_is_none_is_one_line_that_says_what_to_use(saved: Any) -> None:
    folder, config, _ = saved(True)
    with pytest.raises(DeviceError) as caught:
        load_checkpoint(folder, hardware=CPU, config=with_weights(config, "fp8"))
    assert str(caught.value) == (
        "eval.scoring_weights is fp8, which needs a GPU of compute capability 9.0 (Hopper) or later; use merged"
    )


def test_a_full_checkpoint_needs_nothing_beside_itself(full_copy: Path, saved: Any, backbone_folder: Any) -> None:
    _, config, built = saved(False)
    moved = config.model_copy(deep=True)
    moved.model.backbone = "/nonsuch/backbone"
    found = scores(load_checkpoint(full_copy, config=moved))
    assert found == scores_of(built.scorer(config), TREES)


def test_the_same_adapters_are_the_same_bytes_in_every_process(saved: Any) -> None:
    folder, _, _ = saved(True)
    targets = json.loads((folder / "adapter" / "adapter_config.json").read_text())["target_modules"]
    assert len(targets) > 1
    assert targets == sorted(targets)  # a set's own order depends on the process


@pytest.mark.parametrize("lora", [False, True])
def test_a_checkpoint_holds_only_json_and_safetensors(lora: bool, saved: Any) -> None:
    folder, _, _ = saved(lora)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert {Path(name).suffix for name in names} <= {".json", ".safetensors", ".jinja"}
    expected = {"config.json", "head.safetensors", "manifest.json", "tokenizer/tokenizer.json"}
    expected.add("adapter/adapter_model.safetensors" if lora else "backbone/model.safetensors")
    assert expected <= set(names)


def every_file(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("lora", [False, True])
def test_one_changed_byte_in_any_file_is_noticed(lora: bool, saved: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved(lora)[0], tmp_path / "c"))
    for path in every_file(folder):
        original = path.read_bytes()
        changed = bytearray(original)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        message = refusal(folder, with_state=True)
        assert path.name in message
        path.write_bytes(original)
    load_checkpoint(folder, with_state=True)


def test_a_number_changed_in_the_manifest_is_noticed(lora_copy: Path) -> None:
    text = (lora_copy / MANIFEST).read_text()
    assert '"own": 0.7' in text
    (lora_copy / MANIFEST).write_text(text.replace('"own": 0.7', '"own": 0.8'))
    assert MANIFEST in refusal(lora_copy)


@pytest.mark.parametrize("lora", [False, True])
def test_any_missing_file_is_named(lora: bool, saved: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved(lora)[0], tmp_path / "c"))
    for path in every_file(folder):
        original = path.read_bytes()
        path.unlink()
        assert path.name in refusal(folder, with_state=True)
        path.write_bytes(original)


@pytest.mark.parametrize("cut", [0, 1, -1])
def test_a_cut_file_is_named(cut: int, full_copy: Path) -> None:
    path = full_copy / "backbone" / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    message = refusal(full_copy)
    assert "model.safetensors" in message
    assert f"instead of {len(whole):,};" in message


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter/extra.safetensors", "training_state/more.json"])
def test_an_extra_file_is_named(name: str, lora_copy: Path) -> None:
    (lora_copy / name).write_bytes(b"from elsewhere")
    assert name in refusal(lora_copy)


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    """As a program would that knows the format: sizes and hashes are right again."""
    values = json.loads((folder / MANIFEST).read_text())
    values.pop("manifest_sha256")
    write_manifest(folder, checkpoint_module.Manifest(**{**values, **changes}))


def remove_key(path: Path, key: str) -> None:
    tensors = load_file(path)
    del tensors[key]
    save_file(tensors, path, metadata={"format": "pt"})


def test_a_missing_key_is_named_even_where_every_hash_is_right(lora_copy: Path) -> None:
    head = lora_copy / HEAD_FILE
    remove_key(head, "head.output.weight")
    rewrite_manifest(lora_copy)
    message = refusal(lora_copy)
    assert HEAD_FILE in message
    assert "head.output.weight" in message


def test_a_missing_key_of_the_adapter_is_named_even_where_every_hash_is_right(lora_copy: Path) -> None:
    adapter = lora_copy / "adapter" / "adapter_model.safetensors"
    key = max(load_file(adapter))
    remove_key(adapter, key)
    rewrite_manifest(lora_copy)
    message = refusal(lora_copy)
    assert "adapter_model.safetensors" in message
    assert key in message


def test_a_missing_key_of_the_backbone_is_named_even_where_every_hash_is_right(full_copy: Path) -> None:
    remove_key(full_copy / "backbone" / "model.safetensors", "layers.0.mlp.up_proj.weight")
    rewrite_manifest(full_copy)
    assert "layers.0.mlp.up_proj.weight" in refusal(full_copy)


def test_an_unexpected_key_of_the_backbone_is_named(full_copy: Path) -> None:
    path = full_copy / "backbone" / "model.safetensors"
    save_file({**load_file(path), "more.weight": torch.zeros(1)}, path, metadata={"format": "pt"})
    rewrite_manifest(full_copy)
    assert "more.weight" in refusal(full_copy)


def test_an_unexpected_key_of_the_head_is_named(lora_copy: Path) -> None:
    tensors = load_file(lora_copy / HEAD_FILE)
    save_file({**tensors, "head.more.weight": torch.zeros(1)}, lora_copy / HEAD_FILE)
    rewrite_manifest(lora_copy)
    assert "unexpected head.more.weight" in refusal(lora_copy)


def test_another_head_in_the_configuration_does_not_fit(lora_copy: Path, saved: Any) -> None:
    config = saved(True)[1].model_copy(deep=True)
    config.model.mlp_hidden_dims = [8]
    assert HEAD_FILE in refusal(lora_copy, config=config)


def test_another_text_format_is_refused(lora_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Formatter(step="Step: {text}\n").hash()
    monkeypatch.setattr(Formatter, "hash", lambda _self: other)
    message = refusal(lora_copy)
    assert "text format" in message
    assert other in message


def test_a_checkpoint_from_before_texts_were_cleaned_says_so(lora_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = Formatter().hash()
    (what,) = FORMER_HASHES.values()
    monkeypatch.setattr(Formatter, "hash", lambda _self: "another")
    monkeypatch.setitem(FORMER_HASHES, now, what)
    message = refusal(lora_copy)
    assert "left the white space around problems, steps and evidence as written" in message
    assert "train again" in message


def test_another_base_model_is_refused(lora_copy: Path, saved: Any, tmp_path: Path) -> None:
    other = save_backbone("llama", tmp_path / "other", seed=1)
    config = saved(True)[1].model_copy(deep=True)
    config.model.backbone = str(other)
    message = refusal(lora_copy, config=config)
    assert str(other) in message
    assert "--backbone" in message


def test_a_base_model_that_is_gone_is_refused(lora_copy: Path, saved: Any, tmp_path: Path) -> None:
    config = saved(True)[1].model_copy(deep=True)
    config.model.backbone = str(tmp_path / "gone")
    assert "no such folder" in refusal(lora_copy, config=config)


def test_the_same_base_model_elsewhere_is_fine(lora_copy: Path, saved: Any, tmp_path: Path) -> None:
    _, config, built = saved(True)
    moved = config.model_copy(deep=True)
    moved.model.backbone = str(shutil.copytree(config.model.backbone, tmp_path / "moved"))
    assert scores(load_checkpoint(lora_copy, config=moved)) == scores_of(built.scorer(config), TREES)


@pytest.fixture
def moved(saved: Any, tmp_path: Path) -> Config:
    """The configuration of the LoRA checkpoint, over a copy of its backbone."""
    config: Config = saved(True)[1].model_copy(deep=True)
    config.model.backbone = str(shutil.copytree(config.model.backbone, tmp_path / "moved"))
    return config


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_backbone_configured_otherwise_is_refused_by_field(lora_copy: Path, moved: Config) -> None:
    path = Path(moved.model.backbone) / "config.json"
    before = path.read_text()
    values = json.loads(before)
    for name in sorted(values.keys() - {"transformers_version", "_name_or_path"}):
        for changed in ({"new": [1]}, None):
            path.write_text(
                json.dumps(
                    {key: value for key, value in values.items() if key != name}
                    | ({} if changed is None else {name: changed})
                )
            )
            message = refusal(lora_copy, config=moved)
            assert str(path) in message
            assert name in message
    path.write_text(before)
    change_json(path, transformers_version="99.0.0")
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    load_checkpoint(lora_copy, config=moved)


def test_another_rope_theta_is_refused(lora_copy: Path, moved: Config) -> None:
    path = Path(moved.model.backbone) / "config.json"
    values = json.loads(path.read_text())
    inner = values.get("rope_parameters")
    change_json(path, **({"rope_parameters": {**inner, "rope_theta": 500.0}} if inner else {"rope_theta": 500.0}))
    message = refusal(lora_copy, config=moved)
    assert str(path) in message
    assert "rope_theta is 500.0, was " in message


def test_another_vocabulary_or_weight_of_the_backbone_is_refused(lora_copy: Path, moved: Config) -> None:
    folder = Path(moved.model.backbone)
    tokenizer = folder / "tokenizer.json"
    before = tokenizer.read_text()
    tokenizer.write_text(before + " ")
    assert "tokenizer.json" in refusal(lora_copy, config=moved)
    tokenizer.unlink()  # the checkpoint has its own
    load_checkpoint(lora_copy, config=moved)
    tensors = load_file(folder / "model.safetensors")
    tensors["norm.weight"][0] += 1
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert "model.safetensors" in refusal(lora_copy, config=moved)


def test_a_permuted_vocabulary_is_refused(lora_copy: Path, saved: Any) -> None:
    path = lora_copy / "tokenizer" / "tokenizer.json"
    values = json.loads(path.read_text())
    vocabulary = values["model"]["vocab"]
    one, other = sorted(vocabulary)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(values))
    rewrite_manifest(lora_copy)
    assert "turns text into other tokens than in training" in refusal(lora_copy)


def test_a_checkpoint_without_hashes_of_the_configuration_says_so(lora_copy: Path, saved: Any, moved: Config) -> None:
    origin = read_manifest(lora_copy, with_state=False).backbone
    assert load_checkpoint(lora_copy).built.reasons == [
        line for line in load_checkpoint(lora_copy).built.reasons if "only the weights are compared" not in line
    ]
    rewrite_manifest(
        lora_copy, backbone={name: value for name, value in origin.items() if name not in ("files", "config")}
    )
    loaded = load_checkpoint(lora_copy, config=moved)
    assert any("only the weights are compared" in line for line in loaded.built.reasons)
    assert scores(loaded) == scores_of(saved(True)[2].scorer(moved), TREES)


def test_lora_over_the_random_tiny_backbone_remembers_its_weights(tmp_path: Path) -> None:
    config = get_lora_config()
    config.model.backbone = "builtin:tiny"
    config.training.device = "cpu"
    built = build_model(config, CPU)
    folder = tmp_path / "checkpoint_step_1"
    save_checkpoint(folder, built, config, step=1, label_means={})
    later = config.model_copy(deep=True)
    later.training.seed = 43
    assert scores(load_checkpoint(folder, config=later)) == scores_of(built.scorer(config), TREES)
    rewrite_manifest(folder, backbone={**read_manifest(folder, with_state=False).backbone, "weights_sha256": "0" * 64})
    refusal(folder)


def test_the_other_kind_of_training_is_refused(lora_copy: Path, saved: Any) -> None:
    assert "lora.use_lora" in refusal(lora_copy, config=saved(False)[1])


def test_another_format_version_is_refused(lora_copy: Path) -> None:
    rewrite_manifest(lora_copy, format_version=99)
    assert "99" in refusal(lora_copy)


def test_another_id_of_the_confidence_token_is_refused(lora_copy: Path) -> None:
    rewrite_manifest(lora_copy, confidence_id=7)
    assert "<CONFIDENCE>" in refusal(lora_copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": 1}', "null", "\x00"])
def test_a_damaged_manifest_is_one_line(text: str, lora_copy: Path) -> None:
    (lora_copy / MANIFEST).write_text(text)
    assert MANIFEST in refusal(lora_copy)


def test_a_folder_that_is_not_there_names_those_that_are(lora_copy: Path) -> None:
    message = refusal(lora_copy.parent / "checkpoint_step_9")
    assert "checkpoint_step_5" in message


def test_without_training_state_it_scores_but_does_not_resume(lora_copy: Path, saved: Any) -> None:
    shutil.rmtree(lora_copy / "training_state")
    assert scores(load_checkpoint(lora_copy)) == scores_of(saved(True)[2].scorer(saved(True)[1]), TREES)
    assert "training_state" in refusal(lora_copy, with_state=True)


def test_a_changed_training_state_stops_resuming_only(lora_copy: Path) -> None:
    path = lora_copy / "training_state" / "state.json"
    path.write_text('{"step": 6}')
    load_checkpoint(lora_copy)
    assert "state.json" in refusal(lora_copy, with_state=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_a_run_that_dies_while_saving_leaves_nothing(error: type[BaseException], saved: Any, tmp_path: Path) -> None:
    _, config, built = saved(True)

    def die(_folder: Path) -> None:
        raise error

    with pytest.raises(error):
        save_checkpoint(tmp_path / "checkpoint_step_1", built, config, step=1, label_means={}, write_state=die)
    assert list(tmp_path.iterdir()) == []


def test_a_run_killed_while_saving_leaves_no_checkpoint_and_no_hindrance(saved: Any, tmp_path: Path) -> None:
    _, config, built = saved(True)
    child = os.fork()
    if child == 0:  # dies as the system kills: nothing is tidied up
        try:
            folder = tmp_path / "checkpoint_step_1"
            save_checkpoint(folder, built, config, step=1, label_means={}, write_state=lambda _folder: os._exit(9))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert list(tmp_path.iterdir()), "something half-written is there"
    assert list_checkpoints(tmp_path) == []
    save_checkpoint(tmp_path / "checkpoint_step_1", built, config, step=1, label_means={})
    remove_leftovers(leftovers(tmp_path))  # as the run's next start does
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_step_1"]


def test_a_full_disk_is_one_line_and_the_checkpoint_before_it_stays(saved: Any, tmp_path: Path) -> None:
    _, config, built = saved(True)
    before = tmp_path / "checkpoint_step_1"
    save_checkpoint(before, built, config, step=1, label_means={})
    contents = {path: path.read_bytes() for path in every_file(before)}

    def full(_folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("checkpoint_step_2", "checkpoint_step_1"):
        with pytest.raises(StorageError, match="No space left") as caught:
            save_checkpoint(tmp_path / name, built, config, step=2, label_means={}, write_state=full)
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_step_1"]
    assert {path: path.read_bytes() for path in every_file(before)} == contents


@pytest.mark.parametrize("lora", [False, True])
def test_whichever_file_cannot_be_written_it_is_one_line(lora: bool, saved: Any, tmp_path: Path) -> None:
    """The system itself refuses to write beyond a size, a different file each time."""
    folder, config, built = saved(lora)
    sizes = sorted({path.stat().st_size for path in every_file(folder)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in sizes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, limits[1]))
        try:
            with pytest.raises(StorageError, match="File too large") as caught:
                save_checkpoint(tmp_path / "c", built, config, step=1, label_means={}, write_state=write_state)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []


def test_saving_a_step_again_replaces_it_whole(saved: Any, tmp_path: Path) -> None:
    _, config, built = saved(True)
    folder = tmp_path / "checkpoint_step_1"
    save_checkpoint(folder, built, config, step=1, label_means={"a": 0.1}, write_state=write_state)
    save_checkpoint(folder, built, config, step=1, label_means={"a": 0.2})
    assert load_checkpoint(folder).manifest.label_means == {"a": 0.2}
    assert not (folder / "training_state").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_step_1"]


def test_checkpoints_are_listed_by_step_and_only_whole_ones(tmp_path: Path) -> None:
    for step in (1000, 20, 300):
        checkpoint_path(tmp_path, step).mkdir()
    (tmp_path / ".checkpoint_step_400.part").mkdir()
    (tmp_path / "checkpoint_step_x").mkdir()
    (tmp_path / "checkpoint_step_7").write_text("a file")
    assert [step for step, _ in list_checkpoints(tmp_path)] == [20, 300, 1000]
    assert list_checkpoints(tmp_path / "nonsuch") == []


def test_the_manifest_pins_what_the_scores_depend_on(saved: Any) -> None:
    folder, _, built = saved(True)
    manifest = read_manifest(folder, with_state=True)
    assert manifest.kind == "lora"
    assert manifest.backbone["weights_sha256"] == built.backbone.weights_sha256
    assert manifest.formatter_hash == Formatter().hash()
    assert manifest.tokenizer_hash == built.tokenizer.hash()
    assert {"torch", "transformers", "peft", "python"} <= set(manifest.versions)
    assert set(manifest.state_files) == {"training_state/state.json", "training_state/optimizer.safetensors"}


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("trainable", [False, True])
def test_building_and_loading_leave_the_callers_random_state_as_it_was(
    saved: Callable[[bool], Any], lora: bool, trainable: bool
) -> None:
    """Whoever draws numbers around it gets those that they would have got without."""
    folder, config, _ = saved(lora)
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    expected = torch.rand(3).tolist(), random.random(), np.random.rand()
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    build_model(config, choose_hardware("cpu", "no"))
    load_checkpoint(folder, trainable=trainable)
    assert (torch.rand(3).tolist(), random.random(), np.random.rand()) == expected


def test_a_manifest_larger_than_any_is_not_hashed(tmp_path: Path) -> None:
    """`check` and the model card ask for its hash, which would take hours of reading holes."""
    with (tmp_path / MANIFEST).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="cannot be read"):
        manifest_sha256(tmp_path)
