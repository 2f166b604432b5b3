"""Reading records: every way in which a file can be broken gives one line that says so."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from surestep.data.records.record import Record, read_records
from surestep.errors import DataError
from surestep.inference.tables.rows import BadRow, format_of, read_rows

ROWS = [{"n": number, "text": "é" * number} for number in range(20)]
LINES = [json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS]


def failure(path: Path, **options: str) -> DataError:
    with pytest.raises(DataError) as caught:
        list(read_records(path, **options))
    assert "\n" not in str(caught.value)
    return caught.value


def put(tmp_path: Path, content: bytes | str, name: str = "data.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "".join(LINES)),
        ("a.jsonl", "".join(LINES).removesuffix("\n")),
        ("a.jsonl", "\ufeff" + "\n".join(LINES)),
        ("a.jsonl", json.dumps(ROWS)),
        ("a.json", json.dumps(ROWS)),
        ("a.json", "\n" + json.dumps(ROWS, indent=2) + "\n"),
        ("a.json", "".join(LINES)),
        ("a.json", "\n".join(json.dumps(row, indent=1) for row in ROWS)),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_each_layout_gives_the_same_records(tmp_path: Path, name: str, content: str, compressed: bool) -> None:
    data = content.encode()
    path = put(tmp_path, gzip.compress(data) if compressed else data, name + ".gz" * compressed)
    assert [record.values for record in read_records(path)] == ROWS


def test_gzip_is_recognised_without_its_suffix(tmp_path: Path) -> None:
    path = put(tmp_path, gzip.compress("".join(LINES).encode()))
    assert len(list(read_records(path))) == 20


def test_json_error_on_line_17_names_line_17(tmp_path: Path) -> None:
    broken = [*LINES]
    broken[16] = '{"n": 16, "text": oops}\n'
    error = failure(put(tmp_path, "".join(broken)))
    assert error.line == 17
    assert "data.jsonl, line 17: not valid JSON" in str(error)


def test_json_error_inside_an_array_names_its_line(tmp_path: Path) -> None:
    text = "[\n" + ",\n".join(line.strip() for line in LINES) + "\n]"
    error = failure(put(tmp_path, text.replace('"n": 5,', '"n": 5'), "a.json"))
    assert error.line == 7


def test_records_of_an_array_know_line_and_number(tmp_path: Path) -> None:
    path = put(tmp_path, '[{"a": 1}, {"a": 2},\n{"a": 3}]', "a.json")
    records = list(read_records(path))
    assert [(record.line, record.number) for record in records] == [(1, 1), (1, 2), (2, 3)]
    assert "record 2" in str(records[1].error("wrong"))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_file_cut_in_its_last_record_says_cut(tmp_path: Path, name: str) -> None:
    text = "".join(LINES)
    error = failure(put(tmp_path, text[: len(text) - 8], name))
    assert "cut" in str(error)
    assert error.line == 20


@pytest.mark.parametrize("end", [10, -1, -20])
def test_a_cut_array_says_cut(tmp_path: Path, end: int) -> None:
    assert "cut" in str(failure(put(tmp_path, json.dumps(ROWS)[:end], "a.json")))


def test_a_missing_comma_in_an_array_is_an_error(tmp_path: Path) -> None:
    assert "comma" in str(failure(put(tmp_path, '[{"a": 1}\n{"a": 2}]', "a.json")))


@pytest.mark.parametrize("after", ['[{"a": 2}]', '\n{"a": 2}\n', "\n\n]", ", 1", "x"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_what_follows_the_end_of_an_array_is_an_error_and_never_left_out(tmp_path: Path, name: str, after: str) -> None:
    error = failure(put(tmp_path, '[{"a": 1},\n{"a": 1}]' + after, name))
    assert "more follows the end of the array" in str(error)
    assert error.line == 2 + after[:2].count("\n")


@pytest.mark.parametrize("after", ["", "\n", " \r\n\n"])
def test_white_space_may_follow_the_end_of_an_array(tmp_path: Path, after: str) -> None:
    assert len(list(read_records(put(tmp_path, '[{"a": 1}]' + after, "a.json")))) == 1


def test_a_table_that_names_a_column_twice_is_an_error(tmp_path: Path) -> None:
    """One of the two would be lost."""
    error = failure(put(tmp_path, "a,b,a\n1,2,3\n", "a.csv"))
    assert "names column 'a' twice" in str(error)
    assert error.line == 1


def test_a_cut_gzip_is_an_error_even_after_whole_lines(tmp_path: Path) -> None:
    packed = gzip.compress("".join(LINES).encode())
    error = failure(put(tmp_path, packed[:-12], "a.jsonl.gz"), fetch="prm800k")
    assert "gzip file is cut" in str(error)
    assert "surestep data fetch prm800k" in str(error)


def test_a_damaged_gzip_is_an_error(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress("".join(LINES).encode()))
    packed[30] ^= 0xFF
    assert "damaged" in str(failure(put(tmp_path, bytes(packed), "a.jsonl.gz")))


def test_text_that_is_not_utf8_names_line_and_byte(tmp_path: Path) -> None:
    error = failure(put(tmp_path, b'{"a": 1}\n{"a": "caf\xe9"}\n'))
    assert error.line == 2
    assert "0xe9" in str(error)


def test_a_missing_file_says_where_it_looked_and_how_to_get_it(tmp_path: Path) -> None:
    error = failure(tmp_path / "phase1_train.jsonl", fetch="prm800k")
    assert str(tmp_path / "phase1_train.jsonl") in str(error)
    assert "surestep data fetch prm800k" in str(error)


def test_a_git_lfs_pointer_is_named_as_such(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:e9da\nsize 7900236\n"
    error = failure(put(tmp_path, pointer), fetch="prm800k")
    assert "Git LFS pointer" in str(error)
    assert "git lfs pull" in str(error)


def test_a_web_page_is_named_as_such(tmp_path: Path) -> None:
    assert "web page" in str(failure(put(tmp_path, "<!DOCTYPE html><html>Sign in</html>")))


def test_an_empty_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    assert "empty" in str(failure(put(tmp_path, b"")))
    assert "folder" in str(failure(tmp_path))


def test_a_line_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURESTEP_MAX_LINE_MIB", "1")
    error = failure(put(tmp_path, '{"a": 1}\n{"a": "' + "x" * 2**20 + '"}\n'))
    assert error.line == 2
    assert "1 MiB" in str(error)


@pytest.mark.parametrize("line", ["[1, 2]", "3", '"text"', "null"])
def test_a_record_that_is_no_object_is_refused(tmp_path: Path, line: str) -> None:
    error = failure(put(tmp_path, '{"a": 1}\n' + line + "\n"))
    assert error.line == 2
    assert "allowed: an object" in str(error)


def test_deep_nesting_and_huge_numbers_are_errors_not_crashes(tmp_path: Path) -> None:
    assert "nested more than" in str(failure(put(tmp_path, '{"a": ' + "[" * 200_000 + "]" * 200_000 + "}\n")))
    assert "not valid JSON" in str(failure(put(tmp_path, '{"a": ' + "9" * 5000 + "}\n")))


def test_half_a_surrogate_pair_is_refused_where_text_is_read() -> None:
    record = Record({"text": "\ud800"}, Path("a.jsonl"), 4)
    with pytest.raises(DataError, match="line 4: 'text' holds half of a surrogate pair"):
        record.text("text")


def test_a_huge_value_does_not_make_a_huge_message() -> None:
    assert len(str(Record({}, Path("a.jsonl"), 4).error(f"'rating' is {'x' * 10**6!r}"))) < 500


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def test_csv_fields_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    long = "x" * 200_000
    path = write_csv(tmp_path / "a.csv", [["a", "b"], ['one, "two"\nthree', ""], ["4", long]])
    records = list(read_records(path))
    assert [record.values for record in records] == [
        {"a": 'one, "two"\nthree', "b": None},
        {"a": "4", "b": long},
    ]
    assert [record.line for record in records] == [2, 4]


def test_a_csv_row_of_the_wrong_width_names_its_line(tmp_path: Path) -> None:
    error = failure(write_csv(tmp_path / "a.csv", [["a", "b"], ["1", "2"], ["3"]]))
    assert error.line == 3
    assert "1 field, the header 2" in str(error)


def test_a_csv_cut_inside_a_quoted_field_is_an_error(tmp_path: Path) -> None:
    assert "cut" in str(failure(put(tmp_path, 'a,b\n1,"two\nthree', "a.csv")))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz"])
def test_lines_that_end_with_a_carriage_return_alone_are_named(tmp_path: Path, name: str) -> None:
    text = "n,text\r1,a\r2,b\r" if "csv" in name else "".join(LINES).replace("\n", "\r")
    content = text.encode()
    path = put(tmp_path, gzip.compress(content) if name.endswith(".gz") else content, name)
    assert "lines end with a carriage return alone; save the file with" in str(failure(path))
    found = list(read_rows(path, format_of(path))) if "csv" not in name else []
    assert all(isinstance(row, BadRow) and "carriage return alone" in row.reason for row in found)


def test_a_large_file_is_streamed(tmp_path: Path, write_jsonl: Callable[..., Path]) -> None:
    records = read_records(write_jsonl({"a": 1}, "not an object"))
    assert next(records).values == {"a": 1}  # the bad second line has not been parsed yet


@pytest.mark.parametrize("layout", ["lines", "array", "several lines"])
@pytest.mark.parametrize("inner", [True, False])
def test_a_key_that_stands_twice_is_refused_by_name_not_read_by_chance(
    layout: str, inner: bool, tmp_path: Path
) -> None:
    """Which of two values is meant nobody can know; the last one would hold in silence."""
    twice = '{"problem": "p", "steps": [{"text": "a", "text": "b"}]}' if inner else '{"problem": "p", "problem": "q"}'
    good = '{"problem": "p", "steps": ["a"]}'
    texts = {"lines": f"{good}\n{twice}\n", "array": f"[{good},\n{twice}]", "several lines": f"{good}\n\n{twice}"}
    path = tmp_path / ("rows.jsonl" if layout == "lines" else "rows.json")
    path.write_text(texts[layout])
    key = "text" if inner else "problem"
    with pytest.raises(DataError, match=f"the key '{key}' stands twice in one object; keep one"):
        list(read_records(path, on_bad_row=lambda error: None))
