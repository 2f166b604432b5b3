"""A copy of a checkpoint counts as a backup only if it is complete, of the same state, and not the original itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from surestep.errors import CheckpointError
from surestep.evaluation.check.backup import check_backup
from surestep.evaluation.check.sign_off import check_signed, read_sign_offs, sign_off
from surestep.files import SIGN_OFFS
from surestep.scoring.checkpoint.manifest import Manifest, read_manifest, write_manifest

BACKBONE = {"name": "a", "revision": None, "weights_sha256": "0" * 64, "max_positions": 64}


def make_checkpoint(folder: Path, *, content: bytes = b"weights") -> Path:
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text("{}")
    write_manifest(folder, Manifest("lora", 7, 1, BACKBONE, "f", "t", {}))
    return folder


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "outputs" / "run" / "checkpoint_step_7")


def finding_of(original: Path, backup: Path) -> tuple[str, str, str]:
    found = check_backup(original, read_manifest(original, with_state=False), backup)
    return found.status, found.value, found.detail


@pytest.mark.parametrize("part", ["checkpoint_step_7", "run", "outputs"])
def test_a_copy_of_the_checkpoint_its_run_or_all_runs_is_found(original: Path, tmp_path: Path, part: str) -> None:
    source = next(path for path in (original, *original.parents) if path.name == part)
    shutil.copytree(source, tmp_path / "copy")
    status, value, detail = finding_of(original, tmp_path / "copy")
    assert (status, value) == ("pass", "2 files, hashes equal")
    assert "on the same disk" in detail


def flip(copy: Path) -> None:
    (copy / "adapter" / "model.safetensors").write_bytes(b"weightz")


def lose(copy: Path) -> None:
    (copy / "config.json").unlink()


def another(copy: Path) -> None:
    shutil.rmtree(copy)
    make_checkpoint(copy, content=b"other weights")


@pytest.mark.parametrize(
    ("harm", "value", "words"),
    [
        (flip, "damaged copy", "sha256 differs"),
        (lose, "damaged copy", "config.json is missing"),
        (another, "of another state", "adapter/model.safetensors"),
        (shutil.rmtree, "no copy there", "holds no manifest.json"),
    ],
)
def test_what_is_no_copy_fails(
    original: Path, tmp_path: Path, harm: Callable[[Path], None], value: str, words: str
) -> None:
    copy = Path(shutil.copytree(original, tmp_path / "copy"))
    harm(copy)
    status, found, detail = finding_of(original, copy)
    assert (status, found) == ("fail", value)
    assert words in detail


def test_the_original_and_links_to_it_are_no_backup(original: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(original)
    shutil.copytree(original, tmp_path / "hard", copy_function=os.link)
    for place in (original, original.parent, tmp_path / "link", tmp_path / "hard"):
        assert finding_of(original, place)[:2] == ("fail", "the original itself"), place


def test_a_whole_copy_of_a_damaged_checkpoint_passes_and_says_so(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "copy")
    flip(original)
    found = check_backup(original, None, tmp_path / "copy")
    assert (found.status, "restore the checkpoint from it" in found.detail) == ("pass", True)


def test_sign_offs_are_kept_and_bound_to_the_state(original: Path) -> None:
    sign_off(original, ["backup"], by=" Ada ", note="on tape 4")
    sign_off(original, ["error_analysis"], by="Grace")
    assert [(one.item, one.by, one.note) for one in read_sign_offs(original)] == [
        ("backup", "Ada", "on tape 4"),
        ("error_analysis", "Grace", ""),
    ]
    signed = read_sign_offs(original)
    now = check_signed("backup", "backed up", original, signed, demanded=True, mend="m")
    assert (now.status, now.value[:21], now.detail) == ("pass", "signed off by Ada on ", "on tape 4")
    (original / "config.json").write_text("{ }")
    write_manifest(original, Manifest("lora", 8, 1, BACKBONE, "f", "t", {}))
    later = check_signed("backup", "backed up", original, signed, demanded=True, mend="m")
    assert (later.status, later.value) == ("fail", "of an earlier state")
    undemanded = check_signed("backup", "backed up", original, [], demanded=False, mend="m")
    assert (undemanded.status, undemanded.value) == ("skipped", "nobody has signed")


@pytest.mark.parametrize(
    "content", ["{", "[]", "null", '{"sign_offs": 3}', '{"sign_offs": [{"item": "leaks"}]}', "[" * 100_000, "\udcff"]
)
def test_a_damaged_file_of_sign_offs_is_one_line(original: Path, content: str) -> None:
    (original.parent / SIGN_OFFS).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(CheckpointError, match=r"sign_offs\.json is damaged; restore it") as error:
        read_sign_offs(original)
    assert "\n" not in str(error.value)
