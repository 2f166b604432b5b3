"""Keeps the progress bars and reports of transformers, and of what it loads, out of our output."""

from __future__ import annotations

import logging as standard_logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Within it, transformers prints errors only; what matters of the rest we say ourselves.

    bitsandbytes logs at its import, which PEFT may cause; whether it works we find out where a setting needs it.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    low_bits = standard_logging.getLogger("bitsandbytes")
    level = low_bits.level
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    low_bits.setLevel(standard_logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
        low_bits.setLevel(level)
        if bars:
            logging.enable_progress_bar()
