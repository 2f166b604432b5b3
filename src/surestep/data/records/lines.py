"""Opening data files: plain or compressed text (gzip, Zstandard), line by line, with every way it can be broken named.

Knows bytes, compression and encoding; knows no record format. A file is never held whole.
"""

from __future__ import annotations

import errno
import gzip
import io
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from surestep.errors import DataError
from surestep.untrusted.bounds import LINE, UNPACKED
from surestep.untrusted.encodings import LOOKED_AT, not_utf8
from surestep.untrusted.places import open_regular

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
PACKED = frozenset({".gz", ".zst"})
"""Endings that say how a file is packed, not how it is laid out."""
_PEEKED = (io.BufferedReader, gzip.GzipFile)
"""Streams that show what comes without taking it: all but a standard input that a program put in place."""
_LFS_POINTER = b"version https://git-lfs"


def read_lines(
    path: Path, *, fetch: str | None = None, keep_bad_bytes: bool = False
) -> Generator[tuple[int, str], None, None]:
    """Lines of a UTF-8 text file with their 1-based numbers, line ends kept.

    Gzip and Zstandard are recognised by their content, whatever the name says; a byte-order mark is dropped.

    Args:
        path: the file.
        fetch: the name that `surestep data fetch` knows the file's dataset by, for error messages.
        keep_bad_bytes: let bytes that are no UTF-8 through as halves of surrogate pairs (`surrogateescape`): whoever
            asks refuses the row they stand in, and reads on.

    Raises:
        DataError: the file is missing, a folder, unreadable, empty, a Git LFS pointer, a web page, packed
            and cut or damaged, not UTF-8, or is beyond a bound: of a line, or of all that is unpacked.
    """
    try:
        with open_regular(path) as raw:
            head = raw.read(256)
            _check_head(head, path, fetch)
            raw.seek(0)
            yield from lines_of_stream(raw, path, head=head, fetch=fetch, keep_bad_bytes=keep_bad_bytes)
    except FileNotFoundError:
        raise missing_file([path], fetch=fetch) from None
    except IsADirectoryError:
        raise DataError("is a folder, not a file; name the data file inside it", path=path) from None
    except PermissionError:
        raise DataError("may not be read by this user; change its permissions", path=path) from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise DataError(f"{error.strerror}; name the data file itself", path=path) from None


def count_lines(path: Path) -> int | None:
    """How many lines a text file has; None where it is packed, or cannot be read."""
    count = 0
    try:
        with open_regular(path) as raw:
            head = raw.read(4)
            if head.startswith((GZIP_MAGIC, ZSTD_MAGIC)):
                return None
            raw.seek(0)
            last = b"\n"
            while block := raw.read(2**20):
                count += block.count(b"\n")
                last = block[-1:]
    except OSError:
        return None
    return count + (last != b"\n")


def missing_file(looked: list[Path], *, fetch: str | None = None) -> DataError:
    """The error for a file that is not there: where it was looked for and how to get it."""
    places = " or ".join(str(path) for path in looked)
    return DataError(f"no such file: {places}; {_again(fetch, 'check the path')}")


def lines_of_stream(
    stream: BinaryIO, path: Path, *, head: bytes, fetch: str | None = None, keep_bad_bytes: bool = False
) -> Iterator[tuple[int, str]]:
    """The same of what is open already, standard input say; `path` names it in messages, `head` is how it begins."""
    if head.startswith(GZIP_MAGIC):
        with gzip.GzipFile(fileobj=stream) as unpacked:
            yield from _decode(cast(BinaryIO, unpacked), path, fetch, keep_bad_bytes)
    elif head.startswith(ZSTD_MAGIC):
        yield from _decode(_unpacked_zstd(stream), path, fetch, keep_bad_bytes, packing="Zstandard")
    else:
        yield from _decode(stream, path, fetch, keep_bad_bytes)


def _unpacked_zstd(stream: BinaryIO) -> BinaryIO:
    import pyarrow

    class Bytes(io.RawIOBase):
        """What pyarrow unpacks, as Python's own readers take it."""

        def __init__(self) -> None:
            self.source: Any = pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, mode="r"), "zstd")

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            try:
                data = self.source.read(len(buffer))
            except (OSError, pyarrow.ArrowException) as error:
                kind = EOFError if "runcated" in str(error) or "nexpected end" in str(error) else zlib.error
                raise kind(str(error)) from None
            buffer[: len(data)] = data
            return len(data)

    return cast(BinaryIO, io.BufferedReader(Bytes(), 1 << 17))


def _decode(
    stream: BinaryIO, path: Path, fetch: str | None, keep_bad_bytes: bool, *, packing: str = "gzip"
) -> Iterator[tuple[int, str]]:
    errors = "surrogateescape" if keep_bad_bytes else "strict"
    number, unpacked = 0, 0
    longest, most = LINE(), UNPACKED()
    try:
        # Before a line is parsed: half of what UTF-16 holds is UTF-8, too, and looks like a file that was cut.
        if (reason := not_utf8(stream.peek(LOOKED_AT) if isinstance(stream, _PEEKED) else b"")) != "":
            raise DataError(reason, path=path)
        while line := stream.readline(longest + 1):
            number += 1
            unpacked += len(line)
            if len(line) > longest:
                message = f"{LINE.exceeded('the line has')}, or write one record a line"
                raise DataError(message, path=path, line=number)
            if unpacked > most:
                raise DataError(UNPACKED.exceeded("unpacked, the file has"), path=path, line=number)
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8", errors)
            except UnicodeDecodeError as error:
                raise DataError(
                    f"not UTF-8 (byte 0x{line[error.start]:02x} at column {error.start + 1}); save the file as UTF-8",
                    path=path,
                    line=number,
                ) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        is_cut = isinstance(error, EOFError)
        what = f"the {packing} file is cut" if is_cut else f"the {packing} file is damaged ({error})"
        raise DataError(f"{what}; {_again(fetch, 'copy or download it again')}", path=path, line=number + 1) from None
    if number == 0:
        raise DataError(f"the file is empty; {_again(fetch, 'check where it came from')}", path=path)


def _check_head(head: bytes, path: Path, fetch: str | None) -> None:
    if head.startswith(_LFS_POINTER):
        raise DataError(
            "is a Git LFS pointer, not the data itself; run `git lfs pull` in the repository it came from"
            + (f", or `surestep data fetch {fetch}`" if fetch else ""),
            path=path,
        )
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise DataError(
            f"is a web page, not the data (a download that asked for confirmation?); "
            f"{_again(fetch, 'download the file itself')}",
            path=path,
        )


def _again(fetch: str | None, otherwise: str) -> str:
    return f"get it with `surestep data fetch {fetch}`" if fetch else otherwise
