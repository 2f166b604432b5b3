"""The pages of the documentation site, made of `docs/` as it stands: navigation, links, notebooks.

`python docs/site_pages.py FOLDER` writes them for the site generator (`make site`). The documents are written to be
read on a code host too, so nothing in them is written for the site. The navigation is `docs/README.md` itself, which
names every page under its kind; decisions and experiments follow, each with all of its pages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from surestep.files import write_folder_whole

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
SETTINGS = DOCS / "site.yml"
"""The generator's settings, without the navigation."""
OUTSIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Documents of the root that are pages of the site: their path in the repository -> their path in the site."""
DECISIONS = "adr/index.md"
"""The site's list of decisions; a code host lists the folder by itself."""

_PICTURES = {".png", ".svg"}
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^][]|\[[^][]*\])*)\]\((?P<target>[^)#\s]*)(?P<anchor>#[^)\s]+)?\)")
_CODE = re.compile(r"(^ *```.*?^ *```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def write_pages(folder: Path) -> None:
    """Write the site's pages to `folder/pages` and the generator's settings, with the navigation, beside them."""
    with write_folder_whole(folder, replace=True, advice="name another folder") as made:
        for path, content in pages_of_the_site().items():
            place = made / "pages" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        nav = {"nav": navigation((DOCS / "README.md").read_text(encoding="utf-8"))}
        settings = SETTINGS.read_text(encoding="utf-8") + yaml.safe_dump(nav, allow_unicode=True, sort_keys=False)
        (made / "mkdocs.yml").write_text(settings, encoding="utf-8")


def pages_of_the_site() -> dict[str, bytes]:
    """Every page and picture: its path in the site -> its content."""
    sources = [path for path in sorted(DOCS.rglob("*")) if path.suffix in {".md", ".ipynb", *_PICTURES}]
    sources += [ROOT / path for path in OUTSIDE]
    pages = {DECISIONS: list_of_decisions().encode()}
    for source in sources:
        place = _in_site(source.relative_to(ROOT).as_posix())
        content = source.read_bytes()
        if source.suffix not in _PICTURES:
            text = content.decode()
            markdown = notebook_markdown(json.loads(text)) if source.suffix == ".ipynb" else text
            content = _for_the_generator(with_links_of_the_site(markdown, place)).encode()
        pages[place] = content
    return pages


def navigation(index: str) -> list[Any]:
    """The site's navigation from the text of `docs/README.md`: its headings, and the pages listed below each.

    >>> navigation("# Documents\\n## Tutorial: learn\\n- [First](tutorial.md): so\\n")[:2]
    [{'Home': 'README.md'}, {'Tutorial': [{'First': 'tutorial.md'}]}]
    """
    sections: list[Any] = [{"Home": "README.md"}]
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        listed = re.findall(r"^- \[([^]]+)\]\(([^)]+)\)", body, re.MULTILINE)
        pages = [{title: _in_site(_resolved("docs/README.md", target))} for title, target in listed]
        own = {DECISIONS, "experiments/README.md"}  # each a section of its own, below
        sections.append({heading.partition(":")[0].strip(): [page for page in pages if not own & set(page.values())]})
    decisions = [{_title(path): f"adr/{path.name}"} for path in _decisions()]
    logged = re.findall(r"\| \[([^]]+)\]\((\S+\.md)\) \|", (DOCS / "experiments" / "README.md").read_text("utf-8"))
    experiments = [{title: f"experiments/{name}"} for title, name in logged]
    sections.append({"Decisions": [DECISIONS, *decisions]})
    sections.append({"Experiments": ["experiments/README.md", *experiments]})
    sections.append({"Project": [{"Contributing": OUTSIDE["CONTRIBUTING.md"]}]})
    return sections


def list_of_decisions() -> str:
    """The page that a code host shows as the listing of the folder."""
    items = [f"- [{_title(path)}]({path.name})" for path in _decisions()]
    return "# Decisions\n\nWhy the program is as it is: context, decision, consequences.\n\n" + "\n".join(items) + "\n"


def with_links_of_the_site(markdown: str, page: str, *, repository: str = "") -> str:
    """A page with its relative links as the site needs them; code is left as it is.

    A link to a file that is no page of the site leads to `repository`, and is its text alone where none is named.

    Args:
        markdown: the page's text.
        page: its path in the site, with `/`.
        repository: the address below which files of the repository are seen.

    >>> with_links_of_the_site("[c](../CHANGELOG.md#top), [why](adr), [t](../train.py), [d](x.md)", "README.md")
    '[c](changelog.md#top), [why](adr/index.md), t, [d](x.md)'
    """
    here = next((source for source, place in OUTSIDE.items() if place == page), f"docs/{page}")

    def led(link: re.Match[str]) -> str:
        target = link["target"]
        if not target or "://" in target or target.startswith("mailto:"):
            return link[0]
        path = _resolved(here, target)
        place = _in_site(path)
        if place:
            relative = os.path.relpath(place, os.path.dirname(page) or ".").replace(os.sep, "/")
            return f"{link['image']}[{link['text']}]({relative}{link['anchor'] or ''})"
        if not (ROOT / path).exists():
            return link[0]  # as it is, so that the generator finds it dead
        return f"[{link['text']}]({repository.rstrip('/')}/{path})" if repository else link["text"]

    return _outside_code(markdown, lambda text: _LINK.sub(led, text))


def notebook_markdown(notebook: dict[str, Any]) -> str:
    """A notebook as a page: its texts, its code, and what the code printed.

    >>> cell = {"cell_type": "code", "source": ["print(1)"], "outputs": [{"name": "stdout", "text": ["1\\n"]}]}
    >>> print(notebook_markdown({"cells": [cell]}))
    ```python
    print(1)
    ```
    <BLANKLINE>
    ```text
    1
    ```
    <BLANKLINE>
    """
    parts: list[str] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        printed = "".join("".join(output.get("text", [])) for output in cell.get("outputs", []))
        parts += [f"```text\n{printed.rstrip()}\n```"] if printed.strip() else []
    return "\n\n".join(parts) + "\n"


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """The text with `change` made to it, and its code (also within the text of a link) as it was."""
    code: list[str] = []

    def put_aside(found: re.Match[str]) -> str:
        code.append(found[0])
        return f"\0{len(code) - 1}\0"

    changed = change(_CODE.sub(put_aside, markdown))
    return re.sub(r"\0(\d+)\0", lambda mark: code[int(mark[1])], changed)


def _for_the_generator(markdown: str) -> str:
    r"""A list right below a line of text is one on code hosts (CommonMark); Python-Markdown wants a line between.

    >>> _for_the_generator("Two:\n- a\n- b\n")
    'Two:\n\n- a\n- b\n'
    """
    below_text = re.compile(r"^((?! |[-*] |\d+\. |[|#>]).*\S.*\n)(?=(?:[-*]|1\.) )", re.MULTILINE)
    return _outside_code(markdown, lambda text: below_text.sub(r"\1\n", text))


def _decisions() -> list[Path]:
    return sorted((DOCS / "adr").glob("[0-9]*.md"))


def _title(page: Path) -> str:
    """Its first heading, as plain text: the navigation has no code."""
    return page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").replace("`", "").replace("<", "&lt;")


def _resolved(page: str, target: str) -> str:
    """Where a relative link of a page leads, as a path in the repository."""
    return os.path.normpath(os.path.join(os.path.dirname(page), target)).replace(os.sep, "/")


def _in_site(path: str) -> str:
    """The page of the site that shows a file of the repository; "" where none does."""
    if path in OUTSIDE:
        return OUTSIDE[path]
    if path == "docs/adr":
        return DECISIONS
    inside = path.removeprefix("docs/")
    if inside == path or not (ROOT / path).is_file():
        return ""
    return f"{inside.removesuffix('.ipynb')}.md" if inside.endswith(".ipynb") else inside


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write the pages of the documentation site.")
    parser.add_argument("folder", type=Path, help="the folder to write")
    write_pages(parser.parse_args().folder)
