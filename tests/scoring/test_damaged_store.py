"""A damaged token store is made anew with a line, and what killed runs left is removed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from surestep.config import TINY_BACKBONE
from surestep.data.sources.source import Source
from surestep.encoding import store_files
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.store_files import DamagedStoreError, remove_abandoned, unfinished
from surestep.encoding.token_store import TreeStore
from surestep.encoding.tokenizer import StepTokenizer
from surestep.scoring.stored_split import prepare_source


@pytest.fixture(scope="module")
def tokenizer() -> StepTokenizer:
    return load_tokenizer(TINY_BACKBONE)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    rows = [
        {"problem": f"{k} + 1?", "steps": [{"text": f"It is {k + 1}.", "confidence": k / 10, "context": "Peano"}]}
        for k in range(9)
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source("own", "mine", "train", "own", (path,))


def prepare(source: Source, tokenizer: StepTokenizer, cache: Path) -> tuple[TreeStore, list[str]]:
    titles: list[str] = []

    def progress(title: str) -> Callable[[int], None]:
        titles.append(title)
        return lambda _: None

    return prepare_source(source, tokenizer, Formatter(), cache_dir=cache, progress=progress).store, titles


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    place = random.Random(path.name).randrange(len(data))
    data[place] ^= 1 << place % 8
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [flip, cut, grow, Path.unlink, to_folder]


@pytest.mark.parametrize("damage", DAMAGES)
def test_any_damage_to_any_file_is_named_and_mended(
    damage: Callable[[Path], None], source: Source, tokenizer: StepTokenizer, tmp_path: Path
) -> None:
    first, titles = prepare(source, tokenizer, tmp_path / "cache")
    assert titles == ["reading and tokenising mine train"]
    whole, folder = content(first.folder), first.folder
    assert prepare(source, tokenizer, tmp_path / "cache")[1] == []
    for name in (name for name, data in whole.items() if data):
        damage(folder / name)
        with pytest.raises(DamagedStoreError, match=name):
            TreeStore(folder)
        again, (title,) = prepare(source, tokenizer, tmp_path / "cache")
        assert title.startswith(f"the stored tokens of mine train are damaged ({name} ")
        assert title.endswith("): reading and tokenising again")
        assert again.folder == folder
        assert content(folder) == whole
        assert list(folder.parent.iterdir()) == [folder]


def test_a_store_without_its_folder_is_made_anew(source: Source, tokenizer: StepTokenizer, tmp_path: Path) -> None:
    folder = prepare(source, tokenizer, tmp_path / "cache")[0].folder
    whole = content(folder)
    for path in folder.iterdir():
        path.unlink()
    assert "meta.json is missing" in prepare(source, tokenizer, tmp_path / "cache")[1][0]
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("a file")
    prepare(source, tokenizer, tmp_path / "cache")
    assert content(folder) == whole


def test_a_change_that_keeps_size_and_time_of_modification_is_seen(
    source: Source, tokenizer: StepTokenizer, tmp_path: Path
) -> None:
    folder = prepare(source, tokenizer, tmp_path / "cache")[0].folder
    label = folder / "label.bin"
    times = (label.stat().st_atime_ns, label.stat().st_mtime_ns)
    TreeStore(folder)
    flip(label)
    os.utime(label, ns=times)
    with pytest.raises(DamagedStoreError, match=r"label\.bin has changed"):
        TreeStore(folder)


def test_an_open_store_keeps_its_content_while_it_is_made_anew(
    source: Source, tokenizer: StepTokenizer, tmp_path: Path
) -> None:
    first, _ = prepare(source, tokenizer, tmp_path / "cache")
    before = [first.tree(number) for number in range(len(first))]
    (first.folder / "meta.json").unlink()
    again, _ = prepare(source, tokenizer, tmp_path / "cache")
    assert [first.tree(number) for number in range(len(first))] == before
    assert [again.tree(number) for number in range(len(again))] == before


_WRITER = """
import sys, time
from pathlib import Path
from surestep.encoding.store_files import unfinished
with unfinished(Path(sys.argv[1])) as beside:
    (beside / "tokens.bin").write_bytes(b"x")
    print(beside, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_run_left_goes_and_what_is_written_stays(
    source: Source, tokenizer: StepTokenizer, tmp_path: Path
) -> None:
    tokens = tmp_path / "cache" / "tokens"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tokens / "s")], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    left = Path(writer.stdout.readline().strip())
    try:
        with unfinished(tokens / "mine") as beside:
            prepare(source, tokenizer, tmp_path / "cache")
            assert left.is_dir()
            assert beside.is_dir()
        assert not beside.exists()
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    assert left.is_dir()
    prepare(source, tokenizer, tmp_path / "cache")
    assert not left.exists()


def test_without_a_lock_age_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, elsewhere = (tmp_path / f"{name}.part" for name in ("old", "new", "elsewhere"))
    for folder in (old, new, elsewhere):
        folder.mkdir()
        (folder / "tokens.bin").write_bytes(b"x")
    (elsewhere / "writing.lock").write_text("another machine")
    long_ago = time.time() - store_files._OLD_S - 60
    for path in (old / "tokens.bin", old):
        os.utime(path, (long_ago, long_ago))
    assert remove_abandoned(tmp_path) == [old]
    for path in (new, elsewhere / "tokens.bin", elsewhere / "writing.lock", elsewhere):
        os.utime(path, (long_ago, long_ago))
    assert remove_abandoned(tmp_path) == [elsewhere]  # the newest file of the other was written just now
    assert new.is_dir()
