"""`--scorer`: from what a user names to a scorer. One table of kinds; knows no figure.

    --scorer qwen-prm:PATH       --scorer critic:PATH_OR_URL      --scorer http+score:URL
    --scorer math-shepherd:PATH  --scorer python:module:function  --scorer my_scorer.json

The JSON file has `form`, the path, url or function, and fields that change the form; it may name a calibration file.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surestep.errors import ConfigError
from surestep.scoring.other_scorers.forms import FORMS
from surestep.untrusted.bounds import shown

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.calibration.calibration import Calibration
    from surestep.config import Config
    from surestep.evaluation.calibration_effect import CalibrationUse
    from surestep.inference.generation.requests import Generator
    from surestep.scoring.other_scorers.wrapped import CalibratedScorer
    from surestep.scoring.protocol import Scorer

KEY, ENDPOINT_KEY = "SURESTEP_API_KEY", "OPENAI_API_KEY"
"""Environment variables that hold the keys of a server that scores, and of an endpoint that generates."""
_HTTP = "http+"


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """A scorer as a user names it.

    Attributes:
        text: what was written after `--scorer`.
        form: a key of `KINDS`, or `http+` and a protocol.
        target: the path, url or function.
        fields: what else its file says.
        calibration: the file that it names.
    """

    text: str
    form: str
    target: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    calibration: Path | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of scorer: what its target is called in a file, and how it is made."""

    target: str
    make: Callable[[ScorerSpec, Config, ExitStack], tuple[Scorer, list[str]]]


