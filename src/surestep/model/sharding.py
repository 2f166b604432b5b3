"""Weights shared out over processes, by PyTorch's FSDP2 (`fully_shard`): each holds its rows of every weight.

A decoder layer's weights are put together before it runs and given up behind it, in both directions; embedding, final
norm, `<CONFIDENCE>` row and head make a group of their own, in the dtypes that they are held in. So do layers with
frozen weights. Layers that are trained in full travel in the dtype of their products, for a rounded copy of each whole
weight would else be kept from the forward pass to the backward one. Gradients are summed in float32. What is sharded is
a `DTensor`; the functions here take those and plain tensors alike.

Knows weights; knows no data and no file.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from surestep.errors import BackboneError
from surestep.model.backbones.decoder_stack import decoder_stack
from surestep.model.confidence_model import ConfidenceModel


def shard_model(model: ConfidenceModel, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
    """Share the weights of `model` out over all processes of the default group, in place; all hold the same before.

    `dtype` is that of its products (autocast). Its parameters are other objects afterwards: optimisers are built behind
    it.

    Raises:
        BackboneError: a weight belongs to two layers, or has no rows to share out.
    """
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    found = decoder_stack(model.transformer)
    layers: list[nn.Module] = [] if found is None else list(found[1])
    _check_weights(model, layers)
    # The logits are a view of the head's output, which nobody changes in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device.type, (get_world_size(),))
    in_half = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layer in layers:
        is_full = all(weight.requires_grad for weight in layer.parameters())
        fully_shard(
            layer, mesh=mesh, mp_policy=in_half if is_full and dtype != torch.float32 else MixedPrecisionPolicy()
        )
    # Given up behind the forward pass, too: so every weight is its shard wherever no pass runs.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def _check_weights(model: ConfidenceModel, layers: list[nn.Module]) -> None:
    scalars = [name for name, parameter in model.named_parameters() if parameter.ndim == 0]
    if scalars:
        raise BackboneError(
            f"training.fsdp shares out rows of weights, and {scalars[0]} of this backbone has none: use --fsdp false"
        )
    seen: set[int] = set()
    for number, layer in enumerate(layers):
        own = {id(parameter) for parameter in layer.parameters()}
        if seen & own:
            raise BackboneError(
                "training.fsdp needs layers with weights of their own, and this backbone shares some between layers "
                f"(layer {number}): use --fsdp false"
            )
        seen |= own


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard_model` was there."""
    return any(hasattr(parameter, "placements") for parameter in model.parameters())


def local(tensor: Tensor) -> Tensor:
    """What this process holds of it, in place: its rows; all of it where it is not sharded."""
    sharded: Any = tensor
    part: Tensor = sharded.to_local() if hasattr(tensor, "placements") else tensor
    return part


def joined(tensor: Tensor) -> Tensor:
    """All of it, where it lies; of a sharded one every process must ask."""
    sharded: Any = tensor
    found: Tensor = sharded.full_tensor() if hasattr(tensor, "placements") else tensor
    return found


@torch.no_grad()
def fill(place: Tensor, values: Tensor) -> None:
    """Give `place` these values, of its whole shape; a sharded one takes the rows that this process holds."""
    if not hasattr(place, "placements"):
        place.copy_(values)
        return
    from torch.distributed.tensor import distribute_tensor

    sharded: Any = place
    values = values.to(device=place.device, dtype=place.dtype)
    rows = distribute_tensor(values, sharded.device_mesh, sharded.placements, src_data_rank=None)
    local(place).copy_(local(rows))


def whole_weights(model: ConfidenceModel, *, keep: bool) -> dict[str, Tensor]:
    """Every weight that a checkpoint holds, whole and on the CPU, by its name in the model; every process must ask.

    The trained ones: all of a backbone in full, adapters, head and row under LoRA. Those that do not `keep` them get
    none.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            values = joined(parameter.detach())  # one at a time, so that a GPU holds one whole weight and not all
            if keep:
                found[name] = values.contiguous().cpu()
    return found
