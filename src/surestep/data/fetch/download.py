"""Downloading one file so that it is either whole and checked, or not there.

Knows sizes, checksums and attempts; knows no dataset. Bytes go to `<name>.part`, which a later attempt continues;
only a complete file with the right checksum takes its name.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from surestep.counted import counted
from surestep.data.datasets.dataset import RemoteFile
from surestep.data.fetch.http_transfer import (
    PartRefusedError,
    PassingError,
    ask,
    is_address,
    web_client,
    without_secrets,
)
from surestep.data.fetch.part_file import PartFile, open_part
from surestep.disk import PART, advice_after, real_path
from surestep.errors import DownloadError, StorageError
from surestep.files import sha256_of
from surestep.untrusted import open_regular
from surestep.untrusted.bounds import DOWNLOAD, DOWNLOAD_TIME

if TYPE_CHECKING:
    import httpx2

Progress = Callable[[int, int | None], None]
"""Told the bytes so far and the total, None where unknown."""

_COPIED_AT_ONCE = 2**20


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
        DownloadError: there is no address, the server refuses or leads astray, the transfer keeps breaking, is
            larger or slower than it may be, the checksum or size differs, or another file already has the name.
        StorageError: the disk is full or the folder cannot be written.
    """
    target = folder / file.name
    try:
        if target.exists():
            _check_existing(file, target)
            return target
        source = _source(file, base)
        folder.mkdir(parents=True, exist_ok=True)
        with open_part(folder / f"{file.name}{PART}", keep=file.sha256 is not None) as part:
            _check_space(file.num_bytes, file, part)
            try:
                if isinstance(source, Path):
                    _copy(source, file, part, progress)
                else:
                    asyncio.run(_Transfer(source, file, part, progress).in_time(num_attempts, wait_s))
                _check_part(file, part)
            except DownloadError as fault:
                raise DownloadError(f"{file.name} from {_shown(source)}: {fault}") from None
            part.put_in_place(target)
    except OSError as error:
        raise _storage_error(error, folder, file) from None
    return target


def _source(file: RemoteFile, base: str | None) -> str | Path:
    """The address, or the file on a disk."""
    if base is None:
        if file.url is None:
            raise DownloadError(f"{file.name} cannot be downloaded without agreeing to its terms on its page")
        is_address(file.url)
        return file.url
    if is_address(base):
        return base if base.endswith(f"/{file.name}") else f"{base.rstrip('/')}/{file.name}"
    path = Path(base).expanduser()
    path = path / file.name if path.is_dir() else path
    if not path.is_file():
        raise DownloadError(f"--from {base}: no file {path}; give an http(s) address, or a folder holding {file.name}")
    return real_path(path)


def _shown(source: str | Path) -> str:
    return str(source) if isinstance(source, Path) else without_secrets(source)


def _copy(source: Path, file: RemoteFile, part: PartFile, progress: Progress) -> None:
    part.go_on_from(0)
    with open_regular(source) as content:
        while chunk := content.read(_COPIED_AT_ONCE):
            _add(chunk, file, part)
            progress(part.size, file.num_bytes)


