"""No added token can arise from a text, whatever it holds, and the text is not lost by that."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import BackboneError

NESTED = (
    "<CONF<CONFIDENCE>IDENCE>",
    "<|im_<|im_end|>end|>",
    "<CONFIDENCE><CONFIDENCE>",
    "<<CONFIDENCE>",
    "<CONFIDENCE",
    "a <CONFIDENCE> b",
    "<|im_end|><|im_start|>",
    "<|im_start|>assistant\n<think>\n</think>",
    "<|endoftext|><CONFIDENCE></s><s><unk>",
    "<s></s>",
    "\n<CONFIDENCE>\n",
)


@pytest.fixture(scope="module", params=["tiny", "qwen3", "stories"])
def tokenizer(request: pytest.FixtureRequest) -> StepTokenizer:
    if request.param == "tiny":
        return load_tokenizer("builtin:tiny")
    name = {"qwen3": "qwen3_tokenizer", "stories": "stories260k"}[request.param]
    return load_tokenizer(str(request.getfixturevalue(name)))


def assert_plain(tokenizer: StepTokenizer, texts: list[str]) -> None:
    added = set(tokenizer.tokenizer.get_added_vocab().values())
    for text, ids in zip(texts, tokenizer.encode(texts), strict=True):
        assert not added & set(ids), text
        # A sentencepiece tokenizer opens every text with a space of its own.
        assert tokenizer.tokenizer.decode(ids).removeprefix(" ") == text.removeprefix(" "), ids


def test_any_added_token_in_a_text_is_read_as_its_characters(tokenizer: StepTokenizer) -> None:
    added = list(tokenizer.tokenizer.get_added_vocab())
    assert "<CONFIDENCE>" in added
    assert_plain(tokenizer, [shape.format(token) for token in added for shape in ("{}", "so {} then", "x{}y\n")])


def test_nested_and_overlapping_added_tokens_are_read_as_their_characters(tokenizer: StepTokenizer) -> None:
    assert_plain(tokenizer, list(NESTED))


def test_added_tokens_inside_added_tokens_are_read_as_their_characters(tokenizer: StepTokenizer) -> None:
    added = list(tokenizer.tokenizer.get_added_vocab())
    nested = [
        f"{outer[:cut]}{inner}{outer[cut:]}"
        for outer in added[:12]
        for inner in added[:12]
        for cut in (1, len(outer) // 2, len(outer) - 1)
    ]
    assert_plain(tokenizer, nested)


@given(st.data())
def test_texts_made_of_pieces_of_added_tokens_are_plain(tokenizer: StepTokenizer, data: st.DataObject) -> None:
    added = sorted(tokenizer.tokenizer.get_added_vocab())
    pieces = st.sampled_from(added).flatmap(lambda token: st.integers(0, len(token)).map(lambda cut: token[:cut]))
    text = "".join(data.draw(st.lists(st.one_of(pieces, st.sampled_from(added)), min_size=1, max_size=6)))
    added_ids = set(tokenizer.tokenizer.get_added_vocab().values())
    assert not added_ids & set(tokenizer.encode([text])[0])


def test_a_plain_text_is_tokenised_as_the_tokenizer_does_it(tokenizer: StepTokenizer) -> None:
    texts = ["The sum is 12.", "√2 · é\n\n# Answer\n\n7", "  indented", "once upon a time"]
    expected = tokenizer.tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert tokenizer.encode(texts) == expected


def test_plain_and_unsafe_texts_keep_their_order(tokenizer: StepTokenizer) -> None:
    texts = ["one", "<CONFIDENCE>", "two", "x <CONFIDENCE> y", "three"]
    assert tokenizer.encode(texts) == [tokenizer.encode([text])[0] for text in texts]


def test_nothing_to_encode_gives_nothing(tokenizer: StepTokenizer) -> None:
    assert tokenizer.encode([]) == []


@pytest.mark.slow
def test_saving_and_loading_changes_no_id(tokenizer: StepTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.confidence_id == tokenizer.confidence_id
    assert loaded.hash() == tokenizer.hash()
    assert loaded.encode([*NESTED, "plain"]) == tokenizer.encode([*NESTED, "plain"])


def test_a_disk_that_refuses_is_an_error_of_the_system(tokenizer: StepTokenizer, tmp_path: Path) -> None:
    """Its largest file is written outside of Python, which reports that as a plain exception."""
    tokenizer.save(tmp_path)
    size = max(path.stat().st_size for path in tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            tokenizer.save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_the_hash_does_not_change_by_use(tokenizer: StepTokenizer) -> None:
    before = tokenizer.hash()
    tokenizer.encode(["a", "b <CONFIDENCE>"])
    tokenizer.tokenizer(
        ["a", "a b c d"], padding=tokenizer.tokenizer.pad_token is not None, truncation=True, max_length=2
    )
    tokenizer.encode(["a"])
    assert tokenizer.hash() == before == tokenizer._hashed()


def test_the_confidence_token_of_qwen3_needs_no_new_row(qwen3_tokenizer: Path) -> None:
    tokenizer = load_tokenizer(str(qwen3_tokenizer))
    assert tokenizer.confidence_id < 151936, "Qwen3's embedding has spare rows"
    assert tokenizer.prefix_ids == []


def test_a_tokenizer_that_makes_added_tokens_of_text_is_refused() -> None:
    from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer

    greedy = build_tiny_tokenizer()
    # A single character cannot be broken, so a token made of one always arises from text.
    greedy.add_tokens(["@"])
    with pytest.raises(BackboneError, match="added token '@'"):
        StepTokenizer(greedy)


def test_a_missing_tokenizer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BackboneError) as caught:
        load_tokenizer(str(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.lists(st.text(max_size=40), max_size=5))
def test_the_fast_road_gives_the_ids_of_the_tokenizers_own_call(tokenizer: StepTokenizer, texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in [*texts, *NESTED]]
    inner = tokenizer.tokenizer
    # Left so by somebody else: neither may reach the ids.
    inner.backend_tokenizer.enable_truncation(2)
    inner.backend_tokenizer.enable_padding()
    inner.backend_tokenizer.encode_special_tokens = False
    found = tokenizer._encode_plain(texts)
    assert found == inner(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer._backend is not None


def test_a_tokenizer_with_a_call_of_its_own_is_asked_by_it() -> None:
    inner = load_tokenizer("builtin:tiny").tokenizer

    class Reversed(type(inner)):  # type: ignore[misc]
        def _encode_plus(self, text: list[str], **settings: object) -> object:
            return super()._encode_plus([one[::-1] for one in text], **settings)

    plain = StepTokenizer(inner).encode(["ab c"])
    inner.__class__ = Reversed
    assert StepTokenizer(inner).encode(["c ba"]) == plain
