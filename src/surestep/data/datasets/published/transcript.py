"""Messages of an agent as text: what each says, and the tools that it calls.

Knows the message layout of chat APIs (`role`, `content`, `tool_calls`); knows no data set.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from surestep.data.records.record import Record


def message_text(message: Record) -> str:
    r"""What a message says, then one line for each tool that it calls, `name(arguments)`; may be empty.

    Raises:
        DataError: the content is neither text, null, nor a list of texts and parts with text; a call is no object.

    >>> from pathlib import Path
    >>> call = {"function": {"name": "search", "arguments": "{\"q\": 1}"}}
    >>> message_text(Record({"content": "So:", "tool_calls": [call]}, Path("x"), 1))
    'So:\nsearch({"q": 1})'
    """
    lines = [_content(message)]
    for number, value in enumerate(message.items("tool_calls"), start=1):
        call = message.inner(value, f"tool call {number}")
        function = call.inner(call.values.get("function", value), f"the function of tool call {number}")
        arguments = as_text(function, function.get("arguments"), f"the arguments of tool call {number}")
        lines.append(f"{function.optional_text('name') or ''}({arguments})")
    return "\n".join(line for line in lines if line.strip())


def spoken(message: Record) -> str:
    """The same with its role in front, and the tool's name where it answers; "" where it says nothing."""
    text = message_text(message)
    who = " ".join(part for part in (message.optional_text("role"), message.optional_text("name")) if part)
    return f"{who}: {text}" if text and who else text


def as_text(record: Record, value: Any, what: str) -> str:
    """A text as it is, anything else as one line of JSON; "" for null.

    Raises:
        DataError: it holds what UTF-8 cannot; `what` names it.
    """
    if value is None:
        return ""
    return record.as_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), what)


def described(parts: Sequence[tuple[str, str]]) -> str:
    """Named parts of a problem, one below the other; those without text are left out.

    >>> described([("", "Book a flight."), ("Tools", "search"), ("History", "")])
    'Book a flight.\\n\\nTools:\\nsearch'
    """
    return "\n\n".join(f"{name}:\n{text}" if name else text for name, text in parts if text.strip())


def _content(message: Record) -> str:
    content = message.get("content")
    if not isinstance(content, list):
        return message.optional_text("content") or ""
    texts = []
    for number, part in enumerate(content, start=1):
        what = f"part {number} of 'content'"
        texts.append(message.as_text(part, what) if isinstance(part, str) else message.inner(part, what).text("text"))
    return "\n".join(texts)
