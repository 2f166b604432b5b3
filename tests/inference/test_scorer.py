"""`surestep.Scorer`: what it scores, how it streams, and the sentence for everything that is no solution."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import surestep
from surestep import Scorer
from surestep.errors import CheckpointError, InputError
from surestep.inference.result import SolutionScores
from surestep.types import chain

PROBLEM = "What is 12 * 3 + 4?"
STEPS = ["12 * 3 = 36.", "36 + 4 = 41."]


def assert_same(found: SolutionScores, expected: SolutionScores) -> None:
    """The same but for the rounding of other neighbours in the pack."""
    assert found.steps == expected.steps
    for mine, theirs in ((found.confidences, expected.confidences), (found.raw, expected.raw)):
        np.testing.assert_allclose(np.array(mine, float), np.array(theirs, float), rtol=0, atol=1e-6)


def told(scorer: Scorer) -> tuple[Scorer, list[str]]:
    """A scorer of the same model, and the lines that it says."""
    lines: list[str] = []
    return Scorer(scorer.model_scorer, say=lines.append), lines


def test_a_solution_is_scored_as_its_tree_and_calibrated(scorer: Scorer) -> None:
    result = scorer.score(PROBLEM, STEPS)
    (expected,) = scorer.model_scorer.score([chain(PROBLEM, STEPS)])
    assert result.steps == tuple(STEPS)
    assert result.confidences == tuple(expected.confidence_N.tolist())
    assert result.raw == tuple(expected.raw_N.tolist())
    assert result.confidences != result.raw
    assert result.min == min(value for value in result.confidences if value is not None)
    assert scorer.about()["step"] == 2
    assert "checkpoint_step_2" in repr(scorer)


def test_white_space_and_kinds_of_sequences_change_nothing(scorer: Scorer) -> None:
    expected = scorer.score(PROBLEM, STEPS)
    for steps in (tuple(STEPS), iter(STEPS), np.array(STEPS), dict.fromkeys(STEPS).keys()):
        assert scorer.score(PROBLEM, steps) == expected
    spaced = scorer.score(f"\n{PROBLEM} \r\n", [f"{step}\r\n" for step in STEPS])
    assert (spaced.confidences, spaced.raw) == (expected.confidences, expected.raw)
    assert spaced.steps == tuple(f"{step}\r\n" for step in STEPS), "as given"


def test_a_solution_without_steps_has_no_numbers(scorer: Scorer) -> None:
    result = scorer.score(PROBLEM, [])
    assert result.confidences == ()
    assert np.isnan(result.min)


WRONG_STEPS = {
    "a text": ("12 * 3 = 36.", ["'steps' is the text '12 * 3 = 36.'", "split=", "a list of texts"]),
    "None": (None, ["'steps' is None", "a list of texts"]),
    "bytes": (b"12", ["'steps' is bytes", "a list of texts"]),
    "a number": (3, ["'steps' is the int 3", "a list of texts"]),
    "a mapping": ({"a": 1}, ["'steps' is of type dict", "a list of texts"]),
    "a set": ({"a"}, ["'steps' is of type set", "a list of texts"]),
    "an array without a dimension": (np.array("a"), ["'steps' is of type ndarray", "a list"]),
    "a number among them": (["a", 3.5], ["step 2 of 'steps' is the float 3.5", "allowed: text"]),
    "None among them": ([None], ["step 1 of 'steps' is None", "allowed: text"]),
    "an empty step": (["a", " \n"], ["step 2 of 'steps' is empty"]),
    "bytes among them": ([b"a"], ["step 1 of 'steps' is bytes (b'a')"]),
    "a list among them": ([["a"]], ["step 1 of 'steps' is of type list"]),
    "half a character": (["a\ud800"], ["step 1 of 'steps' holds half of a surrogate pair"]),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_steps_of_a_wrong_type_get_a_sentence(name: str, scorer: Scorer) -> None:
    steps, words = WRONG_STEPS[name]
    with pytest.raises(InputError) as caught:
        scorer.score(PROBLEM, steps)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("problem", "words"),
    [(None, "'problem' is None"), ("  ", "'problem' is empty"), (b"a", "'problem' is bytes"), (["a"], "of type list")],
)
def test_a_problem_of_a_wrong_type_gets_a_sentence(problem: Any, words: str, scorer: Scorer) -> None:
    for ask in (lambda: scorer.score(problem, STEPS), lambda: scorer.rerank(problem, [STEPS])):
        with pytest.raises(InputError, match="'problem'") as caught:
            ask()
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dataset": 3}, "'dataset' is the int 3"),
        ({"split": "words"}, "'words'; allowed: auto, step"),
        ({"split": "tag:"}, "names no tag"),
    ],
)
def test_options_of_a_wrong_type_get_a_sentence(options: dict[str, Any], words: str, scorer: Scorer) -> None:
    with pytest.raises(InputError) as caught:
        scorer.score(PROBLEM, STEPS, **options)
    assert words in str(caught.value)


def test_a_raw_solution_is_split_as_asked_or_as_in_training(scorer: Scorer) -> None:
    text = "12 * 3 = 36.\n36 + 4 = 41.\n"
    expected = scorer.score(PROBLEM, STEPS)
    assert scorer.score(PROBLEM, text, split="auto") == expected
    assert scorer.score(PROBLEM, text, split="sentences") == expected
    assert Scorer(scorer.model_scorer, split_rule="lines").score(PROBLEM, text) == expected
    assert list(scorer.score_many([(PROBLEM, text)], split="lines")) == [expected]
    assert scorer.rerank(PROBLEM, [text], split="lines")[0].scores == expected


def test_the_map_of_a_dataset_is_applied_where_there_is_one(checkpoint: Path) -> None:
    lines: list[str] = []
    pooled = Scorer.load(checkpoint, device="cpu", say=lines.append)
    plain = pooled.score(PROBLEM, STEPS)
    own = pooled.score(PROBLEM, STEPS, dataset="own")
    assert own.raw == plain.raw
    assert own.confidences != plain.confidences
    assert Scorer.load(checkpoint, device="cpu", dataset="own").score(PROBLEM, STEPS) == own
    assert next(pooled.score_many([(PROBLEM, STEPS)], dataset="own")) == own
    assert lines == []
    assert pooled.score(PROBLEM, STEPS, dataset="prm800k") == plain
    assert lines == ["no calibration map of prm800k's own (datasets with one: own): the pooled map is applied"]
    unmapped = Scorer.load(checkpoint, device="cpu", calibrated=False, say=lines.append)
    raw = unmapped.score(PROBLEM, STEPS)
    assert raw.confidences == raw.raw == plain.raw
    lines.clear()
    assert [unmapped.score(PROBLEM, STEPS, dataset=name) for name in ("own", "other")] == [raw, raw]
    assert lines == ["no calibration map is applied, so naming the dataset own changes nothing"]


def test_a_step_beyond_the_limit_has_no_confidence_and_a_line_says_so(scorer: Scorer) -> None:
    quiet, lines = told(scorer)
    long = ["short", "x" * 300, "y"]
    result = quiet.score(PROBLEM, long)
    assert [value is None for value in result.confidences] == [False, True, True]
    assert result.raw[1] is None
    assert np.isnan(result.min)
    said = "2 of 3 steps of the solution end beyond the longest path that the model takes (256 tokens)"
    assert lines == [f"{said} and have no confidence"]
    lines.clear()
    assert len(list(quiet.score_many([(PROBLEM, STEPS), (PROBLEM, long), ("q?", long)]))) == 3
    assert [line.partition(" end ")[0] for line in lines] == [
        "2 of 3 steps of item 2",
        "2 of 3 solutions have steps without a confidence, for the same reason",
    ]
    ranking = quiet.rerank(PROBLEM, [long, [], STEPS])
    assert [candidate.index for candidate in ranking] == [2, 0, 1]
    assert np.isnan([candidate.score for candidate in ranking]).tolist() == [False, True, True]


items = st.lists(
    st.tuples(st.sampled_from(["1+1?", "2+2?", " 1+1?\n"]), st.lists(st.sampled_from(["a", "b", "so 4"]), max_size=4)),
    max_size=30,
)


@pytest.mark.slow
@given(several=items, at_once=st.sampled_from([1, 2, 7, 512]))
def test_many_are_scored_as_one_by_one_and_in_order(several: Any, at_once: int, scorer: Scorer) -> None:
    found = list(scorer.score_many(several, at_once=at_once))
    assert len(found) == len(several)
    for result, (problem, steps) in zip(found, several, strict=True):
        assert_same(result, scorer.score(problem, steps))


def test_items_may_have_any_usual_form(scorer: Scorer) -> None:
    expected = scorer.score(PROBLEM, STEPS)
    forms: list[Any] = [
        (PROBLEM, STEPS),
        [PROBLEM, tuple(STEPS)],
        {"problem": PROBLEM, "steps": STEPS, "id": 7},
        types.MappingProxyType({"problem": PROBLEM, "steps": iter(STEPS)}),
        (PROBLEM, (step for step in STEPS)),
        iter((PROBLEM, STEPS)),
    ]
    for result in scorer.score_many(iter(forms)):
        assert_same(result, expected)


WRONG_ITEMS = {
    "a text": ("abc", "item 2 is the text 'abc'"),
    "None": (None, "item 2 is None"),
    "a number": (3, "item 2 is the int 3"),
    "a mapping without steps": (
        {"problem": "p", "solution": "s"},
        "item 2 has no 'steps' (it has 'problem, solution')",
    ),
    "three parts": (("p", ["a"], 1), "item 2 has 3 parts"),
    "an empty problem": (("", ["a"]), "the problem of item 2 is empty"),
    "a text for steps": (("p", "a. b."), "the steps of item 2 is the text 'a. b.'"),
    "an empty step": (("p", ["a", ""]), "step 2 of the steps of item 2 is empty"),
}


@pytest.mark.parametrize("name", WRONG_ITEMS)
def test_a_wrong_item_is_named_after_the_results_before_it(name: str, scorer: Scorer) -> None:
    item, words = WRONG_ITEMS[name]
    results = scorer.score_many([(PROBLEM, STEPS), item, (PROBLEM, STEPS)])
    assert_same(next(results), scorer.score(PROBLEM, STEPS))
    with pytest.raises(InputError) as caught:
        next(results)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["abc", b"abc", {"problem": "p", "steps": ["a"]}, None, 3])
def test_what_is_no_iterable_of_items_is_refused_at_once(value: Any, scorer: Scorer) -> None:
    with pytest.raises(InputError, match=r"'items' is .*allowed: an iterable"):
        scorer.score_many(value)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "8"])
def test_at_once_is_a_whole_number(value: Any, scorer: Scorer) -> None:
    with pytest.raises(InputError, match="'at_once'"):
        scorer.score_many([], at_once=value)


def test_an_error_of_the_iterable_itself_comes_after_the_results_before_it(scorer: Scorer) -> None:
    def broken() -> Iterator[Any]:
        yield PROBLEM, STEPS
        raise ConnectionError("the source went away")

    results = scorer.score_many(broken())
    assert_same(next(results), scorer.score(PROBLEM, STEPS))
    with pytest.raises(ConnectionError, match="went away"):
        next(results)


@pytest.mark.parametrize("at_once", [1, 4, 512])
def test_an_endless_iterable_gives_its_first_results_soon(at_once: int, scorer: Scorer) -> None:
    taken = itertools.count()
    results = scorer.score_many(((f"{next(taken)}?", STEPS) for _ in itertools.count()), at_once=at_once)
    next(results)
    assert next(taken) <= 8
    for _ in range(40):
        next(results)
    assert next(taken) < 150


@pytest.fixture
def passes(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each pass that the scorer's model runs."""
    sizes: list[int] = []
    forward = scorer.model_scorer.model.forward

    def counted(batch: Any, *arguments: Any, **options: Any) -> Any:
        sizes.append(len(getattr(batch, "batch", batch).tokens_P))
        return forward(batch, *arguments, **options)

    monkeypatch.setattr(scorer.model_scorer.model, "forward", counted)
    return sizes


