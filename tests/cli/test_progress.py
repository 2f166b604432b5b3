"""What a person sees, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.measure import Measurement

from surestep.cli.output import progress as progress_module
from surestep.cli.output.console import make_console
from surestep.cli.output.fitted_table import FittedTable
from surestep.cli.output.progress import TrainingDisplay, counting, rows_done
from surestep.cli.output.tables import baselines_table, metrics_table
from surestep.metrics import Baseline, build_report
from surestep.metrics.report.wording import number
from surestep.scored import ScoredSteps
from surestep.training.events import RunView
from surestep.training.events.records import StepRecord, ValidationRecord
from surestep.training.run_state import RunState

RECORD = StepRecord(
    step=10,
    loss=3.5,
    loss_per_label=0.61234,
    learning_rate=1e-4,
    grad_norm=1.0,
    tokens_per_s=12345.6,
    labels_per_s=479.2,
    memory_gb=7.25,
    labels={"own": 40},
)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=160)


def plain() -> Console:
    return Console(file=io.StringIO(), width=160)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


def show_a_run(console: Console) -> None:
    with counting(console) as counters:
        display = TrainingDisplay(console, before=counters.close)
        counters("reading own train")(30)
        counters("reading own test")(12)
        display.say("a [line] of its own")
        display.started(RunView(RunState(), max_steps=20))
        display.step_done(SimpleNamespace(step=10))
        display.logged(RECORD)
        display.validated(
            ValidationRecord(
                10, "nll", 0.5, dict.fromkeys(("nll", "mse", "r2", "ece"), 0.5) | {"auroc": None}, {}, True
            )
        )
        display.saved(Path("outputs/run/checkpoint_step_10"))
        display.finished()


def test_elsewhere_every_event_is_a_line() -> None:
    console = plain()
    show_a_run(console)
    assert text(console).splitlines() == [
        "reading own train ...",
        "reading own test ...",
        "· a [line] of its own",
        "step 10/20  loss 0.6123  lr 1.0e-04  12,346 tokens/s  479 labelled steps/s  7.2 GB",
        "validation at step 10: nll 0.5000  mse 0.5000  r2 0.5000  ece 0.5000  auroc –  best so far",
        "saved outputs/run/checkpoint_step_10",
    ]


def test_on_a_terminal_the_bar_follows_the_counters() -> None:
    console = terminal()
    show_a_run(console)
    found = text(console)
    for words in (
        "reading own train",
        "30 problems",
        "12 problems",
        "10/20",
        "12,346 tokens/s",
        "validation at step 10",
    ):
        assert words in found
    # Once the bar is there, the counters are no longer redrawn.
    assert "problems" not in found[found.index("10/20") :]


def test_an_error_takes_the_counters_away() -> None:
    console = terminal()
    try:
        with counting(console) as counters:
            counters("reading")
            raise ValueError
    except ValueError:
        console.print("the message")
    assert text(console).rstrip().endswith("the message")


def test_off_a_terminal_tables_are_whole(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert make_console().width >= 120


def section(**figures: object) -> dict:
    names = ("mse", "mae", "r2", "ece", "nll", "auroc", "accuracy")
    values = dict.fromkeys(names, 0.25) | figures
    return {**values, "num_steps": 1234, "num_problems": 56, "skill": {"mse": 0.125}, "constant_baseline": dict(values)}


def test_the_table_shows_each_dataset_its_constant_and_the_skill() -> None:
    own, other = section(auroc=None), section()
    both = {"per_dataset": {"own": own, "other": other}, "overall": section() | {"r2_mean_per_dataset": 0.75}}
    console = plain()
    console.print(metrics_table(both, title="test split"))
    found = text(console)
    for words in (
        "test split",
        "own",
        "other",
        "overall",
        "MSE of a constant",
        "1,234",
        "0.250",
        "0.125",
        "–",
        "0.750",
    ):
        assert words in found
    assert "0.750" in found, "the mean R² of the datasets"


def test_one_dataset_is_shown_once() -> None:
    console = plain()
    console.print(metrics_table({"per_dataset": {"own": section()}, "overall": section()}, title="test split"))
    assert "overall" not in text(console)
    assert text(console).count("1,234") == 1


def test_an_undefined_figure_is_a_dash() -> None:
    assert (number(None), number(0.5)) == ("–", "0.500")


CELLS = st.text("ab 日é[]\n", max_size=9)


@given(
    rows=st.lists(st.lists(CELLS, min_size=5, max_size=5), max_size=4), names=st.lists(CELLS, min_size=5, max_size=5)
)
def test_columns_side_by_side_are_as_wide_as_each_alone_and_the_gaps(rows: list[list[str]], names: list[str]) -> None:
    console = Console(file=io.StringIO(), width=100_000)
    table = FittedTable()
    table.add_columns_of(*names[1:], first=names[0])
    for row in rows:
        table.add_cells(*row)
    widths = table._natural_widths(console, console.options)
    for columns in ([0], [0, 2], [0, 1, 3], [0, 1, 2, 3, 4]):
        together = Measurement.get(console, console.options, table._piece(columns, True)).maximum
        assert widths.natural(columns) == together


@pytest.mark.parametrize("width", [60, *(pytest.param(width, marks=pytest.mark.slow) for width in (80, 120, 200))])
def test_tables_fit_keep_their_names_and_break_no_figure(width: int) -> None:
    random = np.random.default_rng(0)
    label = (random.random(360) < 0.6).astype(float)
    part = ScoredSteps.of_columns(
        confidence=np.clip(label * 0.4 + random.random(360) * 0.6, 0, 1),
        label=label,
        dataset=np.arange(360) // 3 % 3,
        dataset_names=("prm800k", "arithmetic", "a dataset with a long name"),
        problem=np.arange(360) // 3,
        position=1 + np.arange(360) % 3,
    )
    words = Baseline("TF-IDF", "words", label * 0.5 + 0.25)
    report: Any = build_report(part, baselines=[words], resamples=100)
    screen = io.StringIO()
    console = Console(file=screen, width=width)
    beside = baselines_table(report)
    assert beside is not None
    console.print(metrics_table(report, title="test split"), beside)
    lines = screen.getvalue().splitlines()
    assert max(len(line) for line in lines) <= width
    assert "…" not in screen.getvalue()
    interval = report["per_dataset"]["prm800k"]["intervals"]["mse"]
    half = (interval["high"] - interval["low"]) / 2
    (mse, *_) = (line for line in lines if line.startswith("MSE "))
    assert f"{report['per_dataset']['prm800k']['mse']:.3f} ±{half:.3f}" in mse
    pieces = screen.getvalue().split("\n\n")
    of_figures = [piece for piece in pieces if piece.startswith("figure ")]
    assert of_figures
    assert all(f"\n{name} " in piece for piece in of_figures for name in ("labelled steps", "MSE", "AUROC", "skill"))
    of_scorers = [piece for piece in pieces if piece.startswith("scorer ")]
    assert all(piece.count("\n  TF-IDF ") == 4 for piece in of_scorers)
    assert sum(piece.count("1.000*") for piece in of_scorers) == 4, "a ranking that the model does not beat is marked"


def test_a_table_of_few_problems_marks_no_baseline_and_says_why() -> None:
    label = np.tile([0.0, 1.0], 20)
    part = ScoredSteps.of_columns(0.4 + 0.1 * label, label, problem=np.arange(40) // 2)
    report: Any = build_report(part, baselines=[Baseline("words", "words", label)], resamples=100)
    table = baselines_table(report)
    assert table is not None
    assert table.remark == "all: too few problems to say (20; at least 30 are needed)"
    screen = io.StringIO()
    Console(file=screen, width=100).print(table)
    assert "*" not in screen.getvalue().replace("(* not beaten", "")


def test_a_report_without_baselines_has_no_table_of_them() -> None:
    assert baselines_table({"per_dataset": {}, "overall": {}}) is None


def test_a_validation_worse_than_a_constant_is_said_to_be() -> None:
    console = plain()
    figures = dict.fromkeys(("mse", "r2", "ece", "auroc"), 0.5)
    for nll in (0.7, 0.5):
        record = ValidationRecord(10, "nll", nll, {**figures, "nll": nll}, {}, True, constant_nll=0.6)
        TrainingDisplay(console).validated(record)
    lines = text(console).splitlines()
    assert lines[0].endswith("best so far  worse than a constant (nll 0.6000)")
    assert lines[1].endswith("best so far")


def test_rows_of_an_earlier_run_say_nothing_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr("surestep.cli.output.progress.time.monotonic", lambda: float(next(clock)))
    console = plain()
    with rows_done(console, "scoring", 1000) as advance:
        advance(900, earlier=True)
        for _ in range(3):
            advance(10)
    (line, *_) = text(console).splitlines()
    assert line == "scoring: 920 of about 1,000 rows, 0.3 rows/s, about 4 min left"
    on_terminal = terminal()
    with rows_done(on_terminal, "scoring", 1000) as advance:
        advance(900, earlier=True)
        advance(10)
    assert "910 rows" in text(on_terminal)


def test_rows_show_how_many_are_done_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    console = terminal()
    with rows_done(console, "scoring", 40) as advance:
        advance(10)
        console.print("a line above")
        advance(50)
    assert "60 rows" in text(console)
    assert "left" in text(console)
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr("surestep.cli.output.progress.time.monotonic", lambda: float(next(clock)))
    console = plain()
    with rows_done(console, "scoring", 100) as advance:
        for _ in range(4):
            advance(10)
    lines = text(console).splitlines()
    assert len(lines) == 2, "one at least every 30 seconds, not one an advance"
    assert all(line.startswith("scoring: ") and "of about 100 rows" in line and "left" in line for line in lines)


def test_reading_says_how_far_it_is_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake clock: a row takes 3 s, then a problem 4 s, then storing one 1 s."""
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    console, said = plain(), list[float]()
    with counting(console) as counters:
        counter = counters("reading and tokenising own train")
        for step, work in (
            (3.0, lambda done: counter.reading("records", done, 20)),
            (4.0, lambda done: counter.reading("trees", done, 10)),
            (1.0, lambda done: counter.expect(8) if done == 1 else counter(1)),
        ):
            for done in range(1, 11):
                now[0] += step
                lines = text(console).count("\n")
                work(done)
                said += [now[0]] * (text(console).count("\n") - lines)
    assert max(after - before for before, after in pairwise([0.0, *said])) < 10
    shown = text(console)
    assert "reading and tokenising own train: 2 of about 20 rows read, 0.3 rows/s, about 54 s left" in shown
    assert "problems put together" in shown
    assert "of about 8 problems, " in shown


def test_on_a_terminal_reading_shows_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    console = terminal()
    with counting(console) as counters:
        counter = counters("reading own train")
        for done in range(1, 4):
            now[0] += 10.0
            counter.reading("records", done, 10)
            counters._progress.refresh()
    assert re.search(r"3 rows read .*about 70 s left", text(console))
