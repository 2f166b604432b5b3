"""Whether a checkpoint's sizes are those of its weights: known from headers, before anything of them is built.

A configuration may ask for a rank of a million or a thousand layers, which takes gigabytes and hours to build; weights
that are there cannot be larger than their files. Knows shapes; loads no tensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from surestep.errors import BackboneError, CheckpointError
from surestep.model.backbones.files import weight_files
from surestep.model.backbones.sizes import check_backbone_sizes
from surestep.model.saved_weights import ADAPTER_FILE, BACKBONE_FOLDER, HEAD_FILE
from surestep.model.tensor_headers import tensor_shapes
from surestep.untrusted.bounds import shown


def check_sizes(folder: Path, hidden_dims: Sequence[int], *, rank: int | None) -> None:
    """Compare head, adapters and backbone configuration with the shapes of the weights that lie beside them.

    Args:
        folder: the checkpoint, its manifest checked.
        hidden_dims: widths of the head's hidden layers, as the configuration has them (`model.mlp_hidden_dims`).
        rank: of the adapters (`lora.lora_r`); None: the checkpoint holds the whole backbone.

    Raises:
        CheckpointError: a size differs, a weight is missing, or a file of weights is damaged.
    """
    check_head(folder / HEAD_FILE, hidden_dims)
    if rank is not None:
        _check_rank(folder / ADAPTER_FILE, rank)
    else:
        try:
            check_backbone_sizes(folder / BACKBONE_FOLDER, weight_files(folder / BACKBONE_FOLDER))
        except BackboneError as error:
            raise CheckpointError(f"{error}; restore the checkpoint from a backup") from None


def _check_rank(path: Path, rank: int) -> None:
    most = max((min(shape) for name, shape in tensor_shapes(path).items() if "lora_" in name and shape), default=0)
    if rank > most:
        raise CheckpointError(
            f"{path} holds adapters of rank {most} at most, of another shape than lora.lora_r {rank}; the "
            "configuration beside it does not fit these weights"
        )


def check_head(path: Path, hidden_dims: Sequence[int]) -> None:
    """Only that nothing larger is built than lies there; keys and shapes are compared when the head is filled.

    Raises:
        CheckpointError: it asks for more or wider layers than the file holds.
    """
    shapes = list(tensor_shapes(path).values())
    widest = max((size for shape in shapes for size in shape), default=0)
    largest = max((math.prod(shape) for shape in shapes), default=0)
    products = (before * after for before, after in pairwise(hidden_dims))
    if len(hidden_dims) > len(shapes) or max(hidden_dims, default=0) > widest or max(products, default=0) > largest:
        raise CheckpointError(
            f"{path} holds layers of another shape than model.mlp_hidden_dims {shown(hidden_dims)}; the configuration "
            "beside it does not fit these weights"
        )
