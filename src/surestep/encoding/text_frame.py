"""What stands around a problem: nothing, or the frame of a conversation as an instruct model's chat template writes it.

The frame is the template's own text around one message of a user, tokens of the template included (`<|im_start|>`),
which a user's text can never give. The steps follow where the assistant's answer begins. Knows Hugging Face tokenizers;
knows no tree and no model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from surestep.encoding.formatter import Formatter, TextFrame
from surestep.errors import BackboneError

_PLACE = "PLACEOFTHEPROBLEM"
"""Stands for the problem while the template is read; no template holds it, trims it or writes it otherwise."""


class Frame(NamedTuple):
    """Token ids in front of a problem, and behind it before the first step."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def formatter_of(frame: TextFrame) -> Formatter:
    """How texts read within a frame: in a conversation the problem is all of the message."""
    return Formatter(problem="{problem}") if frame == "chat" else Formatter()


def chat_frame(tokenizer: Any) -> Frame:
    """The frame of a tokenizer's chat template.

    Raises:
        BackboneError: it has none, or one that writes today's date or another text than the message.
    """
    instead = "use --text_frame plain, or a backbone of an instruct model"
    if not getattr(tokenizer, "chat_template", None):
        raise BackboneError(f"model.text_frame is chat, but this backbone's tokenizer has no chat template; {instead}")
    if "strftime_now" in str(tokenizer.chat_template):
        raise BackboneError(
            "model.text_frame is chat, but this backbone's chat template writes today's date, so the same step would "
            f"have another confidence tomorrow; {instead}"
        )
    messages = [{"role": "user", "content": _PLACE}]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program that others wrote
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackboneError(f"this backbone's chat template fails ({first_line[:120]}); {instead}") from None
    before, place, after = text.partition(_PLACE)
    if not place or _PLACE in after:
        raise BackboneError(f"this backbone's chat template does not write a message once and as it is; {instead}")
    found = tokenizer([before, after], add_special_tokens=False)["input_ids"]
    return Frame(tuple(found[0]), tuple(found[1]))
