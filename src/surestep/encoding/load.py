"""Finding the tokenizer that goes with a backbone."""

from __future__ import annotations

from pathlib import Path

from surestep.config import TINY_BACKBONE
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import BackboneError


def load_tokenizer(name: str, *, revision: str | None = None) -> StepTokenizer:
    """The tokenizer of a hub id, a local folder or `builtin:tiny`.

    Raises:
        BackboneError: it cannot be found or read.
    """
    if name == TINY_BACKBONE:
        from surestep.encoding.tiny_tokenizer import build_tiny_tokenizer

        return StepTokenizer(build_tiny_tokenizer())
    from transformers import AutoTokenizer

    try:
        return StepTokenizer(AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False))
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        where = "the folder holds none" if Path(name).is_dir() else "no local folder, not in the cache, no network"
        raise BackboneError(f"{name}: the tokenizer cannot be loaded ({where}: {first_line[:120]})") from None
