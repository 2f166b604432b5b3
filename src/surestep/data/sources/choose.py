"""Which sources the configuration asks for in a split, with every missing file named at once.

Knows the configuration and where each dataset's splits come from; knows no tokenizer and no training.

    dataset      train                   validation                   test
    prm800k      phase<N>_train          held out of train            phase<N>_test
    eqasc        eqasc_train_grc         eqasc_dev_grc if present,    eqasc_test_grc
                                         else held out of train
    reveal       the rest                held out of the rest         a fifth of reveal_eval's questions
    own          own_train               own_validation if set, else  own_test
                                         held out of own_train
    arithmetic   generated               generated                    generated
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from surestep.config.data import DATASET_NAMES, DataConfig
from surestep.data.sources.locate import Wanted, find_all
from surestep.data.sources.source import SPLITS, Division, Side, Source, Split
from surestep.errors import ConfigError, DataError

__all__ = ["SPLITS", "Division", "Source", "Split", "enabled_sources"]

REVEAL_TEST = (0.2, 0)
"""Share and seed of the REVEAL questions kept for testing; fixed, so that no run ever trains on them."""


@dataclass(slots=True)
class _Plan:
    """What `enabled_sources` is putting together."""

    data: DataConfig
    split: Split
    seed: int
    sources: list[Source] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)

    def hold_out(self) -> Division:
        """The division between train and validation where the dataset has no validation file."""
        side: Side = "held_out" if self.split == "validation" else "rest"
        return Division(self.data.validation_fraction, self.seed, side)

    def wanted(self, dataset: str, *names: str) -> Wanted:
        return Wanted(dataset, names, getattr(self.data, f"{dataset}_dir"), self.data.data_dir)

    def add(self, dataset: str, wanted: Wanted, options: dict[str, Any], *divisions: Division) -> None:
        found, complaints = find_all([wanted])
        self.missing += complaints
        if found:
            self.sources.append(Source(dataset, dataset, self.split, dataset, tuple(found), options, tuple(divisions)))


def enabled_sources(data: DataConfig, split: Split, *, seed: int = 0) -> list[Source]:
    """The sources of a split, in the order of `DATASET_NAMES`.

    Args:
        data: the configuration. In train, a dataset with weight 0 is left out.
        split: train, validation or test.
        seed: decides which problems are held out, and the arithmetic that is generated.

    Raises:
        DataError: files are missing; all of them are named, with the command that gets each.
        ConfigError: no dataset is enabled, or none has this split.
    """
    plan = _Plan(data, split, seed)
    trained = data.enabled()
    for name in DATASET_NAMES:
        if getattr(data, f"use_{name}") and (split != "train" or name in trained):
            _PLANNERS[name](plan)
    if plan.missing:
        raise DataError("; ".join(dict.fromkeys(plan.missing)))
    if not plan.sources:
        what = " and ".join(plan.unset) if plan.unset else "every dataset is off or has weight 0"
        raise ConfigError(f"no {split} data: {what}; turn on one of {', '.join(f'use_{n}' for n in DATASET_NAMES)}")
    return [replace(source, bad_rows=data.bad_rows) for source in plan.sources]


def _prm800k(plan: _Plan) -> None:
    file_split = "test" if plan.split == "test" else "train"
    wanted = plan.wanted("prm800k", f"phase{plan.data.prm800k_phase}_{file_split}.jsonl")
    divisions = [] if plan.split == "test" else [plan.hold_out()]
    plan.add("prm800k", wanted, _reader_options("prm800k", plan.data), *divisions)


def _eqasc(plan: _Plan) -> None:
    options = _reader_options("eqasc", plan.data)
    dev = plan.wanted("eqasc", "eqasc_dev_grc.json")
    if plan.split == "validation" and dev.find():
        plan.add("eqasc", dev, options)
        return
    wanted = plan.wanted("eqasc", f"eqasc_{'test' if plan.split == 'test' else 'train'}_grc.json")
    divisions = [] if plan.split == "test" or dev.find() else [plan.hold_out()]
    if plan.split == "train":
        options["add_gold"] = options["label"] == "validity"
    plan.add("eqasc", wanted, options, *divisions)


def _reveal(plan: _Plan) -> None:
    wanted = plan.wanted("reveal", "reveal_eval.csv", "reveal_eval.jsonl", "reveal_eval.json")
    test = Division(*REVEAL_TEST, "held_out" if plan.split == "test" else "rest")
    plan.add("reveal", wanted, {}, test, *([] if plan.split == "test" else [plan.hold_out()]))


def _arithmetic(plan: _Plan) -> None:
    data = plan.data
    number = data.arithmetic_problems if plan.split == "train" else data.arithmetic_eval_problems
    options = {"split": plan.split, "num_problems": number, "seed": plan.seed}
    plan.sources.append(Source("arithmetic", "arithmetic", plan.split, "arithmetic", (), options))


def _own(plan: _Plan) -> None:
    data = plan.data
    divisions: tuple[Division, ...] = ()
    path: Path | None = getattr(data, f"own_{plan.split}")
    if plan.split != "test" and data.own_validation is None:
        path, divisions = data.own_train, (plan.hold_out(),)
    if path is None:
        plan.unset.append(f"own_{plan.split} is not set")
    elif not path.is_file():
        plan.missing.append(f"own: no file {path} (own_{plan.split}); check the path")
    else:
        options = _reader_options(data.own_format, data)
        plan.sources.append(Source("own", data.own_name, plan.split, data.own_format, (path,), options, divisions))


def _reader_options(reader: str, data: DataConfig) -> dict[str, Any]:
    if reader == "prm800k":
        return {
            "neutral": None if data.prm800k_neutral == "missing" else data.prm800k_neutral,
            "keep_quality_control": data.keep_quality_control,
            "keep_screening": data.keep_screening,
        }
    return {"label": data.eqasc_label, "unsure": data.eqasc_unsure} if reader == "eqasc" else {}


_PLANNERS: dict[str, Callable[[_Plan], None]] = {
    "prm800k": _prm800k,
    "reveal": _reveal,
    "eqasc": _eqasc,
    "arithmetic": _arithmetic,
    "own": _own,
}
