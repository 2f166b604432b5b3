"""Loading a checkpoint: every key and every hash is checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from surestep.config import Config, LoraConfig, ModelConfig
from surestep.encoding.formatter import FORMER_HASHES, Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.text_frame import formatter_of
from surestep.errors import BackboneError, CheckpointError, ConfigError
from surestep.files import AVERAGED_FROM, CERTIFICATE, CONFIG, MONITOR, SELECTIVE
from surestep.guarantees.certificate import Certificate
from surestep.model.backbones.files import (
    CONFIG_FILE,
    changed_fields,
    changed_files,
    hash_weights,
    read_backbone_config,
)
from surestep.model.backbones.load import Backbone, load_backbone, load_pretrained
from surestep.model.backbones.lora import saved_targets
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.saved_weights import BACKBONE_FOLDER, is_adapted, load_adapter, load_backbone_tensors, load_head
from surestep.scoring.build_model import BuiltModel, assemble, base_dtype, prepare_for_scoring
from surestep.scoring.checkpoint.calibration_file import read_calibration
from surestep.scoring.checkpoint.certificate_file import read_certificate
from surestep.scoring.checkpoint.manifest import Manifest, check_is_checkpoint, manifest_sha256, read_manifest
from surestep.scoring.checkpoint.sizes import check_sizes
from surestep.scoring.hardware import Hardware, base_that_fits, choose_hardware, for_scoring_here, nf4_device
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.random_state import random_state_kept
from surestep.untrusted import place_inside, read_json


@dataclass
class LoadedCheckpoint:
    """A checkpoint in memory: its configuration, what it says of itself, and its model."""

    folder: Path
    config: Config
    manifest: Manifest
    built: BuiltModel

    def scorer(self, config: Config, *, calibrated: bool = True) -> ModelScorer:
        """Ready to score; unless `calibrated`, without the checkpoint's calibration."""
        scorer = self.built.scorer(config, calibrated=calibrated)
        return replace(scorer, facts=self._facts(scorer, config.to_dict(), calibrated=calibrated))

    def _facts(self, scorer: ModelScorer, settings: dict[str, Any], *, calibrated: bool) -> dict[str, Any]:
        manifest, built = self.manifest, self.built
        return {
            "checkpoint": str(self.folder),
            "manifest_sha256": manifest_sha256(self.folder),
            "step": manifest.step,
            "backbone": {name: value for name, value in manifest.backbone.items() if name not in ("files", "config")},
            "formatter_hash": manifest.formatter_hash,
            "split_rule": self.config.data.split_rule(),
            "calibration": {
                "stored": built.calibration is not None,
                "applied": "pooled" if calibrated and built.calibration is not None else "none",
            },
            **_promises(scorer),
            "attention": built.model.route,
            "precision": built.hardware.precision,
            "settings": settings,
        }


