"""What a page and a card record of themselves: which figures they show, what they were made with, what is in them.

So that rewriting never makes them poorer: a new one that would lack what stands there is not written over it. Knows
neither how a page looks nor what a card says.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from surestep import __version__
from surestep.untrusted import open_regular, parse_json

META = "surestep-made-from"
"""Name of the page's meta element, and first word of the card's comment."""
MISTAKES = "worst mistakes"
FOREIGN, BY_HAND = "a page that Surestep did not write", "what was written into it by hand"
"""Parts that no new page or card can have."""
PREDICTIONS, CHECKPOINT = "predictions", "checkpoint"
"""What a page and what a card is made with when it holds all that it can."""

_META = re.compile(rf'<meta name="{META}" content="([^"]*)">')
_COMMENT = re.compile(rf"\n<!-- {META} (\{{.*\}}) -->\n\Z")
_OWN_PAGE = "evaluation by Surestep</title>"
_NEEDS_PREDICTIONS = "confidence_histogram"


@dataclass(frozen=True)
class MadeFrom:
    """What a page or a card was made from.

    Attributes:
        evaluation: `fingerprint_of` the figures that it shows; "" where that is not known.
        made_with: what was there beside the figures: the predictions, the checkpoint.
        parts: what is in it: the names of its charts, its lists and tables.
        text_sha256: of a card's text, so that one which a person changed is known; "" for a page.
        surestep: the version that wrote it.
    """

    evaluation: str
    made_with: tuple[str, ...]
    parts: tuple[str, ...]
    text_sha256: str = ""
    surestep: str = __version__

    def to_json(self) -> str:
        """One line, which a meta element and a comment can hold."""
        return json.dumps(asdict(self), sort_keys=True)


def fingerprint_of(report: Mapping[str, Any]) -> str:
    """sha256 of the figures of an `eval_metrics.json`, whoever computed them, where and when.

    >>> fingerprint_of({"overall": {"mse": 0.1}, "made": "today"}) == fingerprint_of({"overall": {"mse": 0.1}})
    True
    """
    shown = {name: report.get(name) for name in ("split", "overall", "per_dataset", "baselines", "verdict")}
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def read_page(path: Path, plots: Path, report: Mapping[str, Any]) -> MadeFrom | None:
    """What the page at `path` says of itself; None where there is none.

    Pages of earlier versions say nothing: their charts are those in `plots`, and their figures are those of `report`
    where they name the same moment.
    """
    text = _text(path)
    if text is None:
        return None
    if (found := _META.search(text)) and (said := _read(_unescaped(found[1]))):
        return said
    if _OWN_PAGE not in text:
        return MadeFrom("", (), (FOREIGN,))
    charts = sorted(chart.stem for chart in plots.glob("*.png"))
    parts = [*charts, *([MISTAKES] if 'id="mistakes"' in text else [])]
    is_same = bool(report.get("made")) and f"<dt>measured</dt><dd>{report['made']}</dd>" in text
    made_with = (PREDICTIONS,) if _NEEDS_PREDICTIONS in charts or MISTAKES in parts else ()
    return MadeFrom(fingerprint_of(report) if is_same else "another", made_with, tuple(parts))


def read_card(path: Path) -> MadeFrom | None:
    """What the card at `path` says of itself; None where there is none.

    Where it says nothing, or its text is not the one that was written, a person may have worked on it: its only part
    is then that work, which no new card has.
    """
    text = _text(path)
    if text is None:
        return None
    found = _COMMENT.search(text)
    said = _read(found[1]) if found else None
    if found is None or said is None or said.text_sha256 != _sha256(text[: found.start()]):
        return MadeFrom("" if said is None else said.evaluation, (), (BY_HAND,))
    return said


def signed_card(text: str, made: MadeFrom) -> str:
    """The card's text with its record as a comment at the end."""
    text = text.rstrip("\n")
    record = MadeFrom(made.evaluation, made.made_with, made.parts, _sha256(text))
    return f"{text}\n<!-- {META} {record.to_json()} -->\n"


def lost_parts(old: MadeFrom | None, new: MadeFrom, *, needed: str, left_out: Collection[str] = ()) -> tuple[str, ...]:
    """What stands there and would be gone after rewriting, in words; none where rewriting loses nothing.

    A page of the same figures may not lose anything. One of other figures contradicts them and is replaced, unless
    the new one is made without what such a page needs (`needed`) and the old one had it. Parts that say nothing of
    these figures (`left_out`) are no loss.
    """
    if old is None:
        return ()
    is_work = FOREIGN in old.parts or BY_HAND in old.parts
    is_fuller = needed in old.made_with and needed not in new.made_with
    if not (is_work or old.evaluation == new.evaluation or is_fuller):
        return ()
    return tuple(part.replace("_", " ") for part in old.parts if part not in (*new.parts, *left_out))


def _read(text: str) -> MadeFrom | None:
    try:
        values = parse_json(text)
        return MadeFrom(
            evaluation=str(values["evaluation"]),
            made_with=_names(values["made_with"]),
            parts=_names(values["parts"]),
            text_sha256=str(values.get("text_sha256", "")),
            surestep=str(values.get("surestep", "")),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _names(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _unescaped(text: str) -> str:
    from markupsafe import Markup

    return Markup(text).unescape()


def _text(path: Path) -> str | None:
    try:
        with open_regular(path) as file:
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
