"""Bombs of every kind are refused in a line that names the bound and what raises it, before they take memory."""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from surestep.config import Config
from surestep.data.records.record import read_records
from surestep.errors import ConfigError, DataError
from surestep.untrusted import parse_json, parse_yaml, place_inside, read_json
from surestep.untrusted.bounds import BOUNDS, DEPTH, Bound

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "threat-model.md"
SOURCE = Path(__file__).resolve().parents[2] / "src" / "surestep"


def bomb_of_aliases() -> str:
    """Nine lines that stand for a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "\n".join(lines)


CONFIGURATIONS = {
    "deep json": ("json", '{"a":' * 100_000),
    "deep json, whole": ("json", '{"a":' * 500 + "1" + "}" * 500),
    "deep yaml": ("yaml", "[" * 100_000),
    "deep yaml by lines": ("yaml", "\n".join("  " * level + "a:" for level in range(600))),
    "aliases": ("yaml", bomb_of_aliases()),
    "alias of itself": ("yaml", "a: &a [*a]"),
    "merge keys": ("yaml", "a: &a {x: 1}\n" + "\n".join(f"b{n}: &b{n} {{<<: *a}}" for n in range(5))),
    "long number in json": ("json", '{"training": {"seed": ' + "9" * 5_000 + "}}"),
    "long number in yaml": ("yaml", "training: {seed: " + "9" * 5_000 + "}"),
    "long hexadecimal number": ("yaml", "training: {seed: 0x" + "f" * 5_000 + "}"),
    "minutes": ("yaml", "training: {seed: 1" + ":59" * 2_000 + "}"),
    "a date that is none": ("yaml", "training: {seed: 2026-13-45}"),
    "a float of nothing": ("yaml", "training: {learning_rate: !!float abc}"),
    "a number of nothing": ("yaml", "training: {seed: !!int ''}"),
    "python in yaml": ("yaml", "training: !!python/object/apply:os.system [exit 3]"),
    "keys that are lists": ("yaml", "? [a]\n: 1"),
    "keys that are numbers": ("yaml", "1: 2"),
    "nan": ("json", '{"training": {"learning_rate": NaN}}'),
    "large yaml": ("yaml", "# " + "x" * 2_000_000 + "\na: 1"),
    "a value of a megabyte": ("json", json.dumps({"training": {"seed": "x" * 1_000_000}})),
    "a name of a megabyte": ("json", json.dumps({"training": {"x" * 1_000_000: 1}})),
    "a nul": ("yaml", "a: \0"),
    "nothing": ("yaml", ""),
    "empty": ("json", ""),
    "rank of a million": ("json", '{"lora": {"lora_r": 1000000}}'),
}


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "text"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_hostile_configuration_is_a_mistake_not_a_fault(suffix: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / f"config.{suffix}"
    path.write_text(text, encoding="utf-8")
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError):
            Config.from_file(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * 2**20


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_a_pipe_for_a_configuration_is_refused_without_waiting(name: str, tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match="a pipe, not a file"):
        Config.from_file(tmp_path / name)


def packed(path: Path, piece: bytes, count: int, *, first: bytes = b"", last: bytes = b"") -> Path:
    """A gzip file of `count` pieces, far smaller than what it holds."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(first)
        for _ in range(count):
            file.write(piece)
        file.write(last)
    return path


