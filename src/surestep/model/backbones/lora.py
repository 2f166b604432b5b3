"""LoRA adapters around a backbone, through PEFT: which layers they adapt, and what became of that in words.

`auto` goes by structure, not by names of models: in every decoder layer the linear layers that an attention module
holds itself; in a layer without attention (linear attention, state-space mixers) every linear layer that PEFT can
adapt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from surestep.config import LoraConfig
from surestep.counted import counted
from surestep.errors import BackboneError, CheckpointError, ConfigError
from surestep.model.backbones.decoder_stack import decoder_stack
from surestep.model.backbones.silence_transformers import silence_transformers
from surestep.untrusted import read_json
from surestep.untrusted.bounds import shown

ADAPTER_CONFIG = "adapter_config.json"
_SAYS_NOTHING = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "inference_mode", "init_lora_weights", "lora_dropout"),
        *("peft_version", "revision", "runtime_config", "task_type", "ensure_weight_tying"),
    }
)
"""Fields of `adapter_config.json` that change no confidence."""

_ATTENTION_NAMES = frozenset({"self_attn", "attn", "self_attention", "attention"})
"""What families call the attention of a layer; LongCat's class, an `MLA`, does not say that it is one."""


@dataclass(frozen=True)
class _DecoderLayer:
    """The linear layers of one decoder layer, by their full names.

    Attributes:
        attention: those that its attention modules hold.
        linear: all of them.
    """

    attention: list[str]
    linear: list[str]


def target_modules(backbone: nn.Module, setting: list[str] | str) -> list[str] | str:
    """The layers that `lora_target_modules` means for this backbone, as PEFT takes them.

    For `auto` the shortest endings of module names that mean these layers and no others: `q_proj` where only attention
    has one, `attn.c_proj` where an MLP has a `c_proj` too.

    Raises:
        ConfigError: a name that no layer ends with.
        BackboneError: `auto`, and PEFT can adapt no layer of it.
    """
    linear = [name for name, module in backbone.named_modules() if _is_linear(module)]
    if isinstance(setting, list):
        last_names = {_last(name) for name in linear}
        unknown = [name for name in setting if _last(name) not in last_names]
        if unknown:
            raise ConfigError(
                f"lora.lora_target_modules names {', '.join(unknown)}; this backbone's linear layers: "
                f"{', '.join(sorted(last_names))}"
            )
        return setting
    refused = {name for name in {_last(name) for name in linear} if _peft_refuses(name, backbone)}
    if setting == "all-linear":
        return _shortest_endings([n for n in linear if _last(n) not in refused], backbone) if refused else setting
    chosen: list[str] = []
    for layer in _decoder_layers(backbone):
        adaptable = [name for name in layer.attention or layer.linear if _last(name) not in refused]
        chosen += adaptable or [name for name in layer.linear if _last(name) not in refused]
    if not chosen:
        raise BackboneError(
            "PEFT can adapt no linear layer of this backbone: train it in full (--use_lora false) or choose another "
            "with --backbone"
        )
    return _shortest_endings(chosen, backbone)


def add_adapters(backbone: Any, config: LoraConfig, *, targets: list[str] | None = None) -> Any:
    """A PEFT model around `backbone`; only the adapters are trainable, in float32.

    `targets` are the layers that a saved adapter adapts (`saved_targets`); else the configuration says which.

    Raises:
        ConfigError: a configured name that no layer ends with.
        BackboneError: PEFT refuses to adapt these layers.
    """
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    adapters = PeftLoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets or target_modules(backbone, config.lora_target_modules),
    )
    try:
        with silence_transformers():
            return get_peft_model(backbone, adapters)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise BackboneError(
            f"PEFT cannot adapt this backbone as lora.lora_target_modules asks ({_first_sentence(error)}); use "
            "--lora_target_modules auto, or train it in full with --use_lora false"
        ) from None


