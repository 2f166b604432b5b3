"""Several checkpoints in memory as one ensemble: what fits together, and what they share of memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from surestep.config import Config
from surestep.counted import counted
from surestep.errors import CheckpointError
from surestep.model.confidence_model import ConfidenceModel
from surestep.scoring.build_model import is_nf4
from surestep.scoring.checkpoint.load import LoadedCheckpoint, load_checkpoint
from surestep.scoring.checkpoint.manifest import manifest_sha256
from surestep.scoring.ensemble.ensemble_scorer import EnsembleScorer


@dataclass(frozen=True)
class LoadedEnsemble:
    """Checkpoints in memory.

    Attributes:
        members: in the order in which they were named.
        sha256: stands for all of them, in whatever order.
        reasons: one line for each choice that loading made.
    """

    members: tuple[LoadedCheckpoint, ...]
    sha256: str
    reasons: tuple[str, ...]

    def scorer(self) -> EnsembleScorer:
        """Ready to score: tokens in a pass are, where they are not set, what memory has left once all are loaded."""
        scorers = [member.built.scorer(member.config, calibrated=False) for member in self.members]
        scorers = [replace(one, certificate=None, monitor=None, selective=None) for one in scorers]
        return EnsembleScorer(members=scorers, facts=self._facts(self.members[0].config.to_dict()))

    def _facts(self, settings: dict[str, Any]) -> dict[str, Any]:
        first = self.members[0]
        return {
            "scorer": {
                "form": "ensemble",
                "name": f"{first.config.experiment_name} x {len(self.members)}",
                "sha256": self.sha256,
                "members": [
                    {
                        "checkpoint": str(member.folder),
                        "manifest_sha256": manifest_sha256(member.folder),
                        "step": member.manifest.step,
                        "seed": member.config.training.seed,
                    }
                    for member in self.members
                ],
            },
            "manifest_sha256": self.sha256,
            "formatter_hash": first.manifest.formatter_hash,
            "split_rule": first.config.data.split_rule(),
            "attention": first.built.model.route,
            "precision": first.built.hardware.precision,
            "settings": settings,
        }


def load_ensemble(named: Sequence[tuple[Path, Config]]) -> LoadedEnsemble:
    """Load each checkpoint with its own configuration; equal weights of members are held once where that is possible.

    Raises:
        CheckpointError: one is damaged or named twice, or two turn texts into different tokens.
    """
    hashes = [manifest_sha256(folder) for folder, _ in named]
    for number, (folder, _) in enumerate(named):
        if hashes[number] in hashes[:number]:
            raise CheckpointError(f"{folder} is named twice: a member of an ensemble counts once, drop one")
    members: list[LoadedCheckpoint] = []
    shared = 0
    for folder, config in named:
        found = load_checkpoint(folder, config=config)
        if members:
            check_same_tokens(members[0], found)
            shared += share_equal_weights(members[0].built.model, found.built.model)
        members.append(found)
    sha256 = hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
    return LoadedEnsemble(tuple(members), sha256, tuple(_reasons(members, shared)))


def check_same_tokens(first: LoadedCheckpoint, other: LoadedCheckpoint) -> None:
    """Raise where two members read a text as different tokens.

    Raises:
        CheckpointError: naming both.
    """
    mine, theirs = first.manifest, other.manifest
    if mine.formatter_hash != theirs.formatter_hash or mine.tokenizer_hash != theirs.tokenizer_hash:
        what = "tokenizers" if mine.formatter_hash == theirs.formatter_hash else "formats of the text"
        raise CheckpointError(
            f"{other.folder} and {first.folder} have different {what} ({mine.backbone['name']} and "
            f"{theirs.backbone['name']}): the members of an ensemble read the same tokens"
        )


@torch.no_grad()
def share_equal_weights(first: ConfidenceModel, other: ConfidenceModel) -> int:
    """Let `other` read those of its weights that equal the ones of `first` from the same memory; the bytes saved.

    For models that are trained no further. Members that are LoRA share their backbone so. Fused layers and those in 4
    bits hold their weights in a form of their own and are left alone.
    """
    if any(model.is_fused or is_nf4(model) for model in (first, other)):
        return 0
    places, saved = dict(first.named_parameters()), 0
    for name, weight in other.named_parameters():
        place = places.get(name)
        if place is None or (place.dtype, place.device, place.shape) != (weight.dtype, weight.device, weight.shape):
            continue
        if torch.equal(place, weight):
            weight.data = place.data
            saved += weight.numel() * weight.element_size()
    return saved


def _reasons(members: Sequence[LoadedCheckpoint], shared: int) -> Iterator[str]:
    yield from dict.fromkeys(reason for member in members for reason in member.built.reasons)
    size = sum(weight.numel() * weight.element_size() for one in members for weight in one.built.model.parameters())
    held = f"{_shown(shared)} more are shared by members" if shared else "members share none"
    yield (
        f"ensemble: the mean of {counted(len(members), 'checkpoint')}, each of which reads every token; "
        f"{_shown(size - shared)} of weights in memory, {held}"
    )
    mapped = [member.folder.name for member in members if member.built.calibration is not None]
    promised = [
        member.folder.name
        for member in members
        if any((member.built.certificate, member.built.monitor, member.built.selective))
    ]
    if mapped:
        yield (
            f"ensemble: the members' own calibration maps are not applied ({', '.join(mapped)}), for they do not fit "
            "the mean: `surestep calibrate` with all members writes a map for --calibration_file"
        )
    if promised:
        yield f"ensemble: certificates of members ({', '.join(promised)}) do not speak of their mean"


def _shown(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.2f} MB"
