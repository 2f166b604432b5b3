"""The configuration of a run: one tree of checked fields, saved with everything that it made.

Knows no file of data, no tensor and no flag. `Config` holds; `save` and `from_file` move it to and
from disk; `problems` says what contradicts, all at once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError

from surestep.config.base import Section, describe
from surestep.config.data import DATASET_NAMES, DataConfig
from surestep.config.model import DEFAULT_BACKBONE, TINY_BACKBONE, LoraConfig, ModelConfig
from surestep.config.read import merge, read_config_file
from surestep.config.training import LORA_LEARNING_RATE, EvalConfig, TrainingConfig
from surestep.errors import ConfigError, StorageError

__all__ = [
    "DATASET_NAMES",
    "DEFAULT_BACKBONE",
    "TINY_BACKBONE",
    "Config",
    "DataConfig",
    "EvalConfig",
    "LoraConfig",
    "ModelConfig",
    "TrainingConfig",
    "get_default_config",
    "get_lora_config",
]


class Config(Section):
    """Everything that decides a run.

    >>> config = get_lora_config()
    >>> config.training.max_steps = 2000
    >>> config.training.learning_rate
    0.0001
    """

    experiment_name: str = Field(
        "surestep",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$",
        description="Names the run's folder: `<output_dir>/<experiment_name>`.",
    )
    output_dir: Path = Field(Path("outputs"), description="Folder that holds the runs.")
    model: ModelConfig = Field(default_factory=ModelConfig)
    lora: LoraConfig = Field(default_factory=LoraConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)

    @property
    def experiment_dir(self) -> Path:
        """Where checkpoints and logs of this run lie."""
        return self.output_dir / self.experiment_name

    @property
    def validation_dir(self) -> Path:
        """Where training leaves the best checkpoint's validation result."""
        return self.output_dir / f"eval_{self.experiment_name}"

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return self.model_dump(mode="json")

    def save(self, path: Path | str) -> None:
        """Write to `path`: YAML where it ends in .yaml or .yml, else JSON. Folders are made.

        Raises:
            StorageError: the file cannot be written.
        """
        path = Path(path)
        values = self.to_dict()
        is_yaml = path.suffix in {".yaml", ".yml"}
        text = yaml.safe_dump(values, sort_keys=False) if is_yaml else json.dumps(values, indent=2) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{path}: the configuration cannot be written ({error.strerror})") from None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from nested values; fields not named keep their defaults.

        Raises:
            ConfigError: every unknown field and every bad value, all at once.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(describe(error, cls)) from None

    @classmethod
    def from_file(cls, path: Path | str, *, base: Config | None = None) -> Self:
        """Read a JSON or YAML file over `base` (default: the full fine-tuning preset).

        Raises:
            ConfigError: the file is missing, is not JSON or YAML, or holds unknown or bad values.
        """
        values = merge((base or Config()).to_dict(), read_config_file(path))
        try:
            return cls.from_dict(values)
        except ConfigError as error:
            raise ConfigError([f"{path}: {problem}" for problem in error.problems]) from None

    @classmethod
    def from_json(cls, path: Path | str) -> Self:
        """Read a JSON file: `from_file` under the name that goes with `save`."""
        return cls.from_file(path)

    def problems(self) -> list[str]:
        """What contradicts within the configuration, one sentence each; empty where all is well."""
        found = []
        if not any(getattr(self.data, f"use_{name}") for name in DATASET_NAMES):
            flags = ", ".join(f"--use_{name}" for name in DATASET_NAMES)
            found.append(f"every dataset is disabled: enable at least one ({flags})")
        elif not self.data.enabled():
            found.append("the weights of the enabled datasets sum to 0: set one of them above 0")
        if self.data.use_own and self.data.own_train is None and self.data.own_test is None:
            found.append("data.use_own is set, but neither data.own_train nor data.own_test names a file")
        if self.training.device == "cpu" and self.training.mixed_precision == "fp16":
            found.append("training.mixed_precision is fp16, which needs a GPU: use 'auto', 'no' or 'bf16' on the CPU")
        if self.training.device == "cpu" and self.model.attention in {"triton", "varlen", "flex"}:
            found.append(f"model.attention is {self.model.attention}, which needs a GPU: use 'auto' or 'dense'")
        if self.lora.base_precision != "same" and not self.lora.use_lora:
            found.append(
                f"lora.base_precision is {self.lora.base_precision}, which is for frozen weights, but lora.use_lora is "
                "false: set --use_lora true, or --base_precision same"
            )
        elif self.lora.base_precision == "nf4" and self.training.device == "cpu":
            found.append("lora.base_precision is nf4, which needs a CUDA GPU: use --base_precision same on the CPU")
        return found

    def check(self) -> None:
        """Raise all `problems` as one error.

        Raises:
            ConfigError: the configuration contradicts itself.
        """
        if found := self.problems():
            raise ConfigError(found)


def get_default_config() -> Config:
    """The full fine-tuning preset: every weight is trained, learning rate 2e-5."""
    return Config()


def get_lora_config() -> Config:
    """The LoRA preset: adapters of rank 16, learning rate 1e-4."""
    config = Config()
    config.lora.use_lora = True
    config.training.learning_rate = LORA_LEARNING_RATE
    return config
