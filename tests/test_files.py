"""A file is written whole or not at all, and its hash is that of the bytes that are there."""

from __future__ import annotations

import ast
import errno
import hashlib
import os
from pathlib import Path

import pytest

import surestep
from surestep import files
from surestep.errors import StorageError
from surestep.files import (
    OUTPUT_ADVICE,
    sha256_of,
    storage_errors,
    write_folder_whole,
    write_json,
    write_text,
    write_whole,
    written_together,
)


def test_a_file_takes_its_place_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    write_text(path, "one\r\ntwo\n")
    assert path.read_bytes() == b"one\r\ntwo\n"
    write_text(path, "three")
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]
    assert path.read_text() == "three"


@pytest.mark.parametrize("error", [ValueError("broken"), OSError(errno.ENOSPC, "No space left on device")])
def test_after_an_error_the_former_content_stands(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "former")
    expected = StorageError if isinstance(error, OSError) else ValueError

    def write_and_fail() -> None:
        with write_whole(path) as file:
            file.write("half of the n")
            raise error

    with pytest.raises(expected):
        write_and_fail()
    assert path.read_text() == "former"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_a_failed_write_names_place_reason_and_advice(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=r"file/inside cannot be written \(.+\); choose another"):
        write_text(tmp_path / "file" / "inside", "text")
    with pytest.raises(StorageError, match="set --cache_dir"):
        write_text(tmp_path / "file" / "inside", "text", advice="set --cache_dir")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_only_where_space_is_missing_the_advice_is_to_free_some(number: int, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path, OUTPUT_ADVICE):
        raise OSError(number, os.strerror(number))
    said = f"{tmp_path} cannot be written ({os.strerror(number)}); "
    is_full = number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    assert str(caught.value) == said + ("free space or " if is_full else "") + "choose another --output_dir"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the system has no /proc")
def test_a_place_where_nothing_can_be_made_is_no_question_of_space() -> None:
    with pytest.raises(StorageError, match=r"^/proc/x/a\.txt cannot be written \(.+\); choose another --output_dir$"):
        write_text(Path("/proc/x/a.txt"), "text")


def test_no_message_is_made_with_advice_to_free_space_but_by_the_kind_of_error() -> None:
    """`_check_space` alone has counted it."""
    found = []
    for path in sorted(Path(surestep.__file__).parent.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for raised in ast.walk(ast.parse(text)) if "free space or" in text else ():
            if isinstance(raised, ast.Raise | ast.JoinedStr) and "free space or" in ast.unparse(raised):
                found.append(path.name)
    assert set(found) == {"download.py"}
    assert len(found) == 2, "the statement and its text"


def test_json_without_numbers_that_are_none(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, None]})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": [\n    1,\n    null\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert '"a"' in (tmp_path / "a.json").read_text()


def test_a_folder_takes_its_place_whole(tmp_path: Path) -> None:
    with write_folder_whole(tmp_path / "folder") as beside:
        (beside / "a").write_text("a")
        assert not (tmp_path / "folder").exists()
    assert (tmp_path / "folder" / "a").read_text() == "a"
    with pytest.raises(StorageError), write_folder_whole(tmp_path / "folder") as beside:
        (beside / "b").write_text("b")
    with pytest.raises(KeyError), write_folder_whole(tmp_path / "other") as beside:
        raise KeyError
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["a", "folder"]


def test_a_link_is_followed_and_stays_alone_or_together(tmp_path: Path) -> None:
    """Of a file, of a folder, and of one that points to nothing yet."""
    (tmp_path / "disk").mkdir()
    for name in ("a", "b", "gone", "folder"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    (tmp_path / "disk" / "a").write_text("former")
    (tmp_path / "disk" / "b").write_text("former")
    (tmp_path / "disk" / "folder").mkdir()
    write_text(tmp_path / "a", "new")
    with written_together() as group:
        write_text(tmp_path / "b", "new")
        write_text(tmp_path / "gone", "new")
        with write_folder_whole(tmp_path / "folder", replace=True) as beside:
            (beside / "inside").write_text("new")
        assert group.unplaced(tmp_path / "b").read_text() == "new"
        assert (tmp_path / "b").read_text() == "former"
    for name in ("a", "b", "gone", "folder/inside"):
        assert (tmp_path / "disk" / name).read_text() == (tmp_path / name).read_text() == "new"
    assert all((tmp_path / name).is_symlink() for name in ("a", "b", "gone", "folder"))
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["a", "b", "folder", "gone"]


@pytest.mark.parametrize("kind", ["pipe", "another user's", "itself"])
def test_a_link_that_could_do_harm_is_replaced(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "target"
    link = tmp_path / "link"
    if kind == "pipe":
        os.mkfifo(target)
    elif kind == "itself":
        target = link
    else:
        target.write_text("theirs")
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    link.symlink_to(target)
    write_text(link, "new")
    assert not link.is_symlink()
    assert link.read_text() == "new"
    if kind == "another user's":
        assert target.read_text() == "theirs"


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    assert sha256_of(path) == hashlib.sha256(b"first").hexdigest()
    # Written a moment ago: the same size and, on a coarse clock, the same times must not hide a change.
    times = path.stat()
    path.write_bytes(b"other")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert sha256_of(path) == hashlib.sha256(b"other").hexdigest()

    monkeypatch.setattr(files, "_RACY_NS", -(10**18))  # as if it had been lying there for long
    counted: list[bytes] = []
    real = hashlib.sha256

    def counting(*parts: bytes) -> object:
        counted.append(b"")
        return real(*parts)

    monkeypatch.setattr(files.hashlib, "sha256", counting)
    assert sha256_of(path) == sha256_of(path)
    assert len(counted) == 1
    path.write_bytes(b"another")
    assert sha256_of(path) == real(b"another").hexdigest()
