"""The promises by name; a new one is a file with a `Promise`, and an entry here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from surestep.guarantees.promises.handed_out import SELECTIVE
from surestep.guarantees.promises.kept_parts import CHOSEN, RANDOM, TREE
from surestep.guarantees.promises.promise import Promise
from surestep.guarantees.promises.watched import MONITOR

PROMISES: Mapping[str, Promise] = MappingProxyType(
    {promise.name: promise for promise in (CHOSEN, RANDOM, TREE, MONITOR, SELECTIVE)}
)
"""As `surestep certify --promise` takes them."""
