"""An exponential moving average of the trained weights, beside them: it is what is validated and saved.

The average after update t, of weights w_1 ... w_t and with decay d, is

    sum over i of d^(t - i) * w_i  *  (1 - d) / (1 - d^t)

that is Polyak averaging with exponential weights whose bias towards the beginning is corrected (Kingma and Ba 2015,
arXiv 1412.6980, section 7.2): the first average is w_1, and the weights before training are in none. It is kept as it
is, and not as a sum to be divided, by `average += (w_t - average) * (1 - d) / (1 - d^t)`.

Knows weights; knows no pass, and of files only the name of its own.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from surestep.errors import CheckpointError
from surestep.model.saved_weights import check_keys, read_tensors
from surestep.model.sharding import fill, local
from surestep.training.sharding.state import RAW, SHARDED_FOLDER, is_sharded_state, names_in_shards, read_shards

RAW_FILE = "raw_weights.safetensors"
"""In a training state: the weights as the optimiser left them, where the checkpoint's own are averages of them."""
_AT_ONCE = 1 << 24
"""Numbers that change places at once, so that exchanging a large embedding takes 64 MB and not its own size."""


def average_bytes(model: nn.Module, decay: float | None) -> int:
    """Bytes that the average of all trained weights takes; 0 without one."""
    if decay is None:
        return 0
    return sum(weight.numel() for weight in trained_weights(model).values()) * torch.float32.itemsize


def check_same_average(state_folder: Path, decay: float | None) -> None:
    """Raise unless a run that keeps an average, or none, goes on from a training state of such a run.

    Raises:
        CheckpointError: naming the setting that resumes.
    """
    if is_sharded_state(state_folder):
        has_average = any(name.startswith(RAW) for name in names_in_shards(state_folder))
    else:
        has_average = (state_folder / RAW_FILE).is_file()
    if has_average == (decay is not None):
        return
    then, now = ("set", "unset") if has_average else ("unset", f"{decay:g}")
    mend = "set it again with --ema_decay" if has_average else "take it out"
    raise CheckpointError(
        f"{state_folder} was saved with training.ema_decay {then}, which is {now} now: {mend}, or start from the "
        "checkpoint's weights with --init_from"
    )


class AveragedWeights:
    """The average of the weights of `model` that are trained, in float32; they are never moved in memory.

    Of sharded weights each process averages its shards.

    Args:
        model: whose weights are all float32 where they are trained.
        decay: in (0, 1); about the last 1 / (1 - decay) updates count.
        updates: those that the average holds already: the weights of `model` are it.
    """

    def __init__(self, model: nn.Module, decay: float, *, updates: int = 0) -> None:
        self._decay = decay
        self._updates = updates
        self._weights = {name: weight.detach() for name, weight in trained_weights(model).items()}
        assert {weight.dtype for weight in self._weights.values()} == {torch.float32}, "trained weights are float32"
        self._average = {name: weight.clone() for name, weight in self._weights.items()}
        self._is_in_place = False

    def update(self) -> None:
        """Take the weights in, after an optimiser step."""
        assert not self._is_in_place, "an average is not trained"
        self._updates += 1
        share = (1.0 - self._decay) / (1.0 - self._decay**self._updates)
        torch._foreach_lerp_(_all_local(self._average), _all_local(self._weights), share)

    def exchange(self) -> None:
        """The model's weights become the averages, or, the next time, what they were before."""
        for name, weight in self._weights.items():
            _exchange(local(weight), local(self._average[name]))
        self._is_in_place = not self._is_in_place

    def raw(self) -> dict[str, Tensor]:
        """The weights as the optimiser left them, by name, wherever they are now."""
        return dict(self._average if self._is_in_place else self._weights)


def _all_local(tensors: dict[str, Tensor]) -> list[Tensor]:
    return [local(tensor) for tensor in tensors.values()]


def _exchange(left: Tensor, right: Tensor) -> None:
    """Exchange the values of two tensors of one shape."""
    left, right = (one if one.ndim else one[None] for one in (left, right))
    rows = max(1, _AT_ONCE * len(left) // max(1, left.numel()))
    for start in range(0, len(left), rows):
        kept = left[start : start + rows].clone()
        left[start : start + rows] = right[start : start + rows]
        right[start : start + rows] = kept


@torch.no_grad()
def put_raw_weights(model: nn.Module, state_folder: Path) -> None:
    """Give the trained weights of `model` the values that the optimiser had left them at.

    Raises:
        CheckpointError: a weight is missing, unexpected or of another shape.
    """
    places = trained_weights(model)
    if is_sharded_state(state_folder):
        shapes = names_in_shards(state_folder)
        raw = {f"{RAW}{name}": place.detach() for name, place in places.items()}
        held = {name: torch.empty(shape, device="meta") for name, shape in shapes.items() if name.startswith(RAW)}
        check_keys(state_folder / SHARDED_FOLDER, held, raw)
        read_shards(state_folder, raw)
        return
    path = state_folder / RAW_FILE
    found = read_tensors(path)
    check_keys(path, found, places)
    for name, place in places.items():
        fill(place, found[name])


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """Those that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
