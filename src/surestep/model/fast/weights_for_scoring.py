"""Weights as scoring reads them, of a model that is trained no further.

Adapters cost products of their own in every pass, a tenth of fp8's time; merged, they are gone, and their digits are
rounded with those of the weights. Weights that were trained in float32 are multiplied in half precision all the same:
held so, they take half the memory, and every product is what it was.
"""

from __future__ import annotations

import torch
from torch import nn

from surestep.model.confidence_model import ConfidenceModel
from surestep.model.fast.fuse import projections
from surestep.model.saved_weights import is_adapted


@torch.no_grad()
def merge_adapters(model: ConfidenceModel) -> None:
    """Add every adapter to the weights that it adapts: summed in float32, rounded once to the weights' dtype.

    Nothing of PEFT is left around them: its layers take time in every pass, even those that add nothing any more.
    """
    from peft.tuners.lora import LoraLayer

    if not is_adapted(model):
        return
    for module in model.backbone.modules():
        if isinstance(module, LoraLayer):
            module.merge()  # in place, so fused layers see it where their own weights are views
    if model.is_fused:
        model.forget_copies()
        for projection in projections(model.transformer):
            projection.drop_adapters()
    model.backbone = model.backbone.unload()
    model.weights_changed()


@torch.no_grad()
def hold_in_half(model: ConfidenceModel, dtype: torch.dtype) -> bool:
    """Hold float32 weights of fused layers in `dtype`, that of their products; whether there were any."""
    found = False
    if model.is_fused:
        for projection in projections(model.transformer):
            found |= projection.freeze(dtype)
    if found:
        model.weights_changed()
    return found


def freeze(model: nn.Module) -> None:
    """No weight is trained any more."""
    model.requires_grad_(False)
    model.eval()
