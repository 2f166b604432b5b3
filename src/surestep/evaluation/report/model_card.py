"""`MODEL_CARD.md`: what a checkpoint is, what it was made from and how far it can be trusted, written from the run.

Nothing in it is typed by hand: a figure that was not measured is not in it, and what the run does not say (the licence
of its weights, the licence of own data) is asked of the reader in so many words. The header is the metadata block of
the Hugging Face hub. Knows no tensor.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surestep import __version__
from surestep.counted import counted
from surestep.data.datasets import DATASETS, PUBLIC_DATASETS
from surestep.evaluation.report.headline import FIGURES, baselines_table, shown_figures, value_of, verdict
from surestep.evaluation.report.made_from import (
    CHECKPOINT,
    MadeFrom,
    fingerprint_of,
    lost_parts,
    read_card,
    signed_card,
)
from surestep.evaluation.results.run_files import RunFiles
from surestep.files import CARD, PAGE_ADVICE, write_text
from surestep.metrics.report.wording import number, share_text

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_DATASET = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)")
_SETTINGS = (
    ("training", "max_steps"),
    ("training", "learning_rate"),
    ("training", "lr_scheduler_type"),
    ("training", "per_device_train_batch_size"),
    ("training", "gradient_accumulation_steps"),
    ("training", "loss"),
    ("training", "loss_weighting"),
    ("training", "weight_decay"),
    ("training", "seed"),
    ("lora", "lora_r"),
    ("lora", "lora_alpha"),
    ("data", "max_length"),
    ("data", "max_steps_per_example"),
    ("data", "remove_overlap"),
    ("model", "mlp_hidden_dims"),
)


@dataclass(frozen=True)
class UsedDataset:
    """A dataset that the model was trained on or measured on; `counts` is "" where they are unknown."""

    name: str
    title: str
    licence: str
    page: str
    role: str
    counts: str
    spelling: str = ""
    for_testing_only: str = ""


@dataclass(frozen=True)
class WrittenCard:
    """Where the card lies; `kept` names what it says and a new one would lack, so that it was left as it was."""

    path: Path
    kept: tuple[str, ...] = ()


def write_card(report: Mapping[str, Any], run: RunFiles, folder: Path, *, allow_poorer: bool = False) -> WrittenCard:
    """Write the card into `folder`.

    A card that says what the new one would lack, or that a person has changed, is kept.

    Args:
        report: the content of `eval_metrics.json`; it must name a checkpoint.
        run: what was found of that checkpoint and its run; what is missing is said in the card.
        folder: where it goes.
        allow_poorer: replace such a card all the same.

    Raises:
        StorageError: the folder cannot be written; the former card is as it was.
    """
    path = folder / CARD
    made = _made_from(report, run)
    kept = () if allow_poorer else lost_parts(read_card(path), made, needed=CHECKPOINT)
    if not kept:
        write_text(path, signed_card(card_text(report, run), made), advice=PAGE_ADVICE)
    return WrittenCard(path, kept)


def _made_from(report: Mapping[str, Any], run: RunFiles) -> MadeFrom:
    known = {
        "origin": run.manifest,
        "training data": run.data_report,
        "settings": run.settings,
        "calibration map": run.calibration,
    }
    made_with = () if run.checkpoint is None else (CHECKPOINT,)
    return MadeFrom(fingerprint_of(report), made_with, tuple(name for name, found in known.items() if found))


def card_text(report: Mapping[str, Any], run: RunFiles) -> str:
    """The whole card, metadata block first."""
    from markupsafe import Markup

    from surestep.evaluation.report.page import environment

    header, baselines = baselines_table(report)
    checkpoint = Path(str(report["checkpoint"])) if run.checkpoint is None else run.checkpoint
    templates = environment()
    templates.filters["cell"] = _cell
    text = templates.get_template("model_card.md.j2").render(
        metadata=Markup(metadata(report, run).to_yaml() + "\n"),
        name=_name(report),
        version=__version__,
        report=report,
        run=run,
        verdict=verdict(report),
        backbone=_backbone(report, run),
        folder=Markup(re.sub(r"[^\w.+-]", "_", checkpoint.name)),
        trained_on=trained_on(run),
        measured_on=measured_on(report),
        figures=FIGURES,
        sections=_sections(report),
        shown=shown_figures,
        baselines_header=header,
        baselines=baselines,
        settings=_settings(run),
        calibration=_calibration(report, run),
        number=number,
    )
    # Quotes mean nothing to Markdown outside of tags, and the card has none; `<`, `>` and `&` stay escaped.
    return text.replace("&#39;", "'").replace("&#34;", '"')


def metadata(report: Mapping[str, Any], run: RunFiles) -> ModelCardData:
    """The hub's metadata block, as its own library makes and checks it; without figures it has no results.

    The weights' licence is not in it: whoever publishes them decides, within the backbone's and the data's.
    """
    from huggingface_hub import ModelCardData

    backbone = _backbone(report, run)
    names = {dataset.name for dataset in trained_on(run)}
    values: dict[str, Any] = {}
    if languages := sorted({DATASETS[name].language for name in names & DATASETS.keys()} - {""}):
        values["language"] = languages
    if HUB_NAME.fullmatch(backbone["name"]):
        values["base_model"] = backbone["name"]
        values["base_model_relation"] = "adapter" if run.manifest.get("kind") == "lora" else "finetune"
    if on_hub := [match[1] for name in sorted(names) if (match := _hub_dataset(name))]:
        values["datasets"] = on_hub
    if results := _results(report):
        values |= {"model_name": _name(report), "eval_results": results}
    return ModelCardData(
        library_name="surestep",
        tags=["process-reward-model", "step-confidence", "calibration", "reasoning"],
        **values,
    )


def _results(report: Mapping[str, Any]) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    types = {name: _dataset_type(name) for name in report["per_dataset"]}
    return [
        EvalResult(
            task_type="token-classification",
            task_name="Step confidence",
            dataset_type=types[dataset],
            dataset_name=dataset,
            # The hub tells results apart by type, configuration and split, and would join two datasets of one page.
            dataset_config=dataset if list(types.values()).count(types[dataset]) > 1 else None,
            dataset_split=str(report.get("split", "test")),
            metric_type=figure,
            metric_name=title,
            metric_value=round(value, 6),
        )
        for dataset, section in report["per_dataset"].items()
        for figure, title, _ in FIGURES
        if figure != "skill" and (value := value_of(section, figure)) is not None
    ]


def _dataset_type(name: str) -> str:
    match = _hub_dataset(name)
    return match[1] if match else re.sub(r"[^\w.-]", "-", name)


def _hub_dataset(name: str) -> re.Match[str] | None:
    return _HUB_DATASET.fullmatch(PUBLIC_DATASETS[name].page) if name in PUBLIC_DATASETS else None


def trained_on(run: RunFiles) -> list[UsedDataset]:
    """Every dataset with a share of the loss; empty where the run's data report is not known."""
    found = []
    for name, values in (run.data_report.get("datasets") or {}).items():
        share = share_text(values["share_of_loss"])
        counts = f"{counted(values['problems'], 'problem')}, {counted(values['labels'], 'label')}, {share} of the loss"
        # Of a run in phases, a dataset stands here once for each phase that draws from it.
        phase, is_of_phase, _ = name.rpartition(": ") if "dataset" in values else ("", "", name)
        role = f"training, phase {phase}" if is_of_phase else "training"
        found.append(_used(str(values.get("dataset", name)), role, counts))
    return found


