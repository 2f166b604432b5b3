"""eQASC: the crowd judges chains, the retrieval score facts; neither is taken for the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from surestep.data.datasets.eqasc import read_eqasc
from surestep.data.records.reading_report import ReadReport
from surestep.errors import DataError
from surestep.types import ReasoningTree


def chain(first: str, second: str, verdict: str | None, scores: tuple[Any, Any] = (88.0, 10.0)) -> list[dict[str, Any]]:
    return [
        {"text": first, "score": scores[0]},
        {"text": second, "score": scores[1]},
        {"overlapping_entities": [], "chain_id": 0, "turk_label": {"label": verdict}, "df": "d", "grc": []},
    ]


def question(*chains: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    choices = [
        {"text": "rain", "label": "A", "df": "Clouds make rain", "chains": list(chains)},
        {"text": "fire", "label": "B", "df": None, "chains": []},
    ]
    return {
        "id": "Q1",
        "question": {"stem": "What do clouds make?", "choices": choices},
        "answerKey": "A",
        "fact1": "gold one",
        "fact2": "gold two",
        "combinedfact": "c",
    } | fields


def read(path: Path, *questions: dict[str, Any], **options: Any) -> tuple[list[ReasoningTree], ReadReport]:
    if questions:
        path.write_text(json.dumps(list(questions)), encoding="utf-8")
    report = ReadReport()
    return list(read_eqasc(path, report=report, **options)), report


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "eqasc_train_grc.json"


def rows(tree: ReasoningTree) -> list[tuple[str, float | None, int]]:
    return [(node.text, node.confidence, node.parent) for node in tree.nodes]


def test_validity_is_carried_by_the_last_fact_and_first_facts_are_shared(file: Path) -> None:
    (tree,), report = read(file, question(chain("a", "b", "yes"), chain("a", "c", "not-quite"), chain("d", "e", "?")))
    assert rows(tree) == [("a", None, -1), ("b", 1.0, 0), ("c", 0.0, 0), ("d", None, -1), ("e", 0.0, 3)]
    assert report["no_chains"] == 1
    assert any("crowd's verdict" in note for note in report.notes)


def test_the_tree_shows_question_choice_and_claim_and_is_grouped_by_question(file: Path) -> None:
    (tree,), _ = read(file, question(chain("a", "b", "yes")))
    assert tree.problem == "Question: What do clouds make?\nAnswer: rain\nClaim: Clouds make rain"
    assert (tree.id, tree.group) == ("Q1:A", "Q1")


def test_two_choices_of_one_question_are_two_trees_of_one_group(file: Path) -> None:
    values = question(chain("a", "b", "yes"))
    values["question"]["choices"][1]["chains"] = [chain("a", "c", "no")]
    trees, _ = read(file, values)
    assert [(tree.id, tree.group) for tree in trees] == [("Q1:A", "Q1"), ("Q1:B", "Q1")]
    assert "Claim" not in trees[1].problem


def test_retrieval_labels_each_fact_by_its_clamped_score(file: Path) -> None:
    (tree,), report = read(
        file,
        question(chain("a", "b", "yes", (49, 100.0)), chain("c", "d", "no", (None, 1.0))),
        label="retrieval",
    )
    assert [node.confidence for node in tree.nodes] == [0.5, 1.0, None, 0.0]
    assert report["missing_score"] == 1
    assert any("not correctness" in note for note in report.notes)


@pytest.mark.parametrize("turk", [None, {"label": None}, {}])
def test_a_chain_that_nobody_judged_is_counted_not_called_wrong(file: Path, turk: Any) -> None:
    unjudged = chain("a", "b", None)
    unjudged[2]["turk_label"] = turk
    (tree,), report = read(file, question(unjudged, chain("c", "d", "yes")))
    assert rows(tree) == [("c", None, -1), ("d", 1.0, 0)]
    assert (report["missing_verdict"], report["unlabelled_tail"]) == (1, 2)


UNSURE_RULES = [("negative", 0.0), ("half", 0.5), ("missing", None), ("votes", 1 / 3)]


@pytest.mark.parametrize("word", ["?", "unsure"])
@pytest.mark.parametrize(("rule", "expected"), UNSURE_RULES)
def test_unsure_chains_become_what_the_rule_says_and_are_counted(
    file: Path, word: str, rule: Any, expected: float | None
) -> None:
    unsure, sure = chain("a", "b", word), chain("c", "d", "no")
    for each in (unsure, sure):
        each[2]["votes"] = ["yes", "no", "fact1"]
    (tree,), report = read(file, question(unsure, sure, chain("e", "f", "yes")), unsure=rule)
    labels = {node.text: node.confidence for node in tree.nodes}
    assert labels.get("b") == expected
    assert (labels["d"], labels["f"]) == (0.0, 1.0)  # the rule is about unsure chains only
    assert report[f"unsure_{rule}"] == 1
    assert any("`?` or `unsure`" in line for line in report.lines())


@pytest.mark.parametrize("votes", [None, [], [None], float("nan")])
def test_without_votes_an_unsure_chain_is_not_valid(file: Path, votes: Any) -> None:
    unsure = chain("a", "b", "?")
    unsure[2]["votes"] = votes
    (tree,), report = read(file, question(unsure), unsure="votes")
    assert tree.nodes[1].confidence == 0.0
    assert (report["unsure_votes"], report["unsure_without_votes"]) == (0, 1)


def test_real_eobqa_labels_under_each_rule(real_data: Callable[[str], Path]) -> None:
    """200 judged chains: 16 yes, 31 unsure, the rest not valid; a fifth of the votes on unsure chains say yes."""
    path = real_data("eOBQA/eqasc_test_grc.json")
    found = {}
    for rule, _ in UNSURE_RULES:
        trees, report = read(path, unsure=rule)
        labels = [node.confidence for tree in trees for node in tree.nodes if node.confidence is not None]
        found[rule] = (report[f"unsure_{rule}"], report["labels"], sum(label >= 0.5 for label in labels))
    assert found["negative"] == (31, 200, 16)
    assert found["half"] == (31, 200, 47)
    assert found["missing"] == (31, 169, 16)
    assert found["votes"][:2] == (31, 200)


def test_an_unlisted_verdict_is_not_valid_and_is_reported(file: Path) -> None:
    (tree,), report = read(file, question(chain("a", "b", "maybe")))
    assert tree.nodes[1].confidence == 0.0
    assert "'maybe'" in report.places["unlisted_verdict"][0]


def test_the_gold_pair_joins_only_when_asked_for_and_absent(file: Path) -> None:
    (plain,), _ = read(file, question(chain("a", "b", "no")))
    (added,), report = read(file, question(chain("a", "b", "no")), add_gold=True)
    assert rows(added) == [*rows(plain), ("gold one", None, -1), ("gold two", 1.0, 2)]
    assert report["gold_added"] == 1
    (present,), report = read(file, question(chain("Gold two.", "gold one", "fact1")), add_gold=True)
    assert len(present.nodes) == 2
    assert (report["gold_present"], report["gold_added"]) == (1, 0)


def test_gold_goes_to_the_correct_choice_even_without_chains(file: Path) -> None:
    trees, _ = read(file, question(answerKey="B"), add_gold=True)
    assert [tree.id for tree in trees] == ["Q1:B"]


def test_gold_has_no_retrieval_score_and_is_not_added_there(file: Path) -> None:
    (tree,), report = read(file, question(chain("a", "b", "no")), add_gold=True, label="retrieval")
    assert len(tree.nodes) == 2
    assert report["gold_added"] == 0


def test_null_gold_facts_add_nothing(file: Path) -> None:
    (tree,), report = read(file, question(chain("a", "b", "no"), fact1=None, fact2=None), add_gold=True)
    assert (len(tree.nodes), report["gold_added"]) == (2, 0)


def test_an_empty_fact_drops_the_chain_from_there(file: Path) -> None:
    (tree,), report = read(file, question(chain("a", " ", "yes"), chain("b", "c", "yes")))
    assert [node.text for node in tree.nodes] == ["b", "c"]
    assert report["empty_step"] == 1


@pytest.mark.parametrize("score", ["12", True, float("nan")])
def test_a_score_that_is_no_number_is_an_error(file: Path, score: Any) -> None:
    with pytest.raises(DataError, match=r"'score' is .*; allowed: a number or null"):
        read(file, question(chain("a", "b", "yes", (score, 1.0))), label="retrieval")


def test_a_chain_that_is_no_list_is_an_error(file: Path) -> None:
    with pytest.raises(DataError, match="a chain is not a list"):
        read(file, question({"text": "a"}))  # type: ignore[arg-type]


def test_real_eqasc_excerpt(real_data: Callable[[str], Path]) -> None:
    trees, report = read(real_data("eQASC/eqasc_dev_grc.json"))
    assert (report["records"], len(trees), report["labels"]) == (2, 2, 20)
    assert sum(node.confidence == 1.0 for tree in trees for node in tree.nodes) == 5
    trees, report = read(real_data("eQASC/eqasc_dev_grc.json"), label="retrieval")
    assert all(node.confidence is not None for tree in trees for node in tree.nodes)


def test_real_eobqa_has_998_judged_chains_and_no_scores(real_data: Callable[[str], Path]) -> None:
    total = 0
    for split, questions in (("train", 399), ("test", 100)):
        path = real_data(f"eOBQA/eqasc_{split}_grc.json")
        _, report = read(path)
        assert report["records"] == questions
        total += report["labels"]
        trees, report = read(path, label="retrieval")
        assert trees == []
        assert report["missing_score"] > 0
    assert total == 998


def voted(first: str, second: str, verdict: str | None, votes: list[str] | None) -> list[dict[str, Any]]:
    *facts, about = chain(first, second, verdict)
    return [*facts, about | {"votes": votes}]


def test_votes_are_ratings_of_the_last_fact(file: Path) -> None:
    chains = [
        voted("a", "b", "yes", ["yes", "yes", "no"]),
        voted("a", "c", "?", ["fact1", "?", "odd"]),
        voted("d", "e", "yes", None),
        voted("d", "f", "?", ["?", "unsure"]),
    ]
    (tree,), report = read(file, question(*chains), label="votes")
    found = {node.text: (node.confidence, node.num_ratings) for node in tree.nodes}
    assert found["b"] == (pytest.approx(2 / 3), 3)
    assert found["c"] == (0.0, 2)
    assert found["e"] == (1.0, 1)
    assert "f" not in found  # nobody decided, and nothing follows
    counts = [report[name] for name in ("verdict_without_votes", "unsure_vote", "unlisted_verdict", "rated_again")]
    assert counts == [1, 3, 1, 2]
    (plain,), _ = read(file, question(*chains))
    assert [node.num_ratings for node in plain.nodes if node.confidence is not None] == [1, 1, 1, 1]
