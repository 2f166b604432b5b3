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
    {"types", "errors", "hub", "terminal_text", "disk", "stop_signals", "collector", "cores", "counted"},
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
    "cores",
    "counted",
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


def _called(call: ast.Call) -> str:
    """The last name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported anywhere within, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node).endswith("import_module"):
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


Imports = list[tuple[int, str]]


@pytest.fixture(scope="module")
def imports() -> dict[Path, tuple[Imports, Imports]]:
    """All that each module imports, and what importing it imports."""
    trees = ((path, ast.parse(path.read_text(encoding="utf-8"), filename=str(path))) for path in MODULES)
    return {path: (list(imported(tree)), list(at_module_level(tree))) for path, tree in trees}


def complaints(path: Path, names: Imports, forbidden: set[str]) -> list[str]:
    return [f"{name_of(path)}, line {line}: {name}" for line, name in names if name.partition(".")[0] in forbidden]


def test_every_module_belongs_to_a_layer() -> None:
    unknown = {package_of(path) for path in SOURCE.rglob("*.py")} - set(RANK) - {"__init__"}
    assert unknown == set(), "say in LAYERS where it stands"


def test_imports_point_down_only(imports: dict[Path, tuple[Imports, Imports]]) -> None:
    upward = []
    for path, (names, _) in imports.items():
        own = package_of(path)
        for line, name in names:
            top, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if top != "surestep" or other in {own, "__version__"}:
                continue
            assert other in RANK, f"{name_of(path)}, line {line}: {name} stands in no layer"
            if RANK[other] <= RANK[own]:
                upward.append(f"{name_of(path)}, line {line}: {own} imports {name}")
    assert len(imports) > 300
    assert upward == []


def test_the_layer_test_sees_what_it_forbids() -> None:
    """A lazy import inside a function, a plain one, and a dynamic one."""
    source = "import torch.nn\ndef f():\n    from surestep.cli import main\nimport_module(f'surestep.cli.{x}')"
    assert {name for _, name in imported(ast.parse(source))} == {"torch.nn", "surestep.cli.", "surestep.cli.main"}
    assert {name for _, name in at_module_level(ast.parse(source))} == {"torch.nn", "surestep.cli."}


def test_training_alone_imports_accelerate(imports: dict[Path, tuple[Imports, Imports]]) -> None:
    found = [
        complaint
        for path, (names, _) in imports.items()
        if package_of(path) != "training"
        for complaint in complaints(path, names, {"accelerate"})
    ]
    assert found == []


def test_what_needs_no_tensor_imports_no_torch(imports: dict[Path, tuple[Imports, Imports]]) -> None:
    found = [
        complaint
        for path, (names, _) in imports.items()
        if package_of(path) in WITHOUT_TORCH - {"cli"}
        for complaint in complaints(path, names, {"torch", "transformers", "peft", "safetensors"})
    ]
    assert found == []


def test_no_command_imports_torch_when_its_module_is_imported(imports: dict[Path, tuple[Imports, Imports]]) -> None:
    heavy = {"torch", "transformers", "peft", "accelerate"}
    commands = [(path, names) for path, (_, names) in imports.items() if package_of(path) == "cli"]
    found = [complaint for path, names in commands for complaint in complaints(path, names, heavy)]
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
