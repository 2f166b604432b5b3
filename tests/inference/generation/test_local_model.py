"""A transformers model as a generator: a batch writes what each row alone writes, and seeds are each row's own."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backbones import _GROUPED, _NO_NAMES
from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer
from surestep.errors import BackboneError, InputError
from surestep.inference.generation import GenerationSettings, TransformersGenerator, generate
from surestep.inference.generation.decoding import Drawing
from surestep.inference.generation.requests import Ask, Continuation, RefusedError

MODELS = {
    "llama": ("Llama", _GROUPED),
    "gpt2": ("GPT2", {**_NO_NAMES, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    "mistral": ("Mistral", {**_GROUPED, "sliding_window": 8}),
}


def build(family: str) -> Any:
    import transformers

    name, settings = MODELS[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return getattr(transformers, f"{name}ForCausalLM" if name != "GPT2" else "GPT2LMHeadModel")(
            getattr(transformers, f"{name}Config")(**settings)
        )


@pytest.fixture(scope="module", params=MODELS)
def generator(request: pytest.FixtureRequest) -> TransformersGenerator:
    return TransformersGenerator(build(request.param), build_tiny_tokenizer(), name=request.param)


@pytest.fixture(scope="module")
def llama() -> TransformersGenerator:
    return TransformersGenerator(build("llama"), build_tiny_tokenizer(), name="llama")


def ask(stop: str | None = None, problem: str = "1 + 1?", **settings: Any) -> Ask:
    return Ask(problem, GenerationSettings(prompt="{problem}", **settings), stop)


ROWS = [
    Continuation("", 1, 12),
    Continuation("One and one. ", 2, 20),
    Continuation("So", 3, 7),
    Continuation("", 4, 12),
]


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_batch_writes_what_each_row_alone_writes(generator: TransformersGenerator, temperature: float) -> None:
    asked = ask(temperature=temperature)
    together = generator.write(asked, ROWS)
    alone = [generator.write(asked, [row])[0] for row in ROWS]
    assert [(one.text, one.tokens, one.ending) for one in together] == [
        (one.text, one.tokens, one.ending) for one in alone
    ]
    assert (together[0].text == together[3].text) is (temperature == 0.0), "two seeds of one prompt"
    assert any(one.text for one in together)


def test_greedy_decoding_is_that_of_transformers(generator: TransformersGenerator) -> None:
    (found,) = generator.write(ask(temperature=0), [Continuation("", 1, 12)])
    ids = generator.tokenizer("1 + 1?", return_tensors="pt")["input_ids"]
    theirs = generator.model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, pad_token_id=0
    )
    assert found.text == generator.tokenizer.decode(theirs[0, ids.shape[1] :], skip_special_tokens=True)


def test_small_batches_change_nothing(llama: TransformersGenerator) -> None:
    small = TransformersGenerator(llama.model, llama.tokenizer, batch_size=1)
    asked = ask(temperature=0.7, top_p=0.9)
    assert [one.text for one in small.write(asked, ROWS)] == [one.text for one in llama.write(asked, ROWS)]


def test_a_stop_text_ends_a_step_and_is_not_in_it(llama: TransformersGenerator) -> None:
    whole = llama.write(ask(temperature=0.9), [Continuation("", 5, 40)])[0]
    stop = whole.text[6:8]
    (cut,) = llama.write(ask(temperature=0.9, stop=stop), [Continuation("", 5, 40)])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert (cut.ending, cut.tokens is not None and cut.tokens < 40) == ("stop", True)


def test_the_models_own_end(llama: TransformersGenerator) -> None:
    first = llama.write(ask(temperature=0), [Continuation("", 1, 3)])[0]
    token = llama.tokenizer(first.text[:1])["input_ids"][0]
    ended = TransformersGenerator(llama.model, llama.tokenizer)
    ended._ends = frozenset({*ended._ends, token})
    (found,) = ended.write(ask(temperature=0), [Continuation("", 1, 3)])
    assert (found.text, found.tokens, found.ending) == ("", 0, "end")


def test_a_deadline_ends_texts_where_they_are(llama: TransformersGenerator) -> None:
    found = llama.write(ask(), [Continuation("", 1, 200)], deadline=time.monotonic() - 1)
    assert [(one.text, one.ending) for one in found] == [("", "time")]
    settings = GenerationSettings(method="majority", n=2, problem_seconds=1e-6, prompt="{problem}")
    done = generate("1 + 1?", llama, None, settings)
    assert done.stopped is not None
    assert done.candidates == ()


def test_longer_texts_than_the_model_takes_are_refused(llama: TransformersGenerator) -> None:
    with pytest.raises(RefusedError, match=r"the problem has .* tokens"):
        llama.write(ask(problem="1 + " * 400), [Continuation("", 1, 5)])
    (found,) = llama.write(ask(temperature=0), [Continuation("1 " * 250, 1, 500)])
    assert found.ending == "length"


def test_the_tokenizers_chat_template_is_used(llama: TransformersGenerator) -> None:
    tokenizer = build_tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[assistant] "
    chat = TransformersGenerator(llama.model, tokenizer)
    row = chat._row(ask(system="Add."), Continuation("So", 0, 3))
    plain = tokenizer.decode(row.prompt)
    assert plain.replace(" ", "") == "[system]Add.\n[user]1+1?\n[assistant]So".replace(" ", "")


@pytest.mark.parametrize("top_p", [1.0, 0.6])
def test_tokens_are_drawn_with_their_chances(top_p: float) -> None:
    chances = np.array([0.5, 0.2, 0.2, 0.1])
    temperature = 2.0
    logits = torch.tensor(np.log(chances) * temperature)[None].repeat(4000, 1)
    draws = [random.Random(seed) for seed in range(4000)]
    counts = Counter(Drawing(temperature, top_p).draw(logits, draws))
    kept = chances if top_p == 1.0 else np.array([0.5, 0.2, 0.0, 0.0])
    for token, chance in enumerate(kept / kept.sum()):
        assert abs(counts[token] / 4000 - chance) < 0.03
        assert (counts[token] > 0) == (chance > 0)


def test_loading(tmp_path: Path, llama: TransformersGenerator) -> None:
    llama.model.save_pretrained(tmp_path / "model")
    llama.tokenizer.save_pretrained(tmp_path / "model")
    loaded = TransformersGenerator.load(tmp_path / "model", device="cpu")
    asked = ask(temperature=0.5)
    assert loaded.write(asked, ROWS[:1])[0].text == llama.write(asked, ROWS[:1])[0].text
    assert loaded.about()["dtype"] == "float32"
    with pytest.raises(BackboneError, match="cannot generate"):
        TransformersGenerator.load(tmp_path / "nothing", device="cpu")
    from backbones import save_backbone

    with pytest.raises(BackboneError, match="1 weight is missing"):
        TransformersGenerator.load(save_backbone("llama", tmp_path / "headless"), device="cpu")
    with pytest.raises(InputError, match="batch_size"):
        TransformersGenerator(llama.model, llama.tokenizer, batch_size=0)
