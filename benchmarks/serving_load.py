"""A server under load: every answer checked against its own offline score, and throughput beside offline scoring.

    python benchmarks/serving_load.py --shape qwen3-4b --clients 64 --seconds 60 --cancel 0.2
    python benchmarks/serving_load.py --shape qwen3-4b --clients 1 --steps 10          # latency of one request, idle
    python benchmarks/serving_load.py --shape qwen3-4b --rate 40 --seconds 60          # open loop: arrivals by chance
    python benchmarks/serving_load.py --shape qwen3-4b --clients 64 --peer             # one request a pass
    python benchmarks/serving_load.py --shape qwen3-4b --loads 64 128 1x10             # three loads, one server
    python benchmarks/serving_load.py --checkpoint outputs/mine/checkpoint_step_2000 --requests 100000

A child process builds the model (random weights of a shape, or a checkpoint), scores every text of the load offline,
packed, as fast as it can, and then serves; with `--peer` it serves a plain loop of transformers and FastAPI that runs
one request a pass, on the same shape. This process sends the load over loopback and compares. Prints a JSON line for
each load; `--loads` are CLIENTS or CLIENTSxSTEPS, one after another.

Closed loop: each client sends its next request when it has its answer; the median is then clients / throughput. Open
loop: latency counts from when a request was due. `crossed`: answers farther from their own offline scores than
`--tolerance`, in the mean over steps, and nearer to another request's. `--serve` flags go to the server:
`--serve pass_time_ms=100 queue_s=10`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", help="random weights of a shape (surestep.bench.backbone_shapes)")
    parser.add_argument("--checkpoint", type=Path, help="a checkpoint in place of random weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--keys", type=int, default=4, help="API keys that the clients share; 0: none")
    parser.add_argument("--rate", type=float, help="open loop: requests a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--requests", type=int, help="end after so many, in place of --seconds")
    parser.add_argument("--cancel", type=float, default=0.0, help="share of requests given up at a random time")
    parser.add_argument("--texts", type=int, default=512, help="different requests, taken in turn (default: 512)")
    parser.add_argument("--steps", type=int, help="steps of every request (default: mixed lengths)")
    parser.add_argument("--tolerance", type=float, help="to offline (default: 1e-5 in float32, 0.1 in half precision)")
    parser.add_argument("--loads", nargs="+", help="in place of --clients and --steps: CLIENTS or CLIENTSxSTEPS")
    parser.add_argument("--rounds", type=int, help="how often all texts are scored offline (default: 8; CPU: 1)")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--cuda_graphs", choices=("auto", "false"), default="auto", help="record short passes")
    parser.add_argument("--serve", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    steps = "" if arguments.steps is None else f"x{arguments.steps}"
    arguments.loads = arguments.loads or [f"{arguments.clients}{steps}"]
    if (arguments.shape is None) == (arguments.checkpoint is None):
        parser.error("name either --shape or --checkpoint")
    return arguments


# --- the child: model, offline scores, server -------------------------------------------------------------------------


def _scorer(arguments: argparse.Namespace) -> Any:
    import torch

    from surestep.bench.backbone_shapes import build_shape
    from surestep.config import get_default_config, get_lora_config
    from surestep.scoring.build_model import prepare_for_scoring
    from surestep.scoring.checkpoint.load import load_checkpoint, read_config
    from surestep.scoring.hardware import choose_hardware, for_scoring_here

    if arguments.checkpoint is not None:
        config = for_scoring_here(read_config(arguments.checkpoint))
        config.training.device = arguments.device
        loaded = load_checkpoint(arguments.checkpoint, config=config)
        loaded.built.compile_if_worth(config.model.compile, float("inf"))
        return loaded.scorer(config)
    config = get_lora_config() if torch.cuda.is_available() else get_default_config()
    config.training.device = arguments.device
    config.eval.scoring_weights = "merged" if config.lora.use_lora else "as_trained"
    built = build_shape(config, choose_hardware(arguments.device, "auto"), arguments.shape)
    torch.manual_seed(1)
    with torch.no_grad():  # so that one answer differs from another
        built.model.head.output.weight.normal_(std=2.0)
    prepare_for_scoring(built, config.eval.scoring_weights)
    built.compile_if_worth(config.model.compile, float("inf"))
    return built.scorer(config)


def _load_texts(
    arguments: argparse.Namespace, load: str, encode: Callable[[list[str]], list[list[int]]]
) -> list[dict[str, Any]]:
    """Solutions whose lengths in tokens are those of `surestep bench`: about 235, up to 2,048, 30 tokens a step."""
    from surestep.bench.example_work import TOKENS_PER_STEP, chain_lengths

    rng = random.Random(0)

    def step() -> str:
        a, b = rng.randint(2, 99), rng.randint(2, 99)
        return f"{a} + {b} = {a + b}, then {a} - {b} = {a - b}. "

    sample = "".join(step() for _ in range(50))
    letters = len(sample) / len(encode([sample])[0])
    found = []
    for number, length in enumerate(chain_lengths(arguments.texts)):
        count = int(load.partition("x")[2] or 0) or max(1, length // TOKENS_PER_STEP - 1)
        steps = []
        for _ in range(count):
            text = ""
            while len(text) < letters * (TOKENS_PER_STEP - 2):
                text += step()
            steps.append(text.strip())
        found.append(
            {"problem": f"Problem {number}: what is {rng.randint(2, 99)} + {rng.randint(2, 99)}?", "steps": steps}
        )
    return found


def _child(arguments: argparse.Namespace) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    from surestep.encoding.encoded_tree import encode_trees
    from surestep.types import chain

    if arguments.peer:
        _serve_peer(arguments)
        return
    scorer = _scorer(arguments)
    rounds = arguments.rounds or (8 if torch.cuda.is_available() else 1)
    loads: dict[str, Any] = {}
    for load in arguments.loads:
        texts = _load_texts(arguments, load, scorer.tokenizer.encode)
        trees = encode_trees([chain(t["problem"], t["steps"]) for t in texts], scorer.tokenizer, scorer.formatter)
        times = rounds if not loads else 1  # throughput is that of the first load
        list(scorer.score_encoded(trees[:64]))  # compiles, and makes room
        started = time.perf_counter()
        offline = list(scorer.score_encoded(trees * times))[: len(trees)]
        seconds = time.perf_counter() - started
        tokens = [tree.num_tokens for tree in trees]
        values = [[None if np.isnan(v) else float(v) for v in values] for values in offline]
        loads[load] = {"texts": texts, "offline": values, "tokens": tokens, "speed": sum(tokens) * times / seconds}
    _hand_over(
        arguments,
        {
            "loads": loads,
            "offline_tokens_per_s": loads[arguments.loads[0]]["speed"],
            "offline_pass_tokens": scorer.token_budget,
            "dtype": str(scorer.hardware.compute_dtype),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        },
    )
    from surestep.inference.model_runner import ModelRunner, sessions_over
    from surestep.serving.api_keys import ApiKeys
    from surestep.serving.app import create_app
    from surestep.serving.run_server import address_of, open_socket, run_server
    from surestep.serving.settings import ServeConfig

    given = dict(pair.split("=", 1) for pair in arguments.serve)
    settings = ServeConfig(**{"port": 0, "log_level": "warning", "drain_notice_s": 0.0, **given})  # type: ignore[arg-type]
    keys = ApiKeys((f"key-{number}", _key(number)) for number in range(arguments.keys))
    scorer.record_passes("auto" if arguments.cuda_graphs == "auto" else False)
    app = create_app(settings, ModelRunner(scorer, sessions_over(scorer)[0]), keys=keys)
    listening = open_socket(settings)
    run_server(app, listening, started=lambda: print(address_of(listening), flush=True))


def _hand_over(arguments: argparse.Namespace, values: dict[str, Any]) -> None:
    from surestep.files import write_json

    write_json(arguments.child, values, advice="free space")


def _key(number: int) -> str:
    return f"benchmark-key-number-{number}"


def _serve_peer(arguments: argparse.Namespace) -> None:
    """A plain loop: FastAPI reads, the tokenizer encodes, the model runs one request, under a lock."""
    import socket

    import torch
    import uvicorn
    from fastapi import FastAPI
    from transformers import AutoModel

    from surestep.bench.backbone_shapes import SHAPES, shape_config
    from surestep.config import TINY_BACKBONE
    from surestep.encoding.load_tokenizer import load_tokenizer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with device:
        model = AutoModel.from_config(shape_config(arguments.shape), dtype=dtype).eval()
        head = torch.nn.Linear(SHAPES[arguments.shape]["hidden_size"], 1, dtype=dtype)
    tokenizer = load_tokenizer(TINY_BACKBONE)
    loads: dict[str, Any] = {}
    lock = threading.Lock()
    app = FastAPI()

    def encoded(body: dict[str, Any]) -> tuple[list[int], list[int]]:
        parts = tokenizer.encode([body["problem"], *body["steps"]])
        ids, ends = list(parts[0]), []
        for part in parts[1:]:
            ids += [*part, tokenizer.confidence_id]
            ends.append(len(ids) - 1)
        return ids, ends

    @app.get("/ready")
    def ready() -> str:
        return "ready"

    @app.post("/v1/steps")
    def score(body: dict[str, Any]) -> dict[str, list[float]]:
        ids, ends = encoded(body)
        with lock, torch.inference_mode():
            hidden = model(torch.tensor([ids], device=device)).last_hidden_state[0, ends]
            return {"confidences": head(hidden).float().sigmoid()[:, 0].tolist()}

    for load in arguments.loads:
        texts = _load_texts(arguments, load, tokenizer.encode)
        loads[load] = {"texts": texts, "offline": None, "tokens": [len(encoded(text)[0]) for text in texts]}
    _hand_over(arguments, {"loads": loads, "dtype": str(dtype), "device": str(device)})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_keep_alive=75)).run(sockets=[listening])


# --- the load ---------------------------------------------------------------------------------------------------------


@dataclass
class Load:
    """What was sent and what came of it."""

    texts: list[bytes]
    offline: list[np.ndarray[Any, np.dtype[np.float64]]] | None
    tokens: list[int]
    host: str
    port: int
    num_keys: int
    tolerance: float
    seconds_of_answers: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    answered_tokens: int = 0
    sent: int = 0
    cancelled: int = 0
    crossed: int = 0
    largest_difference: float = 0.0

    async def ask(self, number: int, connection: Any, due: float) -> tuple[Any, int]:
        """One request over a connection that is kept; returns the connection, and the status."""
        which = number % len(self.texts)
        self.sent += 1
        reader, writer = connection or await asyncio.open_connection(self.host, self.port)
        body = self.texts[which]
        key = f"X-API-Key: {_key(number % self.num_keys)}\r\n" if self.num_keys else ""
        head = f"POST /v1/steps HTTP/1.1\r\nHost: 127.0.0.1\r\n{key}Content-Type: application/json\r\n"
        try:
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status, answer = await _answer(reader)
        except asyncio.CancelledError:
            writer.close()
            raise
        self.statuses[status] += 1
        if status == 200:
            self.seconds_of_answers.append(time.perf_counter() - due)
            self.answered_tokens += self.tokens[which]
            self._compare(which, answer)
        return (reader, writer), status

    def _compare(self, which: int, answer: bytes) -> None:
        if self.offline is None:
            return
        values = json.loads(answer)
        found = np.array([np.nan if value is None else value for value in values["raw"]])
        own = self.offline[which]
        if found.shape != own.shape:
            self.crossed += 1
            return
        difference = float(np.nanmax(np.abs(found - own), initial=0.0))
        self.largest_difference = max(self.largest_difference, difference)
        mean = float(np.nanmean(np.abs(found - own))) if np.isfinite(own).any() else 0.0
        if mean <= self.tolerance:
            return
        others = [other for i, other in enumerate(self.offline) if i != which and other.shape == own.shape][:50]
        self.crossed += any(float(np.nanmean(np.abs(found - other))) < mean for other in others)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


async def _client(load: Load, first: int, step: int, is_over: Callable[[], bool], cancel: float) -> None:
    rng = random.Random(first)
    connection, number = None, first
    while not is_over():
        work = asyncio.create_task(load.ask(number, connection, time.perf_counter()))
        number += step
        if rng.random() < cancel:
            await asyncio.wait({work}, timeout=rng.random() * 0.5)
            if work.cancel():
                load.cancelled += 1
            await asyncio.gather(work, return_exceptions=True)
            connection = None
            continue
        try:
            connection, status = await work
            if status == 429:
                await asyncio.sleep(0.1)
        except (OSError, EOFError):
            load.statuses[0] += 1
            connection = None


async def _arrivals(load: Load, rate: float, is_over: Callable[[], bool]) -> None:
    """Requests that come by chance, whether earlier ones are answered or not."""
    rng, due, running, free = random.Random(0), time.perf_counter(), set(), []

    async def one(number: int, due: float) -> None:
        connection = free.pop() if free else None
        with contextlib.suppress(OSError, EOFError):
            connection, _ = await load.ask(number, connection, due)
            free.append(connection)

    number = 0
    while not is_over():
        due += rng.expovariate(rate)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(number, due))
        running.add(task)
        task.add_done_callback(running.discard)
        number += 1
    await asyncio.gather(*running)


async def _ready(load: Load) -> None:
    while True:
        reader, writer = await asyncio.open_connection(load.host, load.port)
        writer.write(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        status, _ = await _answer(reader)
        writer.close()
        if status == 200:
            return
        await asyncio.sleep(0.1)


async def _run(load: Load, arguments: argparse.Namespace, clients: int, server: psutil.Process) -> dict[str, Any]:
    await _ready(load)
    memory: list[float] = []
    started = time.perf_counter()

    def is_over() -> bool:
        if len(memory) * 10_000 <= load.sent:
            memory.append(server.memory_info().rss / 1e6)
        if arguments.requests is not None:
            return load.sent >= arguments.requests
        return time.perf_counter() - started > arguments.seconds

    if arguments.rate is not None:
        await _arrivals(load, arguments.rate, is_over)
    else:
        await asyncio.gather(*(_client(load, i, clients, is_over, arguments.cancel) for i in range(clients)))
    seconds = time.perf_counter() - started
    memory.append(server.memory_info().rss / 1e6)
    times = np.array(load.seconds_of_answers or [np.nan]) * 1000
    return {
        "requests_per_s": len(load.seconds_of_answers) / seconds,
        "tokens_per_s": load.answered_tokens / seconds,
        "p50_ms": float(np.percentile(times, 50)),
        "p99_ms": float(np.percentile(times, 99)),
        "statuses": dict(load.statuses),
        "sent": load.sent,
        "cancelled": load.cancelled,
        "unanswered": load.sent - load.cancelled - sum(load.statuses.values()),
        "crossed": load.crossed,
        "largest_difference": load.largest_difference,
        "server_memory_mb": [round(value) for value in memory],
    }


def main() -> int:
    arguments = _arguments()
    if arguments.child is not None:
        _child(arguments)
        return 0
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        handed = Path(folder) / "load.json"
        child = subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--child", str(handed)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert child.stdout is not None
            url = next((line for line in child.stdout if line.startswith("http://")), None)
            if url is None:
                return child.wait()
            values = json.loads(handed.read_text())
            host, port = url.strip().removeprefix("http://").split(":")
            for name, given in values.pop("loads").items():
                offline = given["offline"]
                load = Load(
                    texts=[json.dumps(text).encode() for text in given["texts"]],
                    offline=None if offline is None else [np.array(v, dtype=np.float64) for v in offline],
                    tokens=given["tokens"],
                    host=host,
                    port=int(port),
                    num_keys=0 if arguments.peer else arguments.keys,
                    tolerance=arguments.tolerance or (1e-5 if values["dtype"] == "torch.float32" else 0.1),
                )
                clients = int(name.partition("x")[0])
                result = asyncio.run(_run(load, arguments, clients, psutil.Process(child.pid)))
                if "offline_tokens_per_s" in values:
                    result["share_of_offline"] = result["tokens_per_s"] / values["offline_tokens_per_s"]
                print(json.dumps({"command": sys.argv[1:], "load": name, **values, **result}), flush=True)
                failed |= result["crossed"] > 0 or result["unanswered"] > 0
                failed |= result["largest_difference"] > load.tolerance
        finally:
            child.terminate()
            child.wait()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
