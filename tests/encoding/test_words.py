"""Ids by a table of words are the tokenizer's own ids, or the tokenizer is asked."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, models, normalizers, pre_tokenizers

from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.tokenizer import StepTokenizer
from surestep.encoding.words import word_ids as words_module
from surestep.encoding.words.word_ids import in_python, word_ids

QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "Qwen": QWEN,
    "Llama 3": QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|"),
    "leaves characters to no alternative": r"\p{L}+9|\p{N}{1,3}",
    "GPT-2": None,
}
ASCII = st.text(st.characters(max_codepoint=127))
LIKELY = st.lists(st.sampled_from([*"aS'9.\n\r\t\v <é_", "'ll", "'T", "  ", "\r\n", "<CONFIDENCE>", "12", "ab"])).map(
    "".join
)


def split_by(pattern: str | None) -> Any:
    if pattern is None:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), last])


def tokenizer_with(pattern: str | None) -> StepTokenizer:
    tokenizer = load_tokenizer("builtin:tiny").tokenizer
    tokenizer.backend_tokenizer.pre_tokenizer = split_by(pattern)
    tokenizer.backend_tokenizer.model.ignore_merges = False
    return StepTokenizer(tokenizer)


TOKENIZERS = {name: tokenizer_with(pattern) for name, pattern in PATTERNS.items()} | {
    "tiny": load_tokenizer("builtin:tiny")
}


def same_ids(tokenizer: StepTokenizer, texts: list[str]) -> None:
    ids, lengths = tokenizer.encode_joined(texts)
    expected = tokenizer.encode(texts)
    assert lengths.tolist() == [len(each) for each in expected]
    assert ids.tolist() == list(itertools.chain.from_iterable(expected))


@pytest.mark.parametrize("name", TOKENIZERS)
@given(texts=st.lists(ASCII | LIKELY | st.text(), max_size=4))
def test_ids_are_those_of_the_tokenizer(name: str, texts: list[str]) -> None:
    assert TOKENIZERS[name]._words is not None
    same_ids(TOKENIZERS[name], texts)


@pytest.mark.parametrize("name", PATTERNS)
def test_every_short_text_of_every_kind_of_character_is_split_alike(name: str) -> None:
    kinds = "a'S9 .\n\r\t"
    same_ids(
        TOKENIZERS[name], ["".join(text) for length in (1, 2, 3) for text in itertools.product(kinds, repeat=length)]
    )


def test_a_full_table_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_module, "MOST_WORDS", 2)
    same_ids(TOKENIZERS["Qwen"], ["so it is 12 + 30 = 42 and so on"] * 2)
    table = word_ids(TOKENIZERS["Qwen"].tokenizer.backend_tokenizer)
    assert table is not None
    assert table.joined("a b c d") == table.joined("a b c d")


@pytest.mark.parametrize(
    "pattern",
    [
        r"\p{L}++",
        r"\p{L}*",
        r"\p{Lu}+",
        r"(\p{L})+",
        r"[a-z]+",
        r"\w+",
        r"[^\s&&\p{L}]+",
        r"(?<=a)\p{L}",
        r"(?!\S)",
        "^a",
    ],
)
def test_a_pattern_that_may_mean_something_else_is_left_to_the_tokenizer(pattern: str) -> None:
    assert in_python(pattern) is None


def test_a_translated_pattern_gives_whole_words() -> None:
    for pattern in filter(None, PATTERNS.values()):
        translated = in_python(pattern)
        assert translated is not None
        text = "It's 12,345\n\n  so__ \x00\x1c"
        assert "".join(re.compile(translated, re.ASCII).findall(text)) == text


@pytest.mark.parametrize(
    "change",
    [
        lambda backend: setattr(backend, "normalizer", normalizers.Lowercase()),
        lambda backend: setattr(backend.model, "dropout", 0.1),
        lambda backend: setattr(backend, "pre_tokenizer", pre_tokenizers.Whitespace()),
        lambda backend: setattr(backend, "pre_tokenizer", pre_tokenizers.ByteLevel(add_prefix_space=True)),
        lambda backend: setattr(backend, "model", models.WordLevel({"a": 0}, unk_token="a")),
    ],
)
def test_what_depends_on_more_than_words_is_left_to_the_tokenizer(change: Any) -> None:
    backend = tokenizer_with(QWEN).tokenizer.backend_tokenizer
    assert word_ids(backend) is not None
    change(backend)
    assert word_ids(backend) is None


@pytest.mark.slow
def test_real_tokenizers_ids_stay(qwen3_tokenizer: Path) -> None:
    tokenizer = load_tokenizer(str(qwen3_tokenizer))
    assert tokenizer._words is not None
    same_ids(tokenizer, ["Let's see: $\\frac{12}{30}<1$.\n\nSo x<0?", "a<think>b", "  Voilà \r\n", ""])
