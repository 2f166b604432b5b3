"""`surestep export --for vllm`: a folder that `vllm serve` loads, in the layout that `layouts` chose.

    config.json, model*.safetensors   the merged backbone, with the head where the layout holds it
    tokenizer files                   with the <CONFIDENCE> token, whose row stands in the embedding
    pooler_config.json                what --pooler-config takes
    surestep/about.json               the layout, and what text must become to be read as in training
    surestep/head.safetensors         plugin only: the head
    surestep/calibration.json         plugin only: the maps, where there are some

It is no checkpoint of Surestep any more. The head's file lies in a folder of its own, for vLLM loads every safetensors
file beside `config.json` as weights.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from surestep import __version__
from surestep.disk import advice_after
from surestep.errors import CheckpointError, StorageError
from surestep.files import CALIBRATION, CERTIFICATES, write_folder_whole, write_json
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.saved_weights import own_attention, save_head
from surestep.scoring.checkpoint.export import load_merged
from surestep.scoring.checkpoint.load import LoadedCheckpoint
from surestep.scoring.checkpoint.manifest import manifest_sha256
from surestep.scoring.vllm.layouts import (
    ChosenLayout,
    ClassificationHead,
    Layout,
    choose_layout,
    classification_class,
    classification_head,
    process_reward_head,
)

POOLER_CONFIG = "pooler_config.json"
SURESTEP_FOLDER, ABOUT = "surestep", "about.json"
PLUGIN = "surestep"
"""The name of our IO processor plugin among those that vLLM finds."""
FORMAT_VERSION = 1


@dataclass(frozen=True)
class VllmExport:
    """What was written.

    Attributes:
        layout: the layout.
        lines: what a user should know of it, a line each.
        command: what serves it.
    """

    layout: Layout
    lines: tuple[str, ...]
    command: str


def export_for_vllm(
    checkpoint: Path, folder: Path, *, layout: Layout | None = None, calibrated: bool = True
) -> VllmExport:
    """Merge a checkpoint in float32 and write it for vLLM.

    Args:
        checkpoint: a checkpoint's folder.
        folder: what is written; must not exist.
        layout: unset: the plainest that holds head and calibration exactly.
        calibrated: whether the checkpoint's calibration is part of it; of several maps, the pooled one.

    Raises:
        CheckpointError: the checkpoint is damaged, its backbone is not here, or `layout` cannot hold it.
        StorageError: `folder` exists, or cannot be written.
    """
    loaded = load_merged(checkpoint, folder)
    built = loaded.built
    if not built.model.head.input.is_plain:
        raise CheckpointError(
            f"{checkpoint} has a head that reads more than the last layer at <CONFIDENCE> "
            f"({built.model.head.input.described()}), which is all that vLLM hands over; serve it with `surestep "
            "serve`, or train without"
        )
    if loaded.config.model.text_frame != "plain":
        raise CheckpointError(
            f"{checkpoint} was trained with model.text_frame {loaded.config.model.text_frame}, which Surestep's plugin "
            "for vLLM does not write; serve it with `surestep serve`, or train without"
        )
    lines = []
    if built.calibration is not None and not calibrated:
        built.calibration = None
        lines.append("its calibration is left out (--uncalibrated): confidences are the model's own")
    chosen = choose_layout(built.model, built.calibration, wanted=layout)
    if chosen.otherwise is not None:
        lines.append(f"layout {chosen.layout}: {chosen.otherwise}")
    if built.calibration is not None and built.calibration.datasets:
        names = ", ".join(sorted(built.calibration.datasets))
        lines.append(f"the datasets' own calibration maps ({names}) are not used; the pooled map is")
    if any(name in loaded.manifest.files for name in CERTIFICATES):
        lines.append("its certificate is left out: vLLM computes with other arithmetic, and knows no promises")
    try:
        with write_folder_whole(folder) as beside:
            _write(beside, loaded, chosen)
    except SafetensorError as error:  # a full disk, as an error of its own kind
        mend = advice_after(error, "free space or name another --output_dir")
        raise StorageError(f"{folder} cannot be written ({error}); {mend}") from None
    return VllmExport(chosen.layout, tuple(lines), command_for(chosen.layout, folder))


def command_for(layout: Layout, folder: Path) -> str:
    """What serves the folder."""
    convert = {"process-reward": "", "classification": " --convert classify", "plugin": " --convert embed"}[layout]
    place, pooler = shlex.quote(str(folder)), shlex.quote(str(folder / POOLER_CONFIG))
    return f'vllm serve {place} --runner pooling{convert} --pooler-config "$(cat {pooler})"'


def _write(folder: Path, loaded: LoadedCheckpoint, chosen: ChosenLayout) -> None:
    built = loaded.built
    model = built.model
    pooler: dict[str, Any] = {"pooling_type": "STEP", "step_tag_id": model.confidence_id}
    if chosen.layout == "process-reward":
        assert chosen.line is not None
        _save_with_head(model, process_reward_head(model.head, chosen.line), "Qwen2ForProcessRewardModel", folder)
    elif chosen.layout == "classification":
        assert chosen.line is not None
        head = classification_head(model.head, chosen.line)
        _save_with_head(model, _linear(head), classification_class(model).__name__, folder)
        pooler = {
            "task": "token_classify",
            "seq_pooling_type": "LAST",
            "tok_pooling_type": "STEP",
            "step_tag_id": model.confidence_id,
            "logit_mean": head.logit_mean,
            "logit_sigma": head.logit_sigma,
        }
    else:
        model.transformer.config.io_processor_plugin = PLUGIN
        with own_attention(model):
            model.transformer.save_pretrained(folder)
        pooler |= {"task": "token_embed", "use_activation": False}
    built.tokenizer.save(folder)
    write_json(folder / POOLER_CONFIG, pooler)
    inner = folder / SURESTEP_FOLDER
    inner.mkdir()
    write_json(inner / ABOUT, _about(loaded, chosen))
    if chosen.layout == "plugin":
        save_head(model, inner)
        if built.calibration is not None:
            write_json(inner / CALIBRATION, built.calibration.to_json())


def _about(loaded: LoadedCheckpoint, chosen: ChosenLayout) -> dict[str, Any]:
    built, head = loaded.built, loaded.config.model
    return {
        "format_version": FORMAT_VERSION,
        "surestep": __version__,
        "layout": chosen.layout,
        "confidence_id": built.model.confidence_id,
        "formatter_hash": loaded.manifest.formatter_hash,
        "tokenizer_hash": loaded.manifest.tokenizer_hash,
        "hidden_size": built.backbone.hidden_size,
        "mlp_hidden_dims": head.mlp_hidden_dims,
        "mlp_activation": head.mlp_activation,
        "is_calibrated": built.calibration is not None,
        "checkpoint": {"step": loaded.manifest.step, "manifest_sha256": manifest_sha256(loaded.folder)},
    }


def _linear(head: ClassificationHead) -> nn.Linear:
    linear = nn.Linear(head.weight_1D.shape[1], 1, bias=False)
    linear.weight = nn.Parameter(head.weight_1D)
    return linear


def _save_with_head(model: ConfidenceModel, score: nn.Module, architecture: str, folder: Path) -> None:
    """Save the backbone as `model.*` and the head as `score.*`, under the name that vLLM knows the whole by."""
    base, config = classification_class(model), model.transformer.config
    config.num_labels = 2 if architecture == "Qwen2ForProcessRewardModel" else 1
    names = ("wrong", "right") if config.num_labels == 2 else ("right",)
    config.id2label, config.label2id = dict(enumerate(names)), {name: index for index, name in enumerate(names)}
    with own_attention(model):
        with torch.device("meta"):  # its own weights are never used
            whole = type(architecture, (base,), {})(config)
        whole.model, whole.score = model.transformer, score
        whole.save_pretrained(folder)
