"""What is written by hand here against the library that could do it: lines, seconds, and where results differ.

    python benchmarks/hand_or_library.py                     all parts
    python benchmarks/hand_or_library.py isotonic logistic   these

Every part does one job both ways, on made input, and prints a row of a table in Markdown: seconds are the best of a
few, after the library was imported. A library that is not installed is said to be missing. Needed, besides Surestep's
own environment: datasets, pydantic-settings, tyro, datasketch, altair, vl-convert-python, plotly, pooch.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import io
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = Path(__file__).resolve().parents[1] / "src" / "surestep"


@dataclass(frozen=True)
class Row:
    """One part, done by one library.

    Attributes:
        library: with its version.
        lines: of ours that it would replace.
        ours_s, theirs_s: seconds; NaN where time says nothing.
        found: where the two differ.
    """

    library: str
    lines: int
    ours_s: float
    theirs_s: float
    found: str


def best_of(act: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """Seconds of the fastest call, and what the last one gave."""
    seconds, result = np.inf, None
    for _ in range(times):
        start = time.perf_counter()
        result = act()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, result


def lines_of(*names: str) -> int:
    """Lines of files of ours, by their place in the source."""
    return sum(len((SOURCE / name).read_text(encoding="utf-8").splitlines()) for name in names)


def named(*packages: str) -> str:
    """Packages with their versions."""
    return ", ".join(f"{package} {version(package)}" for package in packages)


def pooled_by_hand(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Adjacent violators pooled in a loop: what `maps/isotonic.py` did before SciPy."""
    means: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        count = 1
        while means and means[-1] >= value:
            total = masses[-1] + weight
            value = (means.pop() * masses.pop() + value * weight) / total
            weight = total
            count += counts.pop()
        means.append(value)
        masses.append(weight)
        counts.append(count)
    return np.clip(np.repeat(means, counts), values.min(), values.max())


def isotonic() -> Iterator[Row]:
    """100,000 different confidences; and 2,000 short ones with subnormal values."""
    from surestep.calibration.maps.isotonic import pool_adjacent_violators as theirs

    random, size = np.random.default_rng(0), 100_000
    label = (random.random(size) < np.linspace(0, 1, size)).astype(float)
    weights = random.integers(1, 5, size).astype(float)
    ours_s, ours = best_of(lambda: pooled_by_hand(label, weights))
    theirs_s, found = best_of(lambda: theirs(label, weights))
    worst = float(np.abs(ours - found).max())
    for seed in range(2000):
        random = np.random.default_rng(seed)
        size = int(random.integers(1, 12))
        values = random.choice([0, 1, 5e-324, 1e-310, 1 - 2**-53, 0.3, random.random()], size)
        weights = random.choice([1.0, 3.0, 1e-3, 1e9], size)
        worst = max(worst, float(np.abs(pooled_by_hand(values, weights) - theirs(values, weights)).max()))
    yield Row(named("scipy"), 20, ours_s, theirs_s, f"largest difference {worst:.1e}, subnormal values included")


