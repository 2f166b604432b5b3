"""Run by test_tree_kernel.py: compiles the attention kernels for GPUs that need not be there.

Its arguments are the size of a head and compute capabilities. Prints as JSON, by capability, what a block of each
kernel shares.
"""

from __future__ import annotations

import json
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from surestep.model.attention import tree_kernel

POINTERS = {"q", "k", "v", "out", "do", "lse", "delta", "dq", "dk", "dv", "end", "position", "lists", "index", "slot"}
KINDS = {"lse": "*fp32", "delta": "*fp32", "end": "*i32", "position": "*i32", "lists": "*i32", "index": "*i32",
         "slot": "*i64"}  # fmt: skip


def shared_by_kernel(capability: int, head_size: int) -> dict[str, int]:
    """Bytes that a block of each kernel shares."""
    target = GPUTarget("cuda", capability, 32)
    found = {}
    kernels = {
        "forward": (tree_kernel.forward_kernel, tree_kernel.FORWARD, {"POOLED": False}),
        "query_gradient": (tree_kernel._query_gradient_kernel, tree_kernel.QUERY_GRADIENT, {}),
        "key_gradient": (tree_kernel._key_gradient_kernel, tree_kernel.KEY_GRADIENT, {}),
    }
    if capability == 89:  # once, for a GPU of little shared memory
        kernels["pooled_forward"] = (tree_kernel.forward_kernel, tree_kernel.FORWARD, {"POOLED": True})
    for name, (kernel, launch, more) in kernels.items():
        sizes = tree_kernel.tiles(32, 8, head_size, launch.rows) | {"WINDOW": 0} | more
        signature = {}
        for argument in kernel.arg_names:
            stem = argument.removesuffix("_ptr")
            if argument in sizes:
                signature[argument] = "constexpr"
            elif stem in POINTERS and argument.endswith("_ptr"):
                signature[argument] = KINDS.get(stem, "*bf16")
            else:
                signature[argument] = "fp32" if argument.endswith("scale") else "i32"
        # Every number but the scales is a multiple of 16, as Triton finds when it is called.
        attributes = {
            (place,): [["tt.divisibility", 16]]
            for place, argument in enumerate(kernel.arg_names)
            if signature[argument] not in ("constexpr", "fp32")
        }
        source = ASTSource(kernel, signature, constexprs=sizes, attrs=attributes)
        compiled = triton.compile(source, target=target, options=launch.options)
        found[name] = compiled.metadata.shared
    return found


def main() -> None:
    head_size, *capabilities = map(int, sys.argv[1:])
    print(json.dumps({capability: shared_by_kernel(capability, head_size) for capability in capabilities}))


if __name__ == "__main__":
    main()
