"""The long form of the tests of faults, run by `make test-faults`: outside `testpaths`, so `make test` leaves it out.

What each fault led to is counted and shown at the end, for docs/reference/faults.md.
"""

from __future__ import annotations

import itertools
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

settings.register_profile(
    "faults",
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # making a failure smaller may take as long as the whole rest
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("faults")

SECONDS = 90
"""For one file or one command, drawing included, on a machine that does other work as well."""
OUTCOMES: dict[str, Counter[str]] = {}


class HangError(BaseException):
    """Not an Exception: nothing may catch it on its way."""


def _hangs(_number: int, _frame: Any) -> None:
    raise HangError(f"no answer within {SECONDS} seconds")


@pytest.fixture
def counted() -> Iterator[Callable[[str, Callable[[], str]], None]]:
    """Counts what a fault of a kind led to, as the function says it: "read" or "named"; neither hangs."""
    signal.signal(signal.SIGALRM, _hangs)

    def count(kind: str, attempt: Callable[[], str]) -> None:
        signal.alarm(SECONDS)
        try:
            outcome = attempt()
        except HangError:
            outcome = "hang"
            raise
        except BaseException:
            outcome = "failed"
            raise
        finally:
            signal.alarm(0)
            OUTCOMES.setdefault(kind, Counter())[outcome] += 1

    yield count
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _seldom_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten plots one is drawn as users get it: drawing would take most of the time of the commands that report."""
    from quick_plots import quick_png
    from surestep.evaluation.report.charts import png

    draw, count = png.png_of, itertools.count(1)

    def png_of(chart: Any) -> bytes:
        return draw(chart) if next(count) % 10 == 0 else quick_png(chart)

    monkeypatch.setattr(png, "png_of", png_of)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA run of two steps, its evaluation and its calibration."""
    from backbones import save_backbone
    from runs import DATA_FLAGS, write_own
    from surestep.cli.main import main

    root = tmp_path_factory.mktemp("run")
    backbone = save_backbone("llama", root / "backbone")
    for number, name in enumerate(("train", "validation", "test")):
        write_own(root / f"{name}.jsonl", 12, seed=number, offset=100 * number)
    flags = [
        *("--preset", "lora", "--backbone", str(backbone), "--mlp_hidden_dims", "[16]", "--lora_r", "4", *DATA_FLAGS),
        *(flag for name in ("train", "validation", "test") for flag in (f"--own_{name}", str(root / f"{name}.jsonl"))),
        *("--cache_dir", str(root / "cache"), "--device", "cpu", "--tensorboard", "false"),
        *("--bootstrap_resamples", "20", "--max_steps", "2", "--batch_size", "2", "--gradient_accumulation_steps", "1"),
        *("--warmup_steps", "0", "--eval_steps", "2", "--save_steps", "2", "--logging_steps", "1"),
        *("--output_dir", str(root), "--experiment_name", "run"),
    ]
    assert main(["train", *flags]) == 0
    checkpoint = root / "run" / "checkpoint_step_2"
    assert main(["calibrate", "--checkpoint", str(checkpoint)]) == 0
    assert main(["evaluate", "--checkpoint", str(checkpoint), "--output_dir", str(root / "evaluated")]) == 0
    return root


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The counts as rows of a table."""
    if not OUTCOMES:
        return
    total: Counter[str] = Counter()
    terminalreporter.write_line("\n| fault | tried | read | named | failed |\n|---|---|---|---|---|")
    for kind, found in OUTCOMES.items():
        total += found
        terminalreporter.write_line(_row(kind, found))
    terminalreporter.write_line(_row("all", total))


def _row(kind: str, found: Counter[str]) -> str:
    failed = found["failed"] + found["hang"]
    return f"| {kind} | {found.total():,} | {found['read']:,} | {found['named']:,} | {failed:,} |"
