"""Whether a backbone's configuration asks for no more than its files hold: known before anything of it is built.

A million layers take hours and gigabytes, and so does a file of weights with a header of a million tensors. Knows
shapes; loads no tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from surestep.errors import BackboneError, CheckpointError
from surestep.files import CONFIG
from surestep.model.backbones.files import read_backbone_config
from surestep.model.tensor_headers import tensor_shapes
from surestep.untrusted.bounds import shown

_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "num_experts", "num_local_experts", "n_routed_experts")
"""Of a backbone's configuration: each layer or expert has at least one tensor of its own, or a row of one."""
_WIDTHS = (
    *("hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim"),
    *("n_embd", "n_head", "n_inner", "ffn_dim", "d_model", "moe_intermediate_size"),
)
"""Of a backbone's configuration: each is at most the largest dimension of a weight."""


def check_backbone_sizes(folder: Path, names: Sequence[str]) -> None:
    """Compare what a backbone's `config.json` says of its layers with the shapes of its weights.

    Args:
        folder: the backbone.
        names: the files that hold its weights, others among them.

    Raises:
        BackboneError: it asks for more or wider layers than the files hold, or a file is damaged.
    """
    try:
        files = [folder / name for name in names if name.endswith(".safetensors")]
        shapes = [shape for file in files for shape in tensor_shapes(file).values()]
    except CheckpointError as error:
        raise BackboneError(str(error)) from None
    values = read_backbone_config(folder)
    widest = max((size for shape in shapes for size in shape), default=0)
    for inner in (values, *(value for value in values.values() if isinstance(value, dict))):
        for fields, most in ((_COUNTS, max(len(shapes), widest)), (_WIDTHS, widest)):
            for name in fields:
                value = inner.get(name)
                if value is None or (name == "n_inner" and not value):
                    continue
                if type(value) is not int or not 0 <= value <= most:
                    raise BackboneError(
                        f"{folder / CONFIG}: {name} is {shown(value)}, its weights allow at most {most}; "
                        "copy or download the backbone again"
                    )
