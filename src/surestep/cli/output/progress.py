"""What a person sees while something long runs: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from surestep.training.events import RunView, TrainingEvents
from surestep.training.events.records import StepDone, StepRecord, ValidationRecord

if TYPE_CHECKING:
    from surestep.inference.tables.job import Advance


class Counters:
    """Counters of what is being read: give a title, get a function that is told how many more are done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: Counter | None = None
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            TextColumn("{task.completed:,.0f} {task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def __call__(self, title: str) -> Counter:
        """Count under `title`; the counter before it is done."""
        self._finish()
        if not self._console.is_terminal:
            self._console.print(f"{title} ...")
        self._progress.start()
        self._last = Counter(self._console, self._progress, title)
        return self._last

    def close(self) -> None:
        """Leave the counters as they stand: what follows has a display of its own."""
        self._finish()
        self._progress.stop()

    def _finish(self) -> None:
        if self._last is not None:
            self._last.finish()


class Counter:
    """One counter: problems that are done, and the stages before the first of them, each with the time that is left.

    Away from a terminal it says so in a line now and then.
    """

    def __init__(self, console: Console, progress: Progress, title: str) -> None:
        self._console, self._progress, self._title = console, progress, title
        self._task = progress.add_task(title, total=None, unit="problems", left="")
        self._said = time.monotonic()
        self._begin("problems", None)

    def __call__(self, count: int, /) -> None:
        """So many more problems are done."""
        self._move(self._done + count)

    def reading(self, reason: str, done: int, expected: int | None, /) -> None:
        """So many `records` are read, or `trees` made of them, of so many."""
        unit = "rows read" if reason == "records" else "problems put together"
        if unit != self._unit:
            self._begin(unit, expected, done)
        self._move(done)

    def expect(self, total: int, /) -> None:
        """From now on problems are done, so many in all."""
        self._begin("problems", total)

    def _begin(self, unit: str, total: int | None, done: int = 0) -> None:
        # What was done before the clock runs says nothing of the speed.
        self._unit, self._total, self._done, self._first = unit, total, done, done
        self._begun = self._looked = time.monotonic()
        self._progress.update(self._task, completed=0, unit=unit, left="")

    def _move(self, done: int) -> None:
        self._done = done
        now = time.monotonic()
        seconds = now - self._begun
        if not self._console.is_terminal:
            if now - self._said >= _SECONDS_BETWEEN_LINES_OF_READING:
                self._said = now
                line = rows_line(self._title, done, self._total, seconds, before=self._first, unit=self._unit)
                self._console.print(line, markup=False, highlight=False)
        elif now - self._looked >= _SECONDS_BETWEEN_LOOKS or done == 1:
            self._looked = now
            left = time_left(done, self._total, seconds, before=self._first)
            self._progress.update(self._task, completed=done, left=left and f"about {left} left")

    def finish(self) -> None:
        """Show the last count."""
        self._progress.update(self._task, completed=self._done, total=self._done, left="")


_SECONDS_BETWEEN_LINES_OF_READING = 5.0
_SECONDS_BETWEEN_LOOKS = 0.1
"""Millions of rows are told of one by one."""


@contextmanager
def counting(console: Console) -> Iterator[Counters]:
    """Counters that are taken away whatever happens."""
    counters = Counters(console)
    try:
        yield counters
    finally:
        counters.close()


@contextmanager
def rows_done(console: Console, title: str, total: int | None) -> Iterator[Advance]:
    """Show how many rows are done, how fast, and how long the rest takes; a line now and then where no terminal is.

    Rows that an earlier run did are counted as done, and tell nothing of the speed.

    Args:
        console: where.
        title: what is done.
        total: about how many rows there are; None where nobody knows, and no time left is shown.
    """
    progress = Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[rows]} rows"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    task = progress.add_task(title, total=total, rows="0")
    done, before, begun, said = 0, 0, time.monotonic(), time.monotonic()

    def advance(count: int, /, *, earlier: bool = False) -> None:
        nonlocal done, before, said
        done += count
        if earlier:
            before += count
            progress.reset(task, completed=done, total=total, rows=f"{done:,}")  # forgets the speed so far
            return
        # A table in which texts have line ends is counted too long: what is done is never more than there is.
        progress.update(task, completed=done, rows=f"{done:,}")
        now = time.monotonic()
        if not console.is_terminal and now - said >= _SECONDS_BETWEEN_LINES:
            said = now
            console.print(rows_line(title, done, total, now - begun, before=before))

    with progress:
        yield advance


_SECONDS_BETWEEN_LINES = 30.0


