"""The card of a published checkpoint: the one that its evaluation wrote, or what can be said without figures.

Everything in it comes from the run's files; what is not known is said to be unknown, licences first. Knows no hub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from surestep import __version__
from surestep.disk import real_path
from surestep.errors import InputError
from surestep.evaluation.report.made_from import META
from surestep.evaluation.report.model_card import HUB_NAME, metadata, trained_on
from surestep.evaluation.results.run_files import RunFiles, find_run
from surestep.files import CARD, METRICS
from surestep.scoring.checkpoint.manifest import manifest_sha256
from surestep.terminal_text import in_one_line
from surestep.untrusted import parse_yaml, read_document, read_json
from surestep.untrusted.bounds import shown

_HEADER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_SIGNATURE = re.compile(rf"\n<!-- {META} .*-->\n\Z")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]*")
"""An identifier as the hub's metadata takes it: apache-2.0, cc-by-4.0, other."""


@dataclass(frozen=True)
class PublishedCard:
    """A card and where it came from.

    Attributes:
        text: of `README.md`.
        source: in words.
        licences: a line for each thing whose licence binds whoever uses the weights.
    """

    text: str
    source: str
    licences: tuple[str, ...]


def published_card(
    checkpoint: Path, name: str, *, card: Path | None = None, licence: str | None = None, command: str | None = None
) -> PublishedCard:
    """The card for the hub.

    Args:
        checkpoint: a checkpoint, or an export.
        name: owner/name, which the card tells how to load.
        card: take this file; unset: the `MODEL_CARD.md` of the checkpoint's evaluation, or a new one without figures.
        licence: put into the header as `license`.
        command: what serves it, of an export for vLLM.

    Raises:
        InputError: `card` cannot be read or its metadata are not the hub's, or `licence` is no identifier.
    """
    if licence is not None and not _LICENCE.fullmatch(licence):
        raise InputError(
            f"--license {shown(licence)} is no identifier of the hub's; allowed: apache-2.0, mit, other, ..."
        )
    run = find_run({"checkpoint": str(checkpoint)}, checkpoint)
    if card is not None:
        text, source = _read_text(card), str(card)
    elif (found := _card_of_evaluation(checkpoint, run)) is not None:
        text = _with_loading(_SIGNATURE.sub("\n", _read_text(found.path)), name, command)
        source = f"{found.path}{found.remark}"
    else:
        text, source = _unmeasured(checkpoint, run, name, command), "written now, without figures: no evaluation found"
    text = _with_licence(text, licence)
    _check_header(text, source)
    return PublishedCard(text, source, tuple(_licences(run, licence)))


def _check_header(text: str, source: str) -> None:
    """Raise where the hub's own library cannot read the metadata; a card without any is one."""
    from huggingface_hub import ModelCardData

    header = _HEADER.match(text)
    try:
        values = {} if header is None else parse_yaml(header[1])
        if not isinstance(values, dict):
            raise ValueError(f"it holds a {type(values).__name__}, not names and values")
        ModelCardData(**{**values, "ignore_metadata_errors": False})
    except (ValueError, TypeError, AttributeError, LookupError, yaml.YAMLError) as error:
        raise InputError(
            f"{source}: the metadata of the card are not the hub's ({in_one_line(str(error), longest=300)}); mend what "
            "stands between the two lines of ---, or leave it out"
        ) from None


@dataclass(frozen=True)
class _Found:
    path: Path
    remark: str


def _card_of_evaluation(checkpoint: Path, run: RunFiles) -> _Found | None:
    """The card in the folder of this checkpoint's evaluation: of the test split, else of training's validation."""
    folder = real_path(checkpoint)
    results = folder.parent.parent / f"eval_{folder.parent.name}"
    for place in (results / folder.name, results):
        try:
            report = read_json(place / METRICS, allow_nan=True)
        except (OSError, ValueError):
            continue
        is_its = isinstance(report, dict) and Path(str(report.get("checkpoint"))).name == folder.name
        if not is_its or report.get("step") != run.manifest.get("step") or not (place / CARD).is_file():
            continue
        is_same = report.get("manifest_sha256") == manifest_sha256(folder)
        return _Found(place / CARD, "" if is_same else " (measured before the checkpoint last changed: calibration)")
    return None


