"""The Slurm script of the documents chooses whether a job that is queued again resumes its run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "several-gpus.md"


@pytest.mark.parametrize(
    ("left", "flag"),
    [
        (None, "--overwrite"),
        ("outputs/exp/config.json", "--overwrite"),
        ("outputs/exp/.checkpoint_step_5.half/manifest.json", "--overwrite"),
        ("outputs/exp/checkpoint_step_5/manifest.json", "--resume"),
    ],
    ids=["nothing", "ended before its first checkpoint", "ended in the middle of it", "a checkpoint"],
)
def test_a_job_that_is_queued_again_resumes_where_there_is_a_checkpoint(
    left: str | None, flag: str, tmp_path: Path
) -> None:
    if left is not None:
        (tmp_path / left).parent.mkdir(parents=True)
        (tmp_path / left).touch()
    (line,) = re.findall(r"^again=.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", f'{line}\nprintf %s "$again"'], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == flag
