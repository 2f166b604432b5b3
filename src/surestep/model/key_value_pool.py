"""Keys and values of tokens that later passes read again: one tensor of slots, a slot for a token.

Knows slots and layers; knows no step, no text and no mask. Not safe to use from several threads at once.

Shapes: `L` layers, `N` slots, `K` key heads, `E` head dimension, `V` tokens that are read, `W` tokens that are written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from surestep.counted import counted

SlotArray = NDArray[np.int64]

PADDING_SLOT = 0
"""Never handed out: it holds zeros, for places of a plan where no token stands."""


@dataclass
class KeyLayout:
    """What the layers of a backbone hand to their attention, found by watching a pass.

    Attributes:
        layer_of: number of each attention module, by its `id`, in the order in which a pass runs them.
        shapes: of each layer, its key heads, the size of a key and the size of a value.
        dtype: in which keys and values are multiplied.
    """

    layer_of: dict[int, int] = field(default_factory=dict)
    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    dtype: torch.dtype = torch.float32

    def exchange(self, module: Any, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Note a layer's keys [1, K, P, E] and values, and give them back as they are.

        Raises:
            NotImplementedError: the layer has run before in this pass, or keeps keys and values of different heads.
        """
        if id(module) in self.layer_of:
            raise NotImplementedError("it runs the same attention layer twice in a pass")
        if key.shape[:3] != value.shape[:3]:
            raise NotImplementedError("its keys and values have different heads")
        self.layer_of[id(module)] = len(self.shapes)
        self.shapes.append((key.shape[1], key.shape[3], value.shape[3]))
        self.dtype = value.dtype
        return key, value

    @property
    def slot_shape(self) -> tuple[int, int]:
        """Heads and head size that hold every layer's keys and values: the largest of each."""
        return max(shape[0] for shape in self.shapes), max(max(shape[1:]) for shape in self.shapes)

    @property
    def bytes_per_slot(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        heads, size = self.slot_shape
        return len(self.shapes) * 2 * heads * size * self.dtype.itemsize


class KeyValuePool:
    """Slots `[L, 2, N, K, E]` on a device, handed out and taken back.

    A slot that is taken back is filled with zeros before anybody else gets it, so nothing of one client's text is
    left where another's will stand.

    Args:
        layout: what is stored of a token.
        num_slots: the most tokens that are held at a time.
        device: where; on a CPU, memory is taken as slots are written for the first time.
    """

    def __init__(self, layout: KeyLayout, num_slots: int, device: torch.device) -> None:
        self.layout = layout
        self.num_slots = num_slots
        # Never handed out or read: where passes of a fixed shape leave the keys of their padding.
        self.scratch_slot = num_slots + 1
        # In inference mode the tensor could not be written to outside of it.
        with torch.inference_mode(False):
            self.slots = torch.zeros(
                (len(layout.shapes), 2, num_slots + 2, *layout.slot_shape), dtype=layout.dtype, device=device
            )
        # The last in is the first out: what was used last is in the processor's caches, and memory stays small.
        self._free = np.arange(num_slots, 0, -1, dtype=np.int64)
        self._num_free = num_slots

    @property
    def num_used(self) -> int:
        """Tokens that are held."""
        return self.num_slots - self._num_free

    @property
    def num_free(self) -> int:
        """Slots that can be handed out."""
        return self._num_free

    @property
    def bytes_used(self) -> int:
        """Bytes of the tokens that are held."""
        return self.num_used * self.layout.bytes_per_slot

    def allocate(self, count: int) -> SlotArray | None:
        """`count` slots for somebody to write to; None, and none is taken, where fewer are free."""
        if count > self._num_free:
            return None
        self._num_free -= count
        # Copied: a slice would change as slots come back.
        return self._free[self._num_free : self._num_free + count][::-1].copy()

    def free(self, slots: SlotArray) -> None:
        """Take slots back, emptied.

        Raises:
            ValueError: more come back than were handed out.
        """
        if self._num_free + len(slots) > self.num_slots:
            raise ValueError(f"{counted(len(slots), 'slot comes', 'slots come')} back and {self.num_used} are out")
        if not len(slots):
            return
        index = torch.from_numpy(slots).to(self.slots.device)
        with torch.no_grad():
            self.slots.index_fill_(2, index, 0)
        self._free[self._num_free : self._num_free + len(slots)] = slots[::-1]
        self._num_free += len(slots)

    def layer(self, module: Any) -> tuple[Tensor, Tensor]:
        """A layer's keys [N + 2, K, E] and values, as views of the pool."""
        number = self.layout.layer_of[id(module)]
        heads, key_size, value_size = self.layout.shapes[number]
        key, value = self.slots[number].unbind(0)
        return key[:, :heads, :key_size], value[:, :heads, :value_size]

    def write(self, module: Any, slots_W: Tensor, key: Tensor, value: Tensor) -> None:
        """Store the first W tokens of a layer's keys [1, K, P, E] and values."""
        count = len(slots_W)
        for store, new in zip(self.layer(module), (key, value), strict=True):
            store.index_copy_(0, slots_W, new[0, :, :count].transpose(0, 1))

    def gather(self, module: Any, slots_V: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys [1, K, V, E] and values of the tokens in `slots_V`."""
        key, value = (store.index_select(0, slots_V).transpose(0, 1)[None] for store in self.layer(module))
        return key, value
