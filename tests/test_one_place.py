"""One job stands in one place: writing files, going from a scorer to rows, the bootstrap."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import surestep

SOURCE = Path(surestep.__file__).parent
Wanted = Callable[[ast.Call, str], bool]


def dotted(node: ast.expr) -> str:
    """`ast.unparse`, quicker where the expression is a dotted name, as most of what is called is."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ast.unparse(node)


def search(searches: dict[str, Wanted], source: Path = SOURCE) -> dict[str, dict[str, list[str]]]:
    """Every call in the source that a search wants, asked with the call and the dotted name of what it calls.

    In one pass, by search and by file.
    """
    found: dict[str, dict[str, list[str]]] = {search: {} for search in searches}
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = dotted(node.func)
            for name, wanted in searches.items():
                if wanted(node, called):
                    lines = found[name].setdefault(path.relative_to(source).as_posix(), [])
                    lines.append(f"{node.lineno}: {ast.unparse(node)}")
    return found


def constants(call: ast.Call) -> Iterator[str]:
    for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
        for node in ast.walk(argument):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def writes(call: ast.Call, name: str) -> bool:
    """Whether a call writes or renames a file by itself, not through `surestep.files`."""
    last = name.rpartition(".")[2]
    if last in {"write_text", "write_bytes"}:
        return "." in name
    if last == "open":
        return any(mode[:1] in set("wax") and len(mode) <= 3 for mode in constants(call))
    if name in {"np.save", "np.savez", "torch.save", "json.dump", "save_file", "os.replace", "os.rename"}:
        return True
    # Text and arrays are replaced with two arguments, a path with one.
    return last in {"replace", "rename"} and len(call.args) == 1 and not call.keywords


QUANTILES = {"np.quantile", "np.percentile", "np.nanquantile", "np.nanpercentile"}
SEARCHES: dict[str, Wanted] = {
    "writes": writes,
    "follows links": lambda call, name: name.endswith(".resolve") and "__file__" not in ast.unparse(call),
    "reads json": lambda call, name: name == "json.loads" and "read_text" in ast.unparse(call),
    "asks a scorer": lambda _call, name: name.endswith((".score", ".score_encoded")),
    "draws": lambda _call, name: name.rpartition(".")[2] in {"integers", "multinomial", "choice"},
    "quantiles": lambda _call, name: name in QUANTILES,
}
Found = dict[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def found_calls() -> Found:
    """What each search finds in the source, by file."""
    return search(SEARCHES)


ELSEWHERE = {
    "cli/commands/machine/bench.py": "a line is added to a file of measurements",
    "data/fetch/part_file.py": "a download goes on where it broke off, so its part has a name that is found again",
    "disk.py": "what is removed gets another name first, what was about to be replaced its own again",
    "encoding/store_arrays.py": "files within a folder that is put in its place whole",
    "encoding/token_store.py": "files within a folder that is put in its place whole",
    "encoding/store_files.py": "a lock within an unfinished store, which is renamed into place; a damaged one aside",
    "evaluation/baselines/scores.py": "into a file that write_whole opened",
    "lock.py": "a lock that nobody holds is moved away",
    "model/saved_weights.py": "files within a checkpoint that is put in its place whole",
    "scoring/checkpoint/manifest.py": "a file of a finished checkpoint: what is unfinished lies beside the folder",
    "scoring/checkpoint/save.py": "files within a checkpoint that is put in its place whole",
    "sweep/training_process.py": "what a run prints goes straight into its log",
    "training/events/run_log.py": "a line is added to a log",
    "training/start/resume_point.py": "a damaged checkpoint gets another name",
    "training/experiment_folder.py": "a former run gets its own name back where the new folder cannot be made",
    "training/run_state.py": "files within a checkpoint that is put in its place whole",
}
"""Who else writes, and why; everything else is whole or not there through `surestep.files`."""


def test_files_are_written_in_one_place(found_calls: Found) -> None:
    found = found_calls["writes"]
    assert "files.py" in found, "the search finds what it looks for"
    assert {path: lines for path, lines in found.items() if path not in ELSEWHERE | {"files.py": ""}} == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("path.write_text('a')", True),
        ("open(path, 'wb')", True),
        ("path.open('a', encoding='utf-8')", True),
        ("path.open(mode='x')", True),
        ("np.save(path, array)", True),
        ("beside.replace(path)", True),
        ("os.replace(one, other)", True),
        ("path.open('rb')", False),
        ("text.replace('a', 'b')", False),
        ("replace(record, value=1)", False),
        ("write_text(path, 'a')", False),
    ],
)
def test_the_search_for_writers_knows_them(source: str, expected: bool) -> None:
    call = ast.parse(source).body[0]
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    assert writes(call.value, ast.unparse(call.value.func)) is expected


