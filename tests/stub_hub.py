"""A Hugging Face hub on this machine: the part of its protocol that uploading and downloading a model needs.

Written from what the client sends; large files go as LFS objects, as on the real one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_of_someone"
"""May write as `someone`; every other token is unknown."""


@dataclass
class Repository:
    """Branches to commits, commits to files."""

    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str, files: dict[str, bytes], message: str) -> str:
        sha = hashlib.sha1(f"{len(self.commits)} {branch} {message}".encode()).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        self.messages.append(message)
        return sha

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        sha = self.branches.get(revision, revision)
        return (sha, self.commits[sha]) if sha in self.commits else None


@dataclass
class StubHub:
    """The hub.

    Attributes:
        address: of its server.
        repositories: by name.
        broken: path prefixes of requests that fail, with the status; 0 breaks the connection.
        requests: method and path of every request, in order.
        card_errors: what it says is wrong with the metadata of every card.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    card_errors: list[str] = field(default_factory=list)

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        found = self.repositories[name].at(revision)
        assert found is not None
        return found[1]


class _RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message or code


class _Handler(BaseHTTPRequestHandler):
    hub: StubHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests ask `requests`."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{self.command} {path}")
        try:
            for prefix, status in self.hub.broken.items():
                if path.startswith(prefix):
                    if not status:
                        self.close_connection = True
                        return
                    raise _RefusedError(status, message="broken")
            self._route(path, [unquote(part) for part in address.path.strip("/").split("/")])
        except _RefusedError as refused:
            content = json.dumps({"error": refused.message}).encode()
            self._send(refused.status, content, {"X-Error-Code": refused.code, "X-Error-Message": refused.message})

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, values: Any) -> None:
        self._send(200, json.dumps(values).encode(), {"Content-Type": "application/json"})

    def _owner(self) -> str | None:
        """Whose token it is; None without one."""
        given = self.headers.get("Authorization")
        if given is None:
            return None
        if given != f"Bearer {TOKEN}":
            raise _RefusedError(401, message="Invalid username or password.")
        return "someone"

    def _repository(self, name: str) -> Repository:
        owner, repository = self._owner(), self.hub.repositories.get(name)
        if repository is None or (repository.private and owner != name.partition("/")[0]):
            raise _RefusedError(404 if owner else 401, "RepoNotFound", "Repository not found")
        return repository

    def _at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        found = self._repository(name).at(revision)
        if found is None:
            raise _RefusedError(404, "RevisionNotFound", "Revision not found")
        return found

    def _may_write(self, name: str) -> None:
        if self._owner() != name.partition("/")[0]:
            raise _RefusedError(403 if self._owner() else 401, message="Forbidden: no write access")

    def _route(self, path: str, parts: list[str]) -> None:
        if path == "/api/validate-yaml":
            answer = {"errors": [{"message": text} for text in self.hub.card_errors], "warnings": []}
            self._send(400 if self.hub.card_errors else 200, json.dumps(answer).encode())
        elif path == "/api/repos/create":
            self._create(json.loads(self.body))
        elif parts[0] == "lfs":
            self.hub.objects[parts[1]] = self.body
            self._send(200, b"")
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._batch(json.loads(self.body))
        elif parts[:2] in (["api", "models"], ["api", "datasets"]):
            what, revision = [*parts[4:6], "", ""][:2]
            self._model("/".join(parts[2:4]), what, revision=revision or "main", below="/".join(parts[6:]))
        elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
            self._resolve("/".join(parts[1:3]), parts[4], "/".join(parts[5:]))
        elif parts[2:3] == ["resolve"]:
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            raise _RefusedError(404, message=f"no route {path}")

    def _create(self, values: dict[str, Any]) -> None:
        name = f"{values['organization']}/{values['name']}"
        self._may_write(name)
        if name in self.hub.repositories:
            raise _RefusedError(409, message="You already created this model repo")
        repository = self.hub.repositories[name] = Repository(private=values.get("visibility") == "private")
        repository.commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")
        self._json({"url": f"{self.hub.address}/{name}"})

    def _batch(self, values: dict[str, Any]) -> None:
        objects = [
            {**entry, "actions": {"upload": {"href": f"{self.hub.address}/lfs/{entry['oid']}"}}}
            if entry["oid"] not in self.hub.objects
            else entry
            for entry in values["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _model(self, name: str, what: str, *, revision: str, below: str) -> None:
        if what in {"", "revision"}:
            sha, files = self._at(name, revision)
            private = self.hub.repositories[name].private
            siblings = [{"rfilename": path} for path in files]
            self._json({"id": name, "sha": sha, "private": private, "siblings": siblings})
        elif what == "tree":
            _, files = self._at(name, revision)
            files = {path: content for path, content in files.items() if path.startswith(f"{below}/" if below else "")}
            if not files:
                raise _RefusedError(404, "EntryNotFound", "Entry not found")
            self._json(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for path, content in files.items()
                ]
            )
        elif what == "branch":
            self._may_write(name)
            repository = self._repository(name)
            if revision in repository.branches:
                raise _RefusedError(409, message="Reference already exists")
            repository.branches[revision] = repository.branches["main"]
            self._send(200, b"{}")
        elif what == "preupload":
            self._may_write(name)
            self._at(name, revision)
            entries = json.loads(self.body)["files"]
            modes = {entry["path"]: "lfs" if entry["path"].endswith(".safetensors") else "regular" for entry in entries}
            self._json({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes.items()]})
        elif what == "commit":
            self._commit(name, revision)
        else:
            raise _RefusedError(404, message=f"no route {what}")

    def _commit(self, name: str, revision: str) -> None:
        self._may_write(name)
        _, files = self._at(name, revision)
        files, message = dict(files), ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            match entry["key"]:
                case "header":
                    message = value["summary"]
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        sha = self.hub.repositories[name].commit(revision, files, message)
        self._json({"commitUrl": f"{self.hub.address}/{name}/commit/{sha}", "commitOid": sha})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        sha, files = self._at(name, revision)
        if path not in files:
            raise _RefusedError(404, "EntryNotFound", "Entry not found")
        etag = hashlib.sha256(files[path]).hexdigest()
        self._send(200, files[path], {"X-Repo-Commit": sha, "ETag": f'"{etag}"'})


@contextmanager
def stub_hub(patch: pytest.MonkeyPatch, cache: Any) -> Iterator[StubHub]:
    """A hub that this process's client speaks to, with an empty cache and a token that may write as `someone`."""
    import huggingface_hub
    from huggingface_hub import constants

    from surestep import hub as reachable

    hub = StubHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"):
        patch.delenv(name, raising=False)
    patch.setenv("HF_ENDPOINT", hub.address)
    patch.setenv("HF_TOKEN", TOKEN)
    patch.setenv("XDG_CACHE_HOME", str(cache / "xdg"))
    patch.setattr(constants, "ENDPOINT", hub.address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    # The stub has the older of the two ways to store large files.
    patch.setattr("huggingface_hub._commit_api.is_xet_available", lambda: False)
    # The client waits between its attempts.
    patch.setattr("huggingface_hub.utils._http.time.sleep", lambda _seconds: None)
    huggingface_hub.utils.disable_progress_bars()
    reachable._answers.cache_clear()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        reachable._answers.cache_clear()
