"""Every road to a number leads to the same one: Python, sessions, the server, the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from surestep import Scorer
from surestep.cli.main import main
from surestep.inference.model_runner import ModelRunner, sessions_over
from surestep.serving.app import create_app
from surestep.serving.http.event_log import EventLog
from surestep.serving.settings import ServeConfig

Numbers = Sequence[float | None]

TEXT = st.text(
    st.sampled_from("ab7=+ .,\n\r\t\"\\'<>|é世\U0001f600\u0301\u200b\u2028\0\ufeff"), min_size=1, max_size=24
) | st.sampled_from(["<CONFIDENCE>", "a <CONFIDENCE> b", "<|endoftext|>", "  x  ", "x " * 300, "1+1?", "[1]"])
WRITTEN = TEXT.filter(lambda text: bool(text.strip()))
SOLUTIONS = st.lists(st.tuples(WRITTEN, st.lists(WRITTEN, min_size=1, max_size=4)), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def client(scorer: Scorer) -> Iterator[TestClient]:
    """A server over the same model."""
    sessions, reason = sessions_over(scorer.model_scorer)
    assert reason is None
    runner = ModelRunner(scorer.model_scorer, sessions)
    app = create_app(ServeConfig(), runner, log=EventLog("error", write=lambda line: None))
    with TestClient(app) as made:
        yield made


def same(found: Numbers, expected: Numbers) -> bool:
    return len(found) == len(expected) and all(
        (a is None) == (b is None) and (a is None or b is None or abs(a - b) < 1e-5)
        for a, b in zip(found, expected, strict=True)
    )


def posted(client: TestClient, path: str, body: Any) -> Any:
    response = client.post(path, json=body)
    assert response.status_code in (200, 201), response.text
    return response.json()


@pytest.mark.slow
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SOLUTIONS)
def test_every_road_leads_to_the_same_numbers(
    scorer: Scorer,
    checkpoint: Path,
    client: TestClient,
    tmp_path_factory: pytest.TempPathFactory,
    solutions: list[tuple[str, list[str]]],
) -> None:
    expected = [scorer.score(problem, steps) for problem, steps in solutions]
    for many in (scorer.score_many(solutions), scorer.score_many(iter(solutions), at_once=1)):
        for one, other in zip(many, expected, strict=True):
            assert same(one.confidences, other.confidences)
            assert same(one.raw, other.raw)
    table = tmp_path_factory.mktemp("roads") / "rows.jsonl"
    table.write_text("".join(json.dumps({"problem": p, "steps": s}) + "\n" for p, s in solutions), "utf-8")
    assert main(["score", str(table), str(checkpoint), "--device", "cpu"]) == 0
    rows = [json.loads(line) for line in table.with_suffix(".scored.jsonl").read_text("utf-8").splitlines()]
    for (problem, steps), row, one in zip(solutions, rows, expected, strict=True):
        assert (row["problem"], row["steps"]) == (problem, steps)
        assert same(row["confidences"], one.confidences)
        assert same(row["raw"], one.raw)
        with scorer.session(problem) as session:
            assert same([session.add(step) for step in steps], one.confidences)
            assert same(session.confidences, one.confidences)
        answer = posted(client, "/v1/steps", {"problem": problem, "steps": steps})
        assert same(answer["confidences"], one.confidences)
        (ranked,) = posted(client, "/v1/rerank", {"problem": problem, "candidates": [steps]})["ranking"]
        assert same(ranked["raw"], one.raw)
        path = f"/v1/sessions/{posted(client, '/v1/sessions', {'problem': problem})['id']}"
        added = [posted(client, f"{path}/steps", {"step": step})["confidence"] for step in steps]
        assert same(added, one.confidences)
