"""The page as it is sent: which files, under which policy, with which hashes, and that they come with the package."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from surestep.serving.page import router as page
from surestep.serving.page.router import EXAMPLES, PATHS, SCRIPTS, page_router, read_page

FOLDER = Path(page.__file__).parent


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()
    app.include_router(page_router())
    return TestClient(app)


def directives(client: TestClient) -> dict[str, list[str]]:
    policy = client.get("/").headers["content-security-policy"]
    return {name: sources for name, *sources in (part.split() for part in policy.split(";"))}


def test_the_page_and_its_files_are_sent_with_their_types(client: TestClient) -> None:
    expected = {"html": "text/html", "css": "text/css", "js": "text/javascript", "json": "application/json"}
    for path in PATHS:
        answer = client.get(path)
        assert answer.status_code == 200, path
        kind = "html" if path == "/" else path.rpartition(".")[2]
        assert answer.headers["content-type"] == f"{expected[kind]}; charset=utf-8"
        assert client.head(path).status_code == 200


def test_every_file_of_the_folder_is_a_known_one() -> None:
    """A module that is not listed would be refused by the browser, and one that is not sent would not be found."""
    names = {path.name for path in FOLDER.iterdir() if path.suffix in {".html", ".css", ".js", ".json"}}
    assert names == set(read_page())


def test_nothing_else_of_the_folder_is_sent(client: TestClient) -> None:
    for path in ("/page/router.py", "/page/../router.py", "/page/%2e%2e/router.py", "/page/", "/page/index.html"):
        assert client.get(path).status_code == 404, path
    assert client.post("/").status_code == 405


@pytest.mark.parametrize("path", sorted(PATHS))
def test_every_answer_carries_the_strict_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["content-security-policy"].startswith("default-src 'none'; ")


def test_the_policy_allows_these_scripts_alone(client: TestClient) -> None:
    found = directives(client)
    hashes = {
        f"'sha384-{base64.b64encode(hashlib.sha384((FOLDER / name).read_bytes()).digest()).decode()}'"
        for name in SCRIPTS
    }
    assert set(found.pop("script-src")) == hashes
    assert found == {
        "default-src": ["'none'"],
        "style-src": ["'self'"],
        "connect-src": ["'self'"],
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }


def test_every_script_and_style_of_the_page_has_its_hash(client: TestClient) -> None:
    html = client.get("/").text
    loaded = re.findall(r'<(?:script|link)\b[^>]*?(?:src|href)="(page/[^"]+)"[^>]*>', html)
    with_hash = re.findall(r'(?:src|href)="(page/[^"]+)" integrity="(sha384-[^"]+)"', html)
    assert loaded == [name for name, _ in with_hash] == ["page/page.css", *(f"page/{name}" for name in SCRIPTS)]
    for name, integrity in with_hash:
        content = client.get(f"/{name}").content
        assert integrity == f"sha384-{base64.b64encode(hashlib.sha384(content).digest()).decode()}"
    assert "{" not in html, "a place that was not filled in"


def test_a_module_stands_behind_those_that_it_imports() -> None:
    """The browser then holds each of them, checked, before another one asks for it."""
    for i, name in enumerate(SCRIPTS):
        imports = re.findall(r'from "\./([^"]+)"', (FOLDER / name).read_text(encoding="utf-8"))
        assert set(imports) <= set(SCRIPTS[:i]), name


def test_no_file_names_another_place_or_writes_html() -> None:
    for name in read_page():
        text = (FOLDER / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?:|//[a-z]|url\(|@import", text) == [], name
        assert (
            re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text) == []
        ), name
        assert re.findall(r'\son[a-z]+="|style="|javascript:', text) == [], name


def test_a_known_version_is_not_sent_again(client: TestClient) -> None:
    for path in PATHS:
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(path, headers={"If-None-Match": '"another"'}).content == first.content
        assert first.headers["cache-control"] == "no-cache"


def test_the_examples_are_problems_with_one_to_four_solutions() -> None:
    examples = json.loads((FOLDER / EXAMPLES).read_text(encoding="utf-8"))["examples"]
    assert {len(example["candidates"]) for example in examples} >= {1, 2, 3}
    for example in examples:
        assert set(example) == {"title", "problem", "candidates"}
        assert example["problem"].strip() == example["problem"] != ""
        assert 1 <= len(example["candidates"]) <= 4
        for steps in example["candidates"]:
            assert len(steps) > 1
            assert all(step.strip() == step != "" for step in steps)


def test_the_files_come_with_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["surestep"]
    for name in read_page():
        assert any(Path(f"serving/page/{name}").match(pattern) for pattern in patterns), name


def test_the_routes_are_no_part_of_the_description(client: TestClient) -> None:
    assert client.get("/openapi.json").json()["paths"] == {}
