"""Finding the tokenizer that goes with a backbone."""

from __future__ import annotations

from pathlib import Path

from surestep.config import TINY_BACKBONE
from surestep.encoding.tokenizer import StepTokenizer
from surestep.errors import BackboneError
from surestep.hub import from_cache_only


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
        return StepTokenizer(
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