def test_neighbours_of_one_problem_share_their_beginning(scorer: Scorer, passes: list[int]) -> None:
    beginning = ["a step that all of them begin with", "and another one"]
    solutions = [(PROBLEM, [*beginning, f"so {end}"]) for end in range(6)]
    list(scorer.score_many(solutions))
    together = sum(passes)
    passes.clear()
    for problem, steps in solutions:
        scorer.score(problem, steps)
    assert together < sum(passes) / 3
    passes.clear()
    scorer.rerank(PROBLEM, [steps for _, steps in solutions])
    assert sum(passes) == together


def test_packs_are_full_in_bulk(scorer: Scorer, passes: list[int]) -> None:
    bulk = Scorer(replace(scorer.model_scorer, token_budget=400))
    results = bulk.score_many((f"{number}?", ["so 4", "so 5"]) for number in range(300))
    next(results)
    assert len(passes) == 1, "the first window is small, and its first pack enough"
    assert len(list(results)) == 299
    assert sum(passes) / len(passes) > 300


def test_threads_share_a_scorer(scorer: Scorer) -> None:
    problems = [f"What is {number} + 1?" for number in range(24)]
    expected = [scorer.score(problem, STEPS) for problem in problems]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda problem: scorer.score(problem, STEPS), problems)) == expected