def test_links_are_followed_in_one_place(found_calls: Found) -> None:
    """`Path.resolve` is a traceback over a link that leads to itself: `surestep.disk.real_path`."""
    assert found_calls["follows links"] == {}


def test_files_of_json_are_read_in_one_place(found_calls: Found) -> None:
    """Any of them may be damaged, and one nested too deeply is no exception of its own: `surestep.untrusted`."""
    assert found_calls["reads json"] == {}


def test_one_road_leads_from_a_scorer_to_rows(found_calls: Found) -> None:
    """Nobody else asks a scorer; speed alone is measured on tokens, and what a user hands over has no labels.

    What stands around a scorer hands its question on as it is.
    """
    found = found_calls["asks a scorer"]
    assert set(found) == {
        "bench/score.py",
        "inference/scorer.py",
        "inference/model_runner.py",
        "scoring/ensemble/ensemble_scorer.py",
        "scoring/model_scorer.py",
        "scoring/other_scorers/foreign_model.py",
        "scoring/other_scorers/wrapped.py",
        "scoring/score_split.py",
        "scoring/sessions/passes.py",
        "scoring/spread/spread_scorer.py",
    }
    assert [line.split(": ")[1] for line in found["scoring/model_scorer.py"]] == [
        "self.score_encoded(self.encoded(trees), wanted=wanted)"
    ]
    handed_on = {line.split(": ")[1] for line in found["scoring/other_scorers/wrapped.py"]}
    assert handed_on == {"self.scorer.score(trees, dataset=dataset, wanted=wanted)"}


def test_problems_are_drawn_and_draws_become_intervals_in_one_place(found_calls: Found) -> None:
    """Resampling draws with replacement; other generators deal into folds, sample or shuffle."""
    assert {path for path in found_calls["draws"] if path.startswith("metrics/")} == {"metrics/bootstrap/draws.py"}
    assert {path.rpartition("/")[0] for path in found_calls["quantiles"]} == {"metrics/bootstrap"}


TAKE_THE_WHOLE_CONFIGURATION = {
    "evaluation/calibrate.py": ["calibrate"],
    "evaluation/check/checklist.py": ["run_check"],
    "evaluation/evaluate.py": [
        "_planned_beside",
        "_scored",
        "evaluate_checkpoint",
        "evaluate_scorer",
        "score_datasets",
    ],
    "scoring/build_model.py": ["assemble", "build_model", "scorer"],
    "scoring/checkpoint/load.py": ["load_checkpoint", "scorer"],
    "scoring/checkpoint/save.py": ["save_checkpoint"],
    "scoring/hardware.py": ["for_scoring_here"],
    "scoring/other_scorers/foreign_model.py": ["load_foreign_model"],
    "training/run.py": ["_run", "_trackers", "_train", "train"],
    "training/start/origin.py": ["find_origin"],
    "training/training_sets.py": ["load_run_data"],
}
"""Where a configuration is taken apart: what begins a job, builds a model or keeps the configuration itself."""


def functions_that_take(annotation: str, folder: str) -> dict[str, list[str]]:
    """Functions of `folder` with a parameter of this type, or of it or None, by file."""
    found: dict[str, list[str]] = {}
    for path in sorted((SOURCE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                types = {ast.unparse(one.annotation) for one in arguments if one.annotation is not None}
                if types & {annotation, f"{annotation} | None"}:
                    found.setdefault(path.relative_to(SOURCE).as_posix(), []).append(node.name)
    return {path: sorted(names) for path, names in found.items()}


def test_only_what_begins_a_job_takes_the_whole_configuration() -> None:
    """Everything below takes its section (`config.data`, `config.training`, ...) or plain values."""
    found = [functions_that_take("Config", folder) for folder in ("training", "scoring", "evaluation")]
    assert {path: names for part in found for path, names in part.items()} == TAKE_THE_WHOLE_CONFIGURATION