ROW = json.dumps({"problem": "x" * 1000}).encode() + b"\n"
BOMBS: dict[str, Callable[[Path], Path]] = {
    "one json of many rows": lambda folder: packed(folder / "a.json.gz", ROW.strip() + b",\n", 20_000, first=b"["),
    "one list in a jsonl": lambda folder: packed(folder / "a.jsonl.gz", ROW.strip() + b",\n", 20_000, first=b"["),
    "one line": lambda folder: packed(folder / "a.jsonl.gz", b"x" * 1000, 20_000, first=b'{"problem": "'),
    "many lines": lambda folder: packed(folder / "a.jsonl.gz", ROW, 20_000),
    "many lines of a table": lambda folder: packed(folder / "a.csv.gz", b"x" * 2_000 + b",y\n", 20_000),
    "a cell": lambda folder: packed(folder / "a.csv.gz", b"x" * 199 + b"\n", 100_000, first=b'a,b\n1,"'),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_a_small_file_that_unpacks_to_a_large_one_is_refused(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound, mib in (("JSON", 2), ("LINE", 2), ("UNPACKED", 4)):
        monkeypatch.setenv(f"SURESTEP_MAX_{bound}_MIB", str(mib))
    path = make(tmp_path)
    assert path.stat().st_size < 2 * 2**20
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"set SURESTEP_MAX_[A-Z]+_MIB higher|not valid CSV"):
            for _ in read_records(path):
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20


@pytest.mark.slow
def test_the_default_bounds_hold_a_bomb_in_little_memory(tmp_path: Path) -> None:
    """A gigabyte in one file of JSON, under a limit on the memory of the process."""
    path = packed(tmp_path / "a.json.gz", (ROW.strip() + b",\n") * 1000, 1000, first=b"[")
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from surestep.data.records.record import read_records\n"
        "from surestep.errors import DataError\n"
        f"resource.setrlimit(resource.RLIMIT_DATA, ({2 * 2**30}, resource.RLIM_INFINITY))\n"
        "try:\n    list(read_records(Path(sys.argv[1])))\n"
        "except DataError as error:\n    print(error)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_DATA)
    run = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert "set SURESTEP_MAX_JSON_MIB higher" in run.stdout, run.stderr[-500:]
    assert run.stdout.count("\n") == 1


@pytest.mark.parametrize("text", ["[" * 200 + "]" * 200, '{"a": ' + "7" * 400 + "}", "[" * 100_000])
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_a_deep_record_and_a_long_number_are_errors_with_their_place(text: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_text(f'{{"a": 1}}\n{{"b": {text}}}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2") as caught:
        list(read_records(path))
    assert "\n" not in str(caught.value)


def test_digits_within_a_text_are_no_number() -> None:
    assert parse_json(json.dumps(["9" * 5_000])) == ["9" * 5_000]
    assert parse_json("1." + "3" * 1_000) == pytest.approx(4 / 3)


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.variable)
def test_every_bound_is_raised_by_its_variable_and_documented(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bound() == bound.default * bound.size
    assert f"set {bound.variable} higher" in bound.exceeded("it has")
    assert f"| `{bound.variable}` | {bound.default:,} {bound.unit} |" in PAGE.read_text(encoding="utf-8")
    monkeypatch.setenv(bound.variable, "7")
    assert bound() == 7 * bound.size
    for wrong in ("0", "-1", "1.5", "x", "9" * 5_000, "٣"):
        monkeypatch.setenv(bound.variable, wrong)
        with pytest.raises(ConfigError, match=bound.variable):
            bound()


def test_a_bound_that_was_raised_lets_more_through(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = "[" * 150 + "]" * 150
    for parse in (parse_json, parse_yaml):
        with pytest.raises(ValueError, match=DEPTH.variable):
            parse(deep)
    monkeypatch.setenv(DEPTH.variable, "200")
    assert parse_json(deep) == parse_yaml(deep)


@pytest.mark.parametrize(
    "name", ["", "/a", "../a", "a/../../b", "a//b", "./a", "a\\b", "a\0", "a" * 2_000, "a/", "b/" + "é" * 128]
)
def test_a_name_that_leaves_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file below the folder"):
        place_inside(tmp_path, name)


def test_a_link_may_lead_elsewhere_inside_only(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "whole").write_text("{}")
    (folder / "inside").symlink_to("whole")
    (folder / "outside").symlink_to(tmp_path)
    assert read_json(place_inside(folder, "inside")) == {}
    (tmp_path / "link_to_run").symlink_to(folder)
    assert read_json(place_inside(tmp_path / "link_to_run", "whole")) == {}
    with pytest.raises(ValueError, match="a link out of the folder"):
        place_inside(folder, "outside/x")


def test_every_reader_of_json_and_yaml_from_files_is_the_one() -> None:
    """What else parses JSON reads what this process wrote itself, within an hour of it."""
    own = {
        "data/records/disk_list.py",  # a temporary file without a name
        "evaluation/baselines/scores.py",  # the cache: the user's own folder
        "scoring/spread/together.py",  # no file: what another process of the same launch has just sent
        "config/core_yaml.py",  # a key of a text that `parse_json` has read
    }
    readers = ("json.load(", "json.loads(", "yaml.safe_load(", "yaml.load(", "JSONDecoder(")
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if path.relative_to(SOURCE).parts[0] != "untrusted"
        and any(reader in path.read_text(encoding="utf-8") for reader in readers)
    }
    assert found == own
