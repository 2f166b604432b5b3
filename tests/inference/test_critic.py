"""A critic's votes become confidences; what it does not say is counted, never guessed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_models import save_reward_model
from surestep.errors import ConfigError
from surestep.inference.critic import CriticScorer, CriticSettings, confidences_of_votes, first_wrong
from surestep.inference.generation.local_model import TransformersGenerator
from surestep.inference.generation.requests import Ask, Continuation, Continued, RefusedError
from surestep.metrics.benchmarks.first_error import predicted_error
from surestep.types import Node, ReasoningTree, chain


@dataclass
class Writer:
    """A generator that writes given answers, one a vote, in turn."""

    answers: Sequence[str]
    asked: list[tuple[str, list[int]]] = field(default_factory=list)
    concurrency: int = 1

    def about(self) -> dict[str, Any]:
        return {"local_model": "/models/writer"}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Writer]:
        yield self

    async def go_on(
        self, ask: Ask, continuations: Sequence[Continuation], deadline: float | None
    ) -> list[Continued | None]:
        if "too long" in ask.prompt():
            raise RefusedError("the prompt is too long")
        self.asked.append((ask.prompt(), [one.seed for one in continuations]))
        texts = [self.answers[i % len(self.answers)] for i in range(len(continuations))]
        return [Continued(text, len(text.split()), "end", 0.0) for text in texts]


def test_a_vote_says_which_paragraph_is_the_first_wrong_one() -> None:
    writer = Writer([r"Paragraph 1 adds wrongly. \boxed{1}"])
    (found,) = CriticScorer(writer, CriticSettings()).score([chain("1+2?", ["1 + 2", "is 4", "so 4"])])
    assert found.raw_N.tolist() == [1.0, 0.0, 0.0]
    ((prompt, _),) = writer.asked
    assert "1+2?" in prompt
    assert "<paragraph_1>\nis 4\n</paragraph_1>" in prompt


def test_votes_are_shared_out_and_unreadable_ones_counted() -> None:
    writer = Writer([r"\boxed{1}", r"\boxed{-1}", "I cannot say: 1", r"\boxed{7}"])
    scorer = CriticScorer(writer, CriticSettings(votes=4))
    (found,) = scorer.score([chain("p", ["a", "b"])])
    assert found.raw_N.tolist() == [1.0, 0.5]
    assert scorer.about()["votes"]["unreadable"] == 2
    assert len(set(writer.asked[0][1])) == 4, "each vote has a seed of its own"


def test_without_a_readable_vote_there_is_no_score() -> None:
    scorer = CriticScorer(Writer(["no idea"]), CriticSettings())
    found = list(scorer.score([chain("p", ["a", "b"]), chain("too long", ["a"])]))
    assert all(np.isnan(one.raw_N).all() for one in found)
    votes = scorer.about()["votes"]
    assert (votes["solutions_without_vote"], votes["solutions_refused"], votes["asked"]) == (1, 1, 2)


def test_a_step_on_several_paths_has_the_mean_of_their_votes() -> None:
    tree = ReasoningTree("p", (Node("a"), Node("b", 0), Node("c", 0)))

    class ByPath(Writer):
        async def go_on(
            self, ask: Ask, continuations: Sequence[Continuation], deadline: float | None
        ) -> list[Continued | None]:
            return [Continued(r"\boxed{0}" if "\nb\n" in ask.prompt() else r"\boxed{-1}", 1, "end", 0.0)]

    (found,) = CriticScorer(ByPath([]), CriticSettings()).score([tree])
    assert found.raw_N.tolist() == [0.5, 0.0, 1.0]


@pytest.mark.slow
@given(st.lists(st.integers(-1, 5), min_size=1, max_size=9), st.integers(6, 8))
def test_confidences_never_rise_and_the_first_low_one_is_where_most_see_an_error(
    votes: list[int], num_steps: int
) -> None:
    values = confidences_of_votes(votes, num_steps)
    numbers = [value for value in values if value is not None]
    assert numbers == sorted(numbers, reverse=True)
    if len(set(votes)) == 1:
        assert predicted_error(values, 0.5) == votes[0]


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        (r"\boxed{0}", 0),
        (r"first \boxed{1}, no: \boxed{2}", 2),
        ("\\boxed{\u22121}", -1),
        (r"\boxed{ 2 }", 2),
        (r"\boxed{3}", None),
        (r"\boxed{-2}", None),
        (r"\boxed{1.5}", None),
        (r"\boxed{paragraph_1}", None),
        (r"\boxed{", None),
        ("#### 1", None),
        (r"\boxed{99999999999999999999}", None),
        (r"\boxed{²}", None),
        ("", None),
    ],
)
def test_an_index_is_read_only_where_it_stands_in_a_box(answer: str, index: int | None) -> None:
    assert first_wrong(answer, 3) == index


def test_the_same_seed_gives_the_same_votes_of_a_real_model_and_its_tokens_are_counted(tmp_path: Path) -> None:
    folder = save_reward_model("math-shepherd", tmp_path / "model")
    settings = CriticSettings(votes=3, max_tokens=5, prompt="{problem} {tagged_response}")
    prompts = []
    for _ in range(2):
        generator = TransformersGenerator.load(folder, device="cpu")
        scorer = CriticScorer(generator, settings, {"weights_sha256": "0" * 64})
        list(scorer.score([chain("1+1?", ["2"])]))
        prompts.append((scorer.tokens_used(), scorer.about()["scorer"]["sha256"]))
    assert prompts[0] == prompts[1]
    used = prompts[0][0]
    asked = "1+1? <paragraph_0>\n2\n</paragraph_0>"
    ids = generator.tokenizer(f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n")
    assert used.read == len(ids["input_ids"])
    assert used.written is not None
    assert 0 < used.written <= 15


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"votes": 0}, "votes is 0"),
        ({"vote": 1}, "vote is no field"),
        ({"votes": 2, "temperature": 0}, "all alike"),
        ({"prompt": "{problem}"}, r"lacks \{tagged_response\}"),
        ({"max_tokens": "many"}, "max_tokens"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_line(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CriticSettings.of(fields)
