"""Whether a checkpoint's sizes are those of its weights: known from headers, before anything of them is built.

A configuration may ask for a rank of a million or a thousand layers, which takes gigabytes and hours to build; weights
that are there cannot be larger than their files. Knows shapes; loads no tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from surestep.errors import CheckpointError
from surestep.files import CONFIG
from surestep.model.saved_weights import ADAPTER_FILE, BACKBONE_FOLDER, HEAD_FILE
from surestep.model.tensor_headers import tensor_shapes
from surestep.untrusted import read_json
from surestep.untrusted.bounds import shown

_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "num_experts", "num_local_experts", "n_routed_experts")
"""Of a backbone's configuration: each layer or expert has at least one tensor of its own, or a row of one."""
_WIDTHS = (
    *("hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("n_embd", "n_head", "n_inner", "ffn_dim", "d_model", "moe_intermediate_size"),
)
"""Of a backbone's configuration: each is at most the largest dimension of a weight."""


def check_sizes(folder: Path, hidden_dims: Sequence[int], *, rank: int | None) -> None:
    """Compare head, adapters and backbone configuration with the shapes of the weights that lie beside them.

    Args:
        folder: the checkpoint, its manifest checked.
        hidden_dims: widths of the head's hidden layers, as the configuration has them (`model.mlp_hidden_dims`).
        rank: of the adapters (`lora.lora_r`); None: the checkpoint holds the whole backbone.

    Raises:
        CheckpointError: a size differs, a weight is missing, or a file of weights is damaged.
    """
    _check_head(folder / HEAD_FILE, hidden_dims)
    if rank is not None:
        _check_rank(folder / ADAPTER_FILE, rank)
    else:
        check_backbone_sizes(folder / BACKBONE_FOLDER)


def check_backbone_sizes(folder: Path) -> None:
    """Compare what a backbone's `config.json` says of its layers with the shapes of its weights.

    Raises:
        CheckpointError: it asks for more or wider layers than the files hold, or cannot be read.
    """
    path = folder / CONFIG
    try:
        values = read_json(path, allow_nan=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path} cannot be read ({reason}); restore it from a backup") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no object; restore it from a backup")
    shapes = [shape for file in sorted(folder.glob("*.safetensors")) for shape in tensor_shapes(file).values()]
    if not shapes:
        raise CheckpointError(f"{folder} holds no weights (*.safetensors); restore it from a backup")
    widest = max((size for shape in shapes for size in shape), default=0)
    for inner in (values, *(value for value in values.values() if isinstance(value, dict))):
        for names, most in ((_COUNTS, max(len(shapes), widest)), (_WIDTHS, widest)):
            for name in names:
                value = inner.get(name)
                if value is None or (name == "n_inner" and not value):
                    continue
                if type(value) is not int or not 0 <= value <= most:
                    raise CheckpointError(
                        f"{path}: {name} is {shown(value)}, its weights allow at most {most}; restore it from a backup"
                    )


def _check_rank(path: Path, rank: int) -> None:
    most = max((min(shape) for name, shape in tensor_shapes(path).items() if "lora_" in name and shape), default=0)
    if rank > most:
        raise CheckpointError(
            f"{path} holds adapters of rank {most} at most, of another shape than lora.lora_r {rank}; the "
            "configuration beside it does not fit these weights"
        )


def _check_head(path: Path, hidden_dims: Sequence[int]) -> None:
    """Only that nothing larger is built than lies there; keys and shapes are compared when the head is filled."""
    shapes = list(tensor_shapes(path).values())
    widest = max((size for shape in shapes for size in shape), default=0)
    largest = max((math.prod(shape) for shape in shapes), default=0)
    products = (before * after for before, after in pairwise(hidden_dims))
    if len(hidden_dims) > len(shapes) or max(hidden_dims, default=0) > widest or max(products, default=0) > largest:
        raise CheckpointError(
            f"{path} holds layers of another shape than model.mlp_hidden_dims {shown(hidden_dims)}; the configuration "
            "beside it does not fit these weights"
        )
