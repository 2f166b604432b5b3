"""The documents hold together: every page is found, every link leads somewhere, reference pages match the program."""

from __future__ import annotations

import argparse
import re
from functools import cache
from pathlib import Path

import pytest

from documents import blocks_of
from surestep.cli.flags import fields
from surestep.cli.main import COMMANDS, module_of
from surestep.config.other_names import ALIASES
from surestep.metrics.figures import FIGURES

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
LOGS = (DOCS / "experiments",)
"""Pages about single runs, which may call them by their numbers."""
USER_PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(p for p in PAGES if not p.is_relative_to(LOGS[0]))]
SCRIPTS = {"train.py": "train", "train_lora.py": "train", "evaluate.py": "evaluate"}
"""The root's short names of commands."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def links_of(page: Path) -> list[Path]:
    """Where the links of a page lead, outside the network; a link into the same page leads to the page."""
    targets = re.findall(r"\]\(([^)#\s]*)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))
    return [(page.parent / target).resolve() if target else page for target in targets if "://" not in target]


def reachable(start: Path) -> set[Path]:
    """The pages that a reader finds from `start`, link by link; a link to a folder shows all that lies in it."""
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        page = waiting.pop()
        if page.is_dir():
            waiting += page.rglob("*.md")
        elif page.suffix == ".md" and page not in found and page.is_file():
            found.add(page)
            waiting += links_of(page)
    return found


def test_every_page_is_reachable_from_the_index() -> None:
    found = reachable(DOCS / "README.md")
    assert [name_of(page) for page in PAGES if page not in found] == []


def test_the_index_names_every_page_of_the_four_kinds_itself() -> None:
    listed = set(links_of(DOCS / "README.md"))
    of_the_kinds = [page for page in PAGES if page.parent.name not in {"adr", "experiments"}]
    assert [name_of(page) for page in of_the_kinds if page not in listed and page != DOCS / "README.md"] == []


def slug(heading: str) -> str:
    """The anchor that a forge makes of a heading.

    >>> slug("## 5. Understand the `figures`: all of them")
    '5-understand-the-figures-all-of-them'
    """
    text = heading.lstrip("#").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors_of(page: Path) -> set[str]:
    anchors = set()
    in_code = False
    for line in page.read_text(encoding="utf-8").splitlines():
        in_code ^= line.strip().startswith("```")
        if line.startswith("#") and not in_code:
            anchors.add(slug(line))
    return anchors


@pytest.mark.parametrize("page", USER_PAGES, ids=name_of)
def test_links_to_a_section_lead_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert anchor in anchors_of((page.parent / target) if target else page), f"{target}#{anchor}"


NUMBER = re.compile(r"(?<![\w/.-])E\d{1,3}(?![\w-])")
"""An experiment's number, as the log of experiments gives it."""


@pytest.mark.parametrize("text", ["(E7)", "as E31 showed", "see docs/experiments.md, E10."])
def test_an_experiment_number_is_noticed(text: str) -> None:
    assert NUMBER.search(text)


@pytest.mark.parametrize("page", USER_PAGES, ids=name_of)
def test_no_page_for_users_names_an_experiment_by_its_number(page: Path) -> None:
    assert NUMBER.findall(page.read_text(encoding="utf-8")) == []


def test_the_page_of_figures_has_each_figure_once() -> None:
    page = (DOCS / "reference" / "figures.md").read_text(encoding="utf-8").split("Derived from these")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(FIGURES)


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """The flags of a command and of its actions, with underscores."""
    options: set[str] = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                options |= options_of(part)
        options |= {"--" + option[2:].replace("-", "_") for option in action.option_strings if option.startswith("--")}
    return options


@cache
def flags_of(command: str) -> frozenset[str]:
    parser = argparse.ArgumentParser()
    module_of(command).configure(parser)
    return frozenset(options_of(parser))


@cache
def config_flags() -> frozenset[str]:
    """The flags that are fields of the configuration, under all their names."""
    names = [name for path, _ in fields() for name in (path, path.rpartition(".")[2], *ALIASES.get(path, []))]
    return frozenset(f"--{name}" for name in names)


SECTIONS = dict(
    re.findall(
        r"^## `surestep (\w+)`\n(.*?)(?=^## |\Z)",
        (DOCS / "reference" / "commands.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
)


def test_the_page_of_commands_has_every_command() -> None:
    assert set(SECTIONS) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_commands_names_the_flags_that_are_a_command_s_own(command: str) -> None:
    named = set(re.findall(r"`(--[\w-]+)`", SECTIONS[command]))
    own = flags_of(command) - config_flags() - {"--help"}
    assert own <= named, "flags that the page lacks"
    assert named <= flags_of(command), "flags that the command lacks"


def commands_in(page: Path) -> list[tuple[str, list[str]]]:
    """Each command line that a page shows in a block, as the command's name and its words."""
    text = page.read_text(encoding="utf-8")
    code = [block.code for block in blocks_of(text) if block.language in {"bash", ""}]
    code += re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    found = []
    for line in "\n".join(code).replace("\\\n", " ").splitlines():
        line = line.split("#")[0].split(" = ")[0]
        match = re.match(r"\s*(?:surestep (\w+)|python (train|train_lora|evaluate)\.py)\b(.*)", line)
        if match and (command := match[1] or SCRIPTS[f"{match[2]}.py"]) in COMMANDS:
            found.append((command, match[3].split()))
    return found


@pytest.mark.parametrize("page", USER_PAGES, ids=name_of)
def test_the_flags_of_the_commands_that_a_page_shows_exist(page: Path) -> None:
    for command, words in commands_in(page):
        flags = {"--" + word[2:].split("=")[0].replace("-", "_") for word in words if re.match(r"--\w", word)}
        assert flags <= flags_of(command), f"surestep {command} {' '.join(words)}"


def test_command_lines_are_found() -> None:
    names = [command for command, _ in commands_in(DOCS / "how-to" / "use-my-model.md")]
    assert names.count("benchmark") == 1
    assert {"calibrate", "export"} <= set(names)
