"""Tables in and out: formats, columns, bad rows, and that a kill anywhere loses and doubles nothing."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep.errors import BadRowError, ConfigError, DataError, InputError, SurestepError
from surestep.files import sha256_of
from surestep.inference.tables.columns import find_columns, list_of, steps_of, text_of
from surestep.inference.tables.job import TableJob, parts_of, run_in_parts, run_streamed, with_first
from surestep.inference.tables.parts import PartStore
from surestep.inference.tables.processes import Processes, find_processes
from surestep.inference.tables.rows import BadRow, Format, Row, count_rows, format_of, read_rows
from surestep.inference.tables.tasks import NUMBER, NUMBERS


class LengthTask:
    """A scorer without a model: what it gives also depends on what is scored together, as a model's rounding does."""

    columns: Mapping[str, str] = {"confidences": NUMBERS, "min": NUMBER}

    def prepare(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        text_of(values, "problem")
        return steps_of(list_of(values, "steps"), "'steps'")

    def run(self, prepared: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        whole = len(prepared)
        scores = [
            [len(step) / 100 + place / 1e6 + whole / 1e9 for step in steps] for place, steps in enumerate(prepared)
        ]
        return [{"confidences": values, "min": min(values)} for values in scores]


def write_jsonl(path: Path, lines: Sequence[Any]) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), "utf-8")
    return path


def numbered(count: int) -> list[Any]:
    """Rows, some of them bad in every way."""
    lines: list[Any] = [{"problem": f"{n}?", "steps": ["é" * (n % 5 + 1), "so"], "n": n} for n in range(count)]
    for place, bad in enumerate(
        ["{cut", "[1]", {"problem": "", "steps": ["a"]}, {"problem": "p", "steps": []}, {"problem": "p"}]
    ):
        lines.insert(3 * place + 1, bad)
    return lines


def job_of(path: Path, layout: Format | None = None, output: Format = "jsonl", **options: Any) -> TableJob:
    first, rows = with_first(read_rows(path, layout or format_of(path)), path)
    return TableJob(rows, path, first, LengthTask(), output, **{"rows_per_part": 4, **options})


def run(
    path: Path, output: Path, *, layout: Format | None = None, overwrite: bool = False, seed: int = 0,
    processes: Processes | None = None, **options: Any,
) -> dict[str, int]:  # fmt: skip
    """The whole command but for the model; `seed` stands for a checkpoint."""
    job = job_of(path, layout, format_of(output), **options)
    store = PartStore(output, output.with_name(f"{output.name}.bad.jsonl"), processes or Processes())
    made_from = {"checkpoint": seed, "input_sha256": sha256_of(path)}
    if store.begin(made_from, overwrite=overwrite) == "finished":
        return store.totals()
    return run_in_parts(job, store, made_from)


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder; the state without what tells one start from another."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: value for name, value in found.items() if not name.endswith(".part")}


OUTPUTS = ["out.jsonl", "out.jsonl.gz", "out.csv", "out.parquet"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_every_row_is_there_once_in_order_with_its_columns(name: str, tmp_path: Path) -> None:
    lines = numbered(21)
    counts = run(write_jsonl(tmp_path / "in.jsonl", lines), tmp_path / name)
    assert counts == {"rows": 21, "bad": 5, "unscored": 0}
    rows = read_any(tmp_path / name)
    assert [int(row["n"]) for row in rows] == list(range(21))
    for row in rows:
        steps = row["steps"] if isinstance(row["steps"], list) else json.loads(row["steps"])
        confidences = row["confidences"] if isinstance(row["confidences"], list) else json.loads(row["confidences"])
        assert steps == ["é" * (int(row["n"]) % 5 + 1), "so"]
        assert [round(value, 2) for value in confidences] == [len(step) / 100 for step in steps]
        assert float(row["min"]) == min(confidences)
    bad = [json.loads(line) for line in (tmp_path / f"{name}.bad.jsonl").read_text().splitlines()]
    assert [(row["row"], row["line"]) for row in bad] == [(2, 2), (5, 5), (8, 8), (11, 11), (14, 14)]
    for row, words in zip(
        bad,
        ["not valid JSON", "no object", "'problem' is empty", "'steps' is empty", "'steps' is missing"],
        strict=True,
    ):
        assert words in row["reason"]
    assert [row["content"] for row in bad] == ["{cut", [1], *lines[7:14:3]]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["in.jsonl", name, f"{name}.bad.jsonl", f"{name}.state.json"]
    )


