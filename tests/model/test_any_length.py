"""Our operations know of no number of tokens: a compiler traces them once, for packs of every length.

An operation that asks a tensor for its length as a number (`len`), or states the size of a result as one, is traced
anew for each. Nothing is wrong then but the time, and a recording of a pass that meets a new length fails.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from surestep.errors import DeviceError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton has wheels for Linux only")

TOKENS, WIDTH, RANKS, SIZE, HEADS, KEY_HEADS = 256, 64, 16, 16, 4, 2
MODULES = (
    *("attention.tree_kernel", "fast.adapters.adapted_linear", "fast.adapters.adapted_mlp", "fast.gated_product"),
    *("fast.heads.joined_attention", "fast.heads.split_heads_kernel", "fast.sum_norm", "precision.float32_weights"),
    *("precision.fp8", "precision.fp8_mlp"),
)
E4M3 = torch.float8_e4m3fn
Made = Callable[..., Tensor]


def ops() -> Any:
    for module in MODULES:
        importlib.import_module(f"surestep.model.{module}")
    return torch.ops.surestep


def mask_of(tokens: Made) -> tuple[Tensor, Tensor, Tensor]:
    return tokens(dtype=torch.int32), tokens(dtype=torch.int32), torch.zeros(1024, dtype=torch.int32)


def adapted(tokens: Made, *, is_wide: bool) -> tuple[Any, ...]:
    weight = torch.zeros(96, WIDTH + RANKS if is_wide else WIDTH)
    half_a, half_b = torch.zeros(RANKS, WIDTH), None if is_wide else torch.zeros(96, RANKS)
    trained = [torch.zeros(RANKS, WIDTH, requires_grad=True)], [torch.zeros(96, RANKS, requires_grad=True)]
    seed, salt = (torch.zeros((), dtype=torch.int32) for _ in range(2))
    return tokens(WIDTH), weight, None, half_a, half_b, *trained, torch.ones(RANKS), [0], seed, salt, 0.1


def adapted_of_three(tokens: Made) -> tuple[Any, ...]:
    gates = torch.zeros(192, WIDTH + 2 * RANKS), torch.zeros(2 * RANKS, WIDTH), torch.ones(2 * RANKS)
    down = torch.zeros(WIDTH, 96 + RANKS), torch.zeros(RANKS, 96), torch.ones(RANKS)
    sizes = (WIDTH, 96), (WIDTH, 96), (96, WIDTH)
    a = [torch.zeros(RANKS, inputs, requires_grad=True) for inputs, _ in sizes]
    b = [torch.zeros(outputs, RANKS, requires_grad=True) for _, outputs in sizes]
    return tokens(WIDTH), *gates, *down, a, b, *(torch.zeros((), dtype=torch.int32) for _ in range(3)), [0.1, 0.1]


def joined(tokens: Made, *, norms: bool = True, product: bool = True) -> tuple[Any, ...]:
    """What heads are made of; the norms and the product may be trained."""
    weights = [torch.ones(SIZE, requires_grad=norms) for _ in range(2)]
    rotation = tokens(SIZE, grad=False), tokens(SIZE, grad=False)
    return tokens((HEADS + 2 * KEY_HEADS) * SIZE, grad=product), *weights, *rotation, HEADS, KEY_HEADS, 1e-6


def small(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """A weight in 8 bits and the scales of its rows."""
    return torch.zeros(rows, columns).to(E4M3), torch.ones(1, rows)


CASES: dict[str, Callable[[Made], Any]] = {
    "adapted_linear, wide": lambda t: ops().adapted_linear(*adapted(t, is_wide=True)),
    "adapted_linear, apart": lambda t: ops().adapted_linear(*adapted(t, is_wide=False)),
    "adapted_mlp": lambda t: ops().adapted_mlp(*adapted_of_three(t)),
    "gated_product": lambda t: ops().gated_product(t(2 * WIDTH)),
    "joined_attention": lambda t: ops().joined_attention(*joined(t), *mask_of(t), 0.25, 0),
    "joined_attention, frozen": lambda t: ops().joined_attention(*joined(t, norms=False), *mask_of(t), 0.25, 0),
    "split_heads": lambda t: ops().split_heads(*joined(t, norms=False, product=False)),
    "tree_attention": lambda t: ops().tree_attention(
        t(HEADS, SIZE), t(KEY_HEADS, SIZE), t(KEY_HEADS, SIZE), *mask_of(t), 0.25, 0
    ),
    "sum_norm": lambda t: ops().sum_norm(t(WIDTH), t(WIDTH), torch.ones(WIDTH, requires_grad=True), 1e-6),
    "sum_norm_fp8": lambda t: ops().sum_norm_fp8(t(WIDTH, grad=False), t(WIDTH, grad=False), torch.ones(WIDTH), 1e-6),
    "trained_linear": lambda t: ops().trained_linear(
        t(WIDTH), torch.zeros(96, WIDTH), [torch.zeros(96, WIDTH, requires_grad=True)], None
    ),
    "trained_pair": lambda t: ops().trained_pair(
        t(WIDTH),
        *(torch.zeros(96, WIDTH) for _ in range(2)),
        *(torch.zeros(96, WIDTH, requires_grad=True) for _ in range(2)),
    ),
    "fp8_linear": lambda t: ops().fp8_linear(t(WIDTH), *small(96, WIDTH), *small(WIDTH, 96), None, None, None),
    "fp8_rows": lambda t: ops().fp8_rows(t(WIDTH, grad=False)),
    "fp8_product": lambda t: ops().fp8_product(
        t(WIDTH, grad=False).to(E4M3), t(1, grad=False), *small(96, WIDTH), None, torch.bfloat16
    ),
    "fp8_mlp": lambda t: ops().fp8_mlp(
        t(WIDTH), *small(192, WIDTH), *small(WIDTH, 192), *small(WIDTH, 96), *small(96, WIDTH)
    ),
    "fp8_gated_rows": lambda t: ops().fp8_gated_rows(t(2 * WIDTH, grad=False)),
}


class Called(TorchDispatchMode):
    """The names of our operations that ran."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "surestep":
            self.names.add(func.name().partition("::")[2])
        return func(*args, **(kwargs or {}))


