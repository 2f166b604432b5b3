"""Run by test_tree_kernel.py: compiles the kernels that share much for GPUs that need not be there.

Its arguments are the size of a head and compute capabilities. Prints as JSON, by capability, what a block of each
kernel shares.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from surestep.model.attention import pooled_kernel, tree_gradient_kernel, tree_kernel
from surestep.model.attention.block_lists import KEY_BLOCK, SEEN_BLOCK
from surestep.model.fast.adapters import gated_kernels
from surestep.model.fast.adapters import kernels as adapter_kernels

KINDS = {
    **dict.fromkeys(("q", "k", "v", "out", "do", "dq", "dk", "dv"), "*bf16"),
    **dict.fromkeys(("q_weight", "k_weight", "cos", "sin", "rotated"), "*bf16"),
    **dict.fromkeys(("x", "a", "copy", "low", "of_low", "above", "of_x"), "*bf16"),
    **dict.fromkeys(("joined", "of_joined", "wide", "before"), "*bf16"),
    **dict.fromkeys(("lse", "delta", "part", "sum", "scale", "of_weight", "of_a", "of_b"), "*fp32"),
    **dict.fromkeys(("end", "position", "lists", "index", "seed", "salt"), "*i32"),
    "slot": "*i64",
}
"""What pointers point at."""


PLAIN = {"POOLED": False, "PARTS": 1, "ROTATE": False, "NORM": False}
"""Of a forward pass over whole trees."""


def shared_by_kernel(capability: int, head_size: int) -> dict[str, int]:
    """Bytes that a block of each kernel shares."""
    forward, rotating = tree_kernel.FORWARD, {"ROTATE": True, "NORM": True}
    kernels = {
        "forward": (tree_kernel.forward_kernel, forward, PLAIN),
        "forward_rotating": (tree_kernel.forward_kernel, forward, PLAIN | rotating),
    }
    gradients = {
        "query_gradient": (tree_gradient_kernel.query_gradient_kernel, tree_kernel.QUERY_GRADIENT),
        "key_gradient": (tree_gradient_kernel.key_gradient_kernel, tree_kernel.key_gradient_launch(head_size)),
    }
    for name, (kernel, launch) in gradients.items():
        kernels[name] = kernel, launch, dict.fromkeys(("ROTATE", "NORM", "TRAINED"), False)
        kernels[f"{name}_rotating"] = kernel, launch, rotating | {"TRAINED": True}
    if capability == 80:  # once, for a GPU of little shared memory
        pooled = PLAIN | {"POOLED": True, "PARTS": 8}
        launch = tree_kernel.Launch(pooled_kernel.tile_rows(head_size), tree_kernel.OPTIONS)
        kernels["pooled_forward"] = (tree_kernel.forward_kernel, launch, pooled)
        join = tree_kernel.Launch(pooled_kernel.ROWS, {"num_warps": 4})
        kernels["pooled_join"] = (pooled_kernel.join_kernel, join, {"PARTS": 8, "ROWS": join.rows})
    found = {}
    for name, (kernel, launch, more) in kernels.items():
        keys = KEY_BLOCK if name.startswith(("key", "pooled")) else SEEN_BLOCK
        sizes = tree_kernel.tiles(32, 8, head_size, launch.rows, keys) | {"WINDOW": 0} | more
        found[name] = _shared(kernel, capability, sizes, launch.options)
    for ranks in (16, adapter_kernels._MANY_RANKS, adapter_kernels.MOST_RANKS):
        product, backward = adapter_kernels.low_rank_options(ranks), adapter_kernels.gradient_options(ranks)
        sizes = {"COPY": True, "OF_X": True, "SPLITS": 16, "DROP": True}
        for name, kernel, options in (
            ("low_rank", adapter_kernels._low_rank_kernel, product),
            ("low_rank_gradient", adapter_kernels._gradient_kernel, backward),
        ):
            own = {key: options.pop(key) for key in ("num_warps", "num_stages")}
            found[f"{name}_{ranks}"] = _shared(kernel, capability, options | sizes, own)
    for ranks in (16, gated_kernels.MOST_RANKS_OF_ONE):
        for name, kernel, options in (
            ("gated_low_rank", gated_kernels._gated_low_rank_kernel, gated_kernels.forward_options(ranks)),
            (
                "gated_low_rank_gradient",
                gated_kernels._gated_low_rank_gradient_kernel,
                gated_kernels.gradient_options(ranks, ranks, ranks),
            ),
        ):
            own = {key: options.pop(key) for key in ("num_warps", "num_stages")}
            sizes = {"SPLITS": gated_kernels._SPLITS, "DROP": True}
            found[f"{name}_{ranks}"] = _shared(kernel, capability, options | sizes, own)
    return found


def _shared(kernel: Any, capability: int, sizes: dict[str, Any], options: dict[str, int]) -> int:
    signature = {}
    for argument in kernel.arg_names:
        stem = argument.removesuffix("_ptr")
        if argument in sizes:
            signature[argument] = "constexpr"
        elif stem in KINDS and argument.endswith("_ptr"):
            signature[argument] = KINDS[stem]
        else:
            signature[argument] = "fp32" if argument.endswith(("scale", "eps", "factor")) else "i32"
    # Every number but the scales is a multiple of 16, as Triton finds when it is called.
    attributes = {
        (place,): [["tt.divisibility", 16]]
        for place, argument in enumerate(kernel.arg_names)
        if signature[argument] not in ("constexpr", "fp32")
    }
    constants = {name: value for name, value in sizes.items() if name in kernel.arg_names}
    source = ASTSource(kernel, signature, constexprs=constants, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    shared: int = compiled.metadata.shared
    return shared


def main() -> None:
    head_size, *capabilities = map(int, sys.argv[1:])
    print(json.dumps({capability: shared_by_kernel(capability, head_size) for capability in capabilities}))


if __name__ == "__main__":
    main()
