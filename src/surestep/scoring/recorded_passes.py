"""Short scoring passes, recorded once for each size and run again: CUDA graphs.

A pass of a 4B model is some thousand kernels, and below about 3,000 tokens an H200 ends each of them before Python has
asked for the next. A recorded pass is started with one call, without Python and without its lock: small requests, and
the steps of sessions, take the time of the GPU. Packs are filled up to one of few sizes, which costs less than what is
saved. The kernels are those of a pass that is not recorded, over padding that nobody reads; numbers differ from it no
more than they do between packs of different length.

Only for weights that stay where they are and that nobody trains.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from surestep.model.attention.pooled_keys import PooledKeys
from surestep.model.attention.prepared_mask import PassShape, PreparedMask, prepare_mask
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.fast.capture_graph import capture, cause_of
from surestep.model.one_copy import in_one_piece, plan_tensors, views, with_tensors
from surestep.model.session_plan import plan_session_pass
from surestep.model.to_device import copy_into
from surestep.model.tree_batch import TreeBatch

SHORT_SIZES = (*range(128, 1025, 128), 1280, 1536, *range(2048, 8193, 512))
"""Tokens of a server's recorded passes. From about 3,000 on a GPU takes longer than Python does, but in a server Python
has other things to do as well, so these reach further."""

_STEP_SIZES = (64,)
"""Those of a session's passes besides: a step of one solution is a few dozen tokens."""

LONG_SIZES = tuple(range(1024, 32769, 1024))
"""Tokens of the recorded passes of long work. Its packs are of about equal size, so that few of these come up."""

FEWEST_PASSES = 4
"""Passes that are laid out at once, from which on recording them is worth its time: that of two or three."""

_LONG_TO_START = 5e13
"""Floating-point operations of a scoring pass that Python needs longer to start than a GPU to run: it starts the
kernels of 30 layers in 0.06 to 0.08 s, in which an H200 does 3e13 to 5e13."""

_AXES = (2048, 8192, 32768, 131072)
"""Places for the keys that a session's pass sees: the kernel's time follows what is seen, not the room for it."""

_MOST = 64
"""Recordings to keep; other shapes are run as usual."""


