"""Serves the page at `/` under a Content-Security-Policy that runs these very files and nothing else.

The page is plain HTML, CSS and JavaScript modules that lie beside this file. It loads nothing from elsewhere and speaks
only to the server that it came from, by relative addresses, so that it also works below the prefix of a proxy. It asks
`POST v1/steps`, and shows what `GET health` or `GET v1/about` says of the model. Knows no model and no queue.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request, Response

SCRIPTS = (
    "elements.js",
    "confidence.js",
    "regions.js",
    "split.js",
    "server.js",
    "step.js",
    "frame.js",
    "candidate.js",
    "page.js",
)
"""Each before those that import it: then the browser has checked every module when another one asks for it."""
STYLE, EXAMPLES, INDEX = "page.css", "examples.json", "index.html"
PATHS = frozenset({"/", *(f"/page/{name}" for name in (STYLE, EXAMPLES, *SCRIPTS))})
"""What the page is read from. It holds no secret: a server that asks for an API key lets these through without one."""

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "json": "application/json"}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page as it is sent.

    Attributes:
        content: its bytes.
        media_type: with the character set.
        integrity: its SHA-384, as `integrity` attributes and policies write it.
    """

    content: bytes
    media_type: str
    integrity: str


def page_file(name: str, content: bytes) -> PageFile:
    """A file with its type and hash.

    >>> page_file("a.css", b"").integrity[:20]
    'sha384-OLBgp1GsljhM2'
    """
    digest = base64.b64encode(hashlib.sha384(content).digest()).decode()
    return PageFile(content, f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8", f"sha384-{digest}")


def read_page() -> dict[str, PageFile]:
    """The files of the page by name; `index.html` names the others with their hashes."""
    folder = files(__package__)
    found = {name: page_file(name, folder.joinpath(name).read_bytes()) for name in (STYLE, EXAMPLES, *SCRIPTS)}
    scripts = "\n".join(
        f'<script type="module" src="page/{name}" integrity="{found[name].integrity}"></script>' for name in SCRIPTS
    )
    index = folder.joinpath(INDEX).read_text(encoding="utf-8")
    index = index.replace("{scripts}", scripts).replace("{integrity:page.css}", found[STYLE].integrity)
    return {INDEX: page_file(INDEX, index.encode()), **found}


def content_security_policy(page: Mapping[str, PageFile]) -> str:
    """A policy that runs the page's scripts by their hashes, takes its style, and allows no other source of anything.

    Files of scripts are allowed by hash since Chrome 59, Firefox 116 and Safari 15.6 (CSP level 3, 8.4). Files of
    styles are not, so the page's is bound by its `integrity` attribute.
    """
    scripts = " ".join(f"'{page[name].integrity}'" for name in SCRIPTS)
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {scripts}",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def page_router() -> APIRouter:
    """Routes for the page: `/` and its files below `/page/`, read from disk once."""
    page = read_page()
    headers = {
        "Content-Security-Policy": content_security_policy(page),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        # Kept by the browser and asked after each time: another version's script would not fit this one's hashes.
        "Cache-Control": "no-cache",
    }
    router = APIRouter(include_in_schema=False)

    def add(path: str, file: PageFile) -> None:
        tag = f'"{file.integrity}"'

        async def send(request: Request) -> Response:
            if tag in request.headers.get("if-none-match", ""):
                return Response(status_code=304, headers={**headers, "ETag": tag})
            return Response(file.content, media_type=file.media_type, headers={**headers, "ETag": tag})

        router.add_api_route(path, send, methods=["GET", "HEAD"])

    add("/", page[INDEX])
    for name, file in page.items():
        if name != INDEX:
            add(f"/page/{name}", file)
    return router