def add_scorer_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--scorer` and `--calibration_file`."""
    parser.add_argument("--scorer", metavar="FORM:PATH|FILE.json", help=f"another scorer instead: {forms_shown()}")
    parser.add_argument(
        "--calibration_file",
        "--calibration-file",
        type=Path,
        metavar="FILE",
        help="with --scorer: apply the map that `surestep calibrate --scorer` wrote",
    )


def forms_shown() -> str:
    """Every form, as a user writes it."""
    return f"{'|'.join(FORMS)}:PATH, critic:PATH_OR_URL, http+PROTOCOL:URL, python:module:function, or a JSON file"


def parse_spec(text: str) -> ScorerSpec:
    """What `--scorer` names.

    Raises:
        ConfigError: an unknown form, or a file that cannot be read.
    """
    if text.endswith(".json"):
        return _from_file(Path(text), text)
    form, colon, target = text.partition(":")
    kind = _kind(form, text)
    if not colon or not target:
        raise ConfigError(f"--scorer {shown(text)} names no {kind.target}; allowed: {forms_shown()}")
    return ScorerSpec(text, form, target)


def _kind(form: object, where: str) -> Kind:
    if isinstance(form, str) and form.startswith(_HTTP):
        return _SERVER
    if not isinstance(form, str) or form not in KINDS:
        raise ConfigError(
            f"--scorer {shown(where)}: the form {shown(form)} is unknown; allowed: {forms_shown()}; a checkpoint of "
            "Surestep is named with --checkpoint"
        )
    return KINDS[form]


def _from_file(path: Path, text: str) -> ScorerSpec:
    from surestep.untrusted import read_json

    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--scorer {path} cannot be read ({reason}); allowed: {forms_shown()}") from None
    if not isinstance(values, dict):
        raise ConfigError(f'--scorer {path} holds no object; needed: {{"form": ..., "path": ...}}')
    form, calibration = values.pop("form", None), values.pop("calibration", None)
    kind = _kind(form, text)
    target = values.pop(kind.target, None)
    for name, value in ((kind.target, target), ("calibration", calibration)):
        if not isinstance(value, str) and (value is not None or name == kind.target):
            raise ConfigError(f"--scorer {path}: {name} is {shown(value)}; allowed: text")
    # Whatever a file names lies beside it, unless it says where from the root on.
    beside = None if calibration is None else path.parent / calibration
    if kind.target == "path" and (path.parent / target).exists():
        target = str(path.parent / target)
    return ScorerSpec(text, str(form), target, values, beside)


def _model(spec: ScorerSpec, config: Config, stack: ExitStack) -> tuple[Scorer, list[str]]:
    from surestep.scoring.other_scorers.foreign_model import load_foreign_model

    found = load_foreign_model(FORMS[spec.form].changed(dict(spec.fields)), spec.target, config)
    return found, found.reasons


def _critic(spec: ScorerSpec, config: Config, stack: ExitStack) -> tuple[Scorer, list[str]]:
    from surestep.inference.critic import CriticScorer, CriticSettings

    fields = dict(spec.fields)
    model = fields.pop("model", None)
    if model is not None and not isinstance(model, str):
        raise ConfigError(f"the scorer critic: model is {shown(model)}; allowed: text")
    settings = CriticSettings.of(fields)
    generator, identity = _generator(spec.target, model, config)
    how = f"{settings.votes} vote{'s' if settings.votes > 1 else ''} a solution, at temperature {settings.drawn_at:g}"
    return CriticScorer(generator, settings, identity), [f"scorer critic: answers in text, solution by solution; {how}"]


def _generator(target: str, model: str | None, config: Config) -> tuple[Generator, dict[str, Any]]:
    """Who writes a critic's answers, and what pins its weights."""
    if target.startswith(("http://", "https://")):
        from surestep.inference.generation.endpoint import OpenAIEndpoint

        return OpenAIEndpoint(target, model, api_key=os.environ.get(ENDPOINT_KEY)), {}
    from surestep.inference.generation.local_model import TransformersGenerator
    from surestep.model.backbones.files import hash_files, weights_hash
    from surestep.model.backbones.load import fetched_folder

    if model is not None:
        raise ConfigError(f"the scorer critic: model is {shown(model)}, and {target} is no address of an endpoint")
    files = hash_files(fetched_folder(target, None))
    return TransformersGenerator.load(target, device=config.training.device), {"weights_sha256": weights_hash(files)}


def _function(spec: ScorerSpec, config: Config, stack: ExitStack) -> tuple[Scorer, list[str]]:
    from surestep.scoring.other_scorers.python_function import FunctionScorer

    if spec.fields:
        raise ConfigError(f"the scorer's field {shown(next(iter(spec.fields)))} is unknown to a function")
    return FunctionScorer.named(spec.target), [
        f"scorer python: runs your own code ({spec.target}), solution by solution"
    ]


def _server(spec: ScorerSpec, config: Config, stack: ExitStack) -> tuple[Scorer, list[str]]:
    from surestep.client.remote_scorer import RemoteScorer

    scorer = RemoteScorer.at(
        spec.target, spec.form.removeprefix(_HTTP), spec.fields, api_key=os.environ.get(KEY), timeout_s=600.0
    )
    stack.callback(scorer.client.close)
    reads = "answers for each step" if scorer.protocol.by == "step" else "is asked for the solution up to each step"
    return scorer, [f"scorer {spec.form}: {scorer.url} {reads}"]


_SERVER = Kind("url", _server)
KINDS: Mapping[str, Kind] = {
    **{form: Kind("path", _model) for form in FORMS},
    "critic": Kind("path", _critic),
    "python": Kind("function", _function),
}
"""Every form but `http+...`, by its name."""


@dataclass(frozen=True)
class OpenedScorer:
    """A scorer that is ready.

    Attributes:
        scorer: with its map, where one is applied.
        calibration: that belongs to it, if any.
        use: which map of it is applied.
        slug: a folder's name for its results.
    """

    scorer: CalibratedScorer
    calibration: Calibration | None
    use: CalibrationUse
    slug: str


@contextmanager
def opened_scorer(
    text: str,
    config: Config,
    console: Console,
    *,
    calibration_file: Path | None = None,
    use: CalibrationUse | None = None,
) -> Iterator[OpenedScorer]:
    """The scorer that `--scorer` names, ready; how it runs is said on the console.

    Args:
        text: after `--scorer`.
        config: device, arithmetic, token budget.
        console: for the lines.
        calibration_file: of `--calibration_file`; else the one that the scorer's own file names.
        use: of `--calibration`; unset: the pooled map, where there is a file.

    Raises:
        ConfigError: an unknown form or field, or a calibration of another scorer.
        SurestepError: the scorer cannot be made.
    """
    spec = parse_spec(text)
    file = calibration_file or spec.calibration
    check_has_file(file, use)
    with ExitStack() as stack:
        scorer, reasons = _kind(spec.form, text).make(spec, config, stack)
        for reason in reasons:
            console.print(f"· {reason}", markup=False, highlight=False)
        yield with_map(scorer, file, use, spec=text)


def check_has_file(file: Path | None, use: CalibrationUse | None) -> None:
    """Raise where `--calibration` asks for a map, and there is no file of one.

    Raises:
        ConfigError: naming the file's flag.
    """
    if file is None and use not in (None, "none"):
        raise ConfigError(f"--calibration {use} needs --calibration_file, from `surestep calibrate --scorer ...`")


def with_map(scorer: Scorer, file: Path | None, use: CalibrationUse | None, *, spec: str) -> OpenedScorer:
    """A scorer whose map, if any, lies in a file of its own.

    Args:
        scorer: its `about` has `form`, `name` and `sha256` in `scorer`.
        file: of `--calibration_file`.
        use: of `--calibration`; unset: the pooled map, where there is a file.
        spec: how its user named it.

    Raises:
        ConfigError: the file holds no map, or one of another scorer.
    """
    from surestep.scoring.checkpoint.calibration_file import read_calibration_of
    from surestep.scoring.other_scorers.wrapped import CalibratedScorer

    calibration = None if file is None else read_calibration_of(scorer, file)
    applied: CalibrationUse = (use or "pooled") if calibration is not None else "none"
    about = scorer.about()["scorer"]
    name = re.sub(r"[^\w.-]+", "_", f"{about['form']}_{about['name']}").strip("_")
    wrapped = CalibratedScorer(scorer, calibration, file, applied, spec=spec)
    return OpenedScorer(wrapped, calibration, applied, f"eval_{name}_{about['sha256'][:8]}")


def one_of(args: argparse.Namespace, *names: str) -> str:
    """Which of these flags was given.

    Raises:
        ConfigError: none, or several.
    """
    given = [name for name in names if getattr(args, name, None) is not None]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(f'--{name}' for name in given)} exclude each other: drop all but one")
    if not given:
        values = {"checkpoint": "FOLDER", "predictions": "FILE", "scorer": "FORM:PATH"}
        raise ConfigError(f"name one of {', '.join(f'--{name} {values[name]}' for name in names)}")
    return given[0]