@random_state_kept()
def load_checkpoint(
    folder: Path,
    *,
    hardware: Hardware | None = None,
    config: Config | None = None,
    trainable: bool = False,
    with_state: bool = False,
) -> LoadedCheckpoint:
    """Load a checkpoint for scoring, or for training on from it; the caller's random state stays as it is.

    Args:
        folder: a `checkpoint_step_<N>`, or what `surestep export` wrote.
        hardware: where to compute; unset: as the configuration says, on this machine, and where that cannot hold the
            frozen weights as they were, in their own precision.
        config: unset: the checkpoint's own. Another may change dropout, data or training, and name the place
            where the same backbone lies now; a head or adapter of another shape does not fit the weights.
        trainable: keep every weight as training, saving and merging want it; else they are held as scoring reads them,
            by `eval.scoring_weights`.
        with_state: demand and verify `training_state/` too.

    Raises:
        CheckpointError: a file is missing or changed, a key is missing or unexpected, or the backbone, the
            tokenizer or the formatter is not the one it was trained with.
        DeviceError: the GPU or the backbone does not allow the settings.
    """
    manifest = read_manifest(folder, with_state=with_state)
    trained_with = read_config(folder)
    config = (config or for_scoring_here(trained_with)).model_copy(deep=True)
    if config.lora.use_lora != (manifest.kind == "lora"):
        raise CheckpointError(
            f"{folder} is a {manifest.kind} checkpoint, but lora.use_lora is {config.lora.use_lora}: use the other "
            "preset, or merge it with `surestep export` and name the result's backbone folder with --backbone"
        )
    for name in ("mlp_activation", "head_layers", "head_pooling", "text_frame"):
        then, now = getattr(trained_with.model, name), getattr(config.model, name)
        if now != then:
            raise CheckpointError(
                f"{folder} was trained with model.{name} {then}, not {now}: its scores would be wrong; use "
                f"--{name} {then}"
            )
    _check_formatter(folder, manifest, formatter_of(config.model.text_frame))
    check_sizes(folder, config.model.mlp_hidden_dims, rank=config.lora.lora_r if manifest.kind == "lora" else None)
    chosen = hardware or choose_hardware(config.training.device, config.training.mixed_precision)
    if hardware is None:
        base_that_fits(config.lora, chosen.device)
    if not trainable and config.eval.scoring_weights != "as_trained":
        config.lora.base_precision = "same"  # what adapters are merged into
    tokenizer = load_tokenizer(str(folder / "tokenizer"), frame=config.model.text_frame)
    if tokenizer.confidence_id != manifest.confidence_id:
        raise CheckpointError(
            f"{folder}/tokenizer gives <CONFIDENCE> the id {tokenizer.confidence_id}, the manifest "
            f"{manifest.confidence_id}; restore the checkpoint from a backup"
        )
    if tokenizer.hash() != manifest.tokenizer_hash:
        raise CheckpointError(
            f"{folder}/tokenizer turns text into other tokens than in training (hash {tokenizer.hash()}, then "
            f"{manifest.tokenizer_hash}): scores would be wrong; restore the checkpoint from a backup, or use the "
            f"libraries of its manifest (transformers {manifest.versions.get('transformers', 'unknown')})"
        )
    loaded = _load_backbone(folder, manifest, config.model, config.lora, chosen)
    # What was adapted is in the checkpoint; `auto` may have meant other layers when it was made.
    built = assemble(config, chosen, tokenizer, loaded, adapter_targets=saved_targets(folder / "adapter"))
    load_weights(built.model, folder)
    if manifest.kind == "lora" and loaded.files and "files" not in manifest.backbone:
        built.reasons.append(
            f"backbone: of {loaded.name} only the weights are compared, for this checkpoint is older than hashes of "
            "its configuration and vocabulary"
        )
    if manifest.kind == "lora" and config.lora.base_precision != trained_with.lora.base_precision:
        built.reasons.append(_other_base(now=config.lora.base_precision, then=trained_with.lora.base_precision))
    if manifest.kind == "full" and not trainable and config.model.backbone != trained_with.model.backbone:
        built.reasons.append(
            f"backbone: the checkpoint's own, as all its weights were trained; --backbone {config.model.backbone} is "
            "not used"
        )
    if AVERAGED_FROM in manifest.files:
        built.reasons.append(f"weights: the mean of several checkpoints, which {AVERAGED_FROM} names")
    built.calibration = read_calibration(folder)
    if not trainable:
        built.certificate, built.monitor, built.selective = (
            read_certificate(folder, manifest, built.calibration, name) for name in (CERTIFICATE, MONITOR, SELECTIVE)
        )
        held = [one for one in (built.certificate, built.monitor, built.selective) if one is not None]
        built.reasons += [_certified(certificate, chosen) for certificate in held]
        prepare_for_scoring(built, config.eval.scoring_weights)
    return LoadedCheckpoint(folder, config, manifest, built)


def load_weights(model: ConfidenceModel, folder: Path) -> None:
    """Head, `<CONFIDENCE>` row and, where the model has them, adapters."""
    load_head(model, folder)
    if is_adapted(model):
        load_adapter(model, folder)


def load_all_weights(model: ConfidenceModel, folder: Path) -> None:
    """Put everything that a checkpoint of the same run trained into `model`, in place: no second model in memory.

    Raises:
        CheckpointError: a file is missing or changed, or a key is missing, unexpected or of another shape.
    """
    read_manifest(folder, with_state=False)
    load_weights(model, folder)
    if not is_adapted(model):
        load_backbone_tensors(model, folder)
    model.weights_changed()


def read_config(folder: Path) -> Config:
    """The configuration that a checkpoint was made with.

    Raises:
        CheckpointError: there is no checkpoint, or its configuration is damaged.
    """
    check_is_checkpoint(folder)
    try:
        values = read_json(place_inside(folder, CONFIG))
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
        return Config.from_dict(values)
    except (OSError, ValueError, ConfigError) as error:
        reason = getattr(error, "strerror", None) or error
        mend = "restore it from a backup, or use the version of surestep that wrote it"
        raise CheckpointError(f"{folder / CONFIG} cannot be read ({reason}); {mend}") from None


