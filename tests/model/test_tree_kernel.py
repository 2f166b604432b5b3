"""The Triton kernels, run by Triton's interpreter on a CPU: the same programs, one block after another in numpy.

What they compute is checked here; that they compile and stay within bf16's error is left to tests/gpu.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton has wheels for Linux only"),
]


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    """Largest differences by case, from a process of its own: the interpreter is chosen when Triton is imported."""
    found: dict[str, float] = printed_by("interpreted_kernels.py", TRITON_INTERPRET="1")
    # The largest of several, as Python finds it, need not be the one that is no number.
    assert all(map(math.isfinite, found.values())), found
    return found


def printed_by(script: str, *arguments: str, **environment: str) -> Any:
    """The JSON in the last line of a script beside this file, run in a process of its own."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    # The helpers of all tests, which pytest finds by its `pythonpath`.
    helpers = str(Path(__file__).resolve().parents[1])
    inherited["PYTHONPATH"] = os.pathsep.join(filter(None, [helpers, inherited.get("PYTHONPATH")]))
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name(script), *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("heads", ["4 of 2", "8 of 1", "3 of 1", "7 of 1", "16 of 1"])
@pytest.mark.parametrize("what", ["attended", "gradient"])
def test_attention_over_trees_equals_attention_written_out(errors: dict[str, float], heads: str, what: str) -> None:
    assert errors[f"{heads}, {what}"] < 1e-5


@pytest.mark.parametrize("what", ["attended", "gradient"])
def test_a_sliding_window_looks_back_along_the_path(errors: dict[str, float], what: str) -> None:
    assert errors[f"4 of 1, window 20, {what}"] < 1e-5
    assert errors["window 20 against none"] > 0.01, "the window shows"


@pytest.mark.parametrize("programs", [1, 16, 256], ids=["keys whole", "in a few parts", "in as many as there are"])
@pytest.mark.parametrize("case", ["4 of 2", "4 of 1, window 20", "7 of 1"])
def test_new_tokens_over_keys_in_scattered_slots_equal_attention_written_out(
    errors: dict[str, float], case: str, programs: int
) -> None:
    assert errors[f"pooled, {case}, {programs} programs"] < 1e-5


GRADIENTS = ("query_gradient", "key_gradient")
SHARED_MEMORY = {80: 101_376, 90: 232_448, 120: 101_376}
"""Bytes that a block may share on GPUs of a compute capability.

8.0, 8.6 and 8.9 get the same kernel from Triton: it is compiled for the one that has the fewest instructions, and held
to the least memory, that of 8.6 and 8.9.
"""


@pytest.mark.parametrize("head_size", [128, 64])
def test_the_kernels_fit_the_shared_memory_of_the_gpus_that_take_them(head_size: int) -> None:
    """Compiled here, in one process, for GPUs that are not here."""
    found = printed_by("compiled_kernels.py", str(head_size), *map(str, SHARED_MEMORY))
    assert list(found) == [str(capability) for capability in SHARED_MEMORY]
    for capability, limit in SHARED_MEMORY.items():
        needed = found[str(capability)]
        pooled = {"pooled_forward", "pooled_join"} if capability == 80 else set()
        adapters = {f"low_rank{what}_{ranks}" for what in ("", "_gradient") for ranks in (16, 64, 128)}
        adapters |= {f"gated_low_rank{what}_{ranks}" for what in ("", "_gradient") for ranks in (16, 64)}
        attention = {f"{name}{how}" for name in ("forward", *GRADIENTS) for how in ("", "_rotating")}
        assert set(needed) == attention | adapters | pooled
        assert max(needed.values()) <= limit, (capability, needed)


@pytest.mark.parametrize("heads", ["8 of 2, normed", "3 of 3, normed", "6 of 2, normed", "4 of 2"])
def test_heads_are_split_normed_and_rotated_as_transformers_does(errors: dict[str, float], heads: str) -> None:
    found = {name: error for name, error in errors.items() if name.startswith(f"heads, {heads}, ")}
    assert len(found) == 2, "values, and keys alone"
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("heads", ["4 of 2, normed", "3 of 1, normed", "7 of 1"])
def test_attention_over_a_joined_product_is_that_over_its_heads(errors: dict[str, float], heads: str) -> None:
    found = {name: error for name, error in errors.items() if name.startswith(f"joined, {heads}, ")}
    gradients = 5 if "normed" in heads else 1
    assert len(found) == 2 + gradients, "attended, gradients of the input and both weights; with frozen ones, and one"
    assert max(found.values()) < 1e-5, found


def test_rows_are_scaled_as_the_reference_scales_them(errors: dict[str, float]) -> None:
    assert errors["rows, scales"] < 1e-6
    assert errors["rows, values"] < 1e-6
    for rows in ("gated rows", "their gradients"):
        assert errors[f"{rows}, scales"] < 1e-6
        assert errors[f"{rows}, values beyond rounding"] < 1e-3
    assert errors["rows that hold no numbers, made finite"] == 0


@pytest.mark.parametrize("rows", [4, 11, 3], ids=["two parts", "several rows a block", "whole blocks"])
@pytest.mark.parametrize("what", ["sum", "norm", "gradient", "weight", "sum before 8 bits", "scales", "rows"])
def test_a_sum_and_its_norm_are_those_of_the_family(errors: dict[str, float], rows: int, what: str) -> None:
    assert errors[f"norm of {rows} rows, {what}"] < 1e-5


@pytest.mark.parametrize("rows", [70, 130, 5, 9], ids=["without dropout", "several ranks", "few rows", "shares"])
def test_thin_products_of_adapters_are_those_written_out(errors: dict[str, float], rows: int) -> None:
    found = {name: error for name, error in errors.items() if name.startswith(f"adapters of {rows} rows, ")}
    assert len(found) == 7
    assert max(found.values()) < 1e-5, found


@pytest.mark.parametrize("rows", [70, 130, 5], ids=["without dropout", "several ranks", "few rows"])
def test_what_lies_between_the_products_of_an_adapted_mlp_is_that_of_autograd(
    errors: dict[str, float], rows: int
) -> None:
    found = {name: error for name, error in errors.items() if name.startswith(f"adapted gates of {rows} rows, ")}
    assert len(found) == 7
    assert max(found.values()) < 1e-5, found


def test_all_adapters_of_a_model_are_rounded_by_one_kernel(errors: dict[str, float]) -> None:
    assert errors["pieces in their places"] < 1e-6


@pytest.mark.parametrize("width", [40, 2100])
def test_gates_and_their_gradients_are_those_of_autograd(errors: dict[str, float], width: int) -> None:
    assert errors[f"gates of {width}, product"] < 1e-6
    assert errors[f"gates of {width}, gradient"] < 1e-6
