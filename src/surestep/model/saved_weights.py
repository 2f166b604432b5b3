"""A model's weights as safetensors, and back: every key accounted for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from surestep.errors import CheckpointError
from surestep.model.backbones.lora import check_adapter_config
from surestep.model.backbones.silence_transformers import silence_transformers
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.sharding import fill, is_sharded
from surestep.model.tensor_headers import tensor_shapes

HEAD_FILE = "head.safetensors"
ADAPTER_FILE = "adapter/adapter_model.safetensors"
BACKBONE_FOLDER = "backbone"
_ROW = "confidence_row"
_BACKBONE = "backbone."


def is_adapted(model: ConfidenceModel) -> bool:
    """Whether the backbone carries LoRA adapters."""
    return hasattr(model.backbone, "peft_config")


def save_weights(model: ConfidenceModel, folder: Path, *, whole: Mapping[str, Tensor] | None = None) -> None:
    """Write head and row, and either the adapters or the whole backbone.

    `whole` are the trained weights by name, where those of the model are shards (`sharding.whole_weights`).

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    try:
        save_head(model, folder, whole=whole)
        if is_adapted(model):
            for adapter in model.backbone.peft_config.values():
                if isinstance(adapter.target_modules, set):  # whose order changes from process to process
                    adapter.target_modules = sorted(adapter.target_modules)
            # save_embedding_layers=False: the embedding is not trained, and looking it up would ask the network.
            with _without_model_card(model.backbone):
                model.backbone.save_pretrained(folder / "adapter", save_embedding_layers=False, **_state(model, whole))
        else:
            with own_attention(model):
                model.transformer.save_pretrained(folder / BACKBONE_FOLDER, **_state(model, whole))
    except SafetensorError as error:
        # safetensors reports a full disk as an error of its own kind.
        raise OSError(28, str(error), str(folder)) from None


@contextmanager
def _without_model_card(backbone: Any) -> Iterator[None]:
    """Within it peft writes no card beside adapters: an empty form, slower than small weights are written."""
    backbone.create_or_update_model_card = lambda _folder: None
    try:
        yield
    finally:
        del backbone.create_or_update_model_card


def _state(model: ConfidenceModel, whole: Mapping[str, Tensor] | None) -> dict[str, Any]:
    """What `save_pretrained` of the backbone must be told besides: nothing where it holds its own weights."""
    if whole is None:
        return {}
    return {"state_dict": {n.removeprefix(_BACKBONE): value for n, value in whole.items() if n.startswith(_BACKBONE)}}


def save_head(model: ConfidenceModel, folder: Path, *, whole: Mapping[str, Tensor] | None = None) -> None:
    """Write head and row as `head.safetensors`; `whole` as `save_weights` has it.

    Raises:
        OSError, SafetensorError: the disk is full or the folder cannot be written.
    """
    tensors = {f"head.{name}": value.contiguous().cpu() for name, value in model.head.state_dict().items()}
    tensors[_ROW] = model.confidence_row.detach().contiguous().cpu()
    save_file(tensors if whole is None else {name: whole[name] for name in tensors}, folder / HEAD_FILE)


@contextmanager
def own_attention(model: ConfidenceModel) -> Iterator[None]:
    """Within it the transformer is as transformers knows it, quietly: for saving it where others read it."""
    ours = model.transformer.config._attn_implementation
    model.transformer.set_attn_implementation(model.own_attention)
    try:
        with silence_transformers():
            yield
    finally:
        model.transformer.set_attn_implementation(ours)


def load_head(model: ConfidenceModel, folder: Path) -> None:
    """Fill head and `<CONFIDENCE>` row.

    Raises:
        CheckpointError: a key is missing, unexpected, or of another shape.
    """
    tensors = read_tensors(folder / HEAD_FILE)
    expected = {f"head.{name}": value for name, value in model.head.state_dict().items()}
    expected[_ROW] = model.confidence_row.detach()
    check_keys(folder / HEAD_FILE, tensors, expected)
    for name, place in expected.items():
        fill(place, tensors[name])


