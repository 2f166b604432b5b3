"""Several linear layers that read the same input, as one product; and the ways in which their weights are held.

A `Projection` is a `HeldWeights`, which says how the product is computed, and adapters beside it where there are any:

    FrozenWeights           laid one after another in one tensor, multiplied as they are
    AdaptedWeights          the same, and copies of adapters beside them: one operation
    TrainedWeights          apart, as the optimiser knows them; rounded in every pass where products run in less
    RoundedTrainedWeights   the same, rounded once after every update (`RoundedWeights`)
    Fp8Weights              frozen, in 8-bit floats

(4-bit weights are held by bitsandbytes' own layers, which are not joined.)

Shapes: `P` tokens of the pack, `D` width of the input, `N` outputs of all layers of a projection, `R` their ranks.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surestep.model.attention.executions import product_dtype
from surestep.model.fast.adapters.adapted_linear import adapted_linear
from surestep.model.fast.adapters.adapters import Adapter, AdapterCopies, Adapters, padded_ranks
from surestep.model.precision.float32_weights import RoundedWeights, linear_in_half
from surestep.model.precision.fp8 import LONGEST_ROW, Fp8Rows, Fp8Weight


class HeldWeights(Protocol):
    """The weights [N, D] and biases [N] of a projection's layers, and their products."""

    reads_fp8: bool
    """Whether it takes its input as `Fp8Rows`, too."""

    def product(self, x_PD: Tensor | Fp8Rows, adapters: Adapters | None, training: bool) -> Tensor:
        """[P, N]: x Wᵀ + bias, and the share of `adapters`; in training, their input is dropped out."""
        ...


class FrozenWeights:
    """Frozen weights in one tensor; the layers keep views of it, so memory stays as it was.

    Args:
        layers: whose weights they are.
        ranks: columns of zeros that are left behind the weights' own.
    """

    reads_fp8 = False

    def __init__(self, layers: Sequence[nn.Linear], ranks: int = 0) -> None:
        # Parameters, so that a compiler takes their sizes for fixed.
        self.weight_ND: Tensor = layers[0].weight
        self.bias_N: Tensor | None = layers[0].bias
        if len(layers) > 1 or ranks or not layers[0].weight.is_contiguous():
            self.weight_ND = _frozen([F.pad(layer.weight.detach(), (0, ranks)) for layer in layers])
            own = self.weight_ND.detach()[:, : layers[0].in_features]
            parts = torch.split(own, [layer.out_features for layer in layers])
            for layer, part in zip(layers, parts, strict=True):
                layer.weight.data = part
        if len(layers) > 1 and layers[0].bias is not None:
            self.bias_N = _frozen([layer.bias for layer in layers])

    def product(self, x_PD: Tensor | Fp8Rows, adapters: Adapters | None, training: bool) -> Tensor:
        """[P, N]: x Wᵀ + bias."""
        assert isinstance(x_PD, Tensor)
        assert adapters is None, "beside adapters, frozen weights are AdaptedWeights"
        return F.linear(x_PD, self.weight_ND, self.bias_N)