def test_candidates_are_ranked_by_their_confidences(scorer: Scorer) -> None:
    candidates = [["12 * 3 = 36.", "so 40"], ["40"], ["12 * 3 = 36.", "so 41", "hm"], ["40"]]
    for by in ("min", "product", "mean", "last"):
        ranking = scorer.rerank(PROBLEM, candidates, by=by)
        assert sorted(candidate.index for candidate in ranking) == [0, 1, 2, 3]
        scores = [candidate.score for candidate in ranking]
        assert scores == sorted(scores, reverse=True)
        for candidate in ranking:
            assert_same(candidate.scores, scorer.score(PROBLEM, candidates[candidate.index]))
            assert candidate.score == candidate.scores.aggregate(by)
        places = [candidate.index for candidate in ranking]
        assert places.index(1) < places.index(3), "equal ones stay as they were given"
    assert scorer.rerank(PROBLEM, []) == []


@pytest.mark.parametrize(
    ("candidates", "by", "words"),
    [
        ("abc", "min", "'candidates' is the text 'abc'"),
        (None, "min", "'candidates' is None"),
        ({"a": 1}, "min", "'candidates' is of type dict"),
        (["abc"], "min", "candidate 1 is the text 'abc'"),
        ([["a"], [""]], "min", "step 1 of candidate 2 is empty"),
        ([["a"]], "max", "'by' is 'max'; allowed: min, product, mean, last"),
        ([["a"]], None, "'by' is None"),
    ],
)
def test_candidates_of_a_wrong_type_get_a_sentence(candidates: Any, by: Any, words: str, scorer: Scorer) -> None:
    with pytest.raises(InputError) as caught:
        scorer.rerank(PROBLEM, candidates, by=by)
    assert words in str(caught.value)


