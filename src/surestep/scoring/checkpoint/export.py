"""A checkpoint as one merged backbone with its head: nothing else is needed to score with it.

The result is itself a checkpoint (of kind `full`), and its `backbone/` is a plain Hugging Face folder, tokenizer
included, whose embedding holds the trained `<CONFIDENCE>` row: `AutoModel` and `AutoTokenizer` load it by themselves.
"""

from __future__ import annotations

from pathlib import Path

import torch

from surestep.errors import StorageError
from surestep.files import CERTIFICATES
from surestep.model.backbones.silence_transformers import silence_transformers
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.saved_weights import is_adapted
from surestep.scoring.checkpoint.certificate_file import carried_to, read_certificate, store_certificate
from surestep.scoring.checkpoint.load import LoadedCheckpoint, load_checkpoint, read_config
from surestep.scoring.checkpoint.manifest import read_manifest
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.hardware import choose_hardware


def export_merged(checkpoint: Path, folder: Path) -> None:
    """Merge adapters and `<CONFIDENCE>` row into the backbone, in float32, and write `folder`.

    The certificates of the checkpoint are carried on: the scores are the same but for rounding.

    Raises:
        CheckpointError: the checkpoint is damaged, or its backbone is not here.
        StorageError: `folder` exists, or cannot be written.
    """
    loaded = load_merged(checkpoint, folder)
    exported = read_config(checkpoint)
    exported.lora.use_lora, exported.lora.base_precision = False, "same"
    manifest = loaded.manifest
    certificates = [
        certificate
        for name in CERTIFICATES
        if (certificate := read_certificate(checkpoint, manifest, loaded.built.calibration, name)) is not None
    ]
    save_checkpoint(
        folder,
        loaded.built,
        exported,
        step=manifest.step,
        label_means=manifest.label_means,
        label_mean=manifest.label_mean,
        tokenizer_with_backbone=True,
    )
    for certificate in certificates:
        written = read_manifest(folder, with_state=False)
        store_certificate(folder, written, carried_to(certificate, written))


def load_merged(checkpoint: Path, folder: Path) -> LoadedCheckpoint:
    """A checkpoint on the CPU in float32, its adapters merged and its row in the embedding; `folder` must be free.

    Raises:
        CheckpointError: the checkpoint is damaged, or its backbone is not here.
        StorageError: `folder` exists.
    """
    if folder.exists():
        raise StorageError(f"{folder} exists; name a folder that does not, with --output_dir")
    config = read_config(checkpoint)
    # On the CPU and in float32: merged in half precision, the adapters would lose their last digits.
    config.training.device, config.training.mixed_precision = "cpu", "no"
    config.lora.base_precision = "same"
    loaded = load_checkpoint(checkpoint, hardware=choose_hardware("cpu", "no"), config=config, trainable=True)
    model = loaded.built.model
    if is_adapted(model):
        model.backbone = model.backbone.merge_and_unload()
    _write_row(model)
    return loaded


@torch.no_grad()
def _write_row(model: ConfidenceModel) -> None:
    """Put the trained row where its id stands in the embedding, which grows only where it has no such row."""
    if model.confidence_id >= model.embedding.weight.shape[0]:
        with silence_transformers():
            model.transformer.resize_token_embeddings(model.confidence_id + 1, mean_resizing=False)
    # Gemma's embedding module scales what it looks up; the row is laid over the scaled vectors.
    row = model.confidence_row / float(getattr(model.embedding, "scalar_embed_scale", 1.0))
    model.embedding.weight[model.confidence_id] = row.to(model.embedding.weight.dtype)