class AdaptedWeights(FrozenWeights):
    """Frozen weights and rounded copies of the adapters beside them.

    Where the output is the wider side, the adapters' B lie behind the weights' columns (see `adapted_linear`).
    `weight_ND` is then [N, D + R].

    Args:
        layers: whose weights they are.
        adapters: beside them.
        has_room: whether the input comes with room behind its rows: B lie behind the weights' columns in any case.
    """

    def __init__(self, layers: Sequence[nn.Linear], adapters: Adapters, *, has_room: bool = False) -> None:
        num_inputs, num_outputs = layers[0].in_features, sum(adapters.sizes)
        ranks = padded_ranks(adapters.ranks)
        self.is_wide = has_room or num_inputs <= num_outputs
        super().__init__(layers, ranks if self.is_wide else 0)
        weight_ND = self.weight_ND.detach()
        beside_NR = weight_ND[:, num_inputs:]
        if not self.is_wide:
            beside_NR = nn.Parameter(weight_ND.new_zeros((num_outputs, ranks)), requires_grad=False)
        self.copies = AdapterCopies(adapters, beside_NR)

    def product(self, x_PD: Tensor | Fp8Rows, adapters: Adapters | None, training: bool) -> Tensor:
        """[P, N]: x Wᵀ + bias, and the adapters' share, in the dtype of the weights."""
        assert isinstance(x_PD, Tensor)
        assert adapters is not None, "without adapters, frozen weights are FrozenWeights"
        dropout = adapters.dropping(training)
        y_PN, _ = adapted_linear(
            x_PD.to(self.weight_ND.dtype),
            self.weight_ND,
            self.bias_N,
            self.copies.a_RD,
            None if self.is_wide else self.copies.b_NR,
            [adapter.a for adapter in adapters.present],
            [adapter.b for adapter in adapters.present],
            self.copies.scale_R,
            adapters.outputs,
            *dropout,
        )
        return y_PN  # type: ignore[no-any-return]


class TrainedWeights:
    """Weights in training, which stay apart; joined in every pass, they are rounded in the same kernel."""

    reads_fp8 = False

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.layers = list(layers)

    def product(self, x_PD: Tensor | Fp8Rows, adapters: Adapters | None, training: bool) -> Tensor:
        """[P, N]: x Wᵀ + bias, and the adapters' share.

        Where the product rounds float32 weights, their gradients are summed in float32.
        """
        assert isinstance(x_PD, Tensor)
        y_PN = self._own_product(x_PD)
        if adapters is None:
            return y_PN
        low_PR = adapters.low_rank_input(x_PD, training)
        return torch.addmm(y_PN, low_PR, adapters.scaled_b().to(low_PR.dtype).t())

    def _own_product(self, x_PD: Tensor) -> Tensor:
        weights = [layer.weight for layer in self.layers]
        bias_N = None if self.layers[0].bias is None else _joined([layer.bias for layer in self.layers])
        dtype = product_dtype(x_PD)
        if not self.rounds_to(dtype):
            return F.linear(x_PD, _joined(weights), bias_N)
        bias_N = None if bias_N is None else bias_N.to(dtype)
        y_PN: Tensor = linear_in_half(x_PD.to(dtype), self.in_half(dtype), weights, bias_N)
        return y_PN

    def rounds_to(self, dtype: torch.dtype) -> bool:
        """Whether a product in `dtype` rounds the weights: they are float32 and it is less."""
        return dtype != torch.float32 and all(layer.weight.dtype == torch.float32 for layer in self.layers)

    def in_half(self, dtype: torch.dtype) -> Tensor:
        """[N, D]: the weights joined, in `dtype`."""
        return _joined([layer.weight.detach() for layer in self.layers]).to(dtype)

    def frozen(self, dtype: torch.dtype) -> FrozenWeights:
        """The same weights in `dtype`, trained no further."""
        for layer in self.layers:
            layer.weight = nn.Parameter(layer.weight.detach().to(dtype), requires_grad=False)
            if layer.bias is not None:
                layer.bias = nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
        return FrozenWeights(self.layers)


class RoundedTrainedWeights(TrainedWeights):
    """Weights in training with a copy in half precision; code that changes them must update the copy."""

    def __init__(self, layers: Sequence[nn.Linear], dtype: torch.dtype) -> None:
        super().__init__(layers)
        self.rounded = RoundedWeights([layer.weight for layer in layers], dtype)

    def in_half(self, dtype: torch.dtype) -> Tensor:
        """[N, D]: the copy."""
        return self.rounded.joined


