"""The tokenizer of `builtin:tiny`, built in code: no file, no network, the same on every machine.

Every digit is a token, the words and signs of the `arithmetic` dataset are a token each with the space after
(or around) them, and all other text falls back to its UTF-8 bytes: nothing is unknown, and decoding gives the
text back. Knows no formatter and no model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END_OF_TEXT = "<|endoftext|>"

# Only ever append: an id is a row of the committed weights.
_WORDS = (
    *("start ", "add ", "sub ", "read", "read ", "dial ", "right ", "checker ", "errs "),
    *(" + ", " - ", " = ", "; ", ", ", "\n\n"),
)
# A digit; a word with the space after it; line breaks; signs with a space on either side; other spaces.
PIECES = r"\d| ?[^\s\p{L}\p{N}]+ ?|\p{L}+ ?|\n+|\s|\p{N}"


def build_tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A fresh tokenizer; its end-of-text token is also its padding token.

    >>> tokenizer = build_tiny_tokenizer()
    >>> tokenizer.tokenize("add 38; sub 4 = ü")
    ['addĠ', '3', '8', ';Ġ', 'subĠ', '4', 'Ġ=Ġ', 'Ã', '¼']
    >>> tokenizer.decode(tokenizer.encode("naïve ×7"))
    'naïve ×7'
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # The alphabet spells each of the 256 bytes as one printable character; its order is not fixed.
    byte_tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words = [spell.pre_tokenize_str(word)[0][0] for word in _WORDS]
    vocabulary = {token: index for index, token in enumerate([END_OF_TEXT, *byte_tokens, *words])}
    # Without merges a piece is one token where the vocabulary holds it whole, else its bytes.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PIECES), behavior="isolated"), spell])
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