class _Transfer:
    """One file from one address, attempt after attempt."""

    def __init__(self, url: str, file: RemoteFile, part: PartFile, progress: Progress) -> None:
        self.url, self.file, self.part, self.progress = url, file, part, progress
        self.etag: str | None = None

    async def in_time(self, num_attempts: int, wait_s: float) -> None:
        """All attempts, within the time that a download may take, however slowly its server drips."""
        try:
            async with asyncio.timeout(DOWNLOAD_TIME()):
                await self._all(num_attempts, wait_s)
        except TimeoutError:
            raise DownloadError(DOWNLOAD_TIME.exceeded("it takes")) from None

    async def _all(self, num_attempts: int, wait_s: float) -> None:
        async with web_client() as client:
            for attempt in range(1, num_attempts + 1):
                try:
                    return await self._once(client)
                except PassingError as fault:
                    if isinstance(fault, PartRefusedError):
                        self.part.go_on_from(0)
                    if attempt == num_attempts:
                        raise DownloadError(
                            f"{fault} ({counted(num_attempts, 'attempt')}); run the command again"
                        ) from None
                await asyncio.sleep(wait_s * 2 ** (attempt - 1))
        return None

    async def _once(self, client: httpx2.AsyncClient) -> None:
        """One attempt: goes on with the part or begins anew; returns when all that was announced is there."""
        most = _most_bytes(self.file)
        begin = self.part.size if self.file.sha256 and self.part.size <= most else 0
        if begin == self.file.num_bytes:
            return
        async with ask(client, self.url, begin=begin, etag=self.etag) as answer:
            if answer == "whole":  # the part is as long as the file or longer: the checksum decides
                return
            if answer.begin and self.etag and answer.etag != self.etag:
                raise PartRefusedError("the file has changed on the server meanwhile")
            self.etag = answer.etag
            self.part.go_on_from(answer.begin)
            if answer.total is not None:
                self._check_announced(answer.total)
            async for chunk in answer.chunks:
                _add(chunk, self.file, self.part)
                self.progress(self.part.size, answer.total or self.file.num_bytes)
        if answer.total is not None and self.part.size < answer.total:
            raise PassingError(f"the connection broke after {self.part.size:,} of {counted(answer.total, 'byte')}")

    def _check_announced(self, total: int) -> None:
        known = self.file.num_bytes
        if known is not None and total != known:
            self.part.go_on_from(0)
            raise DownloadError(
                f"the server announces {counted(total, 'byte')}, the file has {known:,}; name a mirror with --from"
            )
        if total > DOWNLOAD():
            raise DownloadError(DOWNLOAD.exceeded("the server announces"))
        _check_space(total, self.file, self.part)


def _most_bytes(file: RemoteFile) -> int:
    return DOWNLOAD() if file.num_bytes is None else file.num_bytes


def _add(chunk: bytes, file: RemoteFile, part: PartFile) -> None:
    """Add a chunk, unless the file becomes larger than it may be: then what came is another file."""
    if part.size + len(chunk) > _most_bytes(file):
        part.go_on_from(0)
        if file.num_bytes is None:
            raise DownloadError(DOWNLOAD.exceeded("it holds"))
        raise DownloadError(f"it holds more than its {counted(file.num_bytes, 'byte')}; name a mirror with --from")
    part.write(chunk)


def _check_existing(file: RemoteFile, target: Path) -> None:
    if not target.is_file():
        raise DownloadError(f"{target} is there and is no file; nothing was changed: move it away")
    if file.sha256 is not None and sha256_of(target) != file.sha256:
        raise DownloadError(
            f"{target} is there and is not the official file (its sha256 differs); "
            "nothing was changed: move it away to download the official one, or keep using it"
        )


def _check_part(file: RemoteFile, part: PartFile) -> None:
    """Whether what came is the file; if not, nothing of it stays."""
    fault = ""
    if file.sha256 is None:
        if not part.size:
            fault = "it is empty"
        elif file.num_bytes not in {None, part.size}:
            fault = f"it has {counted(part.size, 'byte')}, expected {file.num_bytes:,}"
    elif (found := sha256_of(part.path)) != file.sha256:
        fault = f"sha256 is {found}, expected {file.sha256}" if part.size else "it is empty"
    if fault:
        part.go_on_from(0)
        raise DownloadError(f"{fault}; it was removed: run the command again, or name a mirror with --from")


def _check_space(num_bytes: int | None, file: RemoteFile, part: PartFile) -> None:
    folder = part.path.parent
    needed = (num_bytes or 0) - part.size
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"{folder}: {file.name} needs {counted(needed, 'byte')}, {free:,} are free; free space or set --data_dir"
        )


def _storage_error(error: OSError, folder: Path, file: RemoteFile) -> StorageError:
    what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
    mend = advice_after(error, "free space or set --data_dir")
    return StorageError(f"{error.filename or folder}: {what} while fetching {file.name}; {mend}")