def rows_line(title: str, done: int, total: int | None, seconds: float, *, before: int = 0, unit: str = "rows") -> str:
    """How far a table is, as a line; `before` of the rows were done by an earlier run.

    >>> rows_line("scoring", 500, 2000, 60.0)
    'scoring: 500 of about 2,000 rows, 8.3 rows/s, about 3 min left'
    >>> rows_line("scoring", 500, None, 60.0)
    'scoring: 500 rows, 8.3 rows/s'
    >>> rows_line("scoring", 1500, 2000, 60.0, before=1000)
    'scoring: 1,500 of about 2,000 rows, 8.3 rows/s, about 60 s left'
    """
    speed = (done - before) / max(seconds, 1e-9)
    each = f"{speed:,.1f} {unit.split()[0]}/s"
    if total is None or not (left := time_left(done, total, seconds, before=before)):
        return f"{title}: {done:,} {unit}, {each}"
    return f"{title}: {done:,} of about {max(done, total):,} {unit}, {each}, about {left} left"


def time_left(done: int, total: int | None, seconds: float, *, before: int = 0) -> str:
    """How long the rest takes at the speed so far; empty where nobody knows.

    >>> time_left(500, 2000, 60.0), time_left(1, 1000, 60.0), time_left(5, None, 60.0)
    ('3 min', '16.6 h', '')
    """
    speed = (done - before) / max(seconds, 1e-9)
    if total is None or speed <= 0:
        return ""
    left = max(0, total - done) / speed
    return f"{left / 3600:.1f} h" if left >= 5400 else f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"


class TrainingDisplay(TrainingEvents):
    """A run's progress on the console.

    On a terminal a bar with loss, learning rate, tokens/s, labelled steps/s, time left and memory stays at the
    bottom; elsewhere each logging interval is a line.
    """

    def __init__(self, console: Console, *, before: Callable[[], None] = lambda: None) -> None:
        self.console = console
        self._before = before
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("train", total=None, figures="", start=False)
        self._run: RunView | None = None

    def say(self, line: str) -> None:
        """A line above the bar."""
        self.console.print(f"· {line}", markup=False, highlight=False)

    def started(self, run: RunView) -> None:
        """Show the bar, after `before` has made room for it."""
        self._before()
        self._progress.start_task(self._task)
        self._progress.update(self._task, completed=run.state.step, total=run.max_steps)
        self._run = run
        self._progress.start()

    def step_done(self, done: StepDone) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done.step)

    def logged(self, record: StepRecord) -> None:
        """Show the interval's figures, the loss as a mean over its labels."""
        loss = "–" if record.loss_per_label is None else f"{record.loss_per_label:.4f}"
        # Of rates layer by layer the lowest is enough for a line; metrics.jsonl has all.
        lower = {role: rate for role, rate in record.learning_rates.items() if role.startswith("backbone_")}
        hidden = sorted(lower, key=lower.__getitem__)[1:]
        rates = f"{record.learning_rate:.1e}" + "".join(
            f" ({role.removeprefix('backbone_')} {rate:.1e})"
            for role, rate in record.learning_rates.items()
            if rate != record.learning_rate and role not in hidden
        )
        figures = (
            f"{self._phase()}loss {loss}  lr {rates}  {record.tokens_per_s:,.0f} tokens/s  "
            f"{record.labels_per_s:,.0f} labelled steps/s  {record.memory_gb:.1f} GB"
        )
        self._progress.update(self._task, figures=figures)
        if not self.console.is_terminal:
            self.console.print(f"step {record.step}{self._of_steps()}  {figures}", markup=False, highlight=False)

    def _phase(self) -> str:
        return "" if self._run is None or self._run.phase is None else f"[{self._run.phase}] "

    def _of_steps(self) -> str:
        return "" if self._run is None else f"/{self._run.max_steps}"

    def validated(self, record: ValidationRecord) -> None:
        """One line for a validation."""

        def show(name: str) -> str:
            value = record.mean[name]
            return f"{name} {'–' if value is None else format(value, '.4f')}"

        figures = "  ".join(show(name) for name in ("nll", "mse", "r2", "ece", "auroc"))
        best = "  best so far" if record.is_best else ""
        worse = f"  worse than a constant (nll {record.constant_nll:.4f})" if record.is_worse_than_constant else ""
        self.console.print(
            f"validation at step {record.step}: {self._phase()}{figures}{best}{worse}", markup=False, highlight=False
        )

    def saved(self, folder: Path) -> None:
        """One line for a checkpoint."""
        self.console.print(f"saved {folder}", markup=False, highlight=False)

    def finished(self) -> None:
        """Take the bar away."""
        self._progress.stop()
