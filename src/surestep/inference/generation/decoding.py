"""Tokens after prompts, many rows at once: left padding, keys and values kept, rows that are done leave the batch.

A prompt that several rows share is computed once. Each row draws from a generator of its own, so that its tokens
follow from its seed whatever stands beside it, up to the rounding of other batches. Knows tokens; how they become text,
whoever asks says.

Shapes: `R` rows that go on, `P` different prompts, `S` tokens of the longest prompt, `V` vocabulary.
"""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from surestep.errors import BackboneError
from surestep.inference.generation.requests import Ending


@dataclass(frozen=True, slots=True)
class Row:
    """What is to go on.

    Attributes:
        prompt: its tokens, at least one.
        seed: of its draws.
        max_tokens: at least 1.
    """

    prompt: tuple[int, ...]
    seed: int
    max_tokens: int


@dataclass
class Written:
    """What a row became; `ending` is None while it goes on."""

    row: Row
    draws: random.Random
    tokens: list[int] = field(default_factory=list)
    ending: Ending | None = None


@dataclass(frozen=True)
class Drawing:
    """How a token is drawn; temperature 0 takes the likeliest."""

    temperature: float
    top_p: float

    def draw(self, logits_RV: torch.Tensor, draws: Sequence[random.Random]) -> list[int]:
        """A token for each row."""
        if self.temperature == 0:
            return [int(token) for token in logits_RV.argmax(dim=-1).tolist()]
        chances_RV = torch.softmax(logits_RV.double() / self.temperature, dim=-1)
        order_RV = None
        if self.top_p < 1:
            chances_RV, order_RV = chances_RV.sort(dim=-1, descending=True, stable=True)
            before_RV = chances_RV.cumsum(dim=-1) - chances_RV
            chances_RV = chances_RV.masked_fill(before_RV >= self.top_p, 0.0)
        sums_RV = chances_RV.cumsum(dim=-1)
        heights = torch.tensor([[one.random()] for one in draws], dtype=torch.float64, device=sums_RV.device)
        found_R1 = torch.searchsorted(sums_RV, heights * sums_RV[:, -1:], right=True).clamp_(max=sums_RV.shape[1] - 1)
        if order_RV is not None:
            found_R1 = order_RV.gather(1, found_R1)
        return [int(token) for token in found_R1.squeeze(1).tolist()]


@torch.inference_mode()
def write_on(
    model: Any,
    rows: Sequence[Row],
    drawing: Drawing,
    ends: frozenset[int],
    is_stopped: Callable[[Written], bool],
    *,
    deadline: float | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> list[Written]:
    """What each row becomes, in order.

    Args:
        model: a transformers causal model with its language-model head, in evaluation mode.
        rows: what is to go on.
        drawing: how tokens are drawn.
        ends: tokens by which the model ends a text; they are not among those written.
        is_stopped: whether the text of a row holds its stop.
        deadline: of `time.monotonic`; rows that go on then end by `time`.
        is_cancelled: asked before each token; rows end as by a deadline.

    Raises:
        BackboneError: the model keeps no keys and values.
    """
    written = [Written(row, random.Random(row.seed)) for row in rows]
    if not written:
        return []
    batch = _Batch(model, rows)
    going_on = list(written)
    while going_on:
        if is_cancelled() or (deadline is not None and time.monotonic() >= deadline):
            for one in going_on:
                one.ending = "time"
            break
        tokens = drawing.draw(batch.logits_RV, [one.draws for one in going_on])
        for one, token in zip(going_on, tokens, strict=True):
            _take(one, token, ends, is_stopped)
        kept = [i for i, one in enumerate(going_on) if one.ending is None]
        going_on = [going_on[i] for i in kept]
        if going_on:
            batch.step(kept, [one.tokens[-1] for one in going_on])
    return written


def _take(one: Written, token: int, ends: frozenset[int], is_stopped: Callable[[Written], bool]) -> None:
    if token in ends:
        one.ending = "end"
        return
    one.tokens.append(token)
    if is_stopped(one):
        one.ending = "stop"
    elif len(one.tokens) >= one.row.max_tokens:
        one.ending = "length"


class _Batch:
    """Rows that go on, with their keys and values.

    Attributes:
        logits_RV: for the next token of each row.
    """

    def __init__(self, model: Any, rows: Sequence[Row]) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        accepted = inspect.signature(model.forward).parameters
        self._with_positions = "position_ids" in accepted
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        prompts = list(dict.fromkeys(row.prompt for row in rows))
        longest = max(map(len, prompts))
        ids_PS = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        seen_PS = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        self._cache: Any = None
        self.logits_RV: torch.Tensor
        self._seen = seen_PS.to(self._device)
        self._run(ids_PS.to(self._device))
        place = {prompt: i for i, prompt in enumerate(prompts)}
        if [place[row.prompt] for row in rows] != list(range(len(prompts))):
            self._select([place[row.prompt] for row in rows])

    def step(self, kept: Sequence[int], tokens: Sequence[int]) -> None:
        """Go on with these rows, each with its new token."""
        if len(kept) < len(self._seen):
            self._select(kept)
        new_R1 = torch.tensor(tokens, device=self._device)[:, None]
        self._seen = torch.cat([self._seen, torch.ones_like(new_R1)], dim=1)
        self._run(new_R1)

    def _select(self, places: Sequence[int]) -> None:
        index = torch.tensor(places, device=self._device)
        self._cache.batch_select_indices(index)
        self._seen, self.logits_RV = self._seen[index], self.logits_RV[index]

    def _run(self, ids: torch.Tensor) -> None:
        positions = (self._seen.cumsum(dim=1) - 1).clamp_(min=0)[:, -ids.shape[1] :]
        output = self._model(
            input_ids=ids,
            attention_mask=self._seen,
            past_key_values=self._cache,
            use_cache=True,
            **({"position_ids": positions} if self._with_positions else {}),
            **self._last_only,
        )
        self._cache = getattr(output, "past_key_values", None)
        if not hasattr(self._cache, "batch_select_indices"):
            raise BackboneError(
                f"{type(self._model).__name__} keeps no keys and values that can be shared; serve it by an endpoint, "
                "and name that with --endpoint"
            )
        self.logits_RV = output.logits[:, -1]
