"""A configuration to a model: backbone, adapters, head, execution of the mask, and the probe that guards it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from surestep.calibration.calibration import Calibration
from surestep.config import Config, LoraConfig
from surestep.config.consistency import fast_path_problems
from surestep.config.evaluation import ScoringWeights
from surestep.counted import counted
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.text_frame import formatter_of
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import ConfigError, DeviceError
from surestep.guarantees.certificate import ALL, Certificate
from surestep.guarantees.monitoring import Monitor
from surestep.guarantees.promises.watched import monitor_of
from surestep.model.attention.executions import kernel_runs_on
from surestep.model.attention.parity_probe import probe_parity
from surestep.model.backbones.families import FAMILIES
from surestep.model.backbones.load import Backbone, load_backbone
from surestep.model.backbones.lora import add_adapters, describe_adapters
from surestep.model.backbones.rotary import describe_limit
from surestep.model.backbones.silence_transformers import silence_transformers
from surestep.model.confidence_model import ConfidenceModel, Route
from surestep.model.fast.compile_layers import compile_layers
from surestep.model.fast.fuse import hold_in_fp8
from surestep.model.fast.weights_for_scoring import freeze, hold_in_half, merge_adapters
from surestep.model.head import ConfidenceHead
from surestep.model.head_input import HeadInput
from surestep.model.precision.fp8 import runs_fp8
from surestep.model.precision.nf4 import num_weights
from surestep.model.saved_weights import is_adapted
from surestep.scoring.hardware import Hardware, choose_route, nf4_device
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.random_state import random_state_kept
from surestep.scoring.recorded_passes import longest_recorded
from surestep.scoring.token_budget import scoring_token_budget

_WORTH_COMPILING = 2_000_000
"""Tokens from which compiling pays: it saves about 25 µs a token of a 4B model on an H200 and takes a minute."""


@dataclass
class BuiltModel:
    """A model on its device and all that scoring with it needs.

    Attributes:
        reasons: one line for each choice that the program made.
        on_fast_path: whether layers may be fused and compiled (`model.fast_path`); passes are recorded of fused ones.
        calibration: the maps that belong to these weights, if any were fitted.
        certificate: what these weights and maps promise of new problems, if it was certified.
        monitor: the same of solutions that run.
        selective: the same of those that are handed out.
    """

    model: ConfidenceModel
    tokenizer: StepTokenizer
    formatter: Formatter
    backbone: Backbone
    hardware: Hardware
    reasons: list[str]
    on_fast_path: bool = True
    is_compiled: bool = False
    calibration: Calibration | None = None
    certificate: Certificate | None = None
    monitor: Certificate | None = None
    selective: Certificate | None = None

    @property
    def weights_in_products(self) -> int:
        """`P`: weights of the backbone that take part in matrix products, adapters and embedding left out."""
        return sum(
            num_weights(parameter)
            for name, parameter in self.model.transformer.named_parameters()
            if parameter.ndim == 2 and "lora_" not in name and "embed" not in name
        )

    @property
    def attention_per_token(self) -> float:
        """What a token costs more for each token before it on its path, in tokens (`encoding.packing.tree_costs`)."""
        products = max(self.weights_in_products, 1)
        return 2 * self.backbone.hidden_size * self.backbone.num_layers / products

    def compile_if_worth(self, wanted: Literal["auto"] | bool, num_tokens: float) -> str | None:
        """Compile the decoder layers as `wanted` (`model.compile`); `auto`: where `num_tokens` repay the time.

        Returns what was decided, in a line; None where there is nothing to decide.
        """
        on_gpu = self.hardware.device.type == "cuda"
        if self.is_compiled or wanted is False or not (on_gpu or wanted is True) or not self.on_fast_path:
            return None
        if self.model.head.input.reads_layers:
            return "compile: off (the head reads the hidden states between layers: model.head_layers mix)"
        if wanted == "auto" and is_nf4(self.model):
            return "compile: off (4-bit layers were not measured compiled); --compile true"
        if wanted == "auto" and (num_tokens < _WORTH_COMPILING or self.model.route == "paths"):
            return (
                f"compile: off (about {counted(round(num_tokens), 'token is', 'tokens are')} too few to repay "
                "the compile time); --compile true"
            )
        if not compile_layers(self.model.transformer):
            return "compile: off (this backbone's layers are not of a kind that can be compiled)"
        self.is_compiled = True
        return "compile: on (the first passes of each kind take up to a minute); --compile false"

    def scorer(self, config: Config, *, calibrated: bool = True) -> ModelScorer:
        """Ready to score with this model's current weights; unless `calibrated`, without its calibration.

        Tokens in a pass are those of `eval.eval_token_budget`; unset, what memory allows, and fewer should it run out.
        """
        budget = config.eval.eval_token_budget
        return ModelScorer(
            model=self.model,
            tokenizer=self.tokenizer,
            formatter=self.formatter,
            hardware=self.hardware,
            max_positions=self.backbone.max_positions,
            token_budget=budget or scoring_token_budget(self.model, self.hardware),
            may_shrink=budget is None,
            recorded_up_to=longest_recorded(config.training.cuda_graphs, self.weights_in_products),
            calibration=self.calibration if calibrated else None,
            certificate=self._holding(self.certificate, calibrated=calibrated),
            monitor=self._monitor(calibrated=calibrated),
            selective=self._holding(self.selective, calibrated=calibrated),
        )

    def _holding(self, certificate: Certificate | None, *, calibrated: bool) -> Certificate | None:
        """A certificate, unless it does not hold without the maps and they are left out."""
        needs_map = certificate is not None and certificate.needs_map and self.calibration is not None
        return None if needs_map and not calibrated else certificate

    def _monitor(self, *, calibrated: bool) -> Monitor | None:
        held = self._holding(self.monitor, calibrated=calibrated)
        return None if held is None else monitor_of(held.rules[ALL])


def base_dtype(lora: LoraConfig, hardware: Hardware) -> torch.dtype:
    """The dtype in which backbone weights are held.

    Frozen weights lose nothing in half precision; weights that are trained stay in float32, where an update of
    one part in ten thousand is not rounded away.
    """
    return hardware.compute_dtype if lora.use_lora else torch.float32


@random_state_kept()
def build_model(config: Config, hardware: Hardware, *, initial_confidence: float = 0.5) -> BuiltModel:
    """A new model: pretrained backbone, untrained head that predicts `initial_confidence` on average.

    Seeded by the configuration; the caller's random state stays as it is.

    Raises:
        BackboneError: the backbone cannot be loaded or cannot score steps.
        DeviceError, ConfigError: what the settings need is not here.
    """
    nf4_on = nf4_device(config.lora, hardware)
    tokenizer = load_tokenizer(config.model.backbone, revision=config.model.revision, frame=config.model.text_frame)
    backbone = load_backbone(
        config.model.backbone,
        revision=config.model.revision,
        dtype=base_dtype(config.lora, hardware),
        seed=config.training.seed,
        nf4_device=nf4_on,
    )
    return assemble(config, hardware, tokenizer, backbone, initial_confidence=initial_confidence)


@random_state_kept()
def assemble(
    config: Config,
    hardware: Hardware,
    tokenizer: StepTokenizer,
    backbone: Backbone,
    *,
    initial_confidence: float = 0.5,
    adapter_targets: list[str] | None = None,
) -> BuiltModel:
    """Put head, adapters and `<CONFIDENCE>` row around a loaded backbone and move it to its device.

    `adapter_targets` are the layers that saved adapters adapt; else `lora_target_modules` says which.

    Raises:
        BackboneError: the backbone reads later tokens.
        DeviceError, ConfigError: what the settings need is not here, or is switched off (`model.fast_path`).
    """
    if problems := fast_path_problems(config):  # of flags that lie over a checkpoint's settings, too
        raise ConfigError(problems)
    torch.manual_seed(config.training.seed)
    has_kernel = backbone.suits_kernel and kernel_runs_on(hardware.device)
    route, reason = choose_route(config.model.attention, hardware, has_kernel=has_kernel)
    reasons = [*hardware.reasons, reason]
    if not config.model.fast_path:
        hardware = replace(hardware, fuses_layers=False)
        reasons.append("fast path: off (as set); the family's own layers, nothing fused, compiled or recorded")
    module = backbone.module
    limit = describe_limit(module.config.get_text_config())
    if limit is not None:
        reasons.append(limit)
    if config.lora.use_lora:
        module = add_adapters(module, config.lora, targets=adapter_targets)
        reasons.append(describe_adapters(module))
    head = ConfidenceHead(
        backbone.hidden_size,
        config.model.mlp_hidden_dims,
        dropout=config.model.mlp_dropout,
        activation=config.model.mlp_activation,
        initial_confidence=initial_confidence,
        input=HeadInput(config.model.head_layers, config.model.head_pooling, num_states=backbone.num_layers + 1),
    )
    model = ConfidenceModel(
        module,
        head,
        confidence_id=tokenizer.confidence_id,
        route=route,
        own_attention=backbone.attention_implementation,
    ).to(hardware.device)
    make_fast(model, hardware, reasons)
    if config.lora.use_lora and config.lora.base_precision == "fp8":
        # After the probe, whose rows of paths keep the exact weights.
        use_fp8(model, hardware, setting="lora.base_precision", otherwise="same")
        reasons.append("frozen weights: fp8 (as set)")
    if config.training.gradient_checkpointing:
        with silence_transformers():  # the new name of this function is not in every version that we support
            model.transformer.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    formatter, fast = formatter_of(config.model.text_frame), config.model.fast_path
    return BuiltModel(model, tokenizer, formatter, backbone, hardware, reasons, on_fast_path=fast)


def make_fast(model: ConfidenceModel, hardware: Hardware, reasons: list[str]) -> None:
    """Give a model on its device fast layers where they are known, and an execution that the probe agrees with.

    `reasons` gets a line for each choice that is made.

    Raises:
        BackboneError: the backbone reads later tokens.
    """
    read = model.head.input
    if not read.is_plain:
        # Fused layers hand over sums that nobody has added yet, and the last one computes only what a plain head reads.
        reasons.append(f"head: reads more than the last layer at <CONFIDENCE> ({read.described()}); layers not fused")
    may_fuse = hardware.fuses_layers and hardware.device.type == "cuda" and model.route != "paths" and read.is_plain
    if may_fuse and model.fuse_layers():
        reasons.append("layers: fused (queries, keys and values as one product, so gate and up where frozen)")
    if model.route != "paths" and read.is_plain and model.narrow_layers():
        reasons.append("last layer: past its attention, only the tokens that are read (exact)")
    if is_nf4(model):
        reasons.append(f"frozen weights: nf4, 4 bits, products in {_name(hardware.compute_dtype)}; layers not fused")
    _probe(model, hardware, reasons)


def is_nf4(model: ConfidenceModel) -> bool:
    """Whether the linear layers of the backbone are held in 4 bits."""
    return bool(getattr(model.transformer, "is_loaded_in_4bit", False))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def use_fp8(model: ConfidenceModel, hardware: Hardware, *, setting: str, otherwise: str) -> None:
    """Run the frozen weights of fused layers in 8-bit floats, as `setting` asks.

    Raises:
        DeviceError: the GPU or the backbone does not allow it; `otherwise` is what `setting` may be instead.
    """
    if not model.head.input.is_plain:
        raise DeviceError(
            f"{setting} is fp8, which needs fused layers, and this head reads more than their last one "
            f"({model.head.input.described()}); use {otherwise}"
        )
    if not runs_fp8(hardware.device):
        raise DeviceError(
            f"{setting} is fp8, which needs a GPU of compute capability 9.0 (Hopper) or later; use {otherwise}"
        )
    if not model.is_fused or model.route == "paths":
        known = ", ".join(FAMILIES)
        raise DeviceError(f"{setting} is fp8, which needs fused layers: {known}, and --fast_path true; use {otherwise}")
    model.forget_copies()
    try:
        hold_in_fp8(model.transformer)
    except ValueError as error:
        raise DeviceError(f"{setting} is fp8, but {error}; use {otherwise}") from None
    model.weights_changed()


def prepare_for_scoring(built: BuiltModel, wanted: ScoringWeights) -> None:
    """Hold the weights as `wanted` (`eval.scoring_weights`) says; they cannot be trained or saved any more.

    Raises:
        DeviceError: the GPU or the backbone does not allow it.
    """
    model, dtype = built.model, built.hardware.compute_dtype
    freeze(model)
    if hold_in_half(model, dtype):
        built.reasons.append(f"weights: {_name(dtype)}, the dtype of their products (exact)")
    if wanted == "as_trained":
        return
    if is_adapted(model):
        merge_adapters(model)
        built.reasons.append("adapters: merged into the weights (as set; scores differ by rounding)")
    if wanted == "fp8":
        use_fp8(model, built.hardware, setting="eval.scoring_weights", otherwise="merged")
        built.reasons.append("weights: fp8 (as set)")


def _probe(model: ConfidenceModel, hardware: Hardware, reasons: list[str]) -> None:
    """Fall to the next slower execution until one scores packed trees as it scores their paths alone."""
    text_config = model.transformer.config.get_text_config()
    # A probe is too short to see chunks of thousands of tokens, so this one is known by name.
    if getattr(text_config, "attention_chunk_size", None) and model.route != "paths":
        model.set_route("paths")
        reasons.append(_slower("it attends in chunks"))
    while not (result := probe_parity(model, dtype=hardware.compute_dtype)).agrees:
        if model.route == "dense":
            model.set_route("paths")
            reasons.append(_slower(result.cause))
        else:
            slower: Route = "varlen" if model.route == "triton" else "dense"
            reasons.append(f"attention: {slower}, for {model.route} does not work with this backbone ({result.cause})")
            model.set_route(slower)


def _slower(cause: str) -> str:
    return f"this backbone cannot run packed trees ({cause}): one path per row, which is slower"
