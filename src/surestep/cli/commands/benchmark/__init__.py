"""`surestep benchmark`: first errors, wrong steps and best-of-N on their benchmarks' files."""

from __future__ import annotations

from surestep.cli.commands.benchmark.flags import configure
from surestep.cli.commands.benchmark.run import RESULT_NAMES, run

__all__ = ["RESULT_NAMES", "configure", "run"]
