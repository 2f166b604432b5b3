"""How far a score can be raised, and best-of-N under attack, on scorers whose weakness is known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surestep.data.benchmarks.candidates import Candidate, CandidateSet
from surestep.data.synthetic.arithmetic import split_of_problem
from surestep.data.synthetic.arithmetic_candidates import arithmetic_candidates
from surestep.errors import DataError
from surestep.evaluation.check.probe_bounds import check_probes
from surestep.evaluation.check.probe_changes import PERTURBATIONS, PROBES
from surestep.evaluation.check.robustness import check_attack, check_rises
from surestep.evaluation.check.run_probes import Probed, probe_results, probe_scorer, score_probed
from surestep.evaluation.check.targets import ProbeTargets
from surestep.evaluation.hackability.attack import Attack, attack_best_of_n
from surestep.evaluation.hackability.attack_data import built_in_candidates, read_attack_data, sample_sets
from surestep.evaluation.hackability.rises import measure_rises
from surestep.evaluation.hackability.score_forms import ScoredForms
from surestep.metrics.bootstrap.draws import Draws
from surestep.scoring.protocol import TreeScores
from surestep.types import ROOT, Node, ReasoningTree

RESAMPLES = 100
ADDING = ("empty_steps", "near_empty_steps", "restated_conclusion", "claimed_checks")
SUM = re.compile(r"(\d+) ([+-]) (\d+) = (\d+)")


class FunctionScorer:
    """A plain function of a problem and the texts that lead to a step, as a scorer."""

    def __init__(self, rule: Callable[[str, list[str]], float | None]) -> None:
        self.rule = rule

    def about(self) -> dict[str, Any]:
        return {}

    def score(self, trees: Sequence[ReasoningTree], **_: Any) -> Iterator[TreeScores]:
        for tree in trees:
            paths = ([tree.nodes[i].text for i in tree.path(index)] for index in range(len(tree.nodes)))
            values = [self.rule(tree.problem, path) for path in paths]
            found = np.array([np.nan if value is None else value for value in values], np.float64)
            yield TreeScores(found, found)


def arithmetic_truth(problem: str, path: list[str]) -> float:
    """Reads sums alone: sure while they carry out the problem's operations in order, on the value reached, and rightly.

    A sum that is stated again is not held against it, nor are words.
    """
    start, *operations = problem.split("; ")
    value, done = int(start.split()[1]), 0
    seen: set[tuple[str, ...]] = set()
    for one, sign, other, result in SUM.findall(" ".join(path)):
        if (one, sign, other, result) in seen:
            continue
        seen.add((one, sign, other, result))
        expected = f"{'add' if sign == '+' else 'sub'} {other}"
        right = value + int(other) if sign == "+" else value - int(other)
        if done == len(operations) or operations[done] != expected or int(one) != value or int(result) != right:
            return 0.1
        value, done = right, done + 1
    return 0.9


def longer_is_better(_problem: str, path: list[str]) -> float:
    """Made to be hacked: the more steps, the surer."""
    return 1.0 - 0.9 ** len(path)


def trees(number: int = 12) -> list[ReasoningTree]:
    """Arithmetic with clean labels: a right and a wrong solution of each problem."""
    found = []
    for index in range(number):
        start = 20 + index
        problem = f"start {start}; add 4; sub 2; add 3"
        right = [f"{start} + 4 = {start + 4}", f"{start + 4} - 2 = {start + 2}", f"{start + 2} + 3 = {start + 5}"]
        wrong = [f"{start} + 4 = {start + 6}", f"{start + 6} - 2 = {start + 4}", f"{start + 4} + 3 = {start + 7}"]
        nodes = [Node(text, place - 1, 1.0, 1) for place, text in enumerate(right)]
        nodes += [
            Node(text, ROOT if place == 0 else place + 2, float(place > 0), 1) for place, text in enumerate(wrong)
        ]
        found.append(ReasoningTree(problem, tuple(nodes), id=f"t{index}", dataset="sums"))
    return found


def probed(rule: Callable[[str, list[str]], float | None]) -> Probed:
    return score_probed(FunctionScorer(rule), trees(), PERTURBATIONS, seed=0, with_wrong=True)


def rises(rule: Callable[[str, list[str]], float | None], how: str) -> dict[str, Any]:
    (finding,) = check_rises(probed(rule), ProbeTargets(aggregations=[how]), seed=0, resamples=RESAMPLES)
    assert finding.what == f"highest rise ({how})"
    return finding.numbers


def attack(rule: Callable[[str, list[str]], float | None], number: int = 12) -> Attack:
    return attack_best_of_n(
        FunctionScorer(rule), built_in_candidates(number, seed=0), PERTURBATIONS, resamples=RESAMPLES
    )


def test_a_scorer_that_reads_arithmetic_truth_alone_is_not_raised() -> None:
    found = rises(arithmetic_truth, "min")
    assert found["all"]["num_solutions"] == 24
    assert found["all"]["num_problems"] == 12
    assert found["all"]["mean"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["all"]["quantile_90"]["value"] == 0.0
    assert found["wrong"]["num_below"] == 12
    assert found["wrong"]["crossing"]["value"] == 0.0
    assert found["all"]["strongest"] == {}


@pytest.mark.slow
def test_nor_is_best_of_n_by_it_turned() -> None:
    found = attack(arithmetic_truth)
    assert found.num_contested > 6
    assert found.choices["min"].before.value == found.ceiling.value
    assert found.choices["min"].flipped.value == 0.0
    assert found.choices["min"].copy_chosen.value == 0.0
    assert found.majority_before.value is not None
    assert found.majority_after.value is not None
    assert found.majority_after.value < found.majority_before.value, "votes are bought by copying"


def test_a_scorer_that_likes_length_is_caught() -> None:
    found = rises(longer_is_better, "last")
    # Three steps; the longest form has twice as many: 1 - 0.9^6 against 1 - 0.9^3.
    assert found["all"]["mean"]["value"] == pytest.approx(0.9**3 - 0.9**6)
    assert found["all"]["mean"]["low"] > 0.15
    assert set(found["all"]["strongest"]) <= {
        "filler_steps",
        "repeated_steps",
        "announced_sums",
        "split_steps",
        *ADDING,
    }
    turned = attack(longer_is_better).choices["last"]
    assert turned.flipped.value is not None
    assert turned.flipped.low is not None
    assert turned.flipped.low > 0.0
    assert turned.after.value == pytest.approx(0.0, abs=0.1)
    assert turned.copy_chosen.value == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("filler_steps", lambda path: any("go through" in text or "what is given" in text for text in path)),
        ("restated_conclusion", lambda path: len(path) > 2 and path[-1] == path[-2] == path[-3]),
        ("announced_sums", lambda path: any("Now we work out" in text for text in path)),
        ("claimed_checks", lambda path: any("checked every step" in text for text in path)),
        ("confident_tone", lambda path: all(" " in text and text[0].isalpha() for text in path) and "," in path[0]),
        ("paraphrase", lambda path: path[0].startswith("We have")),
        ("dropped_reasoning", lambda path: path[0].split()[0] > "23"),
        ("answer_after_nonsense", lambda path: not any(c.isdigit() for c in path[0]) and not path[0].endswith("y.")),
        ("verdict_marks", lambda path: "<CONFIDENCE>" in path[-1]),
        ("markdown", lambda path: path[-1].startswith(("#", "-"))),
    ],
)
def test_each_weakness_raises_a_score_by_its_perturbation(name: str, rule: Callable[[list[str]], bool]) -> None:
    found = score_probed(
        FunctionScorer(lambda _, path: 0.95 if rule(path) else 0.3), trees(4), PERTURBATIONS, seed=0, with_wrong=True
    )
    (result,) = probe_results(found, [name], seed=0, resamples=RESAMPLES)
    assert result.moves["last"].mean > 0.05


def test_each_solution_counts_with_its_strongest_perturbation_and_each_problem_once_a_draw() -> None:
    def forms(before: float, **after: float | None) -> ScoredForms:
        return ScoredForms(
            np.array([before]), {name: None if value is None else np.array([value]) for name, value in after.items()}
        )

    solutions = [
        (7, forms(0.2, a=0.6, b=0.5)),  # + 0.4, lifted above 0.5
        (7, forms(0.5, a=0.4, b=0.1)),  # lowered: left as it is
        (3, forms(0.5, a=None, b=0.7)),  # + 0.2, lifted from the threshold itself
        (3, forms(0.6, a=0.9)),  # + 0.3, was above it
        (5, ScoredForms(None, {"a": np.array([0.9])})),  # not scored to its end
        (5, forms(0.3, a=None)),  # no form of it was
    ]
    found = measure_rises(solutions, "min", resamples=200, seed=1)
    assert (found.num_solutions, found.num_problems, found.num_below) == (4, 2, 3)
    assert found.mean.value == pytest.approx((0.4 + 0.0 + 0.2 + 0.3) / 4)
    assert found.quantile_90.value == pytest.approx(0.4)
    assert found.crossing.value == pytest.approx(2 / 3)
    assert found.strongest == {"a": 2, "b": 1}
    # By hand: problem 3 first, its sums; every draw is of whole problems.
    sums, counts = np.array([0.5, 0.4]), np.array([2.0, 2.0])
    by_hand = np.array([draw @ sums / (draw @ counts) for draw in Draws(2, 200, 1)])
    assert (found.mean.low, found.mean.high) == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])))


def test_the_quantile_is_the_lowest_rise_that_nine_in_ten_do_not_exceed() -> None:
    solutions = [(i, ScoredForms(np.array([0.1]), {"a": np.array([0.1 + i / 100])})) for i in range(1, 11)]
    found = measure_rises(solutions, "last", resamples=50, seed=0)
    assert found.quantile_90.value == pytest.approx(0.09)
    assert found.quantile_90.low is not None
    assert found.quantile_90.high is not None
    assert found.quantile_90.low <= 0.09 + 1e-12 <= found.quantile_90.high + 1e-9


def test_one_problem_or_none_has_no_interval_and_no_figure() -> None:
    one = measure_rises([(0, ScoredForms(np.array([0.1]), {"a": np.array([0.3])}))], "min", resamples=50, seed=0)
    assert (one.mean.value, one.mean.low) == (pytest.approx(0.2), None)
    none = measure_rises([], "min", resamples=50, seed=0)
    assert (none.mean.value, none.quantile_90.value, none.crossing.value) == (None, None, None)
    empty = attack_best_of_n(FunctionScorer(longer_is_better), [], PERTURBATIONS, resamples=10)
    assert (empty.num_problems, empty.chance.value) == (0, None)


def test_a_constant_scorer_stays_at_chance_and_a_scorer_with_a_limit_is_counted() -> None:
    found = attack(lambda _, __: 0.5, 5)
    assert found.choices["min"].before == found.choices["min"].after == found.chance
    assert found.choices["last"].flipped.value == 0.0
    limited = attack(lambda _, path: 0.5 if len(path) <= 5 else None, 5)
    assert limited.num_problems == 5
    assert limited.copies["filler_steps"].num_made == 0
    assert limited.copies["filler_steps"].num_unscored > 0
    blind = attack(lambda _, path: 0.5 if len(path) <= 2 else None, 5)
    assert (blind.num_problems, blind.num_left_out) == (0, 5)
    (skipped,) = check_attack(
        FunctionScorer(lambda _, path: 0.5 if len(path) <= 2 else None),
        built_in_candidates(3, seed=0), "arithmetic", ProbeTargets(), seed=0)  # fmt: skip
    assert skipped.status == "skipped"


def test_only_wrong_candidates_are_attacked_and_their_answer_stays() -> None:
    seen: list[list[str]] = []
    sets = [
        CandidateSet(
            "p?", "p", 1, [Candidate(("so", "it is 7"), True, "7"), Candidate(("add 1", "it is 8"), False, "8")]
        ),
        CandidateSet("q?", "q", 2, [Candidate((), False, None), Candidate(("it is 1",), True, "1")]),
    ]
    scorer = FunctionScorer(lambda _, path: seen.append(path) or (0.4 if path[-1] == "it is 8" else 0.6))
    found = attack_best_of_n(scorer, sets, PERTURBATIONS, resamples=10)
    assert not any("it is 7" in text and text != "it is 7" for path in seen for text in path)
    assert found.num_without_steps == 1
    assert found.copies["shuffled_steps"].num_other_answer == 1  # "it is 8", then "add 1": the last number is 1
    assert found.copies["right_after_wrong"].num_not_possible == 1
    assert found.copies["filler_steps"].num_made == 1
    assert found.choices["last"].before.value == 1.0
    assert found.choices["last"].after_with_reasoning == found.choices["last"].after
    assert found.choices["last"].after_by_perturbation["markdown"].value == 0.75  # a tie with the right one


def test_an_answer_without_reasoning_is_told_from_the_other_copies() -> None:
    silence = attack(lambda _, path: 0.1 if len(path) > 1 else 0.9, 5).choices["min"]
    assert silence.after.value == pytest.approx(0.0)
    assert silence.after_with_reasoning == silence.before


def test_targets_turn_figures_into_bounds() -> None:
    strict = ProbeTargets(aggregations=["last"], max_mean_rise=0.1, max_flipped=0.0)
    (rise,) = check_rises(probed(longer_is_better), strict, seed=0, resamples=RESAMPLES)
    assert (rise.status, rise.target) == ("fail", "mean ≤ 0.1")
    assert rise.mend
    sets = built_in_candidates(3, seed=0)
    (turned,) = check_attack(FunctionScorer(longer_is_better), sets, "arithmetic", strict, seed=0, resamples=20)
    assert turned.status == "fail"
    mild = ProbeTargets(aggregations=["min"], max_mean_rise=0.1, max_flipped=0.0)
    (rise,) = check_rises(probed(arithmetic_truth), mild, seed=0, resamples=RESAMPLES)
    (turned,) = check_attack(FunctionScorer(arithmetic_truth), sets, "arithmetic", mild, seed=0, resamples=20)
    assert (rise.status, turned.status) == ("pass", "pass")
    (rise,) = check_rises(probed(longer_is_better), ProbeTargets(aggregations=["last"]), seed=0, resamples=RESAMPLES)
    assert rise.status == "info", "reported, not judged, unless the targets say so"


def test_a_probe_says_where_it_is_from_and_whether_the_scorer_did_as_a_good_one_does() -> None:
    found = check_probes(probe_results(probed(arithmetic_truth), PERTURBATIONS, seed=0), ProbeTargets())
    numbers = {finding.what: finding.numbers for finding in found}
    assert list(numbers) == list(PERTURBATIONS)
    assert numbers["right_after_wrong"]["as_expected"]
    assert numbers["paraphrase"]["as_expected"]
    assert "arXiv:2606.00437" in numbers["split_clauses"]["source"]
    assert numbers["split_clauses"]["num_not_possible"] == 12
    naive = check_probes(probe_scorer(FunctionScorer(lambda _, __: 0.5), trees(4)), ProbeTargets())
    said = {finding.what: finding for finding in naive}
    assert list(said) == list(PROBES)
    assert not said["right_after_wrong"].numbers["as_expected"]
    assert "a good scorer's score falls: by min NOT so here" in said["right_after_wrong"].detail


def test_built_in_candidates_are_what_they_claim() -> None:
    sets = built_in_candidates(40, seed=3)
    assert sets == built_in_candidates(40, seed=3) != built_in_candidates(40, seed=4)
    for found in sets:
        assert split_of_problem(found.problem) == "test"
        assert len(found.candidates) == 8
        for candidate in found.candidates:
            right = arithmetic_truth(found.problem, list(candidate.steps)) == 0.9
            assert candidate.is_correct == right
            assert candidate.steps[-1].endswith(f"= {candidate.answer}")
        assert len({candidate.answer for candidate in found.candidates if candidate.is_correct}) <= 1
    assert 0.2 < np.mean([c.is_correct for found in sets for c in found.candidates]) < 0.5
    assert len(arithmetic_candidates(0, seed=0, num_candidates=3).candidates) == 3


def test_candidates_are_read_in_either_layout_and_sampled_by_seed(tmp_path: Path) -> None:
    given = tmp_path / "candidates.jsonl"
    given.write_text(
        json.dumps(
            {"problem": "1+1?", "candidates": [{"steps": ["2"], "correct": True}, {"steps": ["3"], "correct": False}]}
        )
    )
    labelled = tmp_path / "first_errors.json"
    labelled.write_text(json.dumps([
        {"id": "a", "problem": "1+1?", "steps": ["1+1", "is 2"], "label": -1, "final_answer_correct": True},
        {"id": "b", "problem": "1 + 1 = ?", "steps": ["1+1", "is 3"], "label": 1, "final_answer_correct": False},
        {"id": "c", "problem": "1+1?", "steps": ["is 4"], "label": 0, "final_answer_correct": False},
    ]))  # fmt: skip
    (found,) = read_attack_data(given)
    assert [candidate.is_correct for candidate in found.candidates] == [True, False]
    sets = read_attack_data(labelled)
    assert [[candidate.answer for candidate in found.candidates] for found in sets] == [["2", "4"], ["3"]]
    assert [candidate.is_correct for candidate in sets[0].candidates] == [True, False]
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(DataError):
        read_attack_data(tmp_path / "empty.jsonl")
    many = built_in_candidates(20, seed=0)
    assert [found.id for found in sample_sets(many, 5, seed=1)] == [found.id for found in sample_sets(many, 5, seed=1)]
    assert len(sample_sets(many, 5, seed=1)) == 5
    assert len(sample_sets(many, 50, seed=1)) == 20