def read_any(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return found
    text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    return [json.loads(line) for line in text.splitlines()]


class KilledError(BaseException):
    """What a kill looks like from inside: nothing after it changes the disk."""


CHANGES = ("os.replace", "os.unlink", "os.mkdir", "os.rmdir", "os.fsync", "io.open")
"""All that changes the disk goes through one of them."""


@contextmanager
def killed(at: int | None) -> Iterator[list[int]]:
    """Within it the process is dead from its `at`-th change of the disk on; gives how many there were."""
    count = [0]

    def fatal(original: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            mode = arguments[1] if len(arguments) > 1 else options.get("mode", "r")
            if name != "io.open" or "w" in str(mode):
                count[0] += 1
                if at is not None and count[0] >= at:
                    raise KilledError
            return None if name == "os.fsync" else original(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for path in CHANGES:
            module, _, name = path.partition(".")
            owner = {"os": os, "io": io}[module]
            patch.setattr(owner, name, fatal(getattr(owner, name), path))
        with suppress(KilledError):
            yield count


@pytest.mark.parametrize("name", [*OUTPUTS[:-1], pytest.param(OUTPUTS[-1], marks=pytest.mark.slow)])
def test_a_kill_anywhere_and_a_second_run_write_what_one_run_writes(name: str, tmp_path: Path) -> None:
    expected_in = tmp_path / "expected"
    expected_in.mkdir()
    source = write_jsonl(tmp_path / "in.jsonl", numbered(5))
    with killed(None) as changes:
        run(source, expected_in / name)
    expected = content(expected_in)
    assert changes[0] > 40
    for at in range(1, changes[0] + 1):
        folder = tmp_path / str(at)
        folder.mkdir()
        with killed(at):
            run(source, folder / name)
        with killed(None):
            run(source, folder / name)
        assert content(folder) == expected, at


@settings(max_examples=8)
@given(kills=st.lists(st.integers(1, 60), max_size=6))
def test_many_kills_are_as_none(kills: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("kills")
    source = write_jsonl(folder / "in.jsonl", numbered(13))
    for at in kills:
        with killed(at):
            run(source, folder / "a.jsonl")
    with killed(None):
        run(source, folder / "a.jsonl")
        run(source, folder / "b.jsonl")
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()
    assert (folder / "a.jsonl.bad.jsonl").read_bytes() == (folder / "b.jsonl.bad.jsonl").read_bytes()


def test_what_is_done_is_not_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", numbered(30))
    scored: list[int] = []
    original = LengthTask.run

    def counted(self: LengthTask, prepared: Sequence[tuple[str, ...]]) -> list[dict[str, Any]]:
        scored.append(len(prepared))
        if len(scored) == 4:
            raise KeyboardInterrupt
        return original(self, prepared)

    monkeypatch.setattr(LengthTask, "run", counted)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists(), "the output appears whole"
    before = sum(scored[:3])
    del scored[3:]
    scored += [0]
    assert run(source, tmp_path / "out.jsonl")["rows"] == 30
    assert sum(scored[4:]) + before == 30
    del scored[:]
    assert run(source, tmp_path / "out.jsonl")["rows"] == 30
    assert scored == [], "a finished output is left alone"


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(SurestepError) as caught:
        run(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("is_finished", [False, True])
def test_another_input_checkpoint_or_a_changed_output_is_refused(is_finished: bool, tmp_path: Path) -> None:
    source, output = write_jsonl(tmp_path / "in.jsonl", numbered(30)), tmp_path / "out.jsonl"
    with killed(None if is_finished else 12):
        run(source, output)
    assert output.exists() == is_finished
    before = content(tmp_path)
    assert "was begun from something else (checkpoint: then 0, now 1)" in refusal(source, output, seed=1)
    other = write_jsonl(tmp_path / "other.jsonl", numbered(29))
    assert "was begun from something else (input sha256: then" in refusal(other, output)
    other.unlink()
    assert content(tmp_path) == before
    if is_finished:
        output.write_text("mine")
        assert "was changed after it was finished" in refusal(source, output)
    assert run(source, output, seed=1, overwrite=True)["rows"] == 30
    assert len(read_any(output)) == 30


@pytest.mark.parametrize("taken", ["out.jsonl", "out.jsonl.bad.jsonl"])
def test_a_file_of_the_users_own_is_not_replaced(taken: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", numbered(3))
    (tmp_path / taken).write_text("mine")
    assert f"{taken} is there already" in refusal(source, tmp_path / "out.jsonl")
    assert (tmp_path / taken).read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_the_users_own_is_not_taken_away(overwrite: bool, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", numbered(6))
    thesis = tmp_path / "out.jsonl.parts" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    assert "holds 'thesis.tex', which is no part of an output" in refusal(
        source, tmp_path / "out.jsonl", overwrite=overwrite
    )
    assert thesis.read_text() == "mine"


@pytest.mark.parametrize("state", ["", "[]", '{"format_version": 9}', "\x00", '{"format_version": 1, "finished": {}}'])
def test_a_state_that_is_none_is_refused(state: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", numbered(3))
    (tmp_path / "out.jsonl.state.json").write_text(state)
    assert "--overwrite" in refusal(source, tmp_path / "out.jsonl")
    assert run(source, tmp_path / "out.jsonl", overwrite=True)["rows"] == 3


def test_a_damaged_part_is_made_again(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", numbered(30))
    run(source, tmp_path / "expected.jsonl")
    with killed(40):
        run(source, tmp_path / "out.jsonl")
    (part, *_) = sorted((tmp_path / "out.jsonl.parts").glob("*.rows"))
    part.write_bytes(part.read_bytes()[:-1])
    run(source, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "expected.jsonl").read_bytes()


@pytest.mark.parametrize("name", OUTPUTS)
def test_several_processes_write_what_one_writes(name: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", numbered(30))
    run(source, tmp_path / f"one-{name}")
    children = []
    for rank in (2, 1, 0):
        processes = Processes(rank, 3, rank, f"{os.getpid()}:29500")
        child = os.fork()
        if not child:
            try:
                run(source, tmp_path / name, processes=processes)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    for suffix in ("", ".bad.jsonl"):
        assert (tmp_path / f"{name}{suffix}").read_bytes() == (tmp_path / f"one-{name}{suffix}").read_bytes()


def test_processes_are_read_from_what_launchers_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert find_processes() == Processes()
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    found = find_processes()
    assert (found.rank, found.count, found.local_rank, found.is_first) == (1, 2, 1, False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    with pytest.raises(ConfigError, match="several machines"):
        find_processes()
    for value in ("x", "-1", "5"):
        monkeypatch.setenv("RANK", value)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        with pytest.raises(ConfigError, match="RANK"):
            find_processes()
    with pytest.raises(ConfigError, match="the launcher has ended"):
        Processes(1, 2, 1, "0:29500").check_launcher()


def test_memory_holds_one_part(tmp_path: Path) -> None:
    """Of a table without an end, no row is read before those of the part before it are written."""
    read: list[int] = []

    def endless() -> Iterator[Row | BadRow]:
        for number in itertools.count(1):
            read.append(number)
            yield Row(number, number, {"problem": "p", "steps": ["a"]})

    written = io.BytesIO()
    first, rows = with_first(endless(), Path("-"))
    job = TableJob(rows, Path("-"), first, LengthTask(), "jsonl", rows_per_part=32)

    class EnoughError(Exception):
        pass

    def advance(count: int) -> None:
        assert len(written.getvalue().splitlines()) == read[-1], "each row is answered before the next is read"
        assert count <= 32
        if read[-1] > 200:
            raise EnoughError

    with pytest.raises(EnoughError):
        run_streamed(job, written, lambda _line: None, advance=advance)


def test_parts_are_bounded_by_what_they_hold_too() -> None:
    rows = [Row(n, n, {"a": "x" * 2**22, "b": [["y"], {"c": 1}]}) for n in range(10)]
    assert [len(part) for part in parts_of(rows, 1000)] == [4, 4, 2]
    assert [len(part) for part in parts_of(rows[:0], 1000)] == []
    assert [len(part) for part in parts_of([Row(n, n, {}) for n in range(9)], 4, first=1)] == [1, 2, 4, 2]


def test_with_stop_the_first_bad_row_ends_it_by_its_place(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", numbered(9))
    with pytest.raises(BadRowError, match=r"in.jsonl, line 2: not valid JSON .*; .* --bad_rows aside"):
        run(source, tmp_path / "out.jsonl", on_bad_row="stop")


def test_a_line_keeps_its_own_characters(tmp_path: Path) -> None:
    line = (
        r'{ "problem" : "p\u00e9", "steps": ["a"], "x": 1.50, "big": 1e400, "n": 100000000000000000001, "s": "\ud800" }'
    )
    run(write_jsonl(tmp_path / "in.jsonl", [line, ' {"problem":"p","steps":["a"]} ']), tmp_path / "out.jsonl")
    first, second = (tmp_path / "out.jsonl").read_text().splitlines()
    assert first.startswith(line.removesuffix(" }") + ', "confidences": [')
    assert json.loads(second)["steps"] == ["a"]


def test_bytes_that_are_no_text_make_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(
        b'{"problem": "p", "steps": ["a"]}\n{"problem": "\xff", "steps": ["a"]}\n'
        b'{"problem": "q", "steps": ["\\ud800"]}\n'
    )
    assert run(path, tmp_path / "out.jsonl") == {"rows": 1, "bad": 2, "unscored": 0}
    bad = [json.loads(line)["reason"] for line in (tmp_path / "out.jsonl.bad.jsonl").read_text().splitlines()]
    assert bad == [
        "not UTF-8 (byte 0xff, character 14 of the row); save the file as UTF-8",
        "step 1 of 'steps' holds half of a surrogate pair; allowed: valid Unicode",
    ]
    table = tmp_path / "in.csv"
    table.write_bytes(b'problem,steps\np,"[""a""]"\n\xff,"[""a""]"\n')
    assert run(table, tmp_path / "out.csv")["bad"] == 1


def test_a_csv_has_lists_as_json_and_keeps_its_cells(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(
        'id,problem,steps,note\n007,p,"[""a"",\n""b""]",\n8,p,not a list,x\n9,p\n1.50,q,"[""d""]","a,""b"""\n',
        "utf-8",
    )
    assert run(path, tmp_path / "out.csv") == {"rows": 2, "bad": 2, "unscored": 0}
    first, second = read_any(tmp_path / "out.csv")
    assert (first["id"], first["note"], json.loads(first["steps"])) == ("007", "", ["a", "b"])
    assert (second["id"], second["note"]) == ("1.50", 'a,"b"')
    bad = [json.loads(line) for line in (tmp_path / "out.csv.bad.jsonl").read_text().splitlines()]
    assert "for a raw solution name --solution_column" in bad[0]["reason"]
    assert "the row has 2 fields, the header 4" in bad[1]["reason"]


def test_a_date_and_a_decimal_number_of_parquet_are_plain_cells_of_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    day = {"when": [datetime.date(2026, 1, 2)], "price": [decimal.Decimal("1.50")], "at": [datetime.time(1)]}
    pyarrow.parquet.write_table(pyarrow.table({"problem": ["p"], "steps": [["a"]]} | day), path)
    run(path, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["when"], row["price"], row["at"], row["steps"]) == ("2026-01-02", "1.50", "01:00:00", '["a"]')


@settings(max_examples=40)
@given(
    st.lists(st.text(st.sampled_from("a,\"'\r\n\t\0 ;é\u2028\x85\ufeff\U0001f600"), max_size=5), min_size=1, max_size=3)
)
def test_whatever_stands_in_a_cell_a_csv_is_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    for source in (folder / "in.csv", folder / "in.jsonl"):
        rows = [{"problem": "p", "steps": '["a"]', "note": cell} for cell in cells]
        if source.suffix == ".csv":
            with source.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, quoting=csv.QUOTE_ALL)
                writer.writerows([list(rows[0]), *(row.values() for row in rows)])
        else:
            write_jsonl(source, rows)
        output = folder / f"{source.name}.out.csv"
        assert run(source, output)["rows"] == len(rows)
        with output.open(newline="", encoding="utf-8") as file:
            assert [row["note"] for row in csv.DictReader(file)] == cells


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_row_that_utf8_cannot_hold_is_put_aside(name: str, tmp_path: Path) -> None:
    row = {"problem": "p", "steps": ["a"]}
    source = write_jsonl(tmp_path / "in.jsonl", [{**row, "x": "b"}, {**row, "x": "\ud800"}, {**row, "x": "c"}])
    assert run(source, tmp_path / name) == {"rows": 2, "bad": 1, "unscored": 0}
    assert "half of a surrogate pair" in (tmp_path / f"{name}.bad.jsonl").read_text()
    assert [found["x"] for found in read_any(tmp_path / name)] == ["b", "c"]


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pyarrow.array([1, 2], pyarrow.timestamp("ns")), "1970-01-01 00:00:00.000000001"),
        (pyarrow.array([1, 2], pyarrow.time64("ns")), "00:00:00.000000001"),
        (pyarrow.array([2**40, 2], pyarrow.timestamp("s")), "<value out of range: 1099511627776000>"),
        (pyarrow.array([1, 2], pyarrow.duration("ns")), "1"),
    ],
)
def test_times_that_python_does_not_know_stay(column: Any, text: str, tmp_path: Path) -> None:
    table = pyarrow.table({"problem": ["p"] * 2, "steps": [["a"], ["b"]], "when": column})
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    assert run(tmp_path / "in.parquet", tmp_path / "out.parquet") == {"rows": 2, "bad": 0, "unscored": 0}
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).equals(pyarrow.parquet.read_table(tmp_path / "in.parquet"))
    assert run(tmp_path / "in.parquet", tmp_path / "out.jsonl")["rows"] == 2
    assert read_any(tmp_path / "out.jsonl")[0]["when"] == text


@pytest.mark.parametrize("name", OUTPUTS)
def test_numbers_that_json_does_not_know_are_null_or_put_aside_but_never_written(name: str, tmp_path: Path) -> None:
    """What pandas writes for a missing number is NaN; an infinity is a number that JSON and CSV cannot hold."""
    nan, inf = float("nan"), float("inf")
    values = {
        "problem": ["p"] * 4,
        "steps": [["a"]] * 4,
        "x": [1.5, nan, inf, None],
        "many": [[nan, 2.0], [], [1.0], [-inf]],
    }
    pyarrow.parquet.write_table(pyarrow.table(values), tmp_path / "in.parquet")
    counts = run(tmp_path / "in.parquet", tmp_path / name)
    rows = read_any(tmp_path / name)
    if name.endswith(".parquet"):
        assert [str(row["x"]) for row in rows] == ["1.5", "nan", "inf", "None"]
        return
    assert (counts["rows"], counts["bad"]) == (2, 2)
    bad = [parse_strictly(line) for line in (tmp_path / f"{name}.bad.jsonl").read_text().splitlines()]
    assert [row["row"] for row in bad] == [3, 4]
    assert all("infinite number" in row["reason"] for row in bad)
    assert [row["x"] for row in rows] == (["1.5", ""] if name.endswith(".csv") else [1.5, None])
    assert [row["many"] for row in rows] == (["[null, 2.0]", "[]"] if name.endswith(".csv") else [[None, 2.0], []])


def parse_strictly(text: str) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("is_there", [True, False])
def test_an_output_that_is_a_link_stays_one(name: str, is_there: bool, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "disk" / "kept")
    if is_there:
        (tmp_path / "disk" / "kept").write_bytes(b"former")
    lines = numbered(6)
    run(write_jsonl(tmp_path / "in.jsonl", lines), tmp_path / name, overwrite=True)
    assert (tmp_path / name).is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["kept"]
    run(tmp_path / "in.jsonl", tmp_path / f"plain_{name}")
    assert (tmp_path / "disk" / "kept").read_bytes() == (tmp_path / f"plain_{name}").read_bytes()


def test_a_parquet_cell_that_is_no_text_puts_its_row_aside(tmp_path: Path) -> None:
    offsets = pyarrow.py_buffer(b"".join(count.to_bytes(4, "little") for count in (0, 2, 3)))
    column = pyarrow.Array.from_buffers(pyarrow.string(), 2, [None, offsets, pyarrow.py_buffer(b"\xff\xfea")])
    table = pyarrow.table({"problem": ["p"] * 2, "steps": [["a"], ["b"]], "note": column})
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    assert run(tmp_path / "in.parquet", tmp_path / "out.jsonl") == {"rows": 1, "bad": 1, "unscored": 0}
    assert "column 'note' cannot be read" in (tmp_path / "out.jsonl.bad.jsonl").read_text()


def test_two_columns_of_one_name_are_refused_before_anything_is_scored(tmp_path: Path) -> None:
    columns = [pyarrow.array(["p"]), pyarrow.array([["a"]]), pyarrow.array([1]), pyarrow.array([2])]
    table = pyarrow.Table.from_arrays(columns, names=["problem", "steps", "x", "x"])
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    assert "two columns 'x'; rename or remove one" in refusal(tmp_path / "in.parquet", tmp_path / "out.parquet")


def test_what_parquet_cannot_hold_is_one_line(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"problem": "p", "steps": ["a"], "x": {}}])
    assert "do not fit into one Parquet table" in refusal(source, tmp_path / "out.parquet")


def test_parquet_keeps_the_types_of_its_columns(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "problem": ["p"] * 7,
            "steps": pyarrow.array([["a"]] * 3 + [[]] + [["b", "c"]] * 3, pyarrow.large_list(pyarrow.large_string())),
            "when": pyarrow.array([1] * 7, pyarrow.timestamp("s")),
            "small": pyarrow.array([1, None, 3, 4, 5, 6, 7], pyarrow.int8()),
            "raw_bytes": pyarrow.array([b"\xff"] * 7),
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet", row_group_size=2)
    assert run(tmp_path / "in.parquet", tmp_path / "out.parquet") == {"rows": 6, "bad": 1, "unscored": 0}
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    given = pyarrow.parquet.read_table(tmp_path / "in.parquet")
    assert found.select(table.column_names).equals(given.take([0, 1, 2, 4, 5, 6]))
    assert found.schema.field("confidences").type == pyarrow.list_(pyarrow.float64())
    assert run(tmp_path / "in.parquet", tmp_path / "out.jsonl")["rows"] == 6
    row = read_any(tmp_path / "out.jsonl")[1]
    assert (row["when"], row["small"], row["raw_bytes"]) == ("1970-01-01T00:00:01", None, "ff")
    assert count_rows(tmp_path / "in.parquet", "parquet") == 7


def test_a_parquet_without_a_good_row_has_its_columns_all_the_same(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"problem": [""], "steps": [["a"]]}), tmp_path / "in.parquet")
    assert run(tmp_path / "in.parquet", tmp_path / "out.parquet") == {"rows": 0, "bad": 1, "unscored": 0}
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").column_names == [
        "problem",
        "steps",
        "confidences",
        "min",
    ]


def test_rows_of_different_columns_fit_where_the_format_lets_them(tmp_path: Path) -> None:
    rows = [{"problem": "p", "steps": ["a"], "x": 1}] * 4 + [{"problem": "p", "steps": ["a"], "y": "b"}] * 4
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    assert run(source, tmp_path / "out.parquet")["rows"] == 8
    assert [(row["x"], row["y"]) for row in read_any(tmp_path / "out.parquet")] == [(1, None)] * 4 + [(None, "b")] * 4
    assert run(source, tmp_path / "out.csv") == {"rows": 4, "bad": 4, "unscored": 0}
    assert (
        "a column 'y' that the first one lacks, which a CSV cannot hold" in (tmp_path / "out.csv.bad.jsonl").read_text()
    )
    mixed = write_jsonl(tmp_path / "mixed.jsonl", [{**row, "z": z} for row, z in zip(rows[:2], (1, "a"), strict=True)])
    assert "rows 1 to 2 do not fit into one Parquet table" in refusal(mixed, tmp_path / "mixed.parquet")
    apart = write_jsonl(tmp_path / "apart.jsonl", [{**rows[0], "z": z} for z in [1] * 4 + ["a"] * 4])
    assert "kinds that Parquet cannot join" in refusal(apart, tmp_path / "apart.parquet")


def test_a_new_column_that_is_there_already_is_refused_at_the_first_row_and_aside_later(tmp_path: Path) -> None:
    row = {"problem": "p", "steps": ["a"]}
    taken = write_jsonl(tmp_path / "taken.jsonl", [{**row, "min": 1}])
    assert "line 1: the row has a column 'min' already; name the new ones otherwise with --prefix" in refusal(
        taken, tmp_path / "out.jsonl"
    )
    assert run(taken, tmp_path / "out.jsonl", prefix="s_")["rows"] == 1
    assert read_any(tmp_path / "out.jsonl")[0].keys() == {"problem", "steps", "min", "s_confidences", "s_min"}
    later = write_jsonl(tmp_path / "later.jsonl", [row, {**row, "min": 1}])
    assert run(later, tmp_path / "later-out.jsonl")["bad"] == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "holds no rows"),
        (b"{\n[1]\n", "line 1: not valid JSON"),
        (gzip.compress(b'{"problem": "p", "steps": ["a"]}\n' * 99, mtime=0)[:-9], "the gzip file is cut"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    ],
)
def test_a_file_that_is_broken_as_a_whole_is_one_line(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(content)
    assert words in refusal(tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_what_is_no_parquet_or_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "folder.parquet").mkdir()
    for name, words in (
        ("a", "cannot be read as Parquet"),
        ("none", "no such file"),
        ("folder", "cannot be read as Parquet"),
    ):
        with pytest.raises(DataError, match=words):
            next(read_rows(tmp_path / f"{name}.parquet", "parquet"))
    with pytest.raises(ConfigError, match="standard input"):
        next(read_rows(Path("-"), "parquet"))
    with pytest.raises(ConfigError, match=r"a.txt: its name does not say .* --format jsonl or csv or parquet"):
        format_of(Path("a.txt"))


def test_columns_are_found_by_their_usual_names_or_by_flags() -> None:
    def find(values: dict[str, Any], **given: str) -> str:
        return find_columns(values, given, ("steps", "solution"), where="rows.jsonl").line()

    assert find({"question": 1, "completions": 1, "response": 1}).startswith(
        "columns: problem from 'question', steps from 'completions'"
    )
    assert "solution from 'response' (--problem_column, --solution_column)" in find({"prompt": 1, "response": 1})
    assert "solution from 'b'" in find({"problem": 1, "steps": 1, "b": 1}, solution="b")
    for values, flags, words in (
        ({"a": 1}, {}, "rows.jsonl has no column called problem or question"),
        ({"problem": 1, "a": 1}, {}, "it has 'problem, a': name it with --steps_column or --solution_column"),
        ({"problem": 1}, {"steps": "x"}, "rows.jsonl has no column 'x' (--steps_column)"),
    ):
        with pytest.raises(ConfigError) as caught:
            find(values, **flags)
        assert words in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, {"a": 1}, "text", "[1", "[" * 5000])
def test_a_list_that_is_none_says_what_came(value: Any) -> None:
    with pytest.raises(InputError, match="'steps'"):
        list_of({"steps": value}, "steps")


@pytest.mark.parametrize("missing", [1, 5, 20, 45])
def test_a_file_that_was_cut_is_refused_before_a_row_of_it_is_scored(missing: int, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", numbered(30))
    whole = source.read_bytes().rstrip(b"\n")
    source.write_bytes(whole[:-missing])
    last = whole.count(b"\n") + 1
    with pytest.raises(DataError, match=f"line {last}: the file ends in the middle of a record"):
        count_rows(source, "jsonl")
    source.write_bytes(whole)
    assert count_rows(source, "jsonl") == last
