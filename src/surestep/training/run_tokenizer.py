"""The tokenizer of a run, and the longest path that its backbone takes."""

from __future__ import annotations

from pathlib import Path

from surestep.config import ModelConfig
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.tokenizer import StepTokenizer
from surestep.model.backbones.load import read_max_positions
from surestep.scoring.checkpoint.manifest import Manifest, read_manifest


def run_tokenizer(
    model: ModelConfig, start: Path | None, manifest: Manifest | None = None
) -> tuple[StepTokenizer, int | None]:
    """Tokenizer and longest path in tokens (None: no limit), of the checkpoint `start` or else of the backbone.

    `manifest` is the checkpoint's where it was read and verified already; hashing its files again takes time.

    Raises:
        BackboneError: the backbone's tokenizer or configuration cannot be found or read.
        CheckpointError: `start` is no checkpoint.
    """
    if start is not None:
        manifest = manifest or read_manifest(start, with_state=False)
        return load_tokenizer(str(start / "tokenizer"), frame=model.text_frame), manifest.backbone["max_positions"]
    name, revision = model.backbone, model.revision
    return load_tokenizer(name, revision=revision, frame=model.text_frame), read_max_positions(name, revision=revision)
