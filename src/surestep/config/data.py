"""Which data is read, how it is mixed, and how much of each example is shown in training.

The fields of each dataset stand in the dataset's own file (`surestep.data.datasets`); here they become one section.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, create_model

from surestep.data.datasets import DATASET_NAMES, DATASETS, LAYOUTS
from surestep.data.datasets.dataset import AUTO_LAYOUT
from surestep.data.records.bad_rows import BadRows
from surestep.settings import Section

AfterFirstError = Literal["keep", "missing", "wrong"]
"""What becomes of the labels behind the first wrong step of a path."""


class _Places(Section):
    """Where data lies."""

    data_dir: Path = Field(
        Path("data"), description="Folder searched for each dataset's own folder (case does not matter)."
    )
    cache_dir: Path | None = Field(
        None, description="Where tokenised data is kept; unset: `surestep` in the user's cache folder."
    )


if TYPE_CHECKING:
    from surestep.data.datasets import arithmetic, eqasc, own, prm800k, reveal

    # What a type checker sees: the datasets that come with Surestep. At run time it is every one of DATASETS, so that
    # a dataset that is added needs no line here.
    class _DatasetFields(own.Fields, arithmetic.Fields, eqasc.Fields, reveal.Fields, prm800k.Fields, _Places): ...
else:

    def _dataset_fields() -> type[Section]:
        """The fields of all datasets as one class, in the order of DATASETS."""
        # pydantic puts the fields of the last base first.
        bases = [DATASETS[name].fields for name in reversed(DATASET_NAMES)]
        layout = DATASETS["own"].fields.model_fields["own_format"]
        known = {"own_format": (Literal[AUTO_LAYOUT, *LAYOUTS], Field(layout.default, description=layout.description))}
        return create_model("_DatasetFields", __base__=(*bases, _Places), __module__=__name__, **known)

    _DatasetFields = _dataset_fields()


class DataConfig(_DatasetFields):
    """The mixture, the readers' options, and the limits that hold in training only."""

    bad_rows: BadRows = Field(
        "stop", description="Rows that contradict their layout: `stop` at the first, or `skip` and count them."
    )

    max_train_samples: PositiveInt | None = Field(
        None,
        description="Trees used from each dataset's training split (one a problem or more), drawn by seed; unset: all.",
    )
    max_length: Annotated[int, Field(ge=8)] = Field(
        2048, description="Longest path in tokens, in training; a step beyond it is dropped with its subtree."
    )
    max_steps_per_example: PositiveInt | None = Field(
        10,
        description="Deepest labelled step on a path, in training; later steps are dropped. Unset: no cap.",
    )
    order: Literal["shuffled", "easy_first", "hard_first"] = Field(
        "shuffled",
        description=(
            "Order in which training takes the trees of a dataset in every pass: shuffled by the seed, or sorted by "
            "`difficulty` (equally difficult ones are shuffled)."
        ),
    )
    difficulty: Literal["steps", "tokens", "wrong_steps"] = Field(
        "steps",
        description=(
            "What makes a tree difficult, for `order` and `easiest_share`: steps, or tokens, on its longest labelled "
            "path within the limits, or the share of its labels that is wrong (1 minus their mean)."
        ),
    )
    easiest_share: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        None,
        description="Train on this share of each dataset's trees, the easiest by `difficulty`; unset: on all of them.",
    )
    after_first_error: AfterFirstError = Field(
        "keep",
        description=(
            "Labels behind the first wrong step of a path (a label below 0.5), in training: `keep` them, count them as "
            "`missing`, or as `wrong`, also where nobody judged them."
        ),
    )
    validation_fraction: Annotated[float, Field(gt=0.0, le=0.5)] = Field(
        0.05, description="Share of the training problems held out where a dataset has no validation file."
    )
    validation_seed: NonNegativeInt | None = Field(
        None,
        description=(
            "Seed of which problems are held out; unset: `training.seed`. Set, runs of several seeds hold out the same "
            "ones, so that they can be compared, and scored as an ensemble, on problems that none has seen."
        ),
    )
    remove_overlap: bool = Field(
        False, description="Drop training problems that also occur in an evaluated split (always reported)."
    )

    def is_used(self, name: str) -> bool:
        """Whether the dataset is switched on."""
        return bool(getattr(self, f"use_{name}"))

    def weight(self, name: str) -> float:
        """The dataset's share of the mixture, before the shares are divided by their sum."""
        return float(getattr(self, f"{name}_weight"))

    def used(self) -> list[str]:
        """The datasets that are switched on, in the order of `DATASET_NAMES`."""
        return [name for name in DATASET_NAMES if self.is_used(name)]

    def split_rule(self) -> str | None:
        """How the rows of the datasets that are used are split into steps, where one of them holds raw solutions.

        None where none does, and where they differ. A checkpoint's own configuration tells it to whoever scores.
        """
        layouts = {self.own_format if name == "own" else name for name in self.used()} - {AUTO_LAYOUT}
        rules = {DATASETS[name].split_rule for name in layouts} - {""}
        if self.use_own and self.own_format in {"own", AUTO_LAYOUT} and self.own_split is not None:
            rules.add(self.own_split)
        return rules.pop() if len(rules) == 1 else None

    def use_only(self, names: Collection[str]) -> None:
        """Switch on the datasets of `names`, and all others off."""
        for name in DATASET_NAMES:
            setattr(self, f"use_{name}", name in names)

    def enabled(self) -> dict[str, float]:
        """Name to share of the loss of each dataset in the mixture; shares sum to 1.

        Empty where nothing is enabled or all weights are 0.
        """
        weights = {name: self.weight(name) for name in self.used()}
        total = sum(weights.values())
        return {name: weight / total for name, weight in weights.items() if weight > 0} if total > 0 else {}
