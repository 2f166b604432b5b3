"""The weights that make a score of a hidden state, found in a model's safetensors by their names.

Every form comes to one logit, whose sigmoid is the score: of two classes or two tokens the difference of their rows,
since softmax(a, b)[0] = sigmoid(a - b). Names and shapes are checked before a weight is read.

    head             tensors
    two_class_mlp    score.0.{weight,bias}, score.2.{weight,bias}            [D, D], [2, D]
    two_class        score or classifier .{weight,bias}                      [2, D]
    value            v_head.summary, v_head, score or value_head .{weight,bias}   [1, D]
    token_pair       lm_head.{weight,bias}, or the embedding where the two are tied   [V, D]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from surestep.counted import counted
from surestep.errors import BackboneError, CheckpointError
from surestep.model.backbones.files import read_backbone_config, weight_files
from surestep.model.head import ConfidenceHead
from surestep.model.tensor_headers import Shape, tensor_shapes
from surestep.scoring.other_scorers.forms import FORMS, Form, Head

_MLP = ("score.0", "score.2")
_NAMES: dict[Head, tuple[str, ...]] = {
    "two_class_mlp": (_MLP[1],),
    "two_class": ("score", "classifier"),
    "value": ("v_head.summary", "v_head", "value_head", "score"),
    "token_pair": ("lm_head",),
}
"""Where the last layer of a head may stand, the likeliest name first."""
_ROWS: dict[Head, int | None] = {"two_class_mlp": 2, "two_class": 2, "value": 1, "token_pair": None}
"""Rows of that layer; None: one for each token."""
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
_CHANGED_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale", "output_multiplier_scale")
"""Settings of families that change logits behind the language-model head."""


@dataclass(frozen=True, slots=True)
class FoundHead:
    """A head in the files: where its last layer stands, and its row for right and for wrong (None: one row)."""

    form: Form
    tensors: Mapping[str, tuple[Path, Shape]]
    last: str
    rows: tuple[int, int | None]

    @torch.no_grad()
    def load(self, hidden_size: int) -> ConfidenceHead:
        """The head in float32.

        Raises:
            BackboneError: a tensor has another width.
        """
        is_mlp = self.form.head == "two_class_mlp"
        head = ConfidenceHead(hidden_size, [hidden_size] if is_mlp else [], dropout=0.0, activation="relu")
        if is_mlp:
            layer: Any = head.hidden[0]
            layer.weight.copy_(self._whole(f"{_MLP[0]}.weight", (hidden_size, hidden_size)))
            layer.bias.copy_(self._whole(f"{_MLP[0]}.bias", (hidden_size,)))
        head.output.weight.copy_(self._difference(self.last, hidden_size)[None])
        bias = self.last.removesuffix(".weight") + ".bias"
        head.output.bias.fill_(float(self._difference(bias, None)) if self._has_bias(bias) else 0.0)
        return head

    def _has_bias(self, name: str) -> bool:
        # A tied embedding has no bias of its own, whatever else is called so.
        return name in self.tensors and not self.last.endswith(_EMBEDDINGS)

    def _whole(self, name: str, shape: Shape) -> Tensor:
        file, found = self.tensors[name]
        if found != shape:
            raise BackboneError(
                f"{file}: {name} has the shape {list(found)}; the form {self.form.name} needs {list(shape)}"
            )
        with safe_open(file, framework="pt") as weights:
            tensor: Tensor = weights.get_tensor(name)
        return tensor.float()

    def _difference(self, name: str, width: int | None) -> Tensor:
        """The row for right without the one for wrong, float64."""
        file, shape = self.tensors[name]
        if width is not None and shape[1:] != (width,):
            raise BackboneError(
                f"{file}: {name} has the shape {list(shape)}; its hidden states have {counted(width, 'number')}"
            )
        with safe_open(file, framework="pt") as weights:
            rows = weights.get_slice(name)
            right = rows[self.rows[0] : self.rows[0] + 1][0].double()
            wrong = 0.0 if self.rows[1] is None else rows[self.rows[1] : self.rows[1] + 1][0].double()
        difference: Tensor = right - wrong
        return difference


def find_head(form: Form, folder: Path, tokens: tuple[int, int] | None) -> FoundHead:
    """The head of `form` in a model's files.

    Args:
        form: the form.
        folder: the model.
        tokens: the tokens for right and wrong, of the head `token_pair`.

    Raises:
        BackboneError: the files hold no such head, or something changes its logits that is not known here.
    """
    tensors = _tensors_of(folder)
    last = next((f"{name}.weight" for name in _NAMES[form.head] if _fits(tensors, form.head, name)), None)
    if form.head == "token_pair":
        assert tokens is not None
        config = read_backbone_config(folder)
        changed = [name for name in _CHANGED_LOGITS if config.get(name) not in (None, 1, 1.0)]
        if changed:
            raise BackboneError(
                f"{folder}: its configuration changes logits ({', '.join(changed)}), which the form {form.name} does "
                "not know how to read; serve it, and name the server with --scorer http+..."
            )
        if last is None and config.get("tie_word_embeddings", True):
            last = next((name for name in sorted(tensors) if name.endswith(_EMBEDDINGS)), None)
        if last is not None and max(tokens) >= tensors[last][1][0]:
            raise BackboneError(f"{folder}: {last} has {tensors[last][1][0]} rows, and a tag is token {max(tokens)}")
    if last is None:
        raise BackboneError(_missing(form, folder, tensors))
    if form.head == "token_pair":
        assert tokens is not None
        return FoundHead(form, tensors, last, tokens)
    right = form.right_class
    return FoundHead(form, tensors, last, (0, None) if form.head == "value" else (right, 1 - right))


def _tensors_of(folder: Path) -> dict[str, tuple[Path, Shape]]:
    try:
        files = [folder / name for name in weight_files(folder) if name.endswith(".safetensors")]
        return {name: (file, shape) for file in files for name, shape in tensor_shapes(file).items()}
    except CheckpointError as error:
        raise BackboneError(str(error)) from None


def _fits(tensors: Mapping[str, tuple[Path, Shape]], head: Head, name: str) -> bool:
    needed = [f"{name}.weight"]
    if head == "two_class_mlp":
        needed = [f"{layer}.{part}" for layer in _MLP for part in ("weight", "bias")]
    if not all(one in tensors for one in needed):
        return False
    shape, rows = tensors[f"{name}.weight"][1], _ROWS[head]
    return len(shape) == 2 and (rows is None or shape[0] == rows)


def _missing(form: Form, folder: Path, tensors: Mapping[str, tuple[Path, Shape]]) -> str:
    """Which head is missing, and which ones are there."""
    wanted = " and ".join(f"{layer}.weight" for layer in _MLP)
    if form.head != "two_class_mlp":
        rows = _ROWS[form.head]
        wanted = " or ".join(f"{name}.weight" for name in _NAMES[form.head])
        wanted += "" if rows is None else f" of {rows} row{'s' if rows > 1 else ''}"
    fitting = [other.name for other in FORMS.values() if any(_fits(tensors, other.head, n) for n in _NAMES[other.head])]
    there = f"its weights fit the form{'s' if len(fitting) > 1 else ''} {', '.join(fitting)}"
    return f"{folder} holds no {wanted}, the head of the form {form.name}; " + (
        there if fitting else "it has no head of any known form: is it a backbone alone?"
    )
