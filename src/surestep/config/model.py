"""Which backbone is read, through which head, and how LoRA adapts it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from surestep.settings import Section

DEFAULT_BACKBONE = "Qwen/Qwen3-4B-Instruct-2507"
TINY_BACKBONE = "builtin:tiny"

MAX_WIDTH = 65_536
"""Of an adapter or a layer of the head: beyond every backbone's own width; a slip of the key takes no gigabytes."""
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]

Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Activation = Literal["gelu", "relu"]
HeadLayers = Literal["last", "mix"]
HeadPooling = Literal["confidence", "mean"]
TextFrame = Literal["plain", "chat"]


class ModelConfig(Section):
    """The backbone and the head that reads its `<CONFIDENCE>` tokens."""

    backbone: str = Field(
        DEFAULT_BACKBONE,
        min_length=1,
        description="A Hugging Face id, a local folder, or `builtin:tiny` (embedded, needs no network).",
    )
    revision: str | None = Field(None, description="Branch, tag or commit of a Hugging Face backbone.")
    text_frame: TextFrame = Field(
        "plain",
        description=(
            "What stands around a problem: `plain`, a blank line behind it; `chat`, the backbone's own chat template, "
            "the problem being the user's message and the steps the answer."
        ),
    )
    mlp_hidden_dims: list[Width] = Field(
        [1024, 256], max_length=32, description="Widths of the head's hidden layers; an empty list is a linear head."
    )
    mlp_dropout: Dropout = Field(0.1, description="Dropout after each hidden layer of the head.")
    mlp_activation: Activation = Field(
        "gelu",
        description=(
            "Between the head's layers. `relu` with one hidden layer, or a linear head, is what vLLM's process reward "
            "model can hold (docs/how-to/share-and-export.md)."
        ),
    )
    head_layers: HeadLayers = Field(
        "last",
        description=(
            "Hidden states that the head reads: of the last layer, or a learned `mix` of all (scalar mix, Peters et "
            "al., 2018). Slower: layers are neither fused nor compiled."
        ),
    )
    head_pooling: HeadPooling = Field(
        "confidence",
        description=(
            "Tokens that the head reads: `<CONFIDENCE>`; `mean` puts the mean over the step's tokens beside it. "
            "Slower: layers are not fused."
        ),
    )
    fast_path: bool = Field(
        True,
        description=(
            "The fast path on a GPU: fused layers, compiled layers (`compile`) and recorded passes (`cuda_graphs`), "
            "each where it can be had and pays. `false` switches all of it off: the family's own layers, one kernel "
            "after the other."
        ),
    )
    compile: Literal["auto"] | bool = Field(
        "auto",
        description=(
            "Compile the decoder layers (CUDA): about twice as fast, after half a minute to a minute once. `auto`: "
            "where the run is long enough to repay that time."
        ),
    )
    attention: Literal["auto", "dense", "triton", "varlen", "flex", "paths"] = Field(
        "auto",
        description=(
            "How the tree mask is executed. `dense`: anywhere. `triton` (Surestep's own kernel, half precision), "
            "`varlen` (chains only) and `flex`: CUDA. "
            "`paths`: one path per row, for backbones that cannot run packed trees. `auto` chooses; a line says why."
        ),
    )


class LoraConfig(Section):
    """Low-rank adaptation of the backbone (Hu et al., 2021)."""

    use_lora: bool = Field(False, description="Train low-rank adapters instead of every weight.")
    lora_r: Width = Field(16, description="Rank of the adapters.")
    lora_alpha: Width = Field(32, description="Scale of the adapters: alpha / r multiplies their output.")
    lora_dropout: Dropout = Field(0.1, description="Dropout on the adapters' input.")
    base_precision: Literal["same", "fp8", "nf4"] = Field(
        "same",
        description=(
            "Arithmetic of the frozen weights. `fp8`: 8-bit floats, on Hopper GPUs and later; faster, less exact. "
            "`nf4`: 4 bits, on CUDA GPUs with the extra `memory`; far smaller, slower, less exact (docs/training.md)."
        ),
    )
    lora_target_modules: list[str] | Literal["auto", "all-linear"] = Field(
        "auto",
        description=(
            "Names of the layers to adapt. `auto`: the linear layers of every attention, whatever they are called "
            "(`q_proj, k_proj, v_proj, o_proj`, say), and in layers without attention every linear layer that PEFT "
            "can adapt."
        ),
    )