@pytest.mark.parametrize("form", [str, Path])
def test_a_run_is_scored_by_its_best_checkpoint_and_that_is_said(form: Callable[..., Any], run_folder: Path) -> None:
    lines: list[str] = []
    loaded = Scorer.load(form(run_folder), device="cpu", say=lines.append)
    assert loaded.about()["step"] == 2
    assert lines == [f"{run_folder} is a run: its best checkpoint by validation is checkpoint_step_2"]


def test_an_exported_folder_is_a_checkpoint(checkpoint: Path, tmp_path: Path, scorer: Scorer) -> None:
    from surestep.scoring.checkpoint.export import export_merged

    export_merged(checkpoint, tmp_path / "merged")
    loaded = Scorer.load(tmp_path / "merged", device="cpu", token_budget=128)
    assert loaded.model_scorer.token_budget == 128
    assert_same(loaded.score(PROBLEM, STEPS), scorer.score(PROBLEM, STEPS))
    with pytest.raises(CheckpointError, match=r"merged is one"):
        Scorer.load(tmp_path / "merged" / "backbone")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": None}, "'path' is None"),
        ({"path": b"mine"}, "'path' is bytes"),
        ({"path": 3}, "'path' is the int 3"),
        ({"path": " "}, "'path' is empty"),
        ({"device": "gpu"}, "'device' is 'gpu'; allowed: auto, cpu, cuda"),
        ({"device": None}, "'device' is None"),
        ({"calibrated": "no"}, "'calibrated' is the text 'no'"),
        ({"token_budget": 0}, "'token_budget' is the int 0"),
        ({"token_budget": True}, "'token_budget' is True"),
        ({"dataset": 1}, "'dataset' is the int 1"),
        ({"backbone": 1}, "'backbone' is the int 1"),
        ({"revision": 1}, "'revision' is the int 1"),
    ],
)
def test_loading_with_a_wrong_type_gets_a_sentence(arguments: dict[str, Any], words: str, checkpoint: Path) -> None:
    with pytest.raises(InputError) as caught:
        Scorer.load(**{"path": checkpoint, **arguments})
    assert words in str(caught.value)


