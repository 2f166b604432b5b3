"""Imports point down only, and torch is loaded by no command that does not need it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import surestep

SOURCE = Path(surestep.__file__).parent
LAYERS = (
    {"cli"},
    {"bench", "sweep"},
    {"training", "evaluation", "serving", "client"},
    {"inference"},
    {"scoring"},
    {"model", "encoding"},
    {"config"},
    {"calibration", "guarantees"},
    {"data", "metrics"},
    {"lock", "scored", "settings"},
    {"files"},
    {"arrays", "untrusted"},
    {"types", "errors", "hub", "terminal_text", "disk", "stop_signals", "collector"},
)
"""From the top down; packages of one layer never import each other."""

RANK = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem in RANK)
WITHOUT_TORCH = {
    "cli",
    "config",
    "data",
    "metrics",
    "calibration",
    "guarantees",
    "serving",
    "client",
    "types",
    "arrays",
    "collector",
    "disk",
    "errors",
    "files",
    "lock",
    "stop_signals",
    "scored",
    "settings",
    "hub",
    "terminal_text",
    "untrusted",
}


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported anywhere within, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            argument = node.args[0]
            # `f"surestep.cli.commands.{name}"`: what stands in front of the first brace says which package.
            text = argument.values[0] if isinstance(argument, ast.JoinedStr) else argument
            assert isinstance(text, ast.Constant), f"line {node.lineno}: an import that cannot be read here"
            yield node.lineno, str(text.value)


def at_module_level(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What importing the module imports: not what its functions do, nor what only type checkers see."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        yield from imported(statement)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def complaints(path: Path, names: Iterator[tuple[int, str]], forbidden: set[str]) -> list[str]:
    return [f"{name_of(path)}, line {line}: {name}" for line, name in names if name.partition(".")[0] in forbidden]


def test_every_module_belongs_to_a_layer() -> None:
    unknown = {package_of(path) for path in SOURCE.rglob("*.py")} - set(RANK) - {"__init__"}
    assert unknown == set(), "say in LAYERS where it stands"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down_only(path: Path) -> None:
    own = package_of(path)
    upward = []
    for line, name in imported(parse(path)):
        top, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if top != "surestep" or other in {own, "__version__"}:
            continue
        assert other in RANK, f"line {line}: {name} stands in no layer"
        if RANK[other] <= RANK[own]:
            upward.append(f"line {line}: {own} imports {name}")
    assert upward == []


def test_the_layer_test_sees_what_it_forbids() -> None:
    """A lazy import inside a function, a plain one, and a dynamic one."""
    source = "import torch.nn\ndef f():\n    from surestep.cli import main\nimport_module(f'surestep.cli.{x}')"
    assert {name for _, name in imported(ast.parse(source))} == {"torch.nn", "surestep.cli.", "surestep.cli.main"}
    assert {name for _, name in at_module_level(ast.parse(source))} == {"torch.nn", "surestep.cli."}


@pytest.mark.slow
def test_training_alone_imports_accelerate() -> None:
    found = [
        c
        for path in MODULES
        if package_of(path) != "training"
        for c in complaints(path, imported(parse(path)), {"accelerate"})
    ]
    assert found == []


def test_what_needs_no_tensor_imports_no_torch() -> None:
    found = [
        complaint
        for path in MODULES
        if package_of(path) in WITHOUT_TORCH - {"cli"}
        for complaint in complaints(path, imported(parse(path)), {"torch", "transformers", "peft", "safetensors"})
    ]
    assert found == []


def test_no_command_imports_torch_when_its_module_is_imported() -> None:
    heavy = {"torch", "transformers", "peft", "accelerate"}
    paths = [path for path in MODULES if package_of(path) == "cli"]
    found = [complaint for path in paths for complaint in complaints(path, at_module_level(parse(path)), heavy)]
    assert found == []


def loaded_by(*modules: str) -> set[str]:
    """Top-level names in `sys.modules` after a fresh Python has imported `modules`."""
    code = f"import sys, {', '.join(modules)}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_the_command_line_loads_no_torch_until_a_command_runs() -> None:
    """So `surestep --help` and every `surestep COMMAND --help` answer at once."""
    commands = [name_of(path) for path in MODULES if package_of(path) == "cli" and path.stem != "__init__"]
    loaded = loaded_by("surestep.cli.main", *commands)
    assert "surestep" in loaded
    assert not loaded & {"torch", "transformers", "peft", "accelerate", "sklearn", "matplotlib"}


def test_data_metrics_calibration_guarantees_serving_and_the_client_load_no_torch() -> None:
    packages = {"data", "metrics", "calibration", "guarantees", "serving", "client"}
    names = [name_of(path) for path in MODULES if package_of(path) in packages and path.stem != "__init__"]
    assert not loaded_by(*names) & {"torch", "transformers"}


MOST_FILES, MOST_LINES = 14, 400
"""In a folder, `__init__` not counted, and in a file: more of either hide what belongs together."""


def test_folders_and_files_stay_small() -> None:
    folders: dict[Path, int] = {}
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, path
        folders[path.parent] = folders.get(path.parent, 0) + (path.stem != "__init__")
    assert {folder: count for folder, count in folders.items() if count > MOST_FILES} == {}
    assert len(folders) > 20
