"""Saving a checkpoint: the whole folder or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from surestep.config import Config
from surestep.disk import advice_after
from surestep.errors import StorageError
from surestep.files import CALIBRATION, CONFIG, write_folder_whole
from surestep.model.saved_weights import BACKBONE_FOLDER, is_adapted, save_weights
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint.calibration_file import calibration_text
from surestep.scoring.checkpoint.manifest import Manifest, write_manifest


def save_checkpoint(
    folder: Path,
    built: BuiltModel,
    config: Config,
    *,
    step: int,
    label_means: dict[str, float],
    label_mean: float | None = None,
    write_state: Callable[[Path], None] | None = None,
    tokenizer_with_backbone: bool = False,
    whole: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a checkpoint to `folder`, with its calibration if it has one; `write_state` fills its `training_state/`.

    `whole` are the trained weights, where those of the model are shards (`model.sharding.whole_weights`).
    With `tokenizer_with_backbone`, `backbone/` holds the tokenizer too, so that it needs nothing else.

    Raises:
        StorageError: the disk is full or the folder cannot be written; nothing is left of the attempt, and
            what was saved before is untouched.
    """
    try:
        with write_folder_whole(folder, replace=True) as beside:
            config.save(beside / CONFIG)
            save_weights(built.model, beside, whole=whole)
            built.tokenizer.save(beside / "tokenizer")
            if tokenizer_with_backbone:
                built.tokenizer.save(beside / BACKBONE_FOLDER)
            if built.calibration is not None:
                (beside / CALIBRATION).write_text(calibration_text(built.calibration), encoding="utf-8")
            if write_state is not None:
                (beside / "training_state").mkdir()
                write_state(beside / "training_state")
            write_manifest(beside, _describe(built, step, label_means, label_mean))
    except (StorageError, SafetensorError) as error:  # safetensors reports a full disk as an error of its own kind
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        mend = advice_after(cause, "free space or name another --output_dir")
        raise StorageError(
            f"{folder}: the checkpoint cannot be written ({getattr(cause, 'strerror', None) or error}); {mend}"
            f"{', then continue with --resume' if write_state is not None else ''}"
        ) from None


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
            **({"files": built.backbone.files, "config": built.backbone.config} if built.backbone.files else {}),
        },
        formatter_hash=built.formatter.hash(),
        tokenizer_hash=built.tokenizer.hash(),
        label_means=label_means,
        label_mean=label_mean,
    )