def reason_model_is_not_recorded(model: ConfidenceModel) -> str | None:
    """Why no pass of this model can be recorded, in words; None where nothing in a pass waits for the GPU."""
    text_config = model.transformer.config.get_text_config()
    rope = (getattr(text_config, "rope_parameters", None) or {}).get("rope_type", "default")
    reasons = {
        f"the head reads more than the last layer ({model.head.input.described()})": not model.head.input.is_plain,
        f"the attention is {model.route}, not triton": model.route != "triton",
        "the layers are not fused": not model.is_fused,
        f"rotary positions of type {rope} depend on the length": rope in {"dynamic", "longrope"},
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def longest_recorded(wanted: Literal["auto"] | bool, weights_in_products: int) -> int:
    """Tokens up to which passes of long work are recorded where there are many; 0: none is.

    `auto`: while a GPU would wait for Python. By arithmetic, so that it is always the same.

    >>> longest_recorded("auto", 106_000_000), longest_recorded("auto", 3_600_000_000), longest_recorded(False, 1)
    (32768, 6944, 0)
    """
    if wanted is False:
        return 0
    longest = LONG_SIZES[-1]
    return longest if wanted is True else min(longest, int(_LONG_TO_START / (2 * max(weights_in_products, 1))))


def size_for(num_tokens: int, num_needed: int, sizes: Sequence[int] = SHORT_SIZES) -> int | None:
    """Tokens of the smallest recorded pass that holds so many tokens and needed steps; None: it is not recorded.

    >>> size_for(100, 5), size_for(100, 60), size_for(700, 20), size_for(9000, 20)
    (128, 256, 768, None)
    >>> size_for(9000, 20, LONG_SIZES)
    9216
    """
    return next((n for n in sizes if n >= num_tokens and PassShape(n).num_needed >= num_needed), None)


def session_shape(
    num_tokens: int, num_needed: int, num_above: int, sizes: Sequence[int] = SHORT_SIZES
) -> PassShape | None:
    """The shape of a session's pass of `num_tokens` new tokens below `num_above`; None: it is not recorded.

    >>> session_shape(40, 1, 500), session_shape(100, 1, 2000)
    (PassShape(num_tokens=64, num_keys=2048), PassShape(num_tokens=128, num_keys=8192))
    """
    size = size_for(num_tokens, num_needed, (*_STEP_SIZES, *sizes))
    if size is None:
        return None
    axis = next((n for n in _AXES if n >= size + num_above), None)
    return None if axis is None else PassShape(size, axis)


@dataclass(frozen=True)
class _Recorded:
    """A graph, the memory that it reads its plan from, and what it writes."""

    graph: Any
    place: Tensor
    values: Tensor


class RecordedPasses:
    """Runs short passes of one model by replaying them; safe to use from several threads, in inference mode.

    Args:
        model: as it is scored with: in evaluation mode, its weights frozen.
        device: a CUDA GPU.
        dtype: of matrix products.
        say: told, in a line, should recording fail; passes then run as usual.
        sizes: tokens of the passes that are recorded, in rising order; a pass of fewer is filled up.
    """

    def __init__(
        self,
        model: ConfidenceModel,
        device: torch.device,
        dtype: torch.dtype,
        say: Callable[[str], None],
        sizes: Sequence[int] = SHORT_SIZES,
    ) -> None:
        self._model = model
        self._device = device
        self._dtype = dtype
        self._say = say
        self.sizes = sizes
        self._recorded: dict[tuple[object, ...], _Recorded] = {}
        self._pool: Any = None
        self._works = True
        self._version = model.weights_version
        self._lock = threading.Lock()

    @property
    def num_shapes(self) -> int:
        """How many shapes of pass are recorded."""
        return len(self._recorded)

    def confidences(self, batch: TreeBatch) -> Tensor | None:
        """The model's own confidences of a batch on the CPU, float64 [S] on the device; None: run it as usual."""
        num_needed = len(batch.label_index_S)
        size = size_for(len(batch.tokens_P), num_needed, self.sizes)
        if size is None or not self._works:
            return None
        return self._run(prepare_mask(batch, "triton", PassShape(size)), num_needed)

    def session_confidences(
        self, batch: TreeBatch, prefixes: Sequence[Any], new_slots: Any, pool: Any
    ) -> Tensor | None:
        """The same for new tokens below those of earlier passes; arguments as `plan_session_pass`."""
        num_needed = len(batch.label_index_S)
        shape = session_shape(len(batch.tokens_P), num_needed, sum(map(len, prefixes)), self.sizes)
        if shape is None or not self._works:
            return None
        return self._run(plan_session_pass(batch, prefixes, new_slots, pool, "triton", shape), num_needed)

    def _run(self, plan: PreparedMask, num_needed: int) -> Tensor | None:
        tensors = plan_tensors(plan)
        shape: tuple[object, ...] = tuple(len(tensor) for tensor in tensors)
        if isinstance(plan.keys, PooledKeys):
            slots = plan.keys.pool.slots
            shape += (slots.data_ptr(), *slots.shape)
        flat = in_one_piece(tensors).pin_memory()
        # Recordings share their memory: what one wrote is copied before the next may run.
        with self._lock:
            if self._version != self._model.weights_version:
                self.forget()
                self._version = self._model.weights_version
            recorded = self._recorded.get(shape)
            if recorded is None:
                if not self._works or len(self._recorded) >= _MOST:
                    return None
                recorded = self._record(plan, tensors, flat)
                if recorded is None:
                    return None
                self._recorded[shape] = recorded
            copy_into(recorded.place, flat)
            recorded.graph.replay()
            return recorded.values[:num_needed].clone()

    def _record(self, plan: PreparedMask, tensors: Sequence[Tensor], flat: Tensor) -> _Recorded | None:
        place = flat.to(self._device)
        there = with_tensors(plan, views(place, tensors))
        there.num_needed = len(there.batch.label_index_S)  # every one; who asked takes those that are no padding

        def run() -> Tensor:
            enabled = self._dtype != torch.float32
            with torch.autocast(self._device.type, dtype=self._dtype, enabled=enabled):
                logits_S: Tensor = self._model(there)
            return logits_S.double().sigmoid()

        try:
            run()  # compiles and tunes what a recording must find ready
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            graph, values = capture(run, self._pool)
        except RuntimeError as error:  # out of memory is one
            self._works = False
            self.forget()
            self._say(f"passes cannot be recorded here ({cause_of(error)}): continuing without, which may be slower")
            return None
        return _Recorded(graph, place, values)

    def forget(self) -> None:
        """Free all recordings; their shapes are recorded again when they come."""
        self._recorded.clear()
        self._pool = None  # a pool that nobody uses any more cannot be taken up again
        torch.cuda.empty_cache()