def _promises(scorer: ModelScorer) -> dict[str, str]:
    """What it promises, in a sentence each."""
    held = {"certificate": scorer.certificate, "selective": scorer.selective}
    said = {name: one.promise.sentence(one.terms) for name, one in held.items() if one is not None}
    return said if scorer.monitor is None else said | {"monitor": scorer.monitor.in_words()}


def _certified(certificate: Certificate, hardware: Hardware) -> str:
    """The promise in a line, and whether it was made with this arithmetic."""
    line = f"certificate: {certificate.promise.sentence(certificate.terms)}"
    then = certificate.about.get("precision")
    if then is None or then == hardware.precision:
        return line
    return f"{line}; made in {then}, here {hardware.precision}: a step at the cut-off may fall on its other side"


def _other_base(*, now: str, then: str) -> str:
    held = "in their own precision" if now == "same" else now
    return f"frozen weights: {held}, though the adapters were trained over {then}: confidences may differ"


def _load_backbone(
    folder: Path, manifest: Manifest, model: ModelConfig, lora: LoraConfig, hardware: Hardware
) -> Backbone:
    dtype = base_dtype(lora, hardware)
    origin = manifest.backbone
    if manifest.kind == "full":
        try:
            found = load_pretrained(
                str(folder / BACKBONE_FOLDER), revision=None, dtype=dtype, exact=True, is_verified=True
            )
        except BackboneError as error:
            raise CheckpointError(str(error)) from None
        # What it was trained from stays on record; the weights are the checkpoint's own.
        return Backbone(
            module=found.module,
            name=origin["name"],
            revision=origin["revision"],
            weights_sha256=origin["weights_sha256"],
            # A manifest may be older than a limit that is known now.
            max_positions=min((n for n in (origin["max_positions"], found.max_positions) if n), default=None),
            attention_implementation=found.attention_implementation,
            files=origin.get("files", {}),
            config=origin.get("config", {}),
        )
    name = model.backbone
    try:
        if Path(name).is_dir() and "config" in origin:  # before weights are found not to fit
            _check_backbone_config(folder, origin["config"], Path(name))
        found = load_backbone(
            name,
            revision=origin["revision"] or model.revision,
            dtype=dtype,
            seed=read_config(folder).training.seed,  # a backbone of random weights is known by its seed
            nf4_device=nf4_device(lora, hardware),
        )
    except BackboneError as error:
        raise CheckpointError(f"{folder} adapts a backbone that is not here: {error}") from None
    _check_backbone(folder, origin, found, name)
    return found


def _check_backbone_config(folder: Path, then: dict[str, Any], backbone: Path) -> None:
    if fields := changed_fields(then, read_backbone_config(backbone)):
        raise CheckpointError(
            f"{backbone / CONFIG_FILE} is not that of the backbone that {folder} was trained on: "
            f"{'; '.join(fields[:5])}; restore it, or point --backbone at the original"
        )


def _check_backbone(folder: Path, origin: dict[str, Any], found: Backbone, name: str) -> None:
    """Raise unless `found`, which `--backbone` names `name`, is what the checkpoint in `folder` was trained on."""
    if "files" not in origin or found.folder is None:
        same = origin["weights_sha256"] == found.weights_sha256 or (
            found.folder is not None and origin["weights_sha256"] == hash_weights(found.folder)
        )
        if not same:
            raise CheckpointError(
                f"{folder} was trained on {origin['name']} with weights {str(origin['weights_sha256'])[:12]}..., but "
                f"{name} now has {found.weights_sha256[:12]}...; point --backbone at the original"
            )
        return
    _check_backbone_config(folder, origin["config"], found.folder)
    names = changed_files(origin["files"], found.files)
    if not names and found.weights_sha256 and origin["weights_sha256"] != found.weights_sha256:
        names = ["its weights as a whole"]
    if names:
        raise CheckpointError(
            f"{folder} was trained on {origin['name']}, but {name} has other files ({', '.join(names[:5])}: sha256 "
            "differs or file missing); point --backbone at the original"
        )


def _check_formatter(folder: Path, manifest: Manifest, formatter: Formatter) -> None:
    now = formatter.hash()
    if (then := manifest.formatter_hash) != now:
        former = f" ({FORMER_HASHES[then]})" if then in FORMER_HASHES else ""
        raise CheckpointError(
            f"{folder} was trained with text format {then}{former}, this Surestep writes {now}: its scores "
            f"would be wrong; use Surestep {manifest.versions.get('surestep', 'of that time')} or train again"
        )