def _read_text(path: Path) -> str:
    try:
        return read_document(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a card ({getattr(error, 'strerror', None) or error})") from None


def _loading(name: str, command: str | None) -> str:
    if command is not None:
        return f"## From the hub\n\n```bash\n{command}\n```\n"
    return (
        "## From the hub\n\n```python\nfrom surestep import Scorer\n\n"
        f'scorer = Scorer.load("{name}")\n'
        'print(scorer.score("What is 12 * 3 + 4?", ["12 * 3 = 36.", "36 + 4 = 41."]).confidences)\n```\n'
    )


def _with_loading(text: str, name: str, command: str | None) -> str:
    """The card with how to load it from the hub, in front of what it says of a local folder."""
    section, mark = _loading(name, command), "## How to load it"
    return text.replace(mark, f"{section}\n{mark}", 1) if mark in text else f"{text.rstrip()}\n\n{section}"


def _unmeasured(checkpoint: Path, run: RunFiles, name: str, command: str | None) -> str:
    report = {"checkpoint": name, "per_dataset": {}, "settings": {"experiment_name": name.partition("/")[2]}}
    backbone = dict(run.manifest.get("backbone") or {})
    data = [f"- {used.name} ({used.title}): {used.licence}" for used in trained_on(run)]
    return "\n".join(
        [
            f"---\n{metadata(report, run).to_yaml()}\n---\n",
            f"# {name.partition('/')[2]}\n",
            f"Scores every step of a chain of reasoning with the probability that it is right. Made with Surestep "
            f"{__version__}.\n",
            "**It was not measured where this card was written.** `surestep evaluate` measures it.\n",
            "## What it is\n",
            f"- backbone: {_public(backbone.get('name'))}, revision {backbone.get('revision') or 'none recorded'}",
            f"- optimiser steps: {run.manifest.get('step', 'unknown')}",
            f"- calibration map: {'stored, applied whenever it scores' if run.calibration else 'none stored'}\n",
            _loading(name, command),
            "## Data and licences\n",
            *(data or ["What it was trained on is not known here. **State it before publishing.**"]),
            "",
            "The licence of these weights is not decided by Surestep: whoever publishes them chooses one that the "
            "backbone and the\ntraining data permit.\n",
        ]
    )


def _with_licence(text: str, licence: str | None) -> str:
    if licence is None:
        return text
    header = _HEADER.match(text)
    if header is None:
        return f"---\nlicense: {licence}\n---\n\n{text}"
    kept = "".join(line for line in header[1].splitlines(True) if not line.startswith("license:"))
    return f"---\nlicense: {licence}\n{kept}---\n{text[header.end() :]}"


def _licences(run: RunFiles, licence: str | None) -> list[str]:
    backbone = dict(run.manifest.get("backbone") or {})
    name = str(backbone.get("name", "unknown"))
    of_backbone = _licence_of(Path(str((run.settings.get("model") or {}).get("backbone", ""))))
    if of_backbone is None:
        page = f"see https://huggingface.co/{name}" if HUB_NAME.fullmatch(name) else "state it in the card"
        of_backbone = "Apache-2.0 (part of Surestep)" if name.startswith("builtin:") else f"not known here: {page}"
    lines = [f"backbone {_public(name)}: {of_backbone}"]
    used = trained_on(run)
    lines += [f"training data {data.name}: {data.licence}" for data in used]
    lines += [f"{data.spelling}: {data.for_testing_only}" for data in used if data.for_testing_only]
    if not used:
        lines.append("training data: not known here (no data_report.json beside the checkpoint): state it in the card")
    lines.append(f"these weights: {licence or 'none named; --license ID names one that the above permit'}")
    return lines


def _licence_of(backbone: Path) -> str | None:
    """What the card in a backbone's folder says, if it lies here."""
    try:
        header = _HEADER.match(read_document(backbone / "README.md"))
        values = parse_yaml(header[1]) if header else None
    except (OSError, ValueError, yaml.YAMLError):
        return None
    found = values.get("license") if isinstance(values, Mapping) else None
    return found if isinstance(found, str) and found.strip() else None


def _public(name: Any) -> str:
    """A backbone's name without the folders of this machine."""
    text = str(name)
    return text if HUB_NAME.fullmatch(text) or text.startswith("builtin:") else f"{Path(text).name} (a local folder)"
