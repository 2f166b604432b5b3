"""A process reward model of one of the known forms as a scorer: loaded without its repository's code, run packed.

Its backbone runs by the same passes as a checkpoint's: trees through the tree mask where the parity probe agrees, else
one path a row, padded. Shapes: `N` steps of a tree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from surestep.config import Config
from surestep.encoding.load_tokenizer import load_plain_tokenizer
from surestep.model.attention.executions import kernel_runs_on
from surestep.model.backbones.load import Backbone, fetched_folder, load_pretrained
from surestep.model.backbones.rotary import describe_limit
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.fast.weights_for_scoring import freeze
from surestep.scored import FloatArray
from surestep.scoring.build_model import make_fast
from surestep.scoring.hardware import choose_hardware, choose_route
from surestep.scoring.model_scorer import PackedPasses
from surestep.scoring.other_scorers.forms import Form
from surestep.scoring.other_scorers.heads import find_head
from surestep.scoring.other_scorers.layouts import FormLayout
from surestep.scoring.other_scorers.path_scores import PLAIN
from surestep.scoring.other_scorers.sequence_tree import SequenceTree, tree_of_sequences
from surestep.scoring.protocol import TokensUsed, TreeScores, Wanted
from surestep.scoring.random_state import random_state_kept
from surestep.scoring.token_budget import scoring_token_budget
from surestep.types import ReasoningTree

_WINDOW = 256
"""Trees that are laid out and packed together."""
_NO_TOKEN = -1
"""The id of `<CONFIDENCE>` where texts hold none."""


@dataclass
class ForeignModel:
    """A model of a known form, ready to score.

    Attributes:
        passes: runs trees of tokens.
        layout: makes them.
        facts: what `about` says.
        reasons: one line for each choice that the program made.
    """

    passes: PackedPasses
    layout: FormLayout
    facts: dict[str, Any]
    reasons: list[str] = field(default_factory=list)

    def about(self) -> dict[str, Any]:
        """Which model, of which form, and how it is run."""
        return {
            "scorer": self.facts,
            "attention": self.passes.model.route,
            "precision": self.passes.hardware.precision,
        }

    def tokens_used(self) -> TokensUsed:
        """Tokens that went through the model so far."""
        return TokensUsed(read=self.passes.num_tokens, written=0)

    def score(
        self, trees: Sequence[ReasoningTree], *, dataset: str | None = None, wanted: Wanted = "all"
    ) -> Iterator[TreeScores]:
        """See `Scorer`; NaN beyond the model's limit of positions, and where nothing is `wanted`."""
        for start in range(0, len(trees), _WINDOW):
            window = [trees[i] for i in range(start, min(start + _WINDOW, len(trees)))]
            laid_out = [self._laid_out(tree) for tree in window]
            encoded = [one.encoded for one in laid_out if one is not None]
            found = self.passes.score_encoded(encoded, wanted=wanted)
            for tree, one in zip(window, laid_out, strict=True):
                raw_N: FloatArray = np.zeros(0)
                if one is not None:
                    raw_N = one.all_steps(next(found), len(tree.nodes))
                yield TreeScores(raw_N, raw_N)

    def _laid_out(self, tree: ReasoningTree) -> SequenceTree | None:
        if not tree.nodes:
            return None
        return tree_of_sequences(self.layout.sequences(tree), [node.confidence for node in tree.nodes])


@random_state_kept()
def load_foreign_model(form: Form, name: str, config: Config, *, revision: str | None = None) -> ForeignModel:
    """Load a model of `form`, after its files were found to hold the form's head and its tokenizer the form's tag.

    Args:
        form: how it is read.
        name: a local folder, or a hub id.
        config: device, arithmetic, execution and token budget; the rest is not looked at.
        revision: of a hub repository.

    Raises:
        BackboneError: it cannot be found or read, or is of another form.
        DeviceError: the settings ask for what is not here.
    """
    hardware = choose_hardware(config.training.device, config.training.mixed_precision)
    folder = fetched_folder(name, revision)
    tokenizer = load_plain_tokenizer(name, revision=revision)
    layout = FormLayout(form, tokenizer, name)
    tokens = layout.answers() if form.head == "token_pair" else None
    found = find_head(form, folder, tokens)
    backbone = load_pretrained(name, revision=revision, dtype=hardware.compute_dtype)
    route, reason = choose_route(
        config.model.attention, hardware, has_kernel=backbone.suits_kernel and kernel_runs_on(hardware.device)
    )
    reasons = [*hardware.reasons, reason]
    if (limit := describe_limit(backbone.module.config.get_text_config())) is not None:
        reasons.append(limit)
    model = ConfidenceModel(
        backbone.module,
        found.load(backbone.hidden_size),
        confidence_id=_NO_TOKEN,
        route=route,
        own_attention=backbone.attention_implementation,
    ).to(hardware.device)
    freeze(model)
    make_fast(model, hardware, reasons)
    how = "padded, one path a row" if model.route == "paths" else "packed, the steps that paths share once (tree mask)"
    reasons.append(f"scorer {form.name}: {how}")
    budget = config.eval.eval_token_budget
    passes = PackedPasses(
        model=model,
        hardware=hardware,
        max_positions=backbone.max_positions,
        token_budget=budget or scoring_token_budget(model, hardware),
        may_shrink=budget is None,
    )
    return ForeignModel(passes, layout, _facts(form, name, backbone), reasons)


def _facts(form: Form, name: str, backbone: Backbone) -> dict[str, Any]:
    fields = asdict(form)
    identity = {"files": backbone.files, "form": fields, "text": PLAIN.hash()}
    return {
        "name": Path(name).name,
        "form": form.name,
        "path": name,
        "revision": backbone.revision,
        "weights_sha256": backbone.weights_sha256,
        "settings": fields,
        "sha256": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
    }
