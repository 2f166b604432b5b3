"""Packages named `wandb`, `mlflow` and `aim` that keep what Accelerate's trackers tell them, where none is installed.

Each holds what the trackers of Accelerate 1.12 to 1.15 call, by the packages' own signatures; nothing is sent.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_COMMON = """
__version__ = "0.0"
runs = []
broken = set()  # of "start", "settings", "log", "finish"
from_step = 0  # with "log": the first step that fails


def _may_fail(what, step=0):
    if what in broken and (step or 0) >= from_step:
        raise ConnectionError("no route\\nto host")


class Known:
    def __init__(self, name, known_as, **kwargs):
        _may_fail("start")
        self.name, self.resumed, self.kwargs = name, known_as is not None, kwargs
        self.known_as = known_as or f"run-{len(runs)}"
        self.settings, self.logged, self.is_finished = [], [], False
        runs.append(self)

    def keep(self, values, step):
        print("what a tracker prints")
        _may_fail("log", step)
        self.logged.append((step, dict(values)))

    def end(self):
        self.is_finished = True
        _may_fail("finish")
"""
_PACKAGES = {
    "wandb": """
class Run(Known):
    id = property(lambda self: self.known_as)

    def log(self, values, step=None):
        self.keep(values, step)

    def finish(self):
        self.end()


class config:
    @staticmethod
    def update(values, allow_val_change=None):
        _may_fail("settings")
        runs[-1].settings.append(values)


def init(project=None, name=None, id=None, resume=None):
    return Run(name, id, project=project, resume=resume)
""",
    "mlflow": """
class utils:
    class validation:
        MAX_PARAM_VAL_LENGTH, MAX_PARAMS_TAGS_PER_BATCH = 6000, 100


class Run(Known):
    info = property(lambda self: type("Info", (), {"run_id": self.known_as}))


def search_experiments(filter_string):
    return []


def create_experiment(name, artifact_location, tags):
    return name


def start_run(run_id, experiment_id, run_name, nested, tags, description):
    return Run(run_name, run_id, project=experiment_id)


def log_params(values):
    _may_fail("settings")
    assert not runs[-1].resumed, "MLflow refuses a setting with another value"
    runs[-1].settings.append(values)


def log_metrics(values, step=None):
    assert all(isinstance(value, (int, float)) for value in values.values())
    runs[-1].keep(values, step)


def end_run():
    runs[-1].end()
""",
    "aim": """
import sys


class Run(Known):
    hash = property(lambda self: self.known_as)

    def __init__(self, run_hash=None, repo=None, experiment=None):
        super().__init__(None, run_hash, project=experiment, repo=repo)
        self.written = sys.stdout.write
        sys.stdout.write = lambda text: self.written(text)  # it watches what is printed

    def __setitem__(self, name, values):
        _may_fail("settings")
        self.settings.append(values)

    def track(self, value, name=None, step=None):
        self.keep({name: value}, step)

    def close(self):
        sys.stdout.write = self.written
        self.end()
""",
}


@contextmanager
def fake_trackers(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[dict[str, Any]]:
    """The three packages, by name, importable from `folder` and nowhere afterwards."""
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "MLFLOW_TAGS", "MLFLOW_NESTED_RUN"):
        patch.delenv(name, raising=False)
    before = {name: sys.modules.pop(name, None) for name in _PACKAGES}
    for name, source in _PACKAGES.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(_COMMON + source, encoding="utf-8")
    patch.syspath_prepend(str(folder))
    try:
        yield {name: importlib.import_module(name) for name in _PACKAGES}
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
