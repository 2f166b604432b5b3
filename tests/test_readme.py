"""The README works: its marked blocks run, links and commands exist.

`python` and `surestep` are the quick ones of `warm_python`.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from documents import blocks_of, run
from small_datasets import write_datasets
from surestep.cli.main import COMMANDS
from surestep.config import Config
from surestep.files import BEST, write_json
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.checkpoint.save import save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.slow
def test_the_marked_block_runs(tmp_path: Path, quick_python: Path) -> None:
    shutil.copy(ROOT / "config.py", tmp_path)
    (block,) = (block for block in blocks_of(README) if block.mark == "run")
    (tmp_path / "block.py").write_text(block.code, encoding="utf-8")
    ran = run(["python", "block.py"], tmp_path, first_on_path=quick_python)
    assert ran.code == 0, ran.output
    assert json.loads((tmp_path / "mine_2.json").read_text())["training"]["max_steps"] == 2000


@pytest.mark.slow
def test_the_training_on_public_data_runs(
    tmp_path: Path, quick_python: Path, backbone_folder: Callable[[str], Path]
) -> None:
    """The block that begins with a download, without the download and on small files in the same layout."""
    shutil.copy(ROOT / "train_lora.py", tmp_path)
    write_datasets(tmp_path / "data")
    (block,) = (block for block in blocks_of(README) if block.mark == "fetch")
    lines = [line for line in block.code.splitlines() if not line.startswith("surestep data fetch")]
    assert len(lines) == 2
    lines[1] += f" --backbone {backbone_folder('llama')} --device cpu --max_steps 1"
    ran = run(["bash", "-e", "-c", "\n".join(lines)], tmp_path, first_on_path=quick_python)
    assert ran.code == 0, ran.output
    assert "phase1_test.jsonl" in ran.output
    assert (tmp_path / "outputs" / "first" / "checkpoint_step_1" / "manifest.json").is_file()


@pytest.mark.slow
def test_a_checkpoint_is_served_in_four_lines(
    tmp_path: Path, quick_python: Path, build_small: Callable[..., BuiltModel], small_config: Callable[..., Config]
) -> None:
    """The four lines, without installation and training (the run lies there), at a port that is free."""
    (block,) = (block for block in blocks_of(README) if block.mark == "serve")
    install, train, serve, ask = block.code.splitlines()
    assert (install, train) == ("pip install '.[serve]'", "surestep demo")
    config = small_config("gpt2")
    save_checkpoint(
        tmp_path / "outputs" / "demo" / "checkpoint_step_2", build_small(config=config), config, step=2, label_means={}
    )
    write_json(tmp_path / "outputs" / "demo" / BEST, {"checkpoint": "checkpoint_step_2"})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    assert serve.endswith(" &")
    lines = [
        f"{serve.removesuffix(' &')} --port {port} 2> log &",
        f"{ask.replace('8000', port).replace('--retry 60', '--retry 600')} -o answer",
        "asked=$?; kill $!; wait $!; exit $asked",
    ]
    ran = run(["bash", "-c", "\n".join(lines)], tmp_path, first_on_path=quick_python)
    assert ran.code == 0, ran.output + (tmp_path / "log").read_text(encoding="utf-8")
    answer = json.loads((tmp_path / "answer").read_text(encoding="utf-8"))
    (confidence,) = answer["confidences"]
    assert 0 <= confidence <= 1


def test_every_command_is_named() -> None:
    named = set(re.findall(r"`surestep (\w+)", README))
    assert named == set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target
