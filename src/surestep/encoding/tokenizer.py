"""Text to token ids, such that no added token can arise from a user's text.

A step that contains `<CONFIDENCE>`, `<|im_end|>` or `<think>` is read as those characters, never as those
tokens: special tokens are split by the tokenizer, the others by cutting the text inside them, and the result
is checked. Knows Hugging Face tokenizers; knows no tree and no model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surestep.encoding.formatter import CONFIDENCE_TOKEN, TextFrame
from surestep.encoding.text_frame import chat_frame
from surestep.encoding.words.plain_texts import PartlyEncoded, plain_texts
from surestep.encoding.words.word_ids import word_ids
from surestep.errors import BackboneError

_BATCH = 2048
_CACHE_OF_PAIRS = 256

_JoinedIds = tuple[NDArray[np.int32], NDArray[np.int64]]
"""The ids of texts, one after another, and how many each has."""


def added_tokens_pattern(tokenizer: Any) -> re.Pattern[str]:
    """Finds the texts of a tokenizer's added tokens that a cut can break: those of more than one character."""
    added = sorted((token for token in tokenizer.get_added_vocab() if len(token) > 1), key=len, reverse=True)
    return re.compile("|".join(re.escape(token) for token in added) or r"(?!)")


def cut_inside(text: str, added: re.Pattern[str]) -> list[str]:
    """The pieces of a text that was cut within each added token, so that no piece holds a whole one.

    >>> cut_inside("a <|end|> b", re.compile(r"<\\|end\\|>"))
    ['a <', '|end|> b']
    """
    pieces: list[str] = []
    start = 0
    while match := added.search(text, start):
        # Go on right behind the cut: the rest may hold another token that overlaps this one.
        pieces.append(text[start : match.start() + 1])
        start = match.start() + 1
    pieces.append(text[start:])
    return pieces


def _batch_backend(tokenizer: Any) -> Any | None:
    """What turns texts into ids for a tokenizer that adds nothing of its own to it; None where one may.

    The same ids as the tokenizer's own call gives, three times as fast: that one makes a dictionary of Python lists for
    every text first.
    """
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

    kind = type(tokenizer)
    is_plain = isinstance(tokenizer, TokenizersBackend) and (
        kind._encode_plus is TokenizersBackend._encode_plus and kind.__call__ is PreTrainedTokenizerBase.__call__
    )
    return tokenizer.backend_tokenizer if is_plain else None


def _encode_batch(backend: Any, texts: list[str]) -> list[list[int]]:
    """Ids of each text, special tokens split; other threads may run Python code meanwhile."""
    # Whoever else uses the tokenizer may have set these otherwise.
    if not backend.encode_special_tokens:
        backend.encode_special_tokens = True
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _joined(encoded: list[list[int]]) -> _JoinedIds:
    lengths = np.fromiter(map(len, encoded), np.int64, count=len(encoded))
    return np.fromiter(chain.from_iterable(encoded), np.int32, count=int(lengths.sum())), lengths


def _merged(is_first: NDArray[np.bool_], first: _JoinedIds, second: _JoinedIds) -> _JoinedIds:
    """Ids of texts some of which are the first ones', the rest the second ones', in their order."""
    lengths = np.empty(len(is_first), np.int64)
    lengths[is_first], lengths[~is_first] = first[1], second[1]
    of_first = np.repeat(is_first, lengths)
    ids = np.empty(len(of_first), np.int32)
    ids[of_first], ids[~of_first] = first[0], second[0]
    return ids, lengths