def traced(case: Callable[[Made], Any]) -> tuple[set[str], list[Tensor], list[Tensor], ShapeEnv]:
    """Operations that ran over tokens whose number is a symbol, forward and backward; results and inputs' gradients."""
    shapes = ShapeEnv()
    mode = FakeTensorMode(shape_env=shapes, allow_non_fake_inputs=True)
    # Made outside of the mode, within which a tensor has its sizes already.
    context = StatelessSymbolicContext(dynamic_sizes=[DimDynamic.DYNAMIC])
    number = mode.from_tensor(torch.zeros(TOKENS), symbolic_context=context).shape[0]
    inputs: list[Tensor] = []

    def tokens(*sizes: int, dtype: torch.dtype = torch.float32, grad: bool = True) -> Tensor:
        """A tensor of as many tokens as all others, on an axis that is a symbol."""
        made = torch.zeros(number, *sizes, dtype=dtype)
        if grad and dtype.is_floating_point:
            inputs.append(made.requires_grad_())
        return made

    with mode, Called() as called:
        results = [part for part in tree_leaves(case(tokens)) if isinstance(part, Tensor)]
        trained = [part for part in results if part.requires_grad]
        gradients: list[Tensor] = []
        if trained:
            torch.autograd.backward(trained[0], torch.zeros_like(trained[0]))
            gradients = [part.grad for part in inputs if part.grad is not None]
    return called.names, results, gradients, shapes


def is_symbol(tensors: Iterable[Tensor]) -> bool:
    return all(isinstance(tensor.shape[0], torch.SymInt) for tensor in tensors)


@pytest.mark.parametrize("case", CASES)
def test_an_operation_is_traced_for_every_number_of_tokens(case: str) -> None:
    names, results, gradients, shapes = traced(CASES[case])
    assert case.partition(",")[0] in names
    assert is_symbol(results), [tuple(part.shape) for part in results]
    assert is_symbol(gradients)
    assert not shapes.replacements, "the number became a constant"


@pytest.mark.parametrize("case", CASES)
def test_what_an_operation_has_kept_is_asked_for_once(case: str) -> None:
    """Where activations are recomputed, torch gives each away once, and refuses to be asked again."""
    asked: list[int] = []

    def keep(tensor: Tensor) -> tuple[int, Tensor]:
        asked.append(0)
        return len(asked) - 1, tensor

    def give(kept: tuple[int, Tensor]) -> Tensor:
        asked[kept[0]] += 1
        return kept[1]

    with torch.autograd.graph.saved_tensors_hooks(keep, give):
        _, results, _, _ = traced(CASES[case])
    assert (1 in asked) == any(part.requires_grad for part in results)
    assert set(asked) <= {0, 1}


def test_every_operation_is_traced() -> None:
    ran = set().union(*(traced(case)[0] for case in CASES.values()))
    prefix = "surestep::"
    registered = {name.removeprefix(prefix) for name in torch._C._dispatch_get_all_op_names() if prefix in name}
    assert ran == registered


def test_a_length_asked_for_as_a_number_is_seen() -> None:
    """The check itself: such an operation fixes the number of tokens."""

    def case(tokens: Made) -> Tensor:
        rows = tokens(WIDTH)
        return torch.zeros(len(rows), WIDTH)

    _, results, _, shapes = traced(case)
    assert shapes.replacements
    assert not is_symbol(results)


@pytest.mark.parametrize("part", ["query", "key", "value"])
def test_more_tokens_than_the_attention_can_address_are_refused(part: str) -> None:
    """One of the three may be columns of a wider product, as values are behind the rotation that is not ours."""
    from surestep.model.attention.tree_kernel import attended

    count = 2**31 // (64 * SIZE)
    heads = {name: torch.empty(count, 4, SIZE, device="meta") for name in ("query", "key", "value")}
    heads[part] = torch.empty(count, 64, SIZE, device="meta")[:, :4]
    with pytest.raises(DeviceError, match=f"{count} tokens in a pass .* lower --token_budget") as caught:
        attended(**heads, **dict.fromkeys(("subtree_end", "positions", "lists"), torch.empty(0)), scale=1.0, window=0)
    assert "\n" not in str(caught.value)
