"""A model out of training mode for as long as somebody scores with it, from whatever number of threads."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from surestep.model.confidence_model import ConfidenceModel


@dataclass
class _PassesAtOnce:
    """How many passes of a model run now, and which of its modules were in training mode before the first of them."""

    count: int = 0
    were_training: list[torch.nn.Module] = field(default_factory=list)


_passes: weakref.WeakKeyDictionary[ConfidenceModel, _PassesAtOnce] = weakref.WeakKeyDictionary()
_passes_lock = threading.Lock()


@contextmanager
def evaluation_mode(model: ConfidenceModel) -> Iterator[None]:
    """Within it no module of the model is in training mode; the last of the passes that run at once puts that back.

    Module by module, for some may be in another mode than the model as a whole. A model that is not in training mode is
    left alone: passes cannot mix up what they do not change.
    """
    with _passes_lock:
        passes = _passes.setdefault(model, _PassesAtOnce())
        if passes.count == 0:
            passes.were_training = [module for module in model.modules() if module.training]
            for module in passes.were_training:
                module.training = False
        passes.count += 1
    try:
        yield
    finally:
        with _passes_lock:
            passes.count -= 1
            if passes.count == 0:
                for module in passes.were_training:
                    module.training = True
                passes.were_training = []
