"""Training in place of which a function of the settings is reported, so that searches are tested in milliseconds."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from surestep.config import Config, get_lora_config
from surestep.sweep.plan import SweepPlan, SweepSettings
from surestep.sweep.space import read_space
from surestep.sweep.stop import StopRequest
from surestep.sweep.training_process import RunEnd, Validated

VALIDATIONS = (10, 20, 30)


def loss(config: Config) -> float:
    """Best at a learning rate of 1e-4; a little worse with each seed."""
    return 0.5 + 0.1 * abs(math.log10(config.training.learning_rate / 1e-4)) + 0.001 * (config.training.seed - 42)


@dataclass
class FakeTraining:
    """Remembers what it trained; `instead` may end a run in another way, from its configuration."""

    instead: Callable[[Config], RunEnd | None] = lambda _config: None
    trained: list[Config] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: StopRequest = field(default_factory=StopRequest)

    def __call__(self, config: Config, *, validated: Validated, stop: StopRequest) -> RunEnd:
        with self.lock:
            self.trained.append(config)
            self.stop = stop
        if (end := self.instead(config)) is not None:
            return end
        for step in VALIDATIONS:
            if stop.is_asked:
                return RunEnd("stopped")
            if validated(step, loss(config) + 1 / step):
                return RunEnd("pruned")
        value = loss(config)
        return RunEnd("finished", {"value": value, "step": 30, "held_out": {"value": value, "low": 0.4, "high": 0.9}})

    @property
    def rates(self) -> list[float]:
        """The learning rates, as they were trained."""
        return [config.training.learning_rate for config in self.trained]


def make_plan(folder: Path, *space: str, use_prm800k: bool = True, **settings: Any) -> SweepPlan:
    """A sweep in `folder/sweep`."""
    config = get_lora_config()
    config.data.use_prm800k = use_prm800k
    config.output_dir, config.experiment_name = folder, "sweep"
    config.training.warmup_steps = 0
    return SweepPlan.of(config, read_space(space, config), SweepSettings(**settings))
