"""Ids by a table of words are the tokenizer's own ids, or the tokenizer is asked."""

from __future__ import annotations

import itertools
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, models, normalizers, pre_tokenizers

from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.tiny_tokenizer import PIECES
from surestep.encoding.tokenizer import StepTokenizer
from surestep.encoding.words import id_table as table_module
from surestep.encoding.words import word_ids as words_module
from surestep.encoding.words.id_table import IdTable
from surestep.encoding.words.word_ids import in_python, word_ids
from surestep.encoding.words.word_starts import qwen_starts, tiny_starts

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


STARTS = {QWEN: qwen_starts, PIECES: tiny_starts}


def words_of(texts: list[str], pattern: str) -> list[list[str]]:
    data = "".join(f"{text}\xff" for text in texts).encode("latin-1")
    starts = STARTS[pattern](np.frombuffer(data, np.uint8)).tolist()
    words = [data[start:end].decode("latin-1") for start, end in itertools.pairwise([*starts, len(data)])]
    return [list(group) for is_end, group in itertools.groupby(words, "\xff".__eq__) if not is_end]


@pytest.mark.parametrize("pattern", STARTS, ids=["Qwen", "tiny"])
def test_words_of_many_texts_are_those_that_the_pattern_finds(pattern: str) -> None:
    translated = in_python(pattern)
    assert translated is not None
    find = re.compile(translated, re.ASCII).findall
    for kinds, longest in (("a'1 \t\n.", 4), ("'slV.1 ", 4), (" \n\r.a", 5)):
        for length in range(1, longest + 1):
            texts = ["".join(text) for text in itertools.product(kinds, repeat=length)]
            assert words_of(texts, pattern) == list(map(find, texts))


@pytest.mark.parametrize("pattern", STARTS, ids=["Qwen", "tiny"])
@given(texts=st.lists(ASCII.filter(bool) | LIKELY.filter(bool), min_size=1, max_size=5))
def test_words_of_any_texts_are_those_that_the_pattern_finds(pattern: str, texts: list[str]) -> None:
    texts = [text for text in texts if text.isascii()]
    find = re.compile(str(in_python(pattern)), re.ASCII).findall
    assert words_of(texts, pattern) == list(map(find, texts))


@pytest.mark.parametrize("name", ["Qwen", "tiny"])
@given(texts=st.lists(ASCII | LIKELY, min_size=1, max_size=5))
def test_ids_of_many_texts_are_those_of_each(name: str, texts: list[str]) -> None:
    words = TOKENIZERS[name]._words
    assert words is not None
    texts = [text for text in texts if text.isascii()]
    expected = [words.joined(text) for text in texts]
    ids, lengths = words.of_texts([*texts, "x"], least=0)
    assert ids.tobytes() == b"".join([*expected, words.joined("x")])
    assert lengths.tolist()[:-1] == [len(each) // 4 for each in expected]
    again = pickle.loads(pickle.dumps(words))  # as a process that helps gets them
    assert list(map(again.joined, texts)) == expected
    assert np.array_equal(again.of_texts([*texts, "x"], least=0)[0], ids)


def test_a_small_table_gives_every_word_its_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_PLACES_BITS", 2)  # so that most words find their place taken
    table = IdTable(lambda word: np.frombuffer(word.encode() * (len(word) % 3), np.uint8).astype(np.int32).tobytes(),
                    most=30)  # fmt: skip
    words = [f"{number:x}" * (number % 5 + 1) for number in range(60)]
    for _ in range(2):
        data = "".join(words).encode()
        starts = np.cumsum([0, *map(len, words)])[:-1]
        wanted = np.arange(len(words)) % 7 != 0
        ids, counts = table.ids(data, starts, wanted)
        kept = [word for word, is_wanted in zip(words, wanted, strict=True) if is_wanted]
        assert ids.tolist() == [code for word in kept for code in word.encode() * (len(word) % 3)]
        assert counts[wanted].tolist() == [len(word) * (len(word) % 3) for word in kept]
        assert not counts[~wanted].any()


def test_a_sign_that_may_begin_an_added_token_changes_nothing() -> None:
    same_ids(TOKENIZERS["Qwen"], ["x < 3 and <", "a <CONFIDENCE> b", "<CONFIDENC", "<|endoftext|>"])


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
