"""Downloading one file so that it is either whole and checked, or not there.

Knows HTTP and checksums; knows no dataset. Bytes go to `<name>.part`, which a later attempt continues;
only a complete file with the right checksum takes its name.
"""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from surestep.data.datasets.dataset import RemoteFile
from surestep.disk import PART
from surestep.errors import DownloadError, StorageError
from surestep.files import sha256_of

Progress = Callable[[int, int | None], None]
"""Told the bytes so far and the total, None where unknown."""

CHUNK_BYTES = 2**18
TIMEOUT_S = 30.0
_HEADERS = {"User-Agent": "surestep", "Accept-Encoding": "identity"}


class _PassingError(Exception):
    """A fault that may pass: the connection broke, or the server is overloaded."""


def fetch_file(
    file: RemoteFile,
    folder: Path,
    *,
    base: str | None = None,
    progress: Progress = lambda _done, _total: None,
    num_attempts: int = 4,
    wait_s: float = 1.0,
) -> Path:
    """Download `file` into `folder`; a file that is already there and right is left alone.

    A broken transfer continues where it stopped if the checksum is known (else two versions might be
    joined unnoticed) and the server supports ranges; otherwise it starts again.

    Args:
        file: what to get.
        folder: made if it is not there.
        base: a mirror instead of the official address: an address or a local folder holding files of the
            same names, or the file itself.
        progress: told about every chunk.
        num_attempts: how often a passing fault is tried again, at least 1.
        wait_s: seconds before the second attempt; doubles each time.

    Raises:
        DownloadError: there is no address, the server refuses, the transfer keeps breaking, the checksum
            or size differs, or another file already has the name.
        StorageError: the disk is full or the folder cannot be written.
    """
    target, part = folder / file.name, folder / f"{file.name}{PART}"
    if target.exists():
        _check_existing(file, target)
        return target
    url = _address(file, base)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_space(file, folder, part)
        for attempt in range(1, num_attempts + 1):
            try:
                _transfer(url, file, part, progress)
                break
            except _PassingError as fault:
                if attempt == num_attempts:
                    raise DownloadError(
                        f"{file.name}: {fault} ({num_attempts} attempts, {url}); run the command again"
                    ) from None
                time.sleep(wait_s * 2 ** (attempt - 1))
        _check_part(file, part, url)
        os.replace(part, target)
    except OSError as error:
        raise _storage_error(error, folder, file) from None
    return target


def _address(file: RemoteFile, base: str | None) -> str:
    if base is None:
        if file.url is None:
            raise DownloadError(f"{file.name} cannot be downloaded without agreeing to its terms on its page")
        return file.url
    if urllib.parse.urlsplit(base).scheme in ("http", "https"):
        return base if base.endswith(f"/{file.name}") else f"{base.rstrip('/')}/{file.name}"
    path = Path(base).expanduser()
    path = path / file.name if path.is_dir() else path
    if not path.is_file():
        raise DownloadError(f"--from {base}: no file {path}; give an http(s) address, or a folder holding {file.name}")
    return path.resolve().as_uri()


def _transfer(url: str, file: RemoteFile, part: Path, progress: Progress) -> None:
    """One attempt: continues `part` or writes it anew, and returns when all that was announced is there."""
    done = part.stat().st_size if part.exists() and file.sha256 else 0
    if file.num_bytes is not None and done == file.num_bytes:
        return
    request = urllib.request.Request(url, headers=_HEADERS | ({"Range": f"bytes={done}-"} if done else {}))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            if done and not _continues(response, done):
                done = 0
            total = _total(response, done)
            _refuse_web_page(response, file, url)
            with part.open("ab" if done else "wb") as out:
                for chunk in _chunks(response):
                    out.write(chunk)
                    done += len(chunk)
                    progress(done, total or file.num_bytes)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # the part is as long as the file or longer: the checksum decides
            return
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _PassingError(f"the server answered {error.code} {error.reason}") from None
        raise DownloadError(
            f"{file.name}: the server answered {error.code} {error.reason} for {url}; "
            "download it by hand, or name a mirror with --from"
        ) from None
    except urllib.error.URLError as error:
        raise _PassingError(f"the server cannot be reached ({error.reason})") from None
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _PassingError(_broke(error)) from None
    if total is not None and done < total:
        raise _PassingError(f"the connection broke after {done:,} of {total:,} bytes")


def _chunks(response: Any) -> Iterator[bytes]:
    # Reading and writing both raise OSError; only a reading error is worth another attempt.
    try:
        while chunk := response.read(CHUNK_BYTES):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise _PassingError(_broke(error)) from None


def _broke(error: Exception) -> str:
    return f"the connection broke ({str(error) or type(error).__name__})"


def _continues(response: Any, done: int) -> bool:
    """Whether the server sends the rest, from the very byte that is missing."""
    sent = str(response.headers.get("Content-Range", ""))
    return response.status == 206 and sent.startswith(f"bytes {done}-")


def _total(response: Any, done: int) -> int | None:
    length = response.headers.get("Content-Length")
    return None if length is None else done + int(length)


def _refuse_web_page(response: Any, file: RemoteFile, url: str) -> None:
    if response.headers.get_content_type() == "text/html":
        raise DownloadError(
            f"{file.name}: the server sent a web page instead of the file ({url}); download it in a browser"
        )


def _check_existing(file: RemoteFile, target: Path) -> None:
    if file.sha256 is not None and sha256_of(target) != file.sha256:
        raise DownloadError(
            f"{target} is there and is not the official file (its sha256 differs); "
            "nothing was changed: move it away to download the official one, or keep using it"
        )


def _check_part(file: RemoteFile, part: Path, url: str) -> None:
    if file.sha256 is None:
        return
    found = sha256_of(part)
    if found != file.sha256:
        part.unlink()
        raise DownloadError(
            f"{file.name}: sha256 is {found}, expected {file.sha256} ({url}); it was removed: "
            "run the command again, or name a mirror with --from"
        )


def _check_space(file: RemoteFile, folder: Path, part: Path) -> None:
    needed = (file.num_bytes or 0) - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{folder}: {file.name} needs {needed:,} bytes, {free:,} are free; free space or set --data_dir"
        )


def _storage_error(error: OSError, folder: Path, file: RemoteFile) -> StorageError:
    what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
    return StorageError(f"{error.filename or folder}: {what} while fetching {file.name}; free space or set --data_dir")
