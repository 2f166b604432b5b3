"""What a server answers of its model's certificate: the kept part beside the scores, and nothing where it has none."""

from __future__ import annotations

from typing import Any

import numpy as np

from certificate_samples import problem
from fake_server import at_once, serving, solution
from surestep.calibration import Calibration, Platt
from surestep.client.calls import score_call
from surestep.guarantees import Judging
from surestep.guarantees.certificate import ALL, Certificate, MadeFor
from surestep.guarantees.promises import PROMISES
from surestep.guarantees.terms import Terms
from surestep.inference.certifier import Certifier
from surestep.inference.result import SolutionScores


def certifier(promise: str, *, solutions: int = 1, alpha: float = 0.5) -> Certifier:
    random = np.random.default_rng(4)
    terms = Terms(promise, alpha=alpha, judging=Judging(score="min"), policy="min")
    problems = [problem(key, random, solutions=solutions, error=0.5) for key in range(30)]
    rule = PROMISES[promise].make_rule(problems, terms)
    return Certifier(Certificate(terms, {ALL: rule}, {}, MadeFor("", None, {}, "")), None)


def asked(made: Certifier | None, path: str, body: Any) -> Any:
    async def main() -> Any:
        async with serving(certifier=made) as server, server.client() as client:
            return (await client.post(path, json=body)).json()

    return at_once(main())


def test_without_a_certificate_no_answer_speaks_of_one() -> None:
    assert "certified" not in asked(None, "/v1/steps", solution(1))
    candidates = {"problem": "p", "candidates": [["a"], ["b"]]}
    assert all("certified" not in one for one in asked(None, "/v1/rerank", candidates)["ranking"])


def test_a_solution_comes_with_its_kept_part_and_the_promise() -> None:
    made = certifier("random")
    found = asked(made, "/v1/steps", solution(1, steps=4))
    lowest = np.minimum.accumulate(found["raw"])
    assert found["certified"]["num_kept"] == (lowest > made.certificate.rules[ALL].cutoff).sum()
    assert len(found["certified"]["levels"]) == 4
    assert found["certified"]["promise"] == made.promise
    assert found["first_below"] is None, "what is null says so as before"
    read = score_call("p", ["a"] * 4, None).parse(found)
    assert read.certified is not None
    assert read.certified.num_kept == found["certified"]["num_kept"]
    assert score_call("p", ["a"] * 4, None).parse(asked(None, "/v1/steps", solution(1, steps=4))).certified is None


def test_of_several_the_best_alone_is_certified_and_by_its_own_policy_alone() -> None:
    made = certifier("chosen", solutions=3)
    body = {"problem": "p", "candidates": [["a", "b"], ["c"], ["d", "e"]], "by": "min"}
    first, *others = asked(made, "/v1/rerank", body)["ranking"]
    assert first["certified"]["promise"] == made.promise
    assert [one["certified"] for one in others] == [None, None]
    other_policy = asked(made, "/v1/rerank", body | {"by": "last"})["ranking"]
    assert [one["certified"] for one in other_policy] == [None] * 3
    assert asked(made, "/v1/steps", solution(1))["certified"] is None


def test_another_map_than_the_certified_one_gets_no_certified_part_and_one_reason() -> None:
    random = np.random.default_rng(4)
    terms = Terms("random", alpha=0.5)
    rule = PROMISES["random"].make_rule([problem(key, random) for key in range(30)], terms)
    certificate = Certificate(terms, {ALL: rule}, {}, MadeFor("", None, {}, ""))
    said: list[str] = []
    made = Certifier(certificate, Calibration(Platt(0.5, 0.1), {"own": Platt(0.6, 0.1)}), said.append)
    result = SolutionScores(("a", "b"), (0.9, 0.8), (0.9, 0.8))
    assert made.solutions([result], None)[0].certified is not None
    assert made.solutions([result], "other")[0].certified is not None, "the pooled map serves it"
    assert [one.certified for one in made.solutions([result, result], "own")] == [None, None]
    assert said == ["the certificate says nothing of this: it is for the pooled calibration map, not for own's own"]
