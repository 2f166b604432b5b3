"""Whether a model can score new steps from the keys and values of the steps before, and what it keeps of them.

What is known to go wrong is refused by name. Then a small tree is scored whole and piece by piece: a backbone whose
layers carry something else from token to token would differ.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter, is_not, methodcaller
from typing import Any

import torch
from torch import Tensor, nn

from surestep.errors import BackboneError, InputError
from surestep.model.attention.parity_probe import BRANCHES, TOLERANCE, distance, random_trees
from surestep.model.attention.prepared_mask import Execution, prepare_mask
from surestep.model.backbones.rotary import changing_factors
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.key_value_pool import KeyLayout, KeyValuePool
from surestep.model.session_plan import no_slots, plan_session_pass, plan_watched_pass
from surestep.model.tree_batch import TreeBatch

_INSTEAD = "score whole solutions instead"


def session_execution(model: ConfidenceModel) -> Execution:
    """How passes below cached tokens are executed: our own kernel where whole trees have it too."""
    return "triton" if model.route == "triton" else "dense"


def weights_mark(model: ConfidenceModel) -> int:
    """A number that stays as long as the weights do: keys that were computed under another one are void.

    It sees `ConfidenceModel.weights_changed` (which whatever rearranges weights calls), every change in place that
    torch notes (an optimiser's step, `load_state_dict`), and weights that are exchanged for others; not a write past
    torch, through `.data`.

    Raises:
        InputError: the model, or a part of it, is in training mode, or has weights that are trained.
    """
    parts = _parts.get(model)
    if parts is None or parts.are_others():
        parts = _parts[model] = _Parts.of(model)
    if any(map(_TRAINING, parts.modules)):
        raise InputError(
            "a session needs a model that is not in training mode, where dropout changes what is kept; "
            f"call `model.eval()`, or {_INSTEAD}"
        )
    parameters = [parameter for parameter in _all(parts.parameter_dicts) if parameter is not None]
    if any(map(_IS_TRAINED, parameters)):
        raise InputError(
            "a session needs weights that are not trained, since training would change them under what is "
            f"kept; call `model.requires_grad_(False)`, load the checkpoint anew, or {_INSTEAD}"
        )
    versions = [
        0 if is_fixed else p._version for p, is_fixed in zip(parameters, map(_IS_FIXED, parameters), strict=True)
    ]
    return hash((model.weights_version, *map(_PLACE, parameters), *versions))


_TRAINING, _IS_TRAINED = attrgetter("training"), attrgetter("requires_grad")
_IS_FIXED, _PLACE = methodcaller("is_inference"), methodcaller("data_ptr")


@dataclass
class _Parts:
    """The modules of a model, and where each keeps its parts and parameters: walked once, for walks take milliseconds.

    Attributes:
        modules: all, the model first.
        module_dicts, parameter_dicts: of each of them.
    """

    modules: list[nn.Module]
    module_dicts: list[dict[str, Any]]
    parameter_dicts: list[dict[str, Any]]

    @classmethod
    def of(cls, model: nn.Module) -> _Parts:
        modules: list[nn.Module] = [model]
        for module in modules:  # grows on the way
            modules += [part for part in module._modules.values() if part is not None]
        return cls(modules, [module._modules for module in modules], [module._parameters for module in modules])

    def are_others(self) -> bool:
        """Whether a module was exchanged, added or taken away since."""
        found = [part for part in _all(self.module_dicts) if part is not None]
        return len(found) != len(self.modules) - 1 or any(map(is_not, found, self.modules[1:]))


def _all(dicts: list[dict[str, Any]]) -> Iterator[Any]:
    return chain.from_iterable(map(dict.values, dicts))


_parts: weakref.WeakKeyDictionary[ConfidenceModel, Any] = weakref.WeakKeyDictionary()


def refuse_unsuited(model: ConfidenceModel) -> None:
    """Refuse by name what is known not to score a step from the keys before it.

    Raises:
        BackboneError: one path per row, attention in chunks, `longrope`.
    """
    config = model.transformer.config.get_text_config()
    name = f"this backbone ({config.model_type})"
    if getattr(config, "attention_chunk_size", None):
        raise BackboneError(
            f"{name} attends in chunks (attention_chunk_size), so a session cannot keep its keys; {_INSTEAD}"
        )
    if "longrope" in changing_factors(config):
        raise BackboneError(
            f"{name} has rotary factors of type longrope, which follow the length of a path, so a session cannot keep "
            f"its keys; {_INSTEAD}"
        )
    if model.route == "paths":
        raise BackboneError(f"{name} is scored one path per row, which keeps no keys for a session; {_INSTEAD}")


@torch.inference_mode()
def find_layout(model: ConfidenceModel, dtype: torch.dtype) -> KeyLayout:
    """What this model keeps of a token, after a small tree was scored alike with kept keys and without.

    Raises:
        BackboneError, InputError: it cannot keep keys; the message says why.
    """
    refuse_unsuited(model)
    weights_mark(model)
    batch = random_trees(model, BRANCHES)
    with torch.autocast(batch.tokens_P.device.type, dtype=dtype, enabled=dtype != torch.float32):
        plan, layout = plan_watched_pass(batch)
        try:
            model._packed(plan)
            if not layout.shapes:
                raise NotImplementedError("its layers do not use the attention of packed trees")
            whole = model._packed(prepare_mask(batch, model.route)).float()  # type: ignore[arg-type]
            pieces = _piece_by_piece(model, batch, layout).float()
        except NotImplementedError as error:
            raise BackboneError(f"this backbone cannot score in sessions: {error}; {_INSTEAD}") from None
    difference = distance(pieces, whole)
    if not difference <= TOLERANCE[dtype]:
        raise BackboneError(
            "this backbone scores steps differently from the keys that are kept of the steps before (by "
            f"{difference:.1%}), so it carries something else from token to token; {_INSTEAD}"
        )
    return layout


def _piece_by_piece(model: ConfidenceModel, batch: TreeBatch, layout: KeyLayout) -> Tensor:
    """Hidden states of the needed steps of a tree whose problem has a pass of its own."""
    device, batch = batch.tokens_P.device, batch.to(torch.device("cpu"))
    end, (first, _) = len(batch.tokens_P), BRANCHES[0][0]
    pool = KeyValuePool(layout, end, device)
    slots = pool.allocate(end)
    assert slots is not None, "the pool is as large as the tree"
    problem = TreeBatch(
        batch.tokens_P[:first],
        batch.positions_P[:first],
        torch.full((first,), first),
        (0, first),
        batch.label_index_S[:0],
        None if batch.step_length_S is None else batch.step_length_S[:0],
    )
    steps = TreeBatch(
        batch.tokens_P[first:],
        batch.positions_P[first:],
        batch.subtree_end_P[first:] - first,
        (0, end - first),
        batch.label_index_S - first,
        batch.step_length_S,
    )
    execution = session_execution(model)
    model._packed(plan_session_pass(problem, [no_slots()], slots[:first], pool, execution).to(device))
    return model._packed(plan_session_pass(steps, [slots[:first]], slots[first:], pool, execution).to(device))