def saved_targets(adapter_folder: Path) -> list[str] | None:
    """The layers that a saved adapter adapts, whatever `auto` means now; None where its folder does not say."""
    try:
        targets = read_json(adapter_folder / ADAPTER_CONFIG)["target_modules"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(targets, list) or not targets:
        return None
    if not all(isinstance(target, str) for target in targets):
        path = adapter_folder / ADAPTER_CONFIG
        raise CheckpointError(f"{path}: target_modules holds what is no name of a layer; restore it from a backup")
    return sorted(targets)


def adapter_facts(adapter_folder: Path) -> dict[str, Any]:
    """What a saved adapter says of how it acts, names of layers in order; nothing where it has no such file.

    Raises:
        CheckpointError: the file cannot be read.
    """
    path = adapter_folder / ADAPTER_CONFIG
    try:
        said = read_json(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"{path} cannot be read ({reason}); restore the checkpoint from a backup") from None
    if not isinstance(said, dict):
        raise CheckpointError(f"{path} holds no JSON object; restore the checkpoint from a backup")
    return {name: _plain(value) for name, value in said.items() if name not in _SAYS_NOTHING}


def check_adapter_config(adapted: Any, adapter_folder: Path) -> None:
    """Raise where a saved adapter says that it acts otherwise than the adapters of the model `adapted` do.

    The weights alone do not show it: with another `lora_alpha` every confidence changes. What the file does not say,
    as one that an earlier PEFT wrote, is not compared.

    Raises:
        CheckpointError: a field of the file has another value, or it cannot be read.
    """
    said = adapter_facts(adapter_folder)
    (applied,) = adapted.peft_config.values()
    values = {name: _plain(value) for name, value in applied.to_dict().items()}
    other = [
        f"{name} is {shown(said[name])}, applied is {shown(values[name])}"
        for name in sorted(said.keys() & values.keys())
        if said[name] != values[name]
    ]
    if other:
        raise CheckpointError(
            f"{adapter_folder / ADAPTER_CONFIG}: {'; '.join(other[:3])}: scores would be others than in training; "
            "restore the checkpoint from a backup, or give --lora_r and --lora_alpha as they were in training"
        )


def _plain(value: Any) -> Any:
    """The value as JSON has it; names of layers in order."""
    if isinstance(value, set | frozenset | list | tuple):
        return sorted(map(str, value))
    return value


def describe_adapters(backbone: Any) -> str:
    """Which layers of a PEFT model are adapted, and in what share of its decoder layers, in a line."""
    transformer = backbone.get_base_model()
    adapted = {name for name, module in transformer.named_modules() if hasattr(module, "lora_A")}
    layers = _decoder_layers(transformer)
    with_attention: list[set[str]] = []
    without: list[set[str]] = []
    for layer in layers:
        names = {_last(name) for name in layer.linear if name in adapted}
        if names:
            (with_attention if layer.attention else without).append(names)
    parts = [
        f"{_listed(set().union(*groups), transformer)} in {len(groups)} of {counted(len(layers), 'layer')}{where}"
        for groups, where in ((with_attention, ""), (without, " (without attention)"))
        if groups
    ]
    outside = adapted - {name for layer in layers for name in layer.linear}
    if outside:
        parts.append(f"{', '.join(sorted(outside))} outside the layers")
    missing = len(layers) - len(with_attention) - len(without)
    if missing:
        parts.append(f"nothing in {counted(missing, 'layer')}")
    return f"adapters: {'; '.join(parts)}"


def _decoder_layers(transformer: nn.Module) -> list[_DecoderLayer]:
    """The layers of the largest stack of modules; the whole transformer as one where it has no stack."""
    blocks: list[tuple[str, nn.Module]] = [("", transformer)]
    if (found := decoder_stack(transformer)) is not None:
        name, stack = found
        blocks = [(f"{name}.{number}.", block) for number, block in enumerate(stack)]
    return [
        _DecoderLayer(
            attention=[prefix + name for name in _attention_projections(block)],
            linear=[prefix + name for name, module in block.named_modules() if _is_linear(module)],
        )
        for prefix, block in blocks
    ]


def _attention_projections(block: nn.Module) -> Iterator[str]:
    """Names of the linear layers that an attention module of `block` holds itself, not in a module within it."""
    for name, module in block.named_modules():
        if "attention" in type(module).__name__.lower() or _ATTENTION_NAMES.intersection(name.split(".")):
            prefix = f"{name}." if name else ""
            yield from (prefix + child for child, layer in module.named_children() if _is_linear(layer))


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear layer by another name

    return isinstance(getattr(module, "base_layer", module), nn.Linear | Conv1D)


def _peft_refuses(name: str, backbone: Any) -> bool:
    """Whether PEFT adapts no layer of this name in such a backbone, asked with a stand-in.

    It refuses those whose weights a fused kernel reads past the layer, as Mamba's output projection.
    """
    from peft import LoraConfig as PeftLoraConfig
    from peft import inject_adapter_in_model

    stand_in = nn.Module()
    stand_in.config = backbone.config
    stand_in.add_module(name, nn.Linear(1, 1, device="meta"))
    try:
        inject_adapter_in_model(PeftLoraConfig(r=1, target_modules=[name]), stand_in, low_cpu_mem_usage=True)
    except ValueError:
        return True
    return False


def _shortest_endings(chosen: list[str], backbone: nn.Module) -> list[str]:
    """The shortest endings of the `chosen` names, at a dot, with which no other module's name ends."""
    chosen_names = set(chosen)
    others = [name for name, _ in backbone.named_modules() if name not in chosen_names]
    taken = {ending for name in others for ending in _endings(name)}
    endings = (next((ending for ending in _endings(name) if ending not in taken), name) for name in chosen)
    return list(dict.fromkeys(endings))


def _endings(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[-count:]) for count in range(1, len(parts) + 1))


def _listed(names: Iterable[str], transformer: nn.Module) -> str:
    """The names in the order in which the model holds them."""
    order = list(dict.fromkeys(_last(name) for name, _ in transformer.named_modules()))
    return ", ".join(sorted(names, key=order.index))


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.partition(". ")[0].rstrip(".")[:200] or type(error).__name__
