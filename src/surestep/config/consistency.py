"""What contradicts within a configuration, and what is allowed but seldom meant: a sentence each, all at once.

Knows the fields and what they mean together; knows no file of data and no device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from surestep.data.datasets import DATASET_NAMES

if TYPE_CHECKING:
    from surestep.config import Config


def problems(config: Config) -> list[str]:
    """What contradicts, one sentence each with what mends it; empty where all is well."""
    return [*_data_problems(config), *_place_problems(config), *_precision_problems(config)]


def _data_problems(config: Config) -> list[str]:
    data, found = config.data, []
    if not data.used():
        flags = ", ".join(f"--use_{name}" for name in DATASET_NAMES)
        found.append(f"every dataset is disabled: enable at least one ({flags})")
    elif not data.enabled():
        found.append("the weights of the enabled datasets sum to 0: set one of them above 0")
    if data.use_own and data.own_train is None and data.own_test is None:
        found.append("data.use_own is set, but neither data.own_train nor data.own_test names a file")
    return found


def _place_problems(config: Config) -> list[str]:
    """Settings that need a GPU, where the CPU was chosen."""
    found: list[str] = []
    if config.training.device != "cpu":
        return found
    if config.training.mixed_precision == "fp16":
        found.append("training.mixed_precision is fp16, which needs a GPU: use 'auto', 'no' or 'bf16' on the CPU")
    if config.model.attention in {"triton", "varlen", "flex"}:
        found.append(f"model.attention is {config.model.attention}, which needs a GPU: use 'auto' or 'dense'")
    return found


def _precision_problems(config: Config) -> list[str]:
    lora = config.lora
    if lora.base_precision != "same" and not lora.use_lora:
        return [
            f"lora.base_precision is {lora.base_precision}, which is for frozen weights, but lora.use_lora is false: "
            "set --use_lora true, or --base_precision same"
        ]
    if lora.base_precision == "nf4" and config.training.device == "cpu":
        return ["lora.base_precision is nf4, which needs a CUDA GPU: use --base_precision same on the CPU"]
    return []