class Fp8Weights:
    """Frozen weights in 8-bit floats.

    Raises:
        ValueError: a size is no multiple of 16, as the kernels want, or too large.
    """

    reads_fp8 = True

    def __init__(self, frozen: FrozenWeights) -> None:
        check_fp8_sizes(frozen.weight_ND)
        self.weight = Fp8Weight(frozen.weight_ND.detach())
        self.bias_N = frozen.bias_N

    def product(self, x_PD: Tensor | Fp8Rows, adapters: Adapters | None, training: bool) -> Tensor:
        """[P, N]: x Wᵀ + bias, of `Fp8Rows` without a gradient; the adapters' share in half precision."""
        if isinstance(x_PD, Fp8Rows):
            assert adapters is None, "adapters read their input in half precision"
            return self.weight.of_rows(x_PD, self.bias_N)
        if adapters is None:
            return self.weight(x_PD.to(product_dtype(x_PD)), self.bias_N)
        low_PR = adapters.low_rank_input(x_PD, training)
        return self.weight(x_PD.to(low_PR.dtype), self.bias_N, low_PR, adapters.scaled_b().to(low_PR.dtype))


def check_fp8_sizes(weight_ND: Tensor) -> None:
    """Refuse what the kernels of 8-bit floats do not take.

    Raises:
        ValueError: a size is no multiple of 16, or too large.
    """
    shape = tuple(weight_ND.shape)
    if any(size % 16 for size in shape):
        raise ValueError(f"fp8 needs sizes in multiples of 16, this weight has {shape}")
    if max(shape) > LONGEST_ROW:
        raise ValueError(f"fp8 takes rows of up to {LONGEST_ROW}, this weight has {shape}")


