"""Reward functions are called as their stacks call them; what each reads is there.

The calls were written from the sources that the modules of `surestep.inference.reward_functions` name. its_hub's own
algorithms run here; trl, verifiers and reward_hub ran by hand (docs/how-to/plug-in.md says what and when).
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from documents import blocks_of
from surestep import Scorer
from surestep.data.templated import SolutionReader
from surestep.errors import InputError, UnreadableAnswerError
from surestep.inference.result import SolutionScores
from surestep.inference.reward_functions import (
    areal,
    its_hub,
    ms_swift,
    openrlhf,
    reward_hub,
    search_and_learn,
    slime,
    trl,
    verifiers,
    verl,
)
from surestep.inference.reward_functions.answer_rewards import AnswerRewards

PROBLEM = "What is 12 * 3 + 4?"
RIGHT = "12 * 3 = 36.\n\n36 + 4 = 40."
WRONG = "12 * 3 = 38.\n\n38 + 4 = 42."
CUT_OFF = "<think>12 * 3 is"
PROMPT = f"<|im_start|>user\n{PROBLEM}<|im_end|>\n<|im_start|>assistant\n"


def confidence(problem: str, path: Sequence[str]) -> float:
    digest = hashlib.blake2b("\0".join((problem, *path)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 256**6


def confidences(answer: str, problem: str = PROBLEM) -> list[float]:
    steps = answer.split("\n\n")
    return [confidence(problem, steps[: index + 1]) for index in range(len(steps))]


def reward(answer: str, problem: str = PROBLEM) -> float:
    return min(confidences(answer, problem))


@dataclass
class FakeScorer:
    """A number of its own for every path; a step "too long", and all below it, has none."""

    calls: list[int] = field(default_factory=list)

    def score(self, problem: str, steps: Sequence[str]) -> SolutionScores:
        end = steps.index("too long") if "too long" in steps else len(steps)
        values = tuple(confidence(problem, steps[: i + 1]) if i < end else None for i in range(len(steps)))
        return SolutionScores(tuple(steps), values, values)

    def score_many(self, items: Iterable[tuple[str, Sequence[str]]]) -> Iterator[SolutionScores]:
        pairs = list(items)
        self.calls.append(len(pairs))
        return (self.score(problem, steps) for problem, steps in pairs)


SCORER = FakeScorer()


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def call_as_trl(function: Any, prompts: list[Any], completions: list[Any], logged: dict[str, Any]) -> Any:
    result = function(
        prompts=prompts,
        completions=completions,
        completion_ids=[[1, 2]] * len(prompts),
        trainer_state=SimpleNamespace(global_step=3),
        log_extra=lambda column, values: logged.__setitem__(column, values),
        log_metric=lambda name, value: logged.__setitem__(name, value),
        environments=None,
        answer=["40"] * len(prompts),
    )
    return asyncio.run(result) if inspect.isawaitable(result) else result


@pytest.mark.parametrize("make", [trl.grpo_reward, trl.async_grpo_reward])
def test_trl_texts_conversations_and_templated_prompts(make: Any) -> None:
    scorer, logged = FakeScorer(), dict[str, Any]()
    function = make(scorer)
    assert function.__name__ == "surestep"
    assert inspect.iscoroutinefunction(function) == (make is trl.async_grpo_reward)
    prompts = [PROBLEM, PROBLEM, PROMPT, PROBLEM]
    found = call_as_trl(function, prompts, [RIGHT, WRONG, RIGHT, CUT_OFF], logged)
    assert found == [reward(RIGHT), reward(WRONG), reward(RIGHT), None]
    assert scorer.calls == [3], "one call for all that can be read"
    assert (logged["surestep/unreadable"], logged["surestep/num_steps"]) == (0.25, 1.5)
    assert "has no end" in logged["surestep_confidences"][3]
    conversations = call_as_trl(function, [[user(PROBLEM)]] * 2, [[assistant(RIGHT)], [assistant(WRONG)]], {})
    assert conversations == [reward(RIGHT), reward(WRONG)]


def test_trl_gives_none_where_a_step_was_not_scored() -> None:
    assert call_as_trl(trl.grpo_reward(SCORER), [PROBLEM], ["a\n\ntoo long"], {}) == [None]
    zero = trl.grpo_reward(AnswerRewards(SCORER, unreadable=0.0))
    assert call_as_trl(zero, [PROBLEM] * 2, ["a\n\ntoo long", ""], {}) == [0.0, 0.0]


def test_a_doubt_about_the_problem_is_an_error_whatever_unreadable_says() -> None:
    function = trl.grpo_reward(AnswerRewards(SCORER, unreadable=0.0))
    with pytest.raises(InputError, match="answer 1: the turns are user, assistant, user"):
        call_as_trl(function, [PROBLEM, PROMPT + f"x<|im_end|>\n{PROMPT}"], [RIGHT, RIGHT], {})
    with pytest.raises(InputError, match="as many of each"):
        call_as_trl(function, [PROBLEM], [RIGHT, RIGHT], {})


def test_settings_change_the_reduction_and_the_splitting() -> None:
    mean = AnswerRewards(SCORER, reduction="mean", reader=SolutionReader(step_rule="tag:;"))
    (found,) = call_as_trl(trl.grpo_reward(mean), [PROBLEM], ["a;b"], {})
    assert found == pytest.approx((confidence(PROBLEM, ["a"]) + confidence(PROBLEM, ["a", "b"])) / 2)
    trained = SimpleNamespace(score=SCORER.score, score_many=SCORER.score_many, split_rule="lines")
    assert AnswerRewards(trained).reader.step_rule == "lines", "as the checkpoint was trained"
    with pytest.raises(InputError, match="reduction is 'max'; allowed: min"):
        AnswerRewards(SCORER, reduction="max")


def test_verl() -> None:
    extra = {"question": PROBLEM, "index": 7, "num_turns": 2, "rollout_reward_scores": {}}
    keywords = {"data_source": "gsm8k", "solution_str": RIGHT, "ground_truth": "40", "extra_info": extra}
    wanted = {"score": reward(RIGHT), "num_steps": 2.0, "unreadable": 0.0}
    function = verl.compute_score(SCORER)
    assert function(**keywords, reward_router_address="127.0.0.1:1", reward_model_tokenizer=None) == wanted
    coroutine = verl.async_compute_score(SCORER)
    assert inspect.iscoroutinefunction(coroutine), "veRL asks the function itself"
    assert asyncio.run(coroutine(**keywords)) == wanted
    batch = verl.compute_scores(SCORER, problem_field="problem")
    found = batch(
        data_sources=["gsm8k"] * 2,
        solution_strs=[RIGHT, WRONG],
        ground_truths=["40", "40"],
        extra_infos=[{"problem": PROBLEM}, {"problem": [user(PROBLEM)]}],
    )
    assert [one["score"] for one in found] == [reward(RIGHT), reward(WRONG)]
    with pytest.raises(InputError, match="extra_info has no 'question'"):
        function(**{**keywords, "extra_info": {"index": 1}})
    with pytest.raises(UnreadableAnswerError, match="name a reward for such answers"):
        function(**{**keywords, "solution_str": CUT_OFF})
    declared = verl.compute_score(AnswerRewards(SCORER, unreadable=0.0))
    assert declared(**{**keywords, "solution_str": CUT_OFF}) == {"score": 0.0, "num_steps": 0.0, "unreadable": 1.0}


def test_openrlhf_calls_by_position() -> None:
    function = openrlhf.reward_func(AnswerRewards(SCORER, unreadable=0.0))
    queries = [PROMPT + RIGHT + "<|im_end|>", PROMPT + CUT_OFF]
    found = function(queries, [PROMPT, PROMPT], ["40", "40"])
    assert found["rewards"] == found["scores"] == [reward(RIGHT), 0.0]
    assert found["extra_logs"] == {"num_steps": [2.0, 0.0], "unreadable": [0.0, 1.0]}
    with pytest.raises(InputError, match="does not begin with its prompt"):
        function(["x"], ["y"], [None])


def test_slime() -> None:
    function = slime.custom_rm(SCORER)
    samples = [
        SimpleNamespace(prompt=PROMPT, response=RIGHT, label="40"),
        SimpleNamespace(prompt=[user(PROBLEM)], response=WRONG, label=None),
    ]
    args = SimpleNamespace(rm_url=None)
    assert asyncio.run(function(args, samples[0])) == reward(RIGHT)
    assert asyncio.run(function(args, samples)) == [reward(RIGHT), reward(WRONG)]


def tokens_of(text: str) -> list[int]:
    return list(text.encode())


def decode(ids: Sequence[int]) -> str:
    return bytes(ids).decode(errors="replace")


@given(answer=st.sampled_from([RIGHT, WRONG, "é = é.\n\nSo é.", "<think>hm</think>\n" + RIGHT]))
def test_slimes_token_credit_sums_to_the_reward_and_stands_on_steps(answer: str) -> None:
    ids = [*tokens_of(PROMPT), *tokens_of(answer + "<|im_end|>")]
    sample = SimpleNamespace(
        prompt=PROMPT, response=answer, tokens=ids, response_length=len(tokens_of(answer + "<|im_end|>"))
    )
    steps = answer.split("</think>\n")[-1]
    for form in ("minimum", "minimum_drops", "potential"):
        (found,) = slime.token_credit(SCORER, decode, form=form)([sample])
        assert len(found) == sample.response_length
        wanted = confidences(steps)[-1] if form == "potential" else min(confidences(steps))
        assert sum(found) == pytest.approx(wanted)
        # A step's last byte is a full stop here.
        assert {bytes(ids[-len(found) :])[place] for place, value in enumerate(found) if value} == {ord(".")}


def test_an_answer_without_confidences_earns_its_reward_at_its_end() -> None:
    sample = SimpleNamespace(prompt=PROMPT, response=CUT_OFF, tokens=tokens_of(CUT_OFF), response_length=len(CUT_OFF))
    (found,) = slime.token_credit(AnswerRewards(SCORER, unreadable=-1.0), decode)([sample])
    assert (found[-1], sum(found)) == (-1.0, -1.0)
    with pytest.raises(UnreadableAnswerError):
        slime.token_credit(SCORER, decode)([sample])


@dataclass
class Message:
    """A message as objects that verifiers, its_hub and ms-swift hand over."""

    role: str
    content: Any
    tool_calls: Any = None


def test_a_rubric_of_verifiers_calls_by_name_with_what_the_function_asks_for() -> None:
    function = verifiers.rubric_reward(SCORER)
    assert set(inspect.signature(function).parameters) == {"prompt", "completion"}
    merged = {"prompt": [Message("user", PROBLEM)], "completion": [Message("assistant", RIGHT)]}
    assert asyncio.run(function(**merged)) == reward(RIGHT)
    assert asyncio.run(function(prompt=[user(PROBLEM)], completion=[assistant(RIGHT)])) == reward(RIGHT)
    assert asyncio.run(function(prompt=PROBLEM, completion=RIGHT)) == reward(RIGHT)


def trace_of(answer: str, key: str = "7") -> SimpleNamespace:
    ids = tokens_of(answer)
    head = SimpleNamespace(message=Message("user", PROBLEM), sampled=False, token_ids=[1], mask=[False])
    node = SimpleNamespace(
        message=Message("assistant", answer),
        sampled=True,
        token_ids=[9, 9, *ids],
        mask=[False, False] + [True] * len(ids),
        advantages=None,
    )
    task = SimpleNamespace(key=key, hash=None)
    return SimpleNamespace(branches=[SimpleNamespace(nodes=[head, node])], nodes=[head, node], task=task)


def test_a_trace_of_verifiers_gets_a_reward_and_advantages_of_its_tokens() -> None:
    assert asyncio.run(verifiers.trace_reward(SCORER)(trace_of(RIGHT))) == reward(RIGHT)
    traces = [trace_of(RIGHT), trace_of(WRONG), trace_of(RIGHT, "8")]
    verifiers.assign_advantages(traces, SCORER, decode)
    first, second, alone = (trace.nodes[-1].advantages for trace in traces)
    mean = (reward(RIGHT) + reward(WRONG)) / 2
    assert len(first) == len(tokens_of(RIGHT))
    assert (first[0], second[0], alone[0]) == pytest.approx((reward(RIGHT) - mean, reward(WRONG) - mean, 0.0))


def test_traces_that_are_no_single_turn_are_refused() -> None:
    several = trace_of(RIGHT)
    several.branches *= 2
    with pytest.raises(InputError, match="2 branches"):
        verifiers.assign_advantages([several], SCORER, decode)
    without = trace_of(RIGHT)
    without.nodes[-1].token_ids, without.nodes[-1].mask = [], []
    with pytest.raises(InputError, match="no token ids"):
        verifiers.assign_advantages([without], SCORER, decode)
    nameless = trace_of(RIGHT, "")
    with pytest.raises(InputError, match="neither key nor hash"):
        verifiers.assign_advantages([nameless], SCORER, decode)


def test_areal_calls_by_position_with_the_data_as_keywords() -> None:
    function = areal.reward_fn(SCORER)
    found = function(PROMPT, RIGHT + "<|im_end|>", [1, 2], [3, 4], answer="40", query_id="7")
    assert found == reward(RIGHT)


def test_ms_swift() -> None:
    orm = ms_swift.orm_class(SCORER)(args=None)
    messages = [[user(PROBLEM), assistant(RIGHT)], [user(PROBLEM), assistant(CUT_OFF)]]
    assert orm([RIGHT, CUT_OFF], messages=messages, trainer_state=None, solution=["40"] * 2) == [reward(RIGHT), None]
    with pytest.raises(InputError, match="no messages beside"):
        orm([RIGHT], trainer_state=None)
    with pytest.raises(InputError, match="do not end with the completion"):
        orm([WRONG], messages=messages[:1])
    prm = ms_swift.prm_class(SCORER)()
    assert "ground_truths" in inspect.signature(prm.__call__).parameters
    requests = [SimpleNamespace(messages=messages[0]), {"messages": [user(PROBLEM), assistant(WRONG)]}]
    assert prm(requests, request_config=None, ground_truths=["40", "40"]) == [reward(RIGHT), reward(WRONG)]


def test_search_and_learn_gets_every_step_of_every_output() -> None:
    found = search_and_learn.PRM(SCORER).score([PROBLEM, "Why?"], [[RIGHT, WRONG], [RIGHT]])
    assert found == [[confidences(RIGHT), confidences(WRONG)], [confidences(RIGHT, "Why?")]]
    with pytest.raises(UnreadableAnswerError, match="answer 1: step 2 of 2"):
        search_and_learn.PRM(AnswerRewards(SCORER, unreadable=0.0)).score([PROBLEM], [[RIGHT, "a\n\ntoo long"]])


def test_reward_hub() -> None:
    """`VllmProcessRewardModel.score`; an `AggregationMethod` is an enumeration there."""
    model = reward_hub.ProcessRewardModel(SCORER)
    batch = [[user(PROBLEM), assistant(RIGHT)], [user(PROBLEM), assistant(WRONG)]]
    (full, _) = model.score(batch, return_full_prm_result=True)
    first, second = confidences(RIGHT)
    assert (full.step_scores, full.min, full.last) == ([first, second], min(first, second), second)
    assert full.product == pytest.approx(first * second)
    method = Enum("AggregationMethod", {"MIN": "min"})
    assert model.score(batch[0], aggregation_method=method.MIN) == [reward(RIGHT)]
    assert model.score(batch[0], aggregation_method="prod") == [full.product]
    assert model.score(batch[0]) == [second]
    assert model.score(batch[0], aggregation_method="model") == [confidence(PROBLEM, [RIGHT])]
    assert model.score([user(PROBLEM), assistant("a;b")], step_sep=";") == [confidence(PROBLEM, ["a", "b"])]
    with pytest.raises(InputError, match="aggregation_method is 'mean'"):
        model.score(batch, aggregation_method="mean")


def test_its_hub_scores_responses_or_the_steps_of_one() -> None:
    responses = its_hub.ProcessRewardModel(SCORER)
    assert responses.score(PROBLEM, [RIGHT, WRONG]) == [reward(RIGHT), reward(WRONG)]
    assert asyncio.run(responses.ascore([user(PROBLEM)], [RIGHT])) == [reward(RIGHT)]
    steps = its_hub.ProcessRewardModel(SCORER, each="step")
    assert steps.score([user(PROBLEM)], RIGHT.split("\n\n")) == confidences(RIGHT)
    with pytest.raises(InputError, match="step 2 ends beyond"):
        steps.score(PROBLEM, ["a", "too long"])
    with pytest.raises(InputError, match="joins a list of messages"):
        responses.score(f"user: {PROBLEM}", [RIGHT])
    with pytest.raises(InputError, match="each is 'token'"):
        its_hub.ProcessRewardModel(SCORER, each="token")  # type: ignore[arg-type]
    outcome = its_hub.OutcomeRewardModel(SCORER)
    assert outcome.score([user(PROBLEM), assistant(RIGHT)]) == reward(RIGHT)
    assert asyncio.run(outcome.ascore([[user(PROBLEM), assistant(RIGHT)]])) == [reward(RIGHT)]


def test_its_hubs_own_algorithms_choose_what_the_scorer_prefers() -> None:
    """Best-of-N and beam search of the installed its_hub, with a language model of fixed answers."""
    api = pytest.importorskip("its_hub.api", reason="its_hub is not installed")
    from its_hub.core.algorithms.beam_search import BeamSearch
    from its_hub.core.algorithms.bon import BestOfN
    from its_hub.core.lms.step_generation import StepGeneration

    answers = [RIGHT, WRONG, "It is 40."]

    class Fixed(api.AbstractLanguageModel):  # type: ignore[misc, name-defined]
        """Whole answers in turn; asked to stop at a separator, one step of them."""

        def __init__(self) -> None:
            self.turns = itertools.cycle(answers)

        async def agenerate_single(self, messages: Any, **more: Any) -> Any:
            return assistant(next(self.turns))

        async def agenerate(self, messages: Any, stop: str | None = None, **more: Any) -> Any:
            assert stop == "\n\n"
            steps = (next(self.turns).split(stop) for _ in messages)
            return [assistant(step[len(one) > 1 and -1]) for one, step in zip(messages, steps, strict=True)]

    best = BestOfN(its_hub.OutcomeRewardModel(SCORER)).infer(Fixed(), PROBLEM, 3, return_response_only=False)
    assert sorted(best.scores) == sorted(map(reward, answers))
    assert best.the_one["content"] == max(answers, key=reward)

    search = BeamSearch(StepGeneration(1, "\n\n"), its_hub.ProcessRewardModel(SCORER), beam_width=2)
    result = search.infer(Fixed(), PROBLEM, 4, return_response_only=False)
    assert result.steps_used == [2] * len(result.scores)
    assert result.scores == [reward(response["content"]) for response in result.responses]
    assert result.scores[result.selected_index] == max(result.scores)


def test_a_loaded_checkpoint_gives_rewards(scorer: Scorer) -> None:
    """The real scorer: its own numbers, and None where a step ends beyond its longest path of 256 tokens."""
    found = call_as_trl(trl.grpo_reward(scorer), [PROBLEM, PROMPT, PROBLEM], [RIGHT, WRONG, "word " * 400], {})
    wanted = [scorer.score(PROBLEM, answer.split("\n\n")).min for answer in (RIGHT, WRONG)]
    assert found[:2] == pytest.approx(wanted, abs=1e-6)
    assert found[2] is None
    model = its_hub.ProcessRewardModel(scorer, each="step")
    assert model.score(PROBLEM, ["a", "b"]) == pytest.approx(scorer.score(PROBLEM, ["a", "b"]).confidences, abs=1e-6)


def test_what_the_page_imports_exists_and_its_credit_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "plug-in.md").read_text(encoding="utf-8")
    blocks = [block.code for block in blocks_of(page) if block.language == "python"]
    imports = re.findall(r"^from (surestep\S*) import (.+)$", "\n".join(blocks), re.MULTILINE)
    assert len(imports) > 9
    for module, names in imports:
        for name in names.split(", "):
            package = importlib.import_module(module)
            assert hasattr(package, name) or importlib.import_module(f"{module}.{name}"), f"{module}.{name}"
    (credit,) = [block for block in blocks if "token_rewards" in block]
    exec(credit, {})
    assert capsys.readouterr().out.split() == ["[[0.", "0.", "0.", "0.", "0.25]]"]
    (declared,) = [block for block in blocks if "declared_format(" in block]
    exec(declared, {})
    assert capsys.readouterr().out == "('It is 2.',)\n"
