"""A transformers causal model on this machine as a generator. Knows texts and tokens; the loop is `decoding`'s."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from surestep.counted import counted
from surestep.errors import BackboneError, InputError
from surestep.hub import from_cache_only
from surestep.inference.generation.decoding import Drawing, Row, Written, write_on
from surestep.inference.generation.requests import Ask, Continuation, Continued, RefusedError
from surestep.model.backbones.silence_transformers import silence_transformers
from surestep.scoring.hardware import choose_hardware
from surestep.untrusted.bounds import shown

_CONTEXT = 8
"""Tokens in front of the first new one that are decoded with them: some tokenizers drop a blank at a text's start."""
_TAIL = 48
"""Of the new tokens, those in which a stop text is looked for first."""


class TransformersGenerator:
    """A causal model with its tokenizer; the chat template is the tokenizer's own, where it has one.

    The continuations of one problem are computed together, whatever other problems there are, so the same seed gives
    the same texts. Requests of several problems run one after another.

    Args:
        model: a transformers model with a language-model head; it is put into evaluation mode.
        tokenizer: its tokenizer.
        name: as messages and results call it.
        batch_size: rows that are computed at once.
    """

    concurrency = 1

    def __init__(self, model: Any, tokenizer: Any, *, name: str = "a model", batch_size: int = 16) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f"batch_size is {shown(batch_size)}; allowed: a whole number from 1")
        self.model, self.tokenizer, self.name, self.batch_size = model.eval(), tokenizer, name, batch_size
        ends = getattr(model.generation_config, "eos_token_id", None)
        of_model = ends if isinstance(ends, list) else [ends]
        self._ends = frozenset(int(end) for end in (*of_model, tokenizer.eos_token_id) if end is not None)
        self._longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._lock = threading.Lock()

    @classmethod
    def load(cls, name: str | Path, *, revision: str | None = None, device: str = "auto", batch_size: int = 16) -> Self:
        """Load a folder or a hub id, in half precision on a GPU, in float32 on a CPU.

        Raises:
            BackboneError: it cannot be found or read, or is no causal model with a language-model head.
            DeviceError: the device is not here.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        hardware = choose_hardware(device, "auto")
        source: dict[str, Any] = {
            "revision": revision,
            "trust_remote_code": False,
            "local_files_only": from_cache_only(str(name)),
        }
        try:
            with silence_transformers():
                tokenizer = AutoTokenizer.from_pretrained(str(name), **source)
                model, report = AutoModelForCausalLM.from_pretrained(
                    str(name), dtype=hardware.compute_dtype, use_safetensors=True, output_loading_info=True, **source
                )
        except Exception as error:  # transformers fails in every way over files that others wrote
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BackboneError(
                f"{name} cannot generate ({type(error).__name__}: {first_line[:200]}); name a folder or a hub id of a "
                "causal model in safetensors with its tokenizer"
            ) from None
        if missing := sorted(report["missing_keys"]):
            raise BackboneError(
                f"{name}: {counted(len(missing), 'weight is', 'weights are')} missing from its files "
                f"({', '.join(missing[:3])}, ...); it would write at random"
            )
        return cls(model.to(hardware.device), tokenizer, name=str(name), batch_size=batch_size)

    def about(self) -> dict[str, Any]:
        """What decides its texts."""
        parameter = next(self.model.parameters())
        return {
            "local_model": self.name,
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "device": parameter.device.type,
            "batch_size": self.batch_size,
        }

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[_Opened]:
        """Ready; what is being written when this ends is given up at its next token."""
        cancelled = threading.Event()
        try:
            yield _Opened(self, cancelled)
        finally:
            cancelled.set()

    def write(
        self,
        ask: Ask,
        continuations: Sequence[Continuation],
        *,
        deadline: float | None = None,
        cancelled: threading.Event | None = None,
    ) -> list[Continued]:
        """What each continuation becomes, in order.

        Raises:
            RefusedError: a text is as long as the model takes.
            BackboneError: the model cannot generate.
        """
        rows = [self._row(ask, one) for one in continuations]
        drawing = Drawing(ask.settings.temperature, ask.settings.top_p)
        results: list[Continued] = []
        with self._lock:
            for start in range(0, len(rows), self.batch_size):
                begun = time.monotonic()
                written = write_on(
                    self.model,
                    rows[start : start + self.batch_size],
                    drawing,
                    self._ends,
                    partial(self._is_stopped, stop=ask.stop),
                    deadline=deadline,
                    is_cancelled=cancelled.is_set if cancelled is not None else lambda: False,
                )
                seconds = time.monotonic() - begun
                results += [self._continued(one, ask.stop, seconds) for one in written]
        return results

    def prompt_tokens(self, ask: Ask, count: int) -> int:
        """Tokens of prompts that `count` continuations of one problem take: rows of a batch share theirs."""
        return len(self._ids(ask, "")) * math.ceil(count / self.batch_size)

    def _ids(self, ask: Ask, prefix: str) -> list[int]:
        if self.tokenizer.chat_template:
            prompt = self.tokenizer.apply_chat_template(ask.messages(), add_generation_prompt=True, tokenize=False)
            return list(self.tokenizer(prompt + prefix, add_special_tokens=False)["input_ids"])
        ids = list(self.tokenizer(ask.prompt() + prefix)["input_ids"])
        while ids and ids[-1] in self._ends:  # some tokenizers end a text
            ids = ids[:-1]
        return ids

    def _row(self, ask: Ask, one: Continuation) -> Row:
        ids = self._ids(ask, one.prefix)
        room = one.max_tokens if self._longest is None else min(one.max_tokens, self._longest - len(ids))
        if not ids or room < 1:
            raise RefusedError(
                f"the problem has {counted(len(ids), 'token')} with its prompt; {self.name} takes 1 to "
                f"{self._longest or 0:,}"
            )
        return Row(tuple(ids), one.seed, room)

    def _text(self, one: Written, tokens: Sequence[int]) -> str:
        context = list(one.row.prompt[-_CONTEXT:])
        before = self.tokenizer.decode(context, skip_special_tokens=True)
        return str(self.tokenizer.decode([*context, *tokens], skip_special_tokens=True)[len(before) :])

    def _is_stopped(self, one: Written, stop: str | None) -> bool:
        if stop is None or stop not in self.tokenizer.decode(one.tokens[-_TAIL:], skip_special_tokens=True):
            return False
        return stop in self._text(one, one.tokens)

    def _continued(self, one: Written, stop: str | None, seconds: float) -> Continued:
        assert one.ending is not None
        text = self._text(one, one.tokens)
        if stop is not None:
            text = text.partition(stop)[0]
        return Continued(text.encode("utf-8", "replace").decode(), len(one.tokens), one.ending, seconds)


class _Opened:
    """The generator within an event loop: it writes in a thread."""

    def __init__(self, generator: TransformersGenerator, cancelled: threading.Event) -> None:
        self._generator, self._cancelled = generator, cancelled

    async def go_on(
        self, ask: Ask, continuations: Sequence[Continuation], deadline: float | None
    ) -> list[Continued | None]:
        """See `OpenGenerator`; a text that was begun before the deadline is there as far as it came."""
        work = partial(self._generator.write, ask, continuations, deadline=deadline, cancelled=self._cancelled)
        written = await asyncio.to_thread(work)
        return [None if one.ending == "time" and not one.tokens else one for one in written]
