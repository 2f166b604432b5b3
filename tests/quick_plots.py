"""PNG files that follow from a chart alone, as those of a report do, but are not drawn: that takes 0.15 s each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
import zlib

from surestep.evaluation.report.charts.chart import Chart


def _part(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def quick_png(chart: Chart) -> bytes:
    """One grey dot, whose comment is a hash of everything in the chart: equal for equal charts and for no others."""
    size = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    content = json.dumps(dataclasses.asdict(chart), default=lambda array: array.tolist())
    comment = b"Comment\0" + hashlib.sha256(content.encode()).hexdigest().encode()
    dot = zlib.compress(b"\0\x80")
    parts = ((b"IHDR", size), (b"tEXt", comment), (b"IDAT", dot), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_part(kind, content) for kind, content in parts)