def measured_on(report: Mapping[str, Any]) -> list[UsedDataset]:
    """Every dataset with figures in the report."""
    return [
        _used(
            name,
            "evaluation",
            f"{counted(section['num_problems'], 'problem')}, {counted(section['num_steps'], 'label')}",
        )
        for name, section in report["per_dataset"].items()
    ]


def _used(name: str, role: str, counts: str) -> UsedDataset:
    if name in DATASETS and (entry := DATASETS[name]).licence:
        return UsedDataset(
            name, entry.title, entry.licence, entry.page, role, counts, entry.spelling, entry.for_testing_only
        )
    return UsedDataset(name, "the user's own data", "not known to Surestep: state it here", "", role, counts)


def _sections(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    per_dataset = list(report["per_dataset"].items())
    return [*per_dataset, ("overall", report["overall"])] if len(per_dataset) > 1 else per_dataset


def _name(report: Mapping[str, Any]) -> str:
    settings = report.get("settings") or {}
    said = Path(str(report.get("checkpoint", "model")))
    return str(settings.get("experiment_name") or said.parent.name or said.name)


def _backbone(report: Mapping[str, Any], run: RunFiles) -> dict[str, Any]:
    values = dict(run.manifest.get("backbone") or report.get("backbone") or {})
    name = str(values.get("name", "unknown"))
    # A folder of the machine that trained it says nothing to others; the hash does.
    is_public = HUB_NAME.fullmatch(name) or name.startswith("builtin:")
    return {**values, "name": name if is_public else Path(name).name, "is_local": not is_public}


def _settings(run: RunFiles) -> list[tuple[str, str]]:
    shown = []
    for section, name in _SETTINGS:
        values = run.settings.get(section) or {}
        if name in values and (section != "lora" or values.get("use_lora")):
            shown.append((f"{section}.{name}", str(values[name])))
    for phase in run.settings.get("phases") or ():
        values = {**phase.get("data", {}), **phase.get("training", {})}
        shown.append((f"phase {phase['name']}", ", ".join(f"{name} {value}" for name, value in values.items())))
    return shown


def _calibration(report: Mapping[str, Any], run: RunFiles) -> dict[str, Any]:
    """What is known of the calibration map: whether one is stored, which was applied, ECE and NLL around it."""
    said = report.get("calibration") or {}
    around = []
    for figure, title in (("ece", "ECE"), ("nll", "NLL"), ("mse", "MSE")):
        before = ((said.get("before") or {}).get("overall") or {}).get(figure)
        after = ((said.get("after") or {}).get("overall") or {}).get(figure)
        if before is not None and after is not None:
            around.append((title, number(before), number(after)))
    return {"stored": bool(run.calibration or said.get("stored")), "applied": said.get("applied"), "around": around}


def _cell(value: object) -> str:
    """Text for one cell of a Markdown table."""
    return " ".join(str(value).replace("|", "/").split())
