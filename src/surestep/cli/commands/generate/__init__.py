"""`surestep generate`: solutions of the problems in a file, written by a language model, chosen by confidence."""

from __future__ import annotations

from surestep.cli.commands.generate.flags import configure
from surestep.cli.commands.generate.rows import generate_rows as run

__all__ = ["configure", "run"]
