"""The tokenizer of `builtin:tiny` knows every text and is the same wherever it is built or loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from surestep.data.synthetic.arithmetic import generate_arithmetic
from surestep.encoding.formatter import CONFIDENCE_TOKEN, Formatter
from surestep.encoding.tiny_tokenizer import END_OF_TEXT, build_tiny_tokenizer
from surestep.encoding.tokenizer import StepTokenizer

TOKENIZER = build_tiny_tokenizer()


@given(st.text())
def test_any_text_comes_back_from_its_tokens(text: str) -> None:
    ids = TOKENIZER(text, split_special_tokens=True)["input_ids"]
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.eos_token_id not in ids


@given(st.integers(0, 10**9))
def test_every_digit_is_a_token(number: int) -> None:
    assert TOKENIZER.tokenize(str(number)) == list(str(number))


def test_arithmetic_is_read_in_few_tokens_none_of_them_a_letter() -> None:
    formatter = Formatter()
    for tree in generate_arithmetic("test", num_problems=100, seed=0):
        texts = [formatter.format_problem(tree.problem)]
        texts += [formatter.format_step(node.text, node.context) for node in tree.nodes]
        for text in texts:
            tokens = TOKENIZER.tokenize(text)
            assert not any(len(token) == 1 and token.isalpha() and token.isascii() for token in tokens), tokens
            assert len(tokens) <= 24


@pytest.mark.parametrize("load", [PreTrainedTokenizerFast.from_pretrained, AutoTokenizer.from_pretrained])
def test_saved_and_loaded_it_gives_the_same_ids(load: object, tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = load(tmp_path)  # type: ignore[operator]
    for text in ("47 + 38 = 86, checker errs 0.137\n", "naïve 🙂\t½", "  two  spaces "):
        assert loaded.encode(text) == TOKENIZER.encode(text)
    assert loaded.pad_token == END_OF_TEXT


def test_two_builds_are_the_same_to_the_byte() -> None:
    one, other = (build_tiny_tokenizer().backend_tokenizer.to_str() for _ in range(2))
    assert one == other


def test_ids_of_the_committed_weights_do_not_move() -> None:
    ids = TOKENIZER("start 47; read\n\n9 = é")["input_ids"]
    assert ids == [257, 20, 23, 269, 260, 271, 25, 268, 128, 103]


def test_added_tokens_never_arise_from_text() -> None:
    tokenizer = StepTokenizer(build_tiny_tokenizer())
    (ids,) = tokenizer.encode([f"a {CONFIDENCE_TOKEN} b {END_OF_TEXT}"])
    assert tokenizer.confidence_id not in ids
    assert tokenizer.tokenizer.eos_token_id not in ids