def logistic() -> Iterator[Row]:
    """Beta calibration: two slopes of at least 0 and an intercept, soft labels, 100,000 steps."""
    from scipy.optimize import minimize
    from sklearn.linear_model import LogisticRegression

    from surestep.calibration.maps.logistic_fit import log_parts, minimise_nll_with_slopes_from_zero, sigmoid

    random, size = np.random.default_rng(0), 100_000
    confidence = random.beta(4, 2, size)
    label = np.clip(sigmoid(0.6 * np.log(confidence / (1 - confidence)) - 0.4) + random.normal(0, 0.1, size), 0, 1)
    weights = np.ones(size)
    log_p, log_rest = log_parts(confidence)
    features = np.stack([log_p, -log_rest, np.ones(size)], axis=1)

    def loss(found: np.ndarray) -> float:
        z = features @ found
        return float(np.mean(np.logaddexp(0.0, z) - label * z))

    def slope(found: np.ndarray) -> np.ndarray:
        return features.T @ (sigmoid(features @ found) - label) / size

    def by_sklearn() -> np.ndarray:
        rows, kinds = np.concatenate([features, features]), np.repeat([1, 0], size)
        model = LogisticRegression(C=np.inf, fit_intercept=False, solver="newton-cholesky", tol=1e-10)
        return model.fit(rows, kinds, sample_weight=np.concatenate([label, 1 - label])).coef_[0]

    def by_scipy() -> np.ndarray:
        bounds = [(0, None), (0, None), (None, None)]
        return minimize(
            loss, np.zeros(3), jac=slope, bounds=bounds, method="L-BFGS-B", options={"ftol": 0.0, "gtol": 1e-12}
        ).x

    ours_s, ours = best_of(lambda: minimise_nll_with_slopes_from_zero(features, label, weights, num_slopes=2), times=2)
    for library, act, lacks in (
        (named("scikit-learn"), by_sklearn, "no bounds on slopes, no soft labels (each row twice)"),
        (f"{named('scipy')} (L-BFGS-B)", by_scipy, "has bounds"),
    ):
        theirs_s, theirs = best_of(act, times=2)
        steepest = [float(np.abs(slope(found)).max()) for found in (ours, theirs)]
        far = float(np.abs(ours - theirs).max())
        found = f"gradient left {steepest[0]:.0e} and {steepest[1]:.0e}, coefficients {far:.0e} apart; {lacks}"
        yield Row(library, 60, ours_s, theirs_s, found)


def json_lines() -> Iterator[Row]:
    """20,000 rows as users have them; then one broken row, and labels of two kinds."""
    from surestep.data.records.bad_rows import read_rows
    from surestep.data.records.reading_report import ReadReport
    from surestep.errors import DataError

    row = {
        "problem": "what is 2 + 3?" * 5,
        "steps": [{"text": f"step {k} of it", "confidence": k / 9} for k in range(10)],
    }
    lines = [json.dumps(row) for _ in range(20_000)]
    cases = {
        "a broken row": [*lines[:3], '{"problem": ', *lines[3:5]],
        "labels of two kinds": ['{"label": 1}', '{"label": "+"}', '{"label": null}'],
        "numbers beyond 2**63": ['{"id": 123456789012345678901}'],
        "a key twice": ['{"label": 1, "label": 0}'],
    }

    def ours(path: Path) -> int:
        rows = read_rows(path, lambda record, _report: record, report=ReadReport(), bad_rows="skip")
        return sum(1 for _ in rows)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        good = folder / "good.jsonl"
        good.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for case, rows in cases.items():
            (folder / f"{case}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
        ours_s, _ = best_of(lambda: ours(good))
        kept = []
        for case, rows in cases.items():
            try:
                kept.append(f"{case}: {ours(folder / f'{case}.jsonl')} of {len(rows)} rows")
            except DataError as error:
                kept.append(f"{case}: refused at line {error.line}")

        import pyarrow
        from pyarrow import json as arrow_json

        def by_arrow(path: Path) -> Any:
            return arrow_json.read_json(path).to_pylist()

        def by_datasets(path: Path) -> Any:
            import datasets

            datasets.disable_progress_bars()
            loaded = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder / "cache"))
            return list(loaded)

        for library, read in ((f"pyarrow {pyarrow.__version__}", by_arrow), (_maybe("datasets"), by_datasets)):
            if "missing" in library:
                yield Row(library, lines_of("data/records/lines.py"), ours_s, np.nan, "")
                continue
            theirs_s, _ = best_of(lambda read=read: read(good), times=2)
            found = []
            for case in cases:
                try:
                    found.append(f"{case}: {read(folder / f'{case}.jsonl')!r:.60}")
                except Exception as error:
                    found.append(f"{case}: {type(error).__name__}, whole file refused")
            says = f"ours, skipping: {', '.join(kept)}. Theirs: {'; '.join(found)}"
            yield Row(library, lines_of("data/records/lines.py"), ours_s, theirs_s, says)


