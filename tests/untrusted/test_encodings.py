"""A file in another encoding is named as such by every reader, in one line: never called cut, empty or no JSON."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surestep.config import Config
from surestep.data.records.record import read_records
from surestep.errors import SurestepError
from surestep.inference.tables.rows import BadRow, count_rows, format_of, read_rows
from surestep.serving.api_keys import read_api_keys
from surestep.untrusted import read_json
from surestep.untrusted.encodings import not_utf8

MARKED = ("utf-16", "utf-32")
PLAIN = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
TEXTS = ('{"problem": "1+1?", "steps": ["2"]}\n', '{"problem": "Сколько?", "steps": ["два"]}\n', '[{"a": 1}]', "\n{}\n")
TABLES = ("problem,solution\n1+1?,2\n", "вопрос,ответ\r\nСколько?,два\r\n")


def encoded(text: str, encoding: str) -> bytes:
    """The text in an encoding; `-bom` behind its name writes the mark that Python leaves out."""
    name = encoding.removesuffix("-bom")
    return (("\ufeff" if name != encoding else "") + text).encode(name)


def records(path: Path) -> None:
    list(read_records(path))


def table_counted(path: Path) -> None:
    count_rows(path, format_of(path))


def table(path: Path) -> None:
    list(read_rows(path, format_of(path)))


def by_name(path: Path) -> Iterator[Callable[[Path], None]]:
    yield records
    if path.suffix != ".zst":  # which tables do not take
        yield from (table_counted, table)


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
@pytest.mark.parametrize("encoding", [*MARKED, *PLAIN, *(f"{name}-bom" for name in PLAIN)])
def test_every_reader_of_rows_names_the_encoding(tmp_path: Path, encoding: str, ending: str, packing: str) -> None:
    for number, text in enumerate(TABLES if ending == ".csv" else TEXTS):
        content = encoded(text, encoding)
        packed = {"": bytes, ".gz": gzip.compress, ".zst": lambda one: pyarrow.compress(one, "zstd", asbytes=True)}
        path = tmp_path / f"rows{number}{ending}{packing}"
        path.write_bytes(packed[packing](content))
        for read in by_name(path):
            with pytest.raises(SurestepError) as caught:
                read(path)
            said = f"not UTF-8 but {encoding.upper()[:6]}; save the file as UTF-8"
            assert str(caught.value) == f"{path}: {said}"


@pytest.mark.parametrize("encoding", [*MARKED, *PLAIN])
def test_standard_input_and_settings_are_named_too(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(TEXTS[0], encoding)
    said = f"not UTF-8 but {encoding.upper()[:6]}; save the file as UTF-8"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))  # type: ignore[arg-type]
    with pytest.raises(SurestepError, match=f"standard input.*{said}"):
        list(read_rows(Path("-"), "jsonl"))
    for name in ("settings.json", "settings.yaml"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(SurestepError, match=said):
            Config.from_file(path)
    with pytest.raises(ValueError, match=said):
        read_json(tmp_path / "settings.json")
    with pytest.raises(SurestepError, match=said):
        read_api_keys(tmp_path / "settings.json")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp1251", "gb18030", "shift-jis", "utf-8-sig"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
def test_of_other_encodings_the_first_byte_that_is_no_utf8_is_named(tmp_path: Path, encoding: str, ending: str) -> None:
    word = {"cp1251": "два", "gb18030": "问题", "shift-jis": "問題"}.get(encoding, "naïve")
    text = f"problem,solution\n{word},2\n" if ending == ".csv" else json.dumps({"a": word}, ensure_ascii=False) + "\n"
    path = tmp_path / f"rows{ending}"
    path.write_bytes(text.encode(encoding))
    if encoding == "utf-8-sig":
        (record,) = read_records(path)
        assert word in record.values.values()
        return
    with pytest.raises(SurestepError, match=r"not UTF-8 \(byte 0x.. at column \d+\); save the file as UTF-8"):
        list(read_records(path))
    if ending == ".json":  # which is held whole
        with pytest.raises(SurestepError, match=r"not UTF-8 \(byte 0x.. at column \d+\); save the file as UTF-8"):
            table(path)
    else:
        (row,) = read_rows(path, format_of(path))
        assert isinstance(row, BadRow)
        assert row.reason.startswith("not UTF-8 (byte 0x")
        assert row.reason.endswith("; save the file as UTF-8")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.sampled_from([*PLAIN, *MARKED]))
def test_no_utf8_is_taken_for_another_encoding(text: str, encoding: str) -> None:
    """A text holds no NUL; a JSON or table in another encoding holds ASCII, which tells it."""
    text = text.replace("\0", "").encode("utf-8", "ignore").decode()
    assert not_utf8(text.encode()) == ""
    assert not_utf8(f'{{"{text[:2]}": 1}}'.encode(encoding, "ignore")) != ""
