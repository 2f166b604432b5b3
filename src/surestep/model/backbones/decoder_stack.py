"""Where a transformer holds its decoder layers, and how deep each of its weights lies; by structure, not by names."""

from __future__ import annotations

from torch import nn


def decoder_stack(transformer: nn.Module) -> tuple[str, nn.ModuleList] | None:
    """The largest stack of modules with its name; None where the transformer has no stack."""
    stacks = [(name, module) for name, module in transformer.named_modules() if isinstance(module, nn.ModuleList)]
    # By weights: the experts of a layer are a stack as well, and so are the layers of an image encoder.
    return max(stacks, key=lambda pair: sum(weight.numel() for weight in pair[1].parameters())) if stacks else None


def parameter_depths(transformer: nn.Module) -> tuple[dict[int, int], int] | None:
    """The depth of each weight by its `id`, and the number of layers, L; None where the transformer has no stack.

    Embeddings, and what else lies between them and the first layer, have depth 0, the layers 1 to L, and what comes
    after the last one (its norm) L as well.
    """
    found = decoder_stack(transformer)
    if found is None:
        return None
    _, stack = found
    in_layers = {id(weight): depth for depth, block in enumerate(stack, 1) for weight in block.parameters()}
    depths: dict[int, int] = {}
    for name, weight in transformer.named_parameters():
        is_below = any(mark in name for mark in ("embed", "project_in")) or _is_embedding(transformer, name)
        depths[id(weight)] = in_layers.get(id(weight), 0 if is_below else len(stack))
    return depths, len(stack)


def _is_embedding(transformer: nn.Module, name: str) -> bool:
    return isinstance(transformer.get_submodule(name.rpartition(".")[0]), nn.Embedding)