def _maybe(package: str) -> str:
    try:
        return named(package)
    except Exception:
        return f"{package} is missing"


SPELLINGS = (
    ["--max_steps", "5"],
    ["--max-steps", "5"],
    ["--training.max_steps", "5"],
    ["--training.max-steps", "5"],
    ["--training.learning_rate", "1e-4"],
    ["--mlp_hidden_dims", "[512, 128]"],
    ["--experiment_name", "1e-4"],
    ["--report_to", "wandb,mlflow"],
    ["--batch_size", "3"],
)
_MISTAKEN = (("max", "steps"), ("learning", "rate"))
TWO_MISTAKES = ["--training.max-steps", "x", "--training.learning-rate", "7"]


def flags() -> Iterator[Row]:
    """A fresh process that reads one flag, spellings that are understood, two mistakes at once."""
    ours = "from surestep.cli.parser import OneLineParser as P\nfrom surestep.cli.commands import train\n"
    ours += "from surestep.cli.flags import config_from_args\np=P(allow_abbrev=False)\ntrain.configure(p)\n"
    programs = {
        "ours": ours + "config_from_args(p.parse_args(sys.argv[1:]))",
        "pydantic-settings": "from pydantic_settings import CliApp\nfrom surestep.config import Config\n"
        "CliApp.run(Config, cli_args=sys.argv[1:])",
        "tyro": "import tyro\nfrom surestep.config import Config\ntyro.cli(Config, args=sys.argv[1:])",
    }

    def run(program: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", f"import sys\nsys.path[:] = {sys.path!r}\n{program}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    def facts(name: str) -> tuple[float, str]:
        seconds, _ = best_of(lambda: run(programs[name], ["--training.max-steps", "5"]))
        understood = sum(run(programs[name], arguments).returncode == 0 for arguments in SPELLINGS)
        said = run(programs[name], TWO_MISTAKES).stderr
        both = all(re.search(f"{first}.{second}", said.split("error", 1)[-1]) for first, second in _MISTAKEN)
        return seconds, (
            f"{understood} of {len(SPELLINGS)} spellings, two mistakes {'together' if both else 'one at a time'}"
        )

    ours_s, ours_found = facts("ours")
    for library in ("pydantic-settings", "tyro"):
        if "missing" in (title := _maybe(library)):
            yield Row(title, lines_of("cli/flags.py"), ours_s, np.nan, "")
            continue
        theirs_s, found = facts(library)
        yield Row(title, lines_of("cli/flags.py"), ours_s, theirs_s, f"ours: {ours_found}; theirs: {found}")


def near_copies() -> Iterator[Row]:
    """3,000 training problems, 600 others: copies with a sentence added, with changed words, and 300 that are none."""
    from surestep.data.inspect.near_copies import find_near_copies

    random = np.random.default_rng(0)
    words = [f"w{k}" for k in range(3000)]

    def text(size: int) -> list[str]:
        return [words[k] for k in random.integers(0, len(words), size)]

    training = [text(int(random.integers(25, 80))) for _ in range(3000)]
    longer = [[*problem, *text(len(problem))] for problem in training[:150]]
    changed = [[*text(1), *problem[1:]] for problem in training[150:300]]
    fresh = [text(int(random.integers(25, 80))) for _ in range(300)]
    train, asked = [" ".join(t) for t in training], [" ".join(t) for t in [*longer, *changed, *fresh]]
    ours_s, pairs = best_of(lambda: find_near_copies(train, asked))
    place = {problem: k for k, problem in enumerate(asked)}

    def counts(found: set[int]) -> str:
        spans = {"twice as long": range(150), "a word changed": range(150, 300), "false": range(300, 600)}
        return ", ".join(f"{name} {sum(k in found for k in span)}" for name, span in spans.items())

    ours = counts({place[problem] for problem, _ in pairs})
    if "missing" in (title := _maybe("datasketch")):
        yield Row(title, lines_of("data/inspect/near_copies.py"), ours_s, np.nan, ours)
        return
    from datasketch import MinHash, MinHashLSH, MinHashLSHEnsemble

    def runs(problem: str) -> set[bytes]:
        parts = problem.split()
        return {" ".join(parts[k : k + 5]).encode() for k in range(len(parts) - 4)}

    def sketch(problem: str) -> MinHash:
        made = MinHash(num_perm=128)
        made.update_batch(list(runs(problem)))
        return made

    def by_jaccard() -> set[int]:
        index = MinHashLSH(threshold=0.8, num_perm=128)
        for k, problem in enumerate(train):
            index.insert(k, sketch(problem))
        return {k for k, problem in enumerate(asked) if index.query(sketch(problem))}

    def by_containment() -> set[int]:
        index = MinHashLSHEnsemble(threshold=0.8, num_perm=128, num_part=16)
        index.index([(k, sketch(problem), len(runs(problem))) for k, problem in enumerate(asked)])
        return {k for problem in train for k in index.query(sketch(problem), len(runs(problem)))}

    for name, act in (("MinHashLSH", by_jaccard), ("MinHashLSHEnsemble", by_containment)):
        theirs_s, found = best_of(act, times=1)
        says = f"of 150, 150 and 300, ours: {ours}; theirs: {counts(found)}"
        yield Row(f"{title} ({name})", lines_of("data/inspect/near_copies.py"), ours_s, theirs_s, says)


def charts() -> Iterator[Row]:
    """One reliability diagram of ten bins with whiskers, as a part of a page that needs no request."""
    from surestep.evaluation.report.charts.chart import Chart, Line, Panel, Points, unit_axis
    from surestep.evaluation.report.charts.svg import to_svg

    x = [k / 10 + 0.05 for k in range(10)]
    y = [min(1.0, value * 1.1) for value in x]
    low, high = [max(0.0, value - 0.05) for value in y], [min(1.0, value + 0.05) for value in y]
    places = [f"evaluation/report/charts/{name}.py" for name in ("chart", "svg")]

    def ours() -> str:
        tips = [f"bin {k}" for k in range(10)]
        dots = Points(x=x, y=y, role="model", tips=tips, name="steps", low=low, high=high)
        line = Line(x=[0.0, 1.0], y=[0.0, 1.0], role="reference", name="exact")
        panel = Panel(y=unit_axis("share right"), marks=(line, dots))
        return to_svg(Chart(name="r", title="r", note="", x=unit_axis("confidence"), panels=(panel,)))

    ours_s, svg = best_of(ours)
    shown = f"ours {len(svg) / 1e3:.1f} kB a chart, seen without scripts"
    if "missing" not in (title := _maybe("plotly")):
        import plotly.graph_objects as go

        error = {"type": "data", "symmetric": False, "array": np.subtract(high, y), "arrayminus": np.subtract(y, low)}

        def by_plotly() -> str:
            figure = go.Figure(go.Scatter(x=x, y=y, error_y=error, mode="markers"))
            return figure.to_html(include_plotlyjs=True, full_html=False)

        theirs_s, text = best_of(by_plotly)
        yield Row(title, lines_of(*places), ours_s, theirs_s, f"{shown}; theirs {len(text) / 1e6:.1f} MB, by a script")
    else:
        yield Row(title, lines_of(*places), ours_s, np.nan, shown)
    if "missing" not in (title := f"{_maybe('altair')}, {_maybe('vl-convert-python')}"):
        import altair

        data = altair.Data(
            values=[{"x": a, "y": b, "low": c, "high": d} for a, b, c, d in zip(x, y, low, high, strict=True)]
        )
        base = altair.Chart(data).encode(x="x:Q")
        chart = base.mark_rule().encode(y="low:Q", y2="high:Q") + base.mark_point().encode(
            y="y:Q", tooltip=["x:Q", "y:Q"]
        )
        theirs_s, _ = best_of(lambda: chart.to_dict())
        page = len(chart.to_html(inline=True))

        def as_svg() -> str:
            file = io.StringIO()
            chart.save(file, format="svg")
            return file.getvalue()

        svg_s, text = best_of(as_svg)
        says = (
            f"{shown}; theirs {page / 1e6:.1f} MB by a script, or an SVG of {len(text) / 1e3:.1f} kB in {svg_s:.2f} s"
        )
        yield Row(title, lines_of(*places), ours_s, theirs_s, says)
    else:
        yield Row(title, lines_of(*places), ours_s, np.nan, shown)


class _Server(http.server.BaseHTTPRequestHandler):
    """`/good`: 64 MiB; `/cut`: half of what it says; `/large`: 8 MiB more than the file has."""

    protocol_version = "HTTP/1.1"
    size = 64 * 2**20

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        sent = {"/good": self.size, "/cut": self.size // 2, "/large": self.size + 8 * 2**20}[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(self.size if self.path == "/cut" else sent))
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(sent // 2**20):
                self.wfile.write(b"\0" * 2**20)
        self.close_connection = True


def downloads() -> Iterator[Row]:
    """64 MiB from this machine; an answer that is cut; one that is larger than it may be."""
    from surestep.data.datasets.dataset import RemoteFile
    from surestep.data.fetch.download import fetch_file

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=functools.partial(server.serve_forever, poll_interval=0.01), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    places = [f"data/fetch/{name}.py" for name in ("download", "http_transfer", "part_file")]

    def ours(what: str, folder: Path) -> Path:
        name = f"{what}-{time.perf_counter_ns()}"
        file = RemoteFile(name, f"{address}/{what}", num_bytes=_Server.size)
        return fetch_file(file, folder, num_attempts=1)

    def theirs(what: str, folder: Path) -> str:
        import pooch

        return str(pooch.retrieve(f"{address}/{what}", None, fname=f"{what}-{time.perf_counter_ns()}", path=folder))

    def ends(act: Callable[[str, Path], Any], folder: Path) -> str:
        found = []
        for what in ("cut", "large"):
            try:
                found.append(f"{what} kept ({Path(act(what, folder)).stat().st_size / 2**20:.0f} MiB)")
            except Exception as error:
                found.append(f"{what} refused ({type(error).__name__})")
        return ", ".join(found)

    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ours_s, _ = best_of(lambda: ours("good", folder))
            our_ends = ends(ours, folder)
            if "missing" in (title := _maybe("pooch")):
                yield Row(title, lines_of(*places), ours_s, np.nan, our_ends)
                return
            import logging

            import pooch

            pooch.get_logger().setLevel(logging.ERROR)
            theirs_s, _ = best_of(lambda: theirs("good", folder))
            yield Row(title, lines_of(*places), ours_s, theirs_s, f"ours: {our_ends}; theirs: {ends(theirs, folder)}")
    finally:
        server.shutdown()
        server.server_close()


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    "isotonic": isotonic,
    "logistic": logistic,
    "json_lines": json_lines,
    "flags": flags,
    "near_copies": near_copies,
    "charts": charts,
    "downloads": downloads,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; none: all of them")
    asked = parser.parse_args().parts or list(PARTS)
    if unknown := set(asked) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; allowed: {', '.join(PARTS)}")
    print("| part | library | lines | ours, s | theirs, s | found |\n|---|---|---|---|---|---|", flush=True)
    for name in asked:
        for row in PARTS[name]():
            seconds = " | ".join("" if np.isnan(value) else f"{value:.3g}" for value in (row.ours_s, row.theirs_s))
            print(f"| {name} | {row.library} | {row.lines} | {seconds} | {row.found.replace('|', '/')} |", flush=True)


if __name__ == "__main__":
    main()