def load_adapter(model: ConfidenceModel, folder: Path) -> None:
    """Fill the adapters.

    Raises:
        CheckpointError: a key is missing, unexpected, or of another shape, or the adapters were trained otherwise than
            the model applies them.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    check_adapter_config(model.backbone, folder / "adapter")
    path = folder / ADAPTER_FILE
    tensors = read_tensors(path)
    places = get_peft_model_state_dict(model.backbone, save_embedding_layers=False)
    check_keys(path, tensors, places)
    if is_sharded(model):
        for key, place in places.items():
            fill(place, tensors[key])
    else:
        set_peft_model_state_dict(model.backbone, tensors)


def load_backbone_tensors(model: ConfidenceModel, folder: Path) -> None:
    """Fill the transformer of a model that is trained in full, one tensor at a time.

    Where the files of a family name its weights otherwise than the modules do, transformers reads them into a module of
    its own on the CPU first.

    Raises:
        CheckpointError: a key is missing, unexpected, or of another shape, or a file is damaged.
    """
    places = dict(model.transformer.named_parameters())
    files = sorted((folder / BACKBONE_FOLDER).glob("*.safetensors"))
    keys = {key: path for path in files for key in _keys_of(path)}
    if keys.keys() != places.keys():
        _load_backbone_through_transformers(model, folder)
        return
    for path in files:
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118 - no mapping
                found, place = file.get_tensor(key), places[key]
                check_keys(path, {key: found}, {key: place})
                fill(place, found)


def _keys_of(path: Path) -> list[str]:
    return list(tensor_shapes(path))


def _load_backbone_through_transformers(model: ConfidenceModel, folder: Path) -> None:
    from transformers import AutoModel

    with silence_transformers():
        saved = AutoModel.from_pretrained(
            str(folder / BACKBONE_FOLDER), dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
    found, places = dict(saved.named_parameters()), dict(model.transformer.named_parameters())
    check_keys(folder / BACKBONE_FOLDER, found, places)
    for name, place in places.items():
        fill(place, found[name])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    tensor_shapes(path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); restore it from a backup") from None
    return tensors


def write_means(path: Path, files: Sequence[Path]) -> None:
    """Write the means of the tensors of `files`, which hold the same names and shapes: in float64, rounded once.

    Raises:
        CheckpointError: a file is damaged, a tensor is not finite, or one that holds no fractions differs.
        OSError: the disk is full or the folder cannot be written.
    """
    means: dict[str, Tensor] = {}
    with ExitStack() as stack:
        opened = [stack.enter_context(safe_open(file, "pt")) for file in files]
        for key in opened[0].keys():  # noqa: SIM118 - no mapping
            members = [one.get_tensor(key) for one in opened]
            if not members[0].is_floating_point():
                if any(not torch.equal(members[0], other) for other in members):
                    raise CheckpointError(f"{files[0]}: {key} holds no fractions and differs: it has no mean")
                means[key] = members[0]
                continue
            total = sum((member.double() for member in members), torch.zeros((), dtype=torch.float64))
            if not total.isfinite().all():
                raise CheckpointError(f"{files[0]}: {key} is not finite in one of the checkpoints: it has no mean")
            means[key] = (total / len(members)).to(members[0].dtype)
    try:
        save_file(means, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(28, str(error), str(path)) from None


def check_keys(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise unless `found` has exactly the keys and shapes of `expected`.

    Raises:
        CheckpointError: naming what is missing, unexpected or of another shape.
    """
    missing, unexpected = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    shapes = [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & found.keys())
        if found[name].shape != expected[name].shape
    ]
    parts = [
        f"{what} {', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape:", shapes))
        if names
    ]
    if parts:
        raise CheckpointError(f"{path}: {'; '.join(parts)}; the configuration beside it does not fit these weights")
