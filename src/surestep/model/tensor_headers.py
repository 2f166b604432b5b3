"""Names and shapes of a safetensors file from its header, checked before a byte of a tensor is read.

The format (https://github.com/huggingface/safetensors#format): 8 bytes little-endian with the length of the header, the
header as JSON, then the bytes of all tensors without a gap. Knows no model.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from surestep.counted import counted
from surestep.errors import CheckpointError
from surestep.untrusted import open_regular, parse_json
from surestep.untrusted.bounds import TENSOR_HEADER, TENSORS

Shape = tuple[int, ...]

_LENGTH_BYTES = 8
_BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8}
_BITS |= {f"{kind}{bits}": bits for kind in ("I", "U") for bits in (8, 16, 32, 64)}
_BITS |= {"F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64}


def tensor_shapes(path: Path) -> dict[str, Shape]:
    """The shape of each tensor of a file, by its name.

    Raises:
        CheckpointError: it is no safetensors file, the header contradicts the file's size, or a bound is passed.
    """
    try:
        return dict(_read(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path} cannot be read ({reason}); restore it from a backup") from None


def _read(path: Path) -> Iterator[tuple[str, Shape]]:
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > size - _LENGTH_BYTES:
            raise ValueError("its header is longer than the file")
        if length > TENSOR_HEADER():
            raise ValueError(TENSOR_HEADER.exceeded("its header has"))
        content = file.read(length)
    if content.count(b'"data_offsets"') > TENSORS():  # before a hundred thousand objects are made of it
        raise ValueError(TENSORS.exceeded("it holds"))
    header = parse_json(content.decode("utf-8"), allow_nan=False, unique_keys=True)
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    header.pop("__metadata__", None)
    if len(header) > TENSORS():
        raise ValueError(TENSORS.exceeded("it holds"))
    end = 0
    entries = {name: _entry(name, values) for name, values in header.items()}
    for name, (shape, first, last) in sorted(entries.items(), key=lambda entry: entry[1][1:]):
        if first != end:
            raise ValueError(f"the tensor {name[:80]!r} begins at byte {first}, expected {end}")
        end = last
        yield name, shape
    if end != size - _LENGTH_BYTES - length:
        raise ValueError(f"its tensors have {counted(end, 'byte')}, the file {size - _LENGTH_BYTES - length}")


def _entry(name: str, values: Any) -> tuple[Shape, int, int]:
    """Shape, first byte and end of a tensor."""
    shown = repr(name[:80])
    if not isinstance(values, dict) or values.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the tensor {shown} has no dtype, shape and data_offsets")
    bits = _BITS.get(values["dtype"]) if isinstance(values["dtype"], str) else None
    shape, offsets = values["shape"], values["data_offsets"]
    if bits is None:
        raise ValueError(f"the tensor {shown} is of an unknown dtype")
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2 and len(shape) <= 16):
        raise ValueError(f"the tensor {shown} has no shape or no place")
    if math.prod(shape) * bits != (offsets[1] - offsets[0]) * 8:
        raise ValueError(
            f"the tensor {shown} has {counted(offsets[1] - offsets[0], 'byte')}, which is not what its shape takes"
        )
    return tuple(shape), offsets[0], offsets[1]


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)
