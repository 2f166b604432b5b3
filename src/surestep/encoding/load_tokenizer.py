"""Finding the tokenizer that goes with a backbone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from surestep.config import TINY_BACKBONE
from surestep.config.model import TextFrame
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import BackboneError
from surestep.hub import from_cache_only

T = TypeVar("T")


def load_tokenizer(name: str, *, revision: str | None = None, frame: TextFrame = "plain") -> StepTokenizer:
    """The tokenizer of a hub id, a local folder or `builtin:tiny`, with what stands around a problem.

    Raises:
        BackboneError: it cannot be found or read, or has no such frame.
    """
    if name == TINY_BACKBONE:
        from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer

        return StepTokenizer(build_tiny_tokenizer(), frame)
    found = _loaded(name, revision, StepTokenizer)
    return found if frame == "plain" else StepTokenizer(found.tokenizer, frame)


def load_plain_tokenizer(name: str, *, revision: str | None = None) -> Any:
    """The Hugging Face tokenizer of a hub id or a local folder, as it is.

    Raises:
        BackboneError: it cannot be found or read.
    """
    return _loaded(name, revision, lambda tokenizer: tokenizer)


def _loaded(name: str, revision: str | None, made: Callable[[Any], T]) -> T:
    from transformers import AutoTokenizer

    try:
        return made(
            AutoTokenizer.from_pretrained(
                name, revision=revision, trust_remote_code=False, local_files_only=from_cache_only(name)
            )
        )
    except Exception as error:  # transformers fails in every way over files that others wrote
        if not Path(name).exists():
            raise BackboneError(
                f"{name}: no tokenizer: it is neither a local folder nor in the local cache, and the hub does not "
                f"answer or does not know it; name a local folder with --backbone, connect to the network, or use "
                f"--backbone {TINY_BACKBONE}"
            ) from None
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackboneError(
            f"{name}: the tokenizer cannot be loaded ({first_line[:120]}); name a folder that holds one with --backbone"
        ) from None
