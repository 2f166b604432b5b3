"""What is handed out works without the source tree: a wheel, built from the source distribution, installed and used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "surestep"
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"

pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path) -> str:
    """What the command prints; nothing of this environment's paths reaches it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, made of a copy of the tree, and the wheel, made of the unpacked distribution."""
    folder = tmp_path_factory.mktemp("package")
    tree = folder / "tree"
    tree.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "tests", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=unwanted)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":  # a linked work tree has a file of that name
            shutil.copy(path, tree)
    run(sys.executable, "-c", BUILD, "build_sdist", folder, folder=tree)
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", BUILD, "build_wheel", folder, folder=unpacked)
    (wheel,) = folder.glob("*.whl")
    return source, wheel


def test_both_hold_every_file_of_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    source, wheel = built
    files = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if ".dist-info/" not in name} == files
    with tarfile.open(source) as archive:
        held = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert {f"src/{name}" for name in files} <= held
    around = {name for name in held if not name.startswith("src/")}
    written = {
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "MANIFEST.in",
        "README.md",
        "constraints.txt",
        "pyproject.toml",
    }
    assert around == written | {"PKG-INFO", "setup.cfg"}


def test_the_installed_wheel_trains_and_evaluates(built: tuple[Path, Path], tmp_path: Path) -> None:
    """In an environment that holds the wheel alone and sees the dependencies of this one, but no source tree."""
    _, wheel = built
    clean = tmp_path / "clean"
    venv.create(clean, with_pip=False, symlinks=True)
    python = clean / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--no-deps", "--no-index", wheel, folder=tmp_path)
    # A path in a .pth is put on the search path; the .pth files in it, of editable installs, are not read.
    (site,) = clean.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    surestep = clean / "bin" / "surestep"

    assert run(python, "-c", "import surestep; print(surestep.__file__)", folder=tmp_path).startswith(str(site))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert run(surestep, "--version", folder=tmp_path).strip() == f"surestep {version}"
    assert "certify" in run(surestep, "--help", folder=tmp_path)
    data = ["--use_prm800k", "false", "--use_eqasc", "false", "--use_arithmetic", "true", "--arithmetic_problems", "40"]
    data += ["--arithmetic_eval_problems", "10"]
    small = ["--backbone", "builtin:tiny", "--device", "cpu", "--max_steps", "1", "--experiment_name", "small"]
    batch = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1", "--warmup_steps", "0"]
    few_draws = ["--bootstrap_resamples", "20"]
    evaluated = ["evaluate", "--checkpoint", "outputs/small/checkpoint_step_1", *few_draws]
    # In one process, which reads torch once; that the command is the same function is shown above.
    commands = [["doctor"], ["train", *small, *batch, *data, *few_draws], evaluated]
    code = f"from surestep.cli.main import main; print([main(one) for one in {commands!r}])"
    said = run(python, "-c", code, folder=tmp_path)
    assert said.endswith("[0, 0, 0]\n")
    assert version in said.partition("training")[0], "what doctor says"
    evaluation = tmp_path / "outputs" / "eval_small" / "checkpoint_step_1"
    assert {"eval_metrics.json", "report.html", "MODEL_CARD.md"} <= {path.name for path in evaluation.iterdir()}
