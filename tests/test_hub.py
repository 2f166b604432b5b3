"""Asking whether the hub answers, without asking it anything."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from surestep import hub
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.errors import BackboneError
from surestep.model.backbones.load import read_max_positions


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    hub._answers.cache_clear()


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_hub_that_answers_is_asked(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", listening)
    assert not hub.from_cache_only("some/model")


def test_a_hub_that_does_not_answer_leaves_the_cache(closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", closed)
    assert hub.from_cache_only("some/model")


def test_behind_a_proxy_it_is_the_proxy_that_must_answer(
    listening: str, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    monkeypatch.setenv("http_proxy", listening)
    assert not hub.from_cache_only("some/model")
    hub._answers.cache_clear()
    monkeypatch.setenv("http_proxy", closed.removeprefix("http://"))
    assert hub.from_cache_only("some/model")


def test_a_local_folder_needs_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_answers", lambda _endpoint: pytest.fail("the hub was asked"))
    assert not hub.from_cache_only(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not hub.from_cache_only("some/model")


@pytest.mark.parametrize("load", [load_tokenizer, read_max_positions])
def test_an_id_without_a_network_is_refused_at_once_and_without_a_warning(
    load, closed: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's own retries would take most of a minute."""
    monkeypatch.setenv("HF_ENDPOINT", closed)
    started = time.monotonic()
    with pytest.raises(BackboneError) as caught:
        load("no-one/no-such-model", revision=None)
    assert time.monotonic() - started < 20
    for words in ("no-one/no-such-model", "--backbone", "builtin:tiny"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Retry" not in caplog.text
