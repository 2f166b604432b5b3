"""Whether the Hugging Face hub can be asked at all.

Asked before a backbone is looked up by its id: without a network the hub's own client tries again and again for
most of a minute, with a warning each time, before it falls back on its cache. Knows addresses; loads nothing.
"""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_ENDPOINT = "https://huggingface.co"
_PORTS = {"http": 80, "https": 443}
_TIMEOUT_S = 5.0


def from_cache_only(name: str) -> bool:
    """Whether `name` is a hub id that only the cache can serve, as the hub does not answer.

    >>> from_cache_only(".")
    False
    """
    if Path(name).exists() or os.environ.get("HF_HUB_OFFLINE"):  # the client itself heeds the latter
        return False
    return not _answers(os.environ.get("HF_ENDPOINT") or _ENDPOINT)


def http_host(url: object) -> str:
    """The host of an address of http or https that can be connected to; "" where it is none.

    >>> http_host("http://127.0.0.1:8000/v1"), http_host("http://127.0.0.1:99999"), http_host("ftp://a"), http_host("a")
    ('127.0.0.1', '', '', '')
    """
    import httpx2

    try:
        address = httpx2.URL(str(url))
        port = urlsplit(str(url)).port  # which alone refuses what is no port
    except (httpx2.InvalidURL, ValueError):
        return ""
    return address.host if address.scheme in {"http", "https"} and (port is None or port > 0) else ""


@cache
def _answers(endpoint: str) -> bool:
    """Whether something accepts connections where requests to `endpoint` go: its host, or the proxy in front of it."""
    try:
        address = urlsplit(proxy_of(endpoint) or endpoint)
        port = address.port or _PORTS.get(address.scheme, 443)
        socket.create_connection((address.hostname or "", port), timeout=_TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True


def proxy_of(url: str) -> str | None:
    """The address of the proxy that requests to `url` go through by the environment's settings, or None.

    Raises:
        ValueError: `url` is no address.
    """
    address = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(address.hostname or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
