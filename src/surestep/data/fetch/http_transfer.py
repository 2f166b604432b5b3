"""One attempt at an address: its redirects judged, its answer bounded, its bytes handed on as they came.

Knows HTTP, through httpx2; knows no dataset and writes no file.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from surestep.errors import DownloadError
from surestep.hub import proxy_of
from surestep.untrusted.bounds import IDLE_TIME, REDIRECTS, shown

if TYPE_CHECKING:
    import httpx2

# Unpacked by nobody: what a small answer unpacks to has no bound, and the checksum is the file's own.
_HEADERS = {"User-Agent": "surestep", "Accept-Encoding": "identity"}
_TRIED_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_PUBLIC, _PRIVATE, _OWN = "a public address", "an address within a network", "this machine's own"
_INWARD = (_PUBLIC, _PRIVATE, _OWN)
"""Where an address leads, from the outside in."""


class PassingError(Exception):
    """A fault that may pass: the connection broke, or the server is overloaded."""


class PartRefusedError(PassingError):
    """The server cannot go on where the part ends: it must begin again."""


@dataclass(frozen=True)
class Answer:
    """What the server sends.

    Attributes:
        begin: the byte of the file with which it begins, 0 or what was asked for.
        total: bytes of the whole file, or None where the server does not say.
        chunks: the bytes.
        etag: which version of the file it is, or None where the server says none that compares byte by byte.
    """

    begin: int
    total: int | None
    chunks: AsyncIterator[bytes]
    etag: str | None


def is_address(place: str) -> bool:
    """Whether `place` is an address of the web, not of a disk.

    Raises:
        DownloadError: it looks like one and is none.
    """
    if re.match(r"https?://", place, re.IGNORECASE) is None:
        return False
    host_of(place)
    return True


def host_of(url: str) -> str:
    """The host that an address names.

    Raises:
        DownloadError: it names none, or none that can be.
    """
    import httpx2

    try:
        # What is connected to is httpx2's reading of the address, in ASCII; both must take it.
        host = httpx2.URL(url).raw_host.decode("ascii")
        in_range = (urlsplit(url).port or 1) > 0
    except (httpx2.InvalidURL, UnicodeError, ValueError) as error:
        raise DownloadError(f"{shown(without_secrets(url))} is no address ({_said(error)})") from None
    if not in_range or re.fullmatch(r"[a-z0-9_.-]+|[0-9a-f]*:[0-9a-f:.]*(%[a-z0-9_.-]+)?", host, re.IGNORECASE) is None:
        raise DownloadError(f"{shown(without_secrets(url))} is no address (its host is {shown(host)})")
    return host


def without_secrets(url: str) -> str:
    """An address as a message shows it: no password, no signature, not endless.

    >>> without_secrets("https://me:secret@example.org/a.json?token=1")
    'https://example.org/a.json'
    """
    scheme, _, rest = url.partition("://")
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    text = f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    return text if len(text) <= 300 else f"{text[:300]}…"


@asynccontextmanager
async def web_client() -> AsyncIterator[httpx2.AsyncClient]:
    """A client of one download."""
    import httpx2

    idle_s = IDLE_TIME()
    try:
        client = httpx2.AsyncClient(timeout=idle_s, headers=_HEADERS)
    except (httpx2.InvalidURL, ValueError, ImportError) as error:
        raise DownloadError(f"the proxy settings of the environment cannot be used ({_said(error)})") from None
    async with client:
        yield client


@asynccontextmanager
async def ask(
    client: httpx2.AsyncClient, url: str, *, begin: int, etag: str | None
) -> AsyncIterator[Answer | Literal["whole"]]:
    """The answer to one request for a file, from the byte `begin` on.

    Args:
        client: a client of its own for each download.
        url: its address; redirects are followed as far as `_Hops` lets them lead.
        begin: how much of it is there already.
        etag: the version of which that is; None: unknown, so that the checksum must tell.

    Yields:
        The answer, or "whole" where the server says that nothing follows `begin`.

    Raises:
        PassingError: another attempt may succeed.
        DownloadError: none will.
    """
    import httpx2

    headers = {"Range": f"bytes={begin}-"} if begin else {}
    if begin and etag:
        headers["If-Range"] = etag
    hops = _Hops()
    response = None
    try:
        response = await _follow(client, client.build_request("GET", url, headers=headers, extensions=hops.trace), hops)
        _check_status(response, begin)
        yield (
            "whole" if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE else _answer(response, begin)
        )
    except httpx2.TimeoutException:
        raise PassingError(IDLE_TIME.exceeded("the server sent nothing for")) from None
    except httpx2.ConnectError as error:
        raise PassingError(f"the server cannot be reached ({_said(error)})") from None
    except httpx2.InvalidURL as error:
        raise DownloadError(f"it leads to what is no address ({_said(error)})") from None
    except httpx2.HTTPError as error:
        raise PassingError(f"the connection broke ({_said(error)})") from None
    finally:
        if response is not None:
            await response.aclose()


async def _follow(client: httpx2.AsyncClient, request: httpx2.Request, hops: _Hops) -> httpx2.Response:
    """The first answer that is no redirect; the bodies of redirects are not read."""
    for _ in range(REDIRECTS() + 1):
        hops.check_address(str(request.url))
        response = await client.send(request, stream=True, follow_redirects=False)
        if response.next_request is None:
            return response
        await response.aclose()
        request = response.next_request
    raise DownloadError(REDIRECTS.exceeded("it leads through"))


def _check_status(response: httpx2.Response, begin: int) -> None:
    code = response.status_code
    if code == HTTPStatus.OK or (begin and code in {206, 416}):
        return
    said = f"the server answered {code} {_phrase(code)}".rstrip()
    if code in _TRIED_AGAIN or code >= 500:
        raise PassingError(said)
    raise DownloadError(f"{said}; download it by hand, or name a mirror with --from")


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return ""


def _answer(response: httpx2.Response, begin: int) -> Answer:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "text/html":
        raise DownloadError("the server sent a web page instead of the file; download it in a browser")
    packed = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in {"", "identity"}:
        raise DownloadError(
            f"the server sent the file packed (Content-Encoding {shown(packed)}), which was not asked for; "
            "name a mirror with --from"
        )
    length = response.headers.get("Content-Length")
    total = None if length is None or "Transfer-Encoding" in response.headers else int(length)
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        whole = _whole_of_range(response.headers.get("Content-Range", ""), begin)
        total = whole if whole is not None else None if total is None else begin + total
    else:
        begin = 0
    etag = response.headers.get("ETag", "")
    is_strong = len(etag) <= 200 and re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) is not None
    return Answer(begin, total, response.aiter_raw(), etag if is_strong else None)


def _whole_of_range(sent: str, begin: int) -> int | None:
    """Bytes of the whole file by a `Content-Range`, which must begin with the very byte that is missing."""
    found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", sent.strip())
    if found is None or int(found[1]) != begin or int(found[2]) < begin:
        raise PartRefusedError(f"the server sent another part than was asked for ({shown(sent)})")
    return None if found[3] == "*" else int(found[3])


def _said(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}…"


class _Hops:
    """Judges each address on the way, before a byte is sent to it.

    Http and https only, never from https to http, and never further inside than the first address was: a public server
    that leads to this machine, or into its network, would have its services asked in our name.
    """

    def __init__(self) -> None:
        self.url = ""
        self.is_secure = False
        self.outermost: str | None = None
        self.trace = {"trace": self.check_peer}

    def check_address(self, url: str) -> None:
        """Raise DownloadError for an address that is refused for what it says."""
        scheme = url.partition(":")[0].lower()
        if scheme not in {"http", "https"}:
            raise DownloadError(f"it leads to {shown(without_secrets(url))}; allowed: http and https")
        if self.is_secure and scheme != "https":
            raise DownloadError(
                f"it leads from https to {shown(without_secrets(url))}, which anybody on the way can change; "
                "name a mirror with --from"
            )
        self.is_secure = scheme == "https"
        self.url = url
        host = host_of(url)
        if proxy_of(url) is not None:  # the proxy resolves names; what can be judged here is the address itself
            self._judge(where_it_leads(host))

    async def check_peer(self, event: str, about: dict[str, Any]) -> None:
        """Told by httpx2 of each connection as soon as it stands: whatever the name was, this is its address."""
        if event == "connection.connect_tcp.complete" and proxy_of(self.url) is None:
            stream = about["return_value"]
            try:
                self._judge(where_it_leads(stream.get_extra_info("server_addr")[0]))
            except DownloadError:
                await stream.aclose()
                raise

    def _judge(self, leads: str) -> None:
        if self.outermost is None:
            self.outermost = leads
        elif _INWARD.index(leads) > _INWARD.index(self.outermost):
            raise DownloadError(
                f"it leads from {self.outermost} to {leads} ({shown(without_secrets(self.url))}); "
                "where that is meant, name that address with --from"
            )


def where_it_leads(host: str) -> str:
    """Whether an address is public, within a private network, or this machine's own; a name counts as public.

    >>> where_it_leads("192.168.0.7")
    'an address within a network'
    """
    if host.rstrip(".").lower() == "localhost" or host.rstrip(".").lower().endswith(".localhost"):
        return _OWN
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return _PUBLIC
    address = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    if address.is_loopback or address.is_unspecified or address.is_link_local:
        return _OWN
    return _PUBLIC if address.is_global else _PRIVATE
