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


@cache
def _answers(endpoint: str) -> bool:
    """Whether something accepts connections where requests to `endpoint` go: its host, or the proxy in front of it."""
    address = urlsplit(endpoint)
    proxy = getproxies().get(address.scheme)
    if proxy and not proxy_bypass(address.hostname or ""):
        address = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    try:
        port = address.port or _PORTS.get(address.scheme, 443)
        socket.create_connection((address.hostname or "", port), timeout=_TIMEOUT_S).close()
    except (OSError, ValueError):
        return False
    return True
