"""A checkpoint is one self-contained folder, whole or not there.

    checkpoint_step_<N>/
      config.json            the full resolved configuration
      head.safetensors       the head and the <CONFIDENCE> row
      adapter/ or backbone/  what was trained of the backbone
      tokenizer/             with the <CONFIDENCE> token
      calibration.json       the maps of these weights, where `surestep calibrate` fitted them
      training_state/        optimiser, random states and data position, for resuming
      manifest.json          sizes, sha256, versions, the pinned backbone, the formatter's hash

Only safetensors and JSON. Written beside its place and renamed into it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from surestep.config import Config
from surestep.encoding.formatter import FORMER_HASHES, Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.errors import BackboneError, CheckpointError, ConfigError, StorageError
from surestep.model.backbones.load import Backbone, load_backbone, load_pretrained
from surestep.model.backbones.lora import saved_targets
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.saved_weights import (
    BACKBONE_FOLDER,
    is_adapted,
    load_adapter,
    load_backbone_tensors,
    load_head,
    save_weights,
)
from surestep.scoring.build_model import BuiltModel, assemble, base_dtype, settle
from surestep.scoring.checkpoint.calibration_file import CALIBRATION_FILE, calibration_text, read_calibration
from surestep.scoring.checkpoint.manifest import Manifest, check_is_checkpoint, read_manifest, write_manifest
from surestep.scoring.hardware import Hardware, base_that_fits, choose_hardware, for_scoring_here, nf4_device
from surestep.scoring.random_state import random_state_kept

CONFIG_FILE = "config.json"
_STEP_FOLDER = re.compile(r"checkpoint_step_(\d+)")


@dataclass
class LoadedCheckpoint:
    """A checkpoint in memory: its configuration, what it says of itself, and its model."""

    folder: Path
    config: Config
    manifest: Manifest
    built: BuiltModel


def checkpoint_path(experiment_dir: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return experiment_dir / f"checkpoint_step_{step}"


def list_checkpoints(experiment_dir: Path) -> list[tuple[int, Path]]:
    """Step and folder of every whole checkpoint, in order of steps."""
    found = [
        (int(match[1]), path)
        for path in (experiment_dir.iterdir() if experiment_dir.is_dir() else [])
        if (match := _STEP_FOLDER.fullmatch(path.name)) and path.is_dir()
    ]
    return sorted(found)


def save_checkpoint(
    folder: Path,
    built: BuiltModel,
    config: Config,
    *,
    step: int,
    label_means: dict[str, float],
    label_mean: float | None = None,
    write_state: Callable[[Path], None] | None = None,
) -> None:
    """Write a checkpoint to `folder`, with its calibration if it has one; `write_state` fills its `training_state/`.

    Raises:
        StorageError: the disk is full or the folder cannot be written; nothing is left of the attempt, and
            what was saved before is untouched.
    """
    beside = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        config.save(beside / CONFIG_FILE)
        save_weights(built.model, beside)
        built.tokenizer.save(beside / "tokenizer")
        if built.calibration is not None:
            (beside / CALIBRATION_FILE).write_text(calibration_text(built.calibration), encoding="utf-8")
        if write_state is not None:
            (beside / "training_state").mkdir()
            write_state(beside / "training_state")
        write_manifest(beside, _describe(built, step, label_means, label_mean))
        _put_in_place(beside, folder)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own kind
        reason = getattr(error, "strerror", None) or error
        raise StorageError(
            f"{folder}: the checkpoint cannot be written ({reason}); free space or name another "
            "--output_dir, then go on with --resume"
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(beside: Path, folder: Path) -> None:
    """Rename; where the same step was saved before (after a resume), the new checkpoint replaces it whole."""
    replaced = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    beside.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)


def _describe(built: BuiltModel, step: int, label_means: dict[str, float], label_mean: float | None) -> Manifest:
    return Manifest(
        kind="lora" if is_adapted(built.model) else "full",
        step=step,
        confidence_id=built.model.confidence_id,
        backbone={
            "name": built.backbone.name,
            "revision": built.backbone.revision,
            "weights_sha256": built.backbone.weights_sha256,
            "max_positions": built.backbone.max_positions,
        },
        formatter_hash=built.formatter.hash(),
        tokenizer_hash=built.tokenizer.hash(),
        label_means=label_means,
        label_mean=label_mean,
    )


@random_state_kept()
def load_checkpoint(
    folder: Path,
    *,
    hardware: Hardware | None = None,
    config: Config | None = None,
    trainable: bool = False,
    with_state: bool = False,
) -> LoadedCheckpoint:
    """Load a checkpoint for scoring, or for training on from it; the caller's random state stays as it is.

    Args:
        folder: a `checkpoint_step_<N>`, or what `surestep export` wrote.
        hardware: where to compute; unset: as the configuration says, on this machine, and where that cannot hold the
            frozen weights as they were, in their own precision.
        config: unset: the checkpoint's own. Another may change dropout, data or training, and name the place
            where the same backbone lies now; a head or adapter of another shape does not fit the weights.
        trainable: keep every weight as training, saving and merging want it; else they are held as scoring reads them,
            by `eval.scoring_weights`.
        with_state: demand and verify `training_state/` too.

    Raises:
        CheckpointError: a file is missing or changed, a key is missing or unexpected, or the backbone, the
            tokenizer or the formatter is not the one it was trained with.
        DeviceError: the GPU or the backbone does not allow the settings.
    """
    manifest = read_manifest(folder, with_state=with_state)
    trained_with = read_config(folder)
    config = (config or for_scoring_here(trained_with)).model_copy(deep=True)
    if config.lora.use_lora != (manifest.kind == "lora"):
        raise CheckpointError(
            f"{folder} is a {manifest.kind} checkpoint, but lora.use_lora is {config.lora.use_lora}: use the other "
            "preset, or merge it with `surestep export` and name the result's backbone folder with --backbone"
        )
    _check_formatter(folder, manifest)
    chosen = hardware or choose_hardware(config.training.device, config.training.mixed_precision)
    if hardware is None:
        base_that_fits(config, chosen.device)
    if not trainable and config.eval.scoring_weights != "as_trained":
        config.lora.base_precision = "same"  # what adapters are merged into
    tokenizer = load_tokenizer(str(folder / "tokenizer"))
    if tokenizer.confidence_id != manifest.confidence_id:
        raise CheckpointError(
            f"{folder}/tokenizer gives <CONFIDENCE> the id {tokenizer.confidence_id}, the manifest "
            f"{manifest.confidence_id}; restore the checkpoint from a backup"
        )
    loaded = _load_backbone(folder, manifest, config, chosen)
    # What was adapted is in the checkpoint; `auto` may have meant other layers when it was made.
    built = assemble(config, chosen, tokenizer, loaded, adapter_targets=saved_targets(folder / "adapter"))
    load_weights(built.model, folder)
    if manifest.kind == "lora" and config.lora.base_precision != trained_with.lora.base_precision:
        built.reasons.append(_other_base(config, trained_with))
    built.calibration = read_calibration(folder)
    if not trainable:
        settle(built, config)
    return LoadedCheckpoint(folder, config, manifest, built)


def load_weights(model: ConfidenceModel, folder: Path) -> None:
    """Head, `<CONFIDENCE>` row and, where the model has them, adapters."""
    load_head(model, folder)
    if is_adapted(model):
        load_adapter(model, folder)


def load_all_weights(model: ConfidenceModel, folder: Path) -> None:
    """Put everything that a checkpoint of the same run trained into `model`, in place: no second model in memory.

    Raises:
        CheckpointError: a file is missing or changed, or a key is missing, unexpected or of another shape.
    """
    read_manifest(folder, with_state=False)
    load_weights(model, folder)
    if not is_adapted(model):
        load_backbone_tensors(model, folder)
    model.weights_changed()


def read_config(folder: Path) -> Config:
    """The configuration that a checkpoint was made with.

    Raises:
        CheckpointError: there is no checkpoint, or its configuration is damaged.
    """
    check_is_checkpoint(folder)
    try:
        return Config.from_dict(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, ConfigError) as error:
        raise CheckpointError(f"{folder / CONFIG_FILE} cannot be read ({error})") from None


def _other_base(config: Config, trained_with: Config) -> str:
    now, then = config.lora.base_precision, trained_with.lora.base_precision
    held = "in their own precision" if now == "same" else now
    return f"frozen weights: {held}, though the adapters were trained over {then}: confidences may differ"


def _load_backbone(folder: Path, manifest: Manifest, config: Config, hardware: Hardware) -> Backbone:
    dtype = base_dtype(config, hardware)
    origin = manifest.backbone
    if manifest.kind == "full":
        try:
            found = load_pretrained(
                str(folder / BACKBONE_FOLDER), revision=None, dtype=dtype, exact=True, is_verified=True
            )
        except BackboneError as error:
            raise CheckpointError(str(error)) from None
        # What it was trained from stays on record; the weights are the checkpoint's own.
        return Backbone(
            module=found.module,
            name=origin["name"],
            revision=origin["revision"],
            weights_sha256=origin["weights_sha256"],
            # A manifest may be older than a limit that is known now.
            max_positions=min((n for n in (origin["max_positions"], found.max_positions) if n), default=None),
            attention_implementation=found.attention_implementation,
        )
    try:
        found = load_backbone(
            config.model.backbone,
            revision=origin["revision"] or config.model.revision,
            dtype=dtype,
            seed=read_config(folder).training.seed,  # a backbone of random weights is known by its seed
            nf4_device=nf4_device(config, hardware),
        )
    except BackboneError as error:
        raise CheckpointError(f"{folder} adapts a backbone that is not here: {error}") from None
    if found.weights_sha256 != origin["weights_sha256"]:
        raise CheckpointError(
            f"{folder} was trained on {origin['name']} with weights {str(origin['weights_sha256'])[:12]}..., but "
            f"{config.model.backbone} now has {str(found.weights_sha256)[:12]}...; point --backbone at the original"
        )
    return found


def _check_formatter(folder: Path, manifest: Manifest) -> None:
    now = Formatter().hash()
    if (then := manifest.formatter_hash) != now:
        former = f" ({FORMER_HASHES[then]})" if then in FORMER_HASHES else ""
        raise CheckpointError(
            f"{folder} was trained with text format {then}{former}, this Surestep writes {now}: its scores "
            f"would be wrong; use Surestep {manifest.versions.get('surestep', 'of that time')} or train again"
        )