def test_importing_surestep_loads_nothing_and_splitting_no_torch() -> None:
    code = (
        "import sys, json, surestep; before = set(sys.modules); names = dir(surestep); "
        "surestep.split_steps('a. b.'); after = set(sys.modules); assert {'Scorer', 'split_steps'} <= set(names); "
        "print(json.dumps([sorted({'torch', 'numpy', 'transformers'} & loaded) for loaded in (before, after)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    assert before == []
    assert "torch" not in after
    with pytest.raises(AttributeError, match="no attribute 'Skorer'"):
        surestep.Skorer  # noqa: B018


@pytest.mark.parametrize(
    ("settings", "text", "steps"),
    [
        ({"own_split": "lines"}, "12 * 3 = 36.\n36 + 4 = 41.", STEPS),
        ({"own_format": "math_shepherd"}, "12 * 3 = 36. ки\n36 + 4 = 41. ки", STEPS),
        ({}, "12 * 3 = 36.\n36 + 4 = 41.", None),
    ],
)
def test_a_checkpoint_splits_raw_solutions_as_its_training_did(
    settings: dict[str, str], text: str, steps: list[str] | None, checkpoint: Path, scorer: Scorer
) -> None:
    from surestep.scoring.checkpoint.load import read_config

    config = read_config(checkpoint)
    config.data.use_own = True
    for name, value in settings.items():
        setattr(config.data, name, value)
    trained = Scorer.from_config(checkpoint, config)
    if steps is None:
        with pytest.raises(InputError, match="a list of texts"):
            trained.score(PROBLEM, text)
    else:
        assert trained.score(PROBLEM, text) == scorer.score(PROBLEM, steps)
    if trained.split_rule == "tag:ки":
        with pytest.raises(InputError, match="holds no 'ки', at which the checkpoint's training data were split"):
            trained.score(PROBLEM, "12 * 3 = 36.")