class Projection:
    """Linear layers that read the same input, as one.

    Args:
        layers: `nn.Linear`, or PEFT's LoRA layers around such.
        seed: int32 scalar of the whole model, drawn anew for every pass in training.
        number: another one for every projection of a model.
        has_room: see `AdaptedWeights`.

    Attributes:
        weights: how their weights are held.
        adapters: beside them; None where there are none.
    """

    def __init__(self, layers: Sequence[Any], seed: Tensor, number: int, *, has_room: bool = False) -> None:
        self.layers: list[nn.Linear] = [getattr(layer, "base_layer", layer) for layer in layers]
        is_trained = any(layer.weight.requires_grad for layer in self.layers)
        of_layers = [_adapter_of(layer) for layer in layers]
        self.weights: HeldWeights
        self.adapters: Adapters | None = None
        if any(of_layers):
            self.adapters = Adapters(
                of_layers,
                [layer.out_features for layer in self.layers],
                dropout=max(_dropout_of(layer) for layer in layers),
                seed=seed,
                salt=2 * number,
            )
        if is_trained:
            self.weights = TrainedWeights(self.layers)
        elif self.adapters is not None:
            self.weights = AdaptedWeights(self.layers, self.adapters, has_room=has_room)
        else:
            self.weights = FrozenWeights(self.layers)

    def __deepcopy__(self, memo: dict[int, Any]) -> Projection:
        """Frozen weights, their layers' views and the adapters' copies lie in one tensor there, too."""
        copied = copy.copy(self)
        memo[id(self)] = copied
        copied.layers, copied.adapters = copy.deepcopy(self.layers, memo), copy.deepcopy(self.adapters, memo)
        if isinstance(self.weights, AdaptedWeights):
            assert copied.adapters is not None, "beside adapted weights"
            copied.weights = AdaptedWeights(copied.layers, copied.adapters, has_room=self.weights.is_wide)
        elif isinstance(self.weights, FrozenWeights):
            copied.weights = FrozenWeights(copied.layers)
        else:
            copied.weights = copy.deepcopy(self.weights, memo)
        return copied

    def __call__(self, x_PD: Tensor | Fp8Rows, training: bool) -> Tensor:
        """[P, N], the layers' outputs side by side; in training, the adapters' input is dropped out."""
        return self.weights.product(x_PD, self.adapters, training)

    @property
    def copies(self) -> AdapterCopies | None:
        """Rounded copies of the adapters, that passes read; None where there are none."""
        return self.weights.copies if isinstance(self.weights, AdaptedWeights) else None

    @property
    def num_outputs(self) -> int:
        """Of all its layers."""
        return sum(layer.out_features for layer in self.layers)

    @property
    def reads_fp8(self) -> bool:
        """Whether it takes `Fp8Rows`: adapters would want the input in half precision beside them."""
        return self.adapters is None and self.weights.reads_fp8

    def keep_rounded(self, dtype: torch.dtype | None) -> RoundedWeights | None:
        """A copy of trained weights in `dtype`, from now on what products read; None where there is nothing to round.

        Its numbers are the caller's task. Without a `dtype`, every pass rounds the weights for itself again.
        """
        if not isinstance(self.weights, TrainedWeights):
            return None
        if dtype is None or not self.weights.rounds_to(dtype):
            self.weights = TrainedWeights(self.layers)
            return None
        held = RoundedTrainedWeights(self.layers, dtype)
        self.weights = held
        return held.rounded

    def freeze(self, dtype: torch.dtype) -> bool:
        """Hold trained float32 weights in `dtype` and frozen from now on; whether there were any."""
        if not isinstance(self.weights, TrainedWeights) or not self.weights.rounds_to(dtype):
            return False
        self.weights = self.weights.frozen(dtype)
        return True

    def drop_adapters(self) -> None:
        """Compute without adapters from now on: they were merged into the weights."""
        self.adapters = None
        if isinstance(self.weights, AdaptedWeights):
            self.weights = FrozenWeights(self.layers)

    def apart(self) -> list[Projection]:
        """Its frozen layers as projections of their own, which compute the same, dropout masks included."""
        found = []
        for place, layer in enumerate(self.layers):
            one = copy.copy(self)
            one.layers = [layer]
            one.adapters = None if self.adapters is None else self.adapters.of(place)
            one.weights = FrozenWeights([layer]) if one.adapters is None else AdaptedWeights([layer], one.adapters)
            found.append(one)
        return found

    def to_fp8(self) -> None:
        """Run the frozen weights in 8-bit floats from now on.

        Raises:
            ValueError: they are trained, or of sizes that the kernels do not take.
        """
        if not isinstance(self.weights, FrozenWeights):
            raise ValueError("only frozen weights can be held in fp8")
        self.weights = Fp8Weights(FrozenWeights(self.layers))

    @property
    def is_frozen_alone(self) -> bool:
        """Whether it is frozen weights and nothing else: no bias and no adapters."""
        return type(self.weights) is FrozenWeights and self.weights.bias_N is None

    @property
    def is_adapted_alone(self) -> bool:
        """Whether it is one product of frozen weights with every layer's adapter behind their columns, and no bias."""
        is_wide = isinstance(self.weights, AdaptedWeights) and self.weights.is_wide and self.weights.bias_N is None
        return is_wide and self.adapters is not None and None not in self.adapters.of_layers

    def single_trained_weight(self, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        """One layer's float32 weight rounded to `dtype`, and the weight, where there is nothing else."""
        held = self.weights
        if not isinstance(held, TrainedWeights) or len(self.layers) > 1 or self.layers[0].bias is not None:
            return None
        if self.adapters is not None or not held.rounds_to(dtype):
            return None
        return held.in_half(dtype), self.layers[0].weight


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _frozen(parts: list[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.cat([part.detach() for part in parts]), requires_grad=False)


def _adapter_of(layer: Any) -> Adapter | None:
    if not hasattr(layer, "lora_A"):
        return None
    (name,) = layer.active_adapters
    return Adapter(layer.lora_A[name].weight, layer.lora_B[name].weight, float(layer.scaling[name]))


def _dropout_of(layer: Any) -> float:
    if not hasattr(layer, "lora_dropout"):
        return 0.0
    (name,) = layer.active_adapters
    return float(getattr(layer.lora_dropout[name], "p", 0.0))
