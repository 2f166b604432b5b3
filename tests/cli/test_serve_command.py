"""`surestep serve`: refusals before anything is loaded, and the process as a whole."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from surestep.cli.commands import serve
from surestep.cli.main import main
from surestep.client import Client
from surestep.data.trees.text import clean_text
from surestep.types import chain

Fail = Callable[..., str]


@pytest.fixture
def checkpoint(build_small: Callable[..., Any], small_config: Callable[..., Any], tmp_path: Path) -> Path:
    from surestep.scoring.checkpoint.save import save_checkpoint

    config = small_config("llama")
    folder = tmp_path / "checkpoint_step_3"
    save_checkpoint(folder, build_small(config=config), config, step=3, label_means={})
    return folder


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--host", "0.0.0.0"), "there are no API keys"),
        (("--port", "70000"), "--port is 70000; allowed: less than or equal to 65535"),
        (("--deadline_s", "0"), "--deadline_s is 0; allowed: greater than 0"),
        (("--max-steps", "many"), "--max_steps is 'many'"),
        (("--log_level", "loud"), "--log_level is 'loud'"),
        (("--api_keys_file", "nowhere"), "nowhere cannot be read"),
        (("--host", "no.such.host.invalid", "--api_keys_file", "KEYS"), "cannot be listened on"),
        ((), "checkpoint"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_line(
    fail: Fail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], words: str
) -> None:
    monkeypatch.delenv("SURESTEP_API_KEYS", raising=False)
    keys = tmp_path / "keys"
    keys.write_text("k" * 20)
    given = [str(keys) if flag == "KEYS" else flag for flag in flags]
    port = [] if "--port" in flags else ["--port", "0"]
    assert words in fail("serve", tmp_path / "none", *port, *given)


@pytest.mark.parametrize(
    ("flags", "variable", "line"),
    [
        ((), None, "no API keys: everybody who reaches this address may ask"),
        (("--api_keys_file", "none"), None, "no API keys: everybody who reaches this address may ask"),
        (("--api_keys_file", "null", "--host", "::1"), None, "no API keys: everybody who reaches this address may ask"),
        ((), " , ", "no API keys: everybody who reaches this address may ask"),
        (("--api_keys_file", "none"), "k" * 20, "1 API key"),
        (("--api_keys_file", "KEYS"), None, "2 API keys"),
    ],
)
def test_who_may_ask_is_said_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
    variable: str | None,
    line: str,
) -> None:
    monkeypatch.delenv("SURESTEP_API_KEYS", raising=False)
    if variable is not None:
        monkeypatch.setenv("SURESTEP_API_KEYS", variable)
    keys = tmp_path / "keys"
    keys.write_text(f"ada {'k' * 20}\nbob {'l' * 20}\n")
    given = [str(keys) if flag == "KEYS" else flag for flag in flags]
    assert main(["serve", str(tmp_path / "no checkpoint"), "--port", "0", *given]) == 2
    assert " ".join(capsys.readouterr().out.split()).startswith(f"· {line}")


@pytest.mark.parametrize("word", ["none", "NULL"])
def test_no_keys_by_a_word_are_refused_where_others_reach_the_address(
    fail: Fail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.delenv("SURESTEP_API_KEYS", raising=False)
    assert "there are no API keys" in fail("serve", tmp_path, "--host", "0.0.0.0", "--api_keys_file", word)


def test_a_port_that_is_taken_is_refused_in_a_line(fail: Fail, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        message = fail("serve", tmp_path, "--port", taken.getsockname()[1])
    assert "choose another --port" in message


def test_missing_packages_are_named_with_the_command_that_installs_them(
    fail: Fail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = serve.importlib.util.find_spec
    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    assert fail("serve", tmp_path) == "surestep: surestep serve needs uvicorn: pip install 'surestep[serve]'\n"


class Process:
    """A server that runs in a process of its own."""

    def __init__(self, command: Path, *arguments: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        environment.pop("SURESTEP_API_KEYS", None)
        self.process = subprocess.Popen(
            [command, "serve", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.log: list[str] = []
        assert self.process.stderr is not None
        threading.Thread(target=lambda: self.log.extend(self.process.stderr or ()), daemon=True).start()
        self.url = self._url()

    def _url(self) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"serving at (http\S+)", line):
                return found[1]
        raise AssertionError(f"it did not start: {self.log}")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def server(checkpoint: Path, quick_python: Path) -> Iterator[Process]:
    flags = ["--port", "0", "--device", "cpu", "--pass_time_ms", "5", "--queue_s", "60"]
    made = Process(quick_python / "surestep", str(checkpoint), *flags)
    yield made
    made.process.kill()
    made.process.wait()


def wait_until_ready(url: str) -> None:
    end = time.monotonic() + 60
    while httpx2.get(f"{url}/ready").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.05)


def close(answered: Sequence[float | None], offline: list[float]) -> None:
    """To 1e-6; NaN is None, beyond the longest path."""
    found = [math.nan if value is None else value for value in answered]
    np.testing.assert_allclose(found, offline, atol=1e-6)


def open_requests(url: str) -> int:
    """How many requests the server has taken and not answered."""
    found = re.search(r"^surestep_open_requests (\d+)", httpx2.get(f"{url}/metrics").text, re.MULTILINE)
    assert found is not None
    return int(found[1])


@pytest.mark.slow
def test_a_server_scores_as_the_checkpoint_does_and_answers_all_that_wait_when_it_is_stopped(
    checkpoint: Path, server: Process
) -> None:
    """The client's answers equal offline scoring; SIGTERM while 20 requests wait: 20 answers, and exit status 143."""
    from surestep.scoring.checkpoint.load import load_checkpoint
    from surestep.scoring.hardware import choose_hardware

    loaded = load_checkpoint(checkpoint, hardware=choose_hardware("cpu", "no"))
    scorer = loaded.scorer(loaded.config)

    def offline(problem: str, steps: list[str]) -> list[float]:
        (scores,) = scorer.score([chain(problem, steps)])
        return [float(value) for value in scores.confidence_N]

    wait_until_ready(server.url)
    items = [(f"What is {n} + 1?", [f"{n} + {i} = {n + i}." for i in range(1 + n % 7)]) for n in range(30)]
    with Client(server.url) as client:
        for (problem, steps), scores in zip(items, client.score_many(items), strict=True):
            close(scores.confidences, offline(problem, steps))
        session = client.session(items[6][0])
        for step in items[6][1]:
            session.add(step)
        close(session.confidences, offline(*items[6]))
        ranking = client.rerank("p", [["good"], ["better"], ["best", "of all"]])
        assert [one.score for one in ranking] == sorted((one.score for one in ranking), reverse=True)
        assert client.about()["model"]["step"] == 3

        waiting = [(f"problem {n}", [f"step {i} of {n} and more words" for i in range(60)]) for n in range(20)]
        with ThreadPoolExecutor(20) as pool:
            answers = [pool.submit(client.score, *item) for item in waiting]
            while open_requests(server.url) + sum(answer.done() for answer in answers) < 20:
                time.sleep(0.02)
            assert not all(answer.done() for answer in answers), "too fast for this test"
            assert server.end() == 128 + signal.SIGTERM
            for (problem, steps), answer in zip(waiting, answers, strict=True):
                close(answer.result().confidences, offline(problem, steps))
    assert clean_text(waiting[0][1][0]) not in "".join(server.log)
    assert any('"event": "drained"' in line for line in server.log)
