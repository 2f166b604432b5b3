"""Which data is read, how it is mixed, and how much of each example is shown in training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from surestep.config.base import Section

Weight = Annotated[float, Field(ge=0.0)]
FileFormat = Literal["own", "stepwise", "math_shepherd", "processbench", "prm800k", "eqasc", "reveal"]

DATASET_NAMES = ("prm800k", "reveal", "eqasc", "arithmetic", "own")
"""The datasets that a mixture can hold; each has `use_<name>` and `<name>_weight`."""


class DataConfig(Section):
    """The mixture, the readers' options, and the limits that hold in training only."""

    data_dir: Path = Field(
        Path("data"), description="Folder searched for each dataset's own folder (case does not matter)."
    )
    cache_dir: Path | None = Field(
        None, description="Where tokenised data is kept; unset: `surestep` in the user's cache folder."
    )

    use_prm800k: bool = Field(True, description="PRM800K: mathematics, judged step by step (MIT).")
    use_reveal: bool = Field(
        False,
        description="REVEAL: open-domain answers (CC BY-ND 4.0, its card says for testing, not for training).",
    )
    use_eqasc: bool = Field(True, description="eQASC: two-fact science explanations (CC BY 4.0).")
    use_arithmetic: bool = Field(False, description="Built-in arithmetic whose true confidence is known.")
    use_own: bool = Field(False, description="Your own files: see `own_train`.")

    prm800k_weight: Weight = Field(0.5, description="Share of PRM800K in the mixture, before normalisation.")
    reveal_weight: Weight = Field(0.25, description="Share of REVEAL, before normalisation.")
    eqasc_weight: Weight = Field(0.25, description="Share of eQASC, before normalisation.")
    arithmetic_weight: Weight = Field(1.0, description="Share of the arithmetic data, before normalisation.")
    own_weight: Weight = Field(1.0, description="Share of your own data, before normalisation.")

    prm800k_dir: Path | None = Field(None, description="PRM800K's folder; unset: found in `data_dir`.")
    reveal_dir: Path | None = Field(None, description="REVEAL's folder; unset: found in `data_dir`.")
    eqasc_dir: Path | None = Field(None, description="eQASC's folder; unset: found in `data_dir`.")

    prm800k_phase: Literal[1, 2] = Field(2, description="Phase of PRM800K: 1 is small and easier, 2 is large.")
    prm800k_neutral: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["missing"] = Field(
        0.5, description="Confidence of a neutral (0) rating, or `missing` to leave it unlabelled."
    )
    keep_quality_control: bool = Field(False, description="Train on PRM800K's quality-control records too.")
    keep_screening: bool = Field(False, description="Train on PRM800K's labeller-screening records too.")
    eqasc_label: Literal["validity", "retrieval"] = Field(
        "validity",
        description="`validity`: the crowd's verdict on the chain; `retrieval`: each fact's score, (s - 10) / 78.",
    )

    eqasc_unsure: Literal["negative", "half", "missing", "votes"] = Field(
        "negative",
        description="What the verdicts `?` and `unsure` become: not valid (the authors' rule), 0.5, no label, or the "
        "share of votes for yes where a file has votes (else not valid).",
    )
    bad_rows: Literal["stop", "skip"] = Field(
        "stop", description="Rows that contradict their layout: `stop` at the first, or `skip` and count them."
    )

    own_train: Path | None = Field(None, description="Training file of your own data.")
    own_validation: Path | None = Field(
        None, description="Validation file of your own data; unset: held out of `own_train` by problem."
    )
    own_test: Path | None = Field(None, description="Test file of your own data.")
    own_format: FileFormat = Field("own", description="Layout of your own files.")
    own_name: str = Field("own", pattern=r"^[A-Za-z0-9_.-]+$", description="Its name in reports.")

    arithmetic_problems: PositiveInt = Field(8000, description="Training problems that are generated.")
    arithmetic_eval_problems: PositiveInt = Field(500, description="Problems in each of validation and test.")

    max_train_samples: PositiveInt | None = Field(
        None, description="Problems used from each dataset's training split, drawn by seed; unset: all."
    )
    max_length: Annotated[int, Field(ge=8)] = Field(
        2048, description="Longest path in tokens, in training; a step beyond it is dropped with its subtree."
    )
    max_steps_per_example: PositiveInt | None = Field(
        10,
        description="Deepest labelled step on a path, in training; later steps are dropped. Unset: no cap.",
    )
    validation_fraction: Annotated[float, Field(gt=0.0, le=0.5)] = Field(
        0.05, description="Share of the training problems held out where a dataset has no validation file."
    )
    remove_overlap: bool = Field(
        False, description="Drop training problems that also occur in an evaluated split (always reported)."
    )

    def enabled(self) -> dict[str, float]:
        """Name to share of the loss of each dataset in the mixture; shares sum to 1.

        Empty where nothing is enabled or all weights are 0.
        """
        weights = {
            name: float(getattr(self, f"{name}_weight")) for name in DATASET_NAMES if getattr(self, f"use_{name}")
        }
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items() if weight > 0} if total > 0 else {}
