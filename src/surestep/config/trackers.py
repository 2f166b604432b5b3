"""What `training.report_to` takes: names of experiment trackers, as other trainers write them.

Knows names; imports no tracker.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator

TrackerName = Literal["tensorboard", "wandb", "mlflow", "aim"]
TRACKER_NAMES: tuple[TrackerName, ...] = get_args(TrackerName)

_ALLOWED = f"auto, all, none, or names of {', '.join(TRACKER_NAMES)} (several with commas, or a list)"


def _read(value: Any) -> Any:
    """The names as a list, each once; `auto` and `all` stay words; `none`, null and no name are an empty list.

    >>> _read("wandb, mlflow"), _read(["all"]), _read("none"), _read(None)
    (['wandb', 'mlflow'], 'all', [], [])
    """
    if value is None:
        return []
    if not isinstance(value, str | list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(_ALLOWED)
    names = [name.strip().lower() for name in (value.split(",") if isinstance(value, str) else value)]
    if names in (["auto"], ["all"]):
        return names[0]
    if names in ([""], ["none"]):
        return []
    if not set(names) <= set(TRACKER_NAMES):
        raise ValueError(_ALLOWED)
    return list(dict.fromkeys(names))


ReportTo = Annotated[Literal["auto", "all"] | list[TrackerName], BeforeValidator(_read)]
"""Where the figures of a run go."""


def wanted_trackers(report_to: str | list[TrackerName], *, tensorboard: bool) -> tuple[list[TrackerName], bool]:
    """The trackers asked for, and whether those that are not installed are left out rather than refused.

    >>> wanted_trackers("auto", tensorboard=True), wanted_trackers("auto", tensorboard=False)
    ((['tensorboard'], True), ([], True))
    >>> wanted_trackers("all", tensorboard=False), wanted_trackers(["wandb"], tensorboard=True)
    ((['wandb', 'mlflow', 'aim'], True), (['wandb'], False))
    """
    if isinstance(report_to, list):
        return report_to, False
    names = TRACKER_NAMES if report_to == "all" else ("tensorboard",)
    return [name for name in names if tensorboard or name != "tensorboard"], True