class StepTokenizer:
    """A Hugging Face tokenizer with a `<CONFIDENCE>` token that only `confidence_id` can produce.

    Args:
        tokenizer: any `PreTrainedTokenizerBase`; the token is added where it is missing.
        frame: what stands around a problem; texts are to be formatted by `formatter_of(frame)`.

    Attributes:
        plain_texts: gives the ids of nearly all texts, without this tokenizer; None where they may be others.

    Raises:
        BackboneError: the tokenizer cannot keep its added tokens out of plain text, or has no frame of this kind.
    """

    def __init__(self, tokenizer: Any, frame: TextFrame = "plain") -> None:
        from tokenizers import AddedToken

        if CONFIDENCE_TOKEN not in tokenizer.get_added_vocab():
            token = AddedToken(CONFIDENCE_TOKEN, special=True, normalized=False, lstrip=False, rstrip=False)
            tokenizer.add_tokens([token], special_tokens=True)
        self.tokenizer = tokenizer
        self.confidence_id: int = tokenizer.convert_tokens_to_ids(CONFIDENCE_TOKEN)
        unknown = tokenizer.unk_token_id
        # The unknown token may arise from text by right: it says that a character has no other token.
        self._forbidden = {index: token for token, index in tokenizer.get_added_vocab().items() if index != unknown}
        self._added_ids = frozenset(tokenizer.get_added_vocab().values())
        self._added_pattern = added_tokens_pattern(tokenizer)
        self._backend = _batch_backend(tokenizer)
        self._words = None if self._backend is None else word_ids(self._backend)
        self.plain_texts = None if self._words is None else plain_texts(self._words, tokenizer.get_added_vocab())
        self._hash = ""
        self._check_plain_text()
        self._frame = chat_frame(tokenizer) if frame == "chat" else None

    @property
    def suffix_ids(self) -> list[int]:
        """What stands behind a problem, before the first step: the rest of its frame, or nothing."""
        return [] if self._frame is None else list(self._frame.after)

    @property
    def prefix_ids(self) -> list[int]:
        """What opens every sequence: the frame, or this tokenizer's beginning-of-sequence token, or nothing."""
        if self._frame is not None:
            return list(self._frame.before)
        bos = self.tokenizer.bos_token_id
        opens = self.tokenizer("a")["input_ids"][:1] == [bos] if bos is not None else False
        return [bos] if opens else []

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, none of them an added token.

        Raises:
            BackboneError: a text still parses to an added token (never seen; the last line of defence).
        """
        encoded: list[list[int]] = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            encoded += [
                ids if self._added_ids.isdisjoint(ids) else self._encode_broken(text)
                for text, ids in zip(batch, self._encode_plain(batch), strict=True)
            ]
        return encoded

    def encode_joined(self, texts: Sequence[str]) -> _JoinedIds:
        """`encode` as arrays: the ids of all texts one after another, and how many each text has."""
        if self.plain_texts is None:
            return _joined(self.encode(texts))
        return self.completed(self.plain_texts.encode(texts))

    def completed(self, found: PartlyEncoded) -> _JoinedIds:
        """`encode_joined` of texts, most of which `plain_texts` has encoded."""
        if not found.others:
            return found.ids, found.lengths
        return _merged(found.is_plain, (found.ids, found.lengths), _joined(self.encode(found.others)))

    def _encode_plain(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        if self._backend is not None:
            return _encode_batch(self._backend, texts)
        ids: list[list[int]] = self.tokenizer(
            texts,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        return ids

    def _encode_broken(self, text: str) -> list[int]:
        """Cut inside every added token's text, so that no piece holds a whole one.

        Only where nothing gentler helps: a tokenizer that opens every text with a space puts one at each cut.
        """
        pieces = cut_inside(text, self._added_pattern)
        found = [index for ids in self._encode_plain(pieces) for index in ids]
        if (index := next((index for index in found if index in self._forbidden), None)) is not None:
            raise BackboneError(
                f"the tokenizer turns {text[:60]!r} into its added token {self._forbidden[index]!r}; "
                "use a backbone whose tokenizer keeps added tokens apart from text"
            )
        return found

    def _check_plain_text(self) -> None:
        tokens = sorted(self._forbidden.values())
        self.encode(tokens + [f"a{token}b" for token in tokens[:_CACHE_OF_PAIRS]])

    def hash(self) -> str:
        """Changes with anything that changes the ids of some text, the frame of a problem included.

        Of the tokenizer as it was when first asked.
        """
        if not self._hash:  # a vocabulary is megabytes, and every store asks
            self._hash = self._hashed()
        return self._hash

    def _hashed(self) -> str:
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:
            description = backend.to_str()
        else:
            description = json.dumps(self.tokenizer.get_vocab(), sort_keys=True)
        if self._frame is not None:
            description += json.dumps(self._frame)
        return hashlib.sha256(description.encode()).hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write the tokenizer, its added token included, as Hugging Face files.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        try:
            self.tokenizer.save_pretrained(folder)
        except Exception as error:
            # What is written outside of Python reports the system's refusal as a plain exception.
            refused = re.search(r"\(os error (\d+)\)", str(error))
            if refused is None or isinstance(error, OSError):
                raise
            raise OSError(int(refused[1]), os.strerror(int(refused[1])), str(folder)) from None
