"""Who asks: API keys, kept as hashes and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from surestep.counted import counted
from surestep.errors import ConfigError
from surestep.untrusted import read_document

VARIABLE = "SURESTEP_API_KEYS"
"""Environment variable with keys, parted by commas."""
_SHORTEST = 16
"""Letters of a key: shorter ones can be tried out."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request.

    Attributes:
        name: the key's name, for logs; never the key.
        namespace: what is kept for one caller is never used for another.
    """

    name: str
    namespace: str


class ApiKeys:
    """The keys that are let in.

    Args:
        keys: names and keys; none: everyone is let in.

    Raises:
        ConfigError: a key is too short, or stands twice.
    """

    def __init__(self, keys: Iterable[tuple[str, str]] = ()) -> None:
        secret = secrets.token_bytes(32)

        def caller(name: str) -> Caller:
            # Not the hash of the key itself, which would name it to whoever reads a dump.
            return Caller(name, hmac.new(secret, name.encode(), hashlib.sha256).hexdigest())

        self._callers: list[tuple[bytes, Caller]] = []
        names: set[str] = set()
        for name, key in keys:
            if len(key) < _SHORTEST or not key.isascii() or not key.isprintable():
                raise ConfigError(
                    f"the API key {name} has {counted(len(key), 'letter')}; allowed: from {_SHORTEST}, ASCII; "
                    "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
                )
            hashed = _hashed(key.encode())
            if name in names or any(hashed == other for other, _ in self._callers):
                raise ConfigError(f"the API key {name}, or its name, stands twice; keep one")
            names.add(name)
            self._callers.append((hashed, caller(name)))
        self._anyone = caller("anyone")

    def __len__(self) -> int:
        return len(self._callers)

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller | None:
        """Who sent these headers (`Authorization: Bearer KEY` or `X-API-Key: KEY`); None: no valid key."""
        if not self._callers:
            return self._anyone
        presented = _hashed(_key_of(headers))
        found = None
        for hashed, caller in self._callers:  # all of them, so that the time says nothing
            if hmac.compare_digest(hashed, presented):
                found = caller
        return found


def _hashed(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _key_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    found = b""
    for name, value in headers:
        scheme, _, rest = value.partition(b" ")
        if name == b"authorization" and scheme.lower() == b"bearer":
            found = rest.strip()
        elif name == b"x-api-key":
            found = found or value.strip()
    return found


def read_api_keys(file: Path | None, environment: Mapping[str, str] = os.environ) -> ApiKeys:
    """The keys of a file (a line each, `name key` or the key alone, `#` begins a comment) or of the environment.

    Raises:
        ConfigError: the file cannot be read, holds no key, or a key is not valid.
    """
    if file is None:
        keys = [key.strip() for key in environment.get(VARIABLE, "").split(",") if key.strip()]
        return ApiKeys((f"key-{number}", key) for number, key in enumerate(keys, start=1))
    try:
        lines = read_document(file).removeprefix("\ufeff").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--api_keys_file {file} cannot be read ({reason})") from None
    entries: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1):
        words = [] if line.lstrip().startswith("#") else line.split()
        if len(words) > 2:
            raise ConfigError(
                f"--api_keys_file {file}, line {number} has {counted(len(words), 'word')}; allowed: `name key`"
            )
        if words:
            entries.append((words[0], words[1]) if len(words) == 2 else (f"key-{number}", words[0]))
    if not entries:
        raise ConfigError(f"--api_keys_file {file} holds no key; write one a line, or leave the flag out")
    return ApiKeys(entries)


def who_may_ask(keys: ApiKeys) -> str:
    """For whoever starts a server: how many keys there are, or that nobody needs one."""
    if len(keys):
        return f"{len(keys)} API key{'s' if len(keys) > 1 else ''}"
    return f"no API keys: everybody who reaches this address may ask (--api_keys_file or {VARIABLE} names some)"


def check_exposed(host: str, keys: ApiKeys) -> None:
    """Refuse to be reached from other machines without keys.

    Raises:
        ConfigError: `host` is no loopback address and there are no keys.
    """
    if not len(keys) and not is_loopback(host):
        raise ConfigError(
            f"--host {host} can be reached from other machines, and there are no API keys; set --api_keys_file or "
            f"{VARIABLE}, or leave --host out (127.0.0.1)"
        )


def is_loopback(host: str) -> bool:
    """Whether a name or address can only be this machine.

    >>> [is_loopback(host) for host in ("localhost", "127.0.0.1", "[::1]", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
