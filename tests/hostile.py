"""Checkpoints that somebody made to harm whoever loads them, with every hash right; what each breaks says its name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEEP = 100_000
"""Lists within each other, where nothing above a hundred is meant."""
DIGITS = "9" * 5_000

Harm = Callable[[Path], None]


def sealed(folder: Path, change: Callable[[dict[str, Any]], Any] | None = None) -> None:
    """Write a manifest that is right for the files as they are now, then changed by `change`."""
    path = folder / "manifest.json"
    values: dict[str, Any] = json.loads(path.read_text())
    for names in ("files", "state_files"):
        for name in list(values[names]):
            file = folder / name
            if file.is_file():
                content = file.read_bytes()
                values[names][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            elif not file.exists() and not file.is_symlink():
                del values[names][name]
    if change is not None:
        change(values)
    values.pop("manifest_sha256", None)
    values["manifest_sha256"] = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(values, indent=2))


def raw_manifest(text: str | bytes) -> Harm:
    return lambda folder: _write(folder / "manifest.json", text)


def manifest_with(**fields: Any) -> Harm:
    return lambda folder: sealed(folder, lambda values: values.update(fields))


def manifest_without(name: str) -> Harm:
    return lambda folder: sealed(folder, lambda values: values.pop(name))


def backbone_with(**fields: Any) -> Harm:
    return lambda folder: sealed(folder, lambda values: values["backbone"].update(fields))


def listed(name: str, entry: Any = None) -> Harm:
    size = {"size": 3, "sha256": hashlib.sha256(b"abc").hexdigest()} if entry is None else entry
    return lambda folder: sealed(folder, lambda values: values["files"].update({name: size}))


def file_with(name: str, text: str | bytes) -> Harm:
    """One of its files holds `text`, and the manifest lists it."""

    def harm(folder: Path) -> None:
        _write(folder / name, text)
        sealed(folder, lambda values: values["files"].update({name: _entry(folder / name)}))

    return harm


def config_with(section: str, **fields: Any) -> Harm:
    def harm(folder: Path) -> None:
        path = folder / "config.json"
        values = json.loads(path.read_text())
        (values[section] if section else values).update(fields)
        path.write_text(json.dumps(values))
        sealed(folder)

    return harm


def backbone_config_with(**fields: Any) -> Harm:
    def harm(folder: Path) -> None:
        path = folder / "backbone" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
        sealed(folder)

    return harm


def state_with(text: str | None = None, **fields: Any) -> Harm:
    def harm(folder: Path) -> None:
        path = folder / "training_state" / "state.json"
        path.write_text(text if text is not None else json.dumps(json.loads(path.read_text()) | fields))
        sealed(folder)

    return harm


def header_with(name: str, header: bytes, body: bytes = b"", length: int | None = None) -> Harm:
    content = struct.pack("<Q", len(header) if length is None else length) + header + body
    return file_with(name, content)


def header_of_tensors(name: str, count: int) -> Harm:
    """Made when it is used: every process that collects tests imports this file."""
    return lambda folder: header_with(name, many_tensors(count))(folder)


def tensor(shape: list[Any], offsets: list[Any], dtype: Any = "F32") -> bytes:
    return json.dumps({"head.output.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode()


def many_tensors(count: int) -> bytes:
    entry = '"t%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return ("{" + ",".join(entry % number for number in range(count)) + "}").encode()


def replaced_by(name: str, make: Callable[[Path], object]) -> Harm:
    """A file in the folder is taken away and `make` puts something else in its place."""

    def harm(folder: Path) -> None:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        make(path)

    return harm


def a_socket(path: Path) -> None:
    made = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket has at most 107 bytes
    try:
        made.bind(path.name)
    finally:
        os.chdir(here)
        made.close()


def a_link_out(path: Path) -> None:
    target = path.parent.parent / f"outside_{path.name}"
    target.write_text("{}")
    path.symlink_to(target)


def also(make: Callable[[Path], object], name: str = "extra") -> Harm:
    return lambda folder: (make(folder / name), None)[1]


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _entry(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


HEAD, ADAPTER = "head.safetensors", "adapter/adapter_model.safetensors"

LORA: dict[str, Harm] = {
    # the manifest
    "manifest empty": raw_manifest(""),
    "manifest not utf-8": raw_manifest(b"\xff\xfe{}"),
    "manifest a list": raw_manifest("[]"),
    "manifest null": raw_manifest("null"),
    "manifest deep": raw_manifest("[" * DEEP),
    "manifest deep objects": raw_manifest('{"a":' * DEEP),
    "manifest deep and whole": raw_manifest('{"a":' + "[" * 900 + "]" * 900 + "}"),
    "manifest long number": raw_manifest('{"format_version": ' + DIGITS + "}"),
    "manifest key twice": raw_manifest('{"format_version": 1, "format_version": 1}'),
    "manifest versions no object": raw_manifest('{"format_version": 7, "versions": "<script>"}'),
    "manifest format a list": raw_manifest('{"format_version": [1]}'),
    "manifest nan": raw_manifest('{"format_version": NaN}'),
    "step a script": manifest_with(step="<script>"),
    "step negative": manifest_with(step=-1),
    "step true": manifest_with(step=True),
    "step a float": manifest_with(step=1.5),
    "step of 300 digits": manifest_with(step=10**299),
    "kind unknown": manifest_with(kind="pickle"),
    "kind a list": manifest_with(kind=["lora"]),
    "kind of the other": manifest_with(kind="full"),
    "confidence id negative": manifest_with(confidence_id=-5),
    "confidence id huge": manifest_with(confidence_id=2**80),
    "confidence id text": manifest_with(confidence_id="4"),
    "formatter hash a number": manifest_with(formatter_hash=3),
    "formatter hash an object": manifest_with(formatter_hash={"a": 1}),
    "label means a list": manifest_with(label_means=[1]),
    "label mean above one": manifest_with(label_means={"own": 7.0}),
    "label mean text": manifest_with(label_mean="1"),
    "versions a number": manifest_with(versions=3),
    "versions of numbers": manifest_with(versions={"surestep": 3}),
    "unknown field": manifest_with(run_this="rm"),
    "no backbone": manifest_without("backbone"),
    "no step": manifest_without("step"),
    "backbone text": manifest_with(backbone="x"),
    "backbone empty": manifest_with(backbone={}),
    "backbone name a list": backbone_with(name=["a"]),
    "backbone name huge": backbone_with(name="x" * 10_000_000),
    "backbone revision a number": backbone_with(revision=3),
    "backbone positions text": backbone_with(max_positions="1000"),
    "backbone positions negative": backbone_with(max_positions=-1),
    "backbone hash other": backbone_with(weights_sha256="0" * 64),
    "files a list": manifest_with(files=["a"]),
    "entry without size": listed("x", {"sha256": "0" * 64}),
    "entry size text": listed("x", {"size": "3", "sha256": "0" * 64}),
    "entry a list": listed("x", [3]),
    "file above": listed("../outside"),
    "file absolute": listed("/etc/passwd"),
    "file with dots inside": listed("adapter/../../outside"),
    "file with a nul": listed("a\0b"),
    "file without a name": listed(""),
    "file of a long name": listed("a" * 100_000),
    "pending three": manifest_with(pending={"calibration.json": [None, None, None]}),
    "pending above": manifest_with(pending={"../outside": [None, None]}),
    "pending a number": manifest_with(pending=4),
    # what lies in the folder
    "head a pipe": replaced_by(HEAD, os.mkfifo),
    "config a pipe": replaced_by("config.json", os.mkfifo),
    "manifest a pipe": replaced_by("manifest.json", os.mkfifo),
    "head a socket": replaced_by(HEAD, a_socket),
    "config a link out": replaced_by("config.json", a_link_out),
    "head a link to a device": replaced_by(HEAD, lambda path: path.symlink_to("/dev/zero")),
    "manifest a link out": replaced_by("manifest.json", a_link_out),
    "tokenizer a link out": replaced_by("tokenizer", lambda path: path.symlink_to("/etc")),
    "head a folder": replaced_by(HEAD, lambda path: path.mkdir()),
    "extra pipe": also(os.mkfifo),
    "extra socket": also(a_socket),
    "extra link to itself": also(lambda path: path.symlink_to(path.name)),
    "extra link to the root": also(lambda path: path.symlink_to("/")),
    # its configuration
    "config empty": file_with("config.json", ""),
    "config a list": file_with("config.json", "[1]"),
    "config deep": file_with("config.json", '{"model":' * DEEP),
    "config long number": file_with("config.json", '{"lora": {"lora_r": ' + DIGITS + "}}"),
    "config nan": file_with("config.json", '{"training": {"learning_rate": NaN}}'),
    "config key twice": file_with("config.json", '{"model": {}, "model": {}}'),
    "config sections are numbers": file_with("config.json", '{"model": 3, "lora": 4}'),
    "rank of a million": config_with("lora", lora_r=1_000_000),
    "rank of sixty thousand": config_with("lora", lora_r=60_000),
    "rank of 200 digits": config_with("lora", lora_r=10**199),
    "head a million wide": config_with("model", mlp_hidden_dims=[1_000_000] * 3),
    "head sixty thousand wide": config_with("model", mlp_hidden_dims=[60_000, 60_000]),
    "head of ten thousand layers": config_with("model", mlp_hidden_dims=[16] * 10_000),
    "head of thirty layers": config_with("model", mlp_hidden_dims=[16] * 30),
    "backbone of nul": config_with("model", backbone="a\0b"),
    "backbone a device": config_with("model", backbone="/dev"),
    "experiment above": config_with("", experiment_name="../../x"),
    # its tensors
    "head empty": file_with(HEAD, b""),
    "head of seven bytes": file_with(HEAD, b"1234567"),
    "header longer than the file": header_with(HEAD, b"{}", length=2**62),
    "header of all bits": header_with(HEAD, b"{}", length=2**64 - 1),
    "header no json": header_with(HEAD, b"{" * 10),
    "header deep": header_with(HEAD, b"[" * DEEP),
    "header a list": header_with(HEAD, b"[]"),
    "header not utf-8": header_with(HEAD, b'{"\xff": 1}'),
    "tensors: 600,000": header_of_tensors(HEAD, 600_000),
    "tensors: 99,000 of nothing": header_of_tensors(HEAD, 99_000),
    "offsets beyond the file": header_with(HEAD, tensor([1, 16], [0, 64]), b""),
    "offsets of another size": header_with(HEAD, tensor([1, 16], [0, 32]), b"\0" * 32),
    "offsets backwards": header_with(HEAD, tensor([1, 16], [64, 0]), b"\0" * 64),
    "offsets negative": header_with(HEAD, tensor([1], [-4, 0]), b""),
    "offsets of 200 digits": header_with(HEAD, tensor([1], [0, 10**199]), b""),
    "offsets with a gap": header_with(HEAD, tensor([1], [4, 8]), b"\0" * 8),
    "shape that overflows": header_with(HEAD, tensor([2**62, 4], [0, 0]), b""),
    "shape of text": header_with(HEAD, tensor(["1"], [0, 4]), b"\0" * 4),
    "shape of a thousand sizes": header_with(HEAD, tensor([1] * 1000, [0, 4]), b"\0" * 4),
    "dtype unknown": header_with(HEAD, tensor([1], [0, 4], "OBJECT"), b"\0" * 4),
    "dtype a list": header_with(HEAD, tensor([1], [0, 4], ["F32"]), b"\0" * 4),
    "tensor a number": header_with(HEAD, b'{"a": 3}'),
    "tensor key twice": header_with(HEAD, b'{"a":{},"a":{}}'),
    "adapter empty": file_with(ADAPTER, b""),
    "adapter of no tensors": header_with(ADAPTER, b"{}"),
    "adapter of 600,000 tensors": header_of_tensors(ADAPTER, 600_000),
    # what else is read
    "calibration a list": file_with("calibration.json", "[]"),
    "calibration deep": file_with("calibration.json", "[" * DEEP),
    "calibration of nan": file_with(
        "calibration.json",
        '{"format_version":1,"pooled":{"kind":"platt","slope":NaN,"intercept":0},"datasets":{},"about":{}}',
    ),
    "calibration of unknown kind": file_with(
        "calibration.json", '{"format_version":1,"pooled":{"kind":["a"]},"datasets":{},"about":{}}'
    ),
    "calibration of text": file_with(
        "calibration.json",
        '{"format_version":1,"pooled":{"kind":"temperature","temperature":"1"},"datasets":{},"about":{}}',
    ),
    "calibration datasets a list": file_with(
        "calibration.json", '{"format_version":1,"pooled":{"kind":"identity"},"datasets":[],"about":{}}'
    ),
    "calibration isotonic of numbers": file_with(
        "calibration.json",
        '{"format_version":1,"pooled":{"kind":"isotonic","points":1,"values":2,"clip":0},"datasets":{},"about":{}}',
    ),
    "tokenizer empty": file_with("tokenizer/tokenizer.json", ""),
    "tokenizer a list": file_with("tokenizer/tokenizer.json", "[]"),
    "tokenizer deep": file_with("tokenizer/tokenizer.json", "[" * DEEP),
    "tokenizer configuration a list": file_with("tokenizer/tokenizer_config.json", "[]"),
    "tokenizer configuration empty": file_with("tokenizer/tokenizer_config.json", ""),
    "tokenizer configuration deep": file_with("tokenizer/tokenizer_config.json", "[" * DEEP),
    "adapter configuration of numbers": file_with("adapter/adapter_config.json", '{"target_modules": [1, 2]}'),
    "adapter configuration a list": file_with("adapter/adapter_config.json", "[]"),
    "adapter configuration of nothing": file_with("adapter/adapter_config.json", '{"target_modules": ["nothing"]}'),
}
"""Harms to a LoRA checkpoint; each is refused."""

NEVER_READ_OF_LORA: dict[str, Harm] = {
    "targets of regex": config_with("lora", lora_target_modules=["(((((a+)+)+)+)+)$"]),
    "tokenizer of unknown class": file_with("tokenizer/tokenizer_config.json", '{"tokenizer_class": "os.system"}'),
}
"""What is not used: the adapters name their layers, tokenizers of no known class are read by their file."""

WEIGHTS = "backbone/model.safetensors"
FULL: dict[str, Harm] = {
    "backbone configuration empty": file_with("backbone/config.json", ""),
    "backbone configuration a list": file_with("backbone/config.json", "[]"),
    "backbone configuration deep": file_with("backbone/config.json", "[" * DEEP),
    "backbone of a million layers": backbone_config_with(num_hidden_layers=1_000_000),
    "backbone of a negative layer": backbone_config_with(num_hidden_layers=-1),
    "backbone of layers in text": backbone_config_with(num_hidden_layers="2"),
    "backbone ten million wide": backbone_config_with(hidden_size=10_000_000),
    "backbone of wide layers": backbone_config_with(intermediate_size=10**9),
    "backbone of a billion words": backbone_config_with(vocab_size=10**9),
    "backbone of no heads": backbone_config_with(num_attention_heads=0),
    "backbone of unknown type": backbone_config_with(model_type="os.system"),
    "backbone type a list": backbone_config_with(model_type=["llama"]),
    "backbone with code": backbone_config_with(auto_map={"AutoModel": "evil.Model"}, model_type="evil"),
    "backbone rope unknown": backbone_config_with(rope_scaling={"rope_type": "<script>", "factor": "x"}),
    "backbone theta text": backbone_config_with(rope_theta="big", rope_parameters=None),
    "backbone activation unknown": backbone_config_with(hidden_act="__import__"),
    "weights empty": file_with(WEIGHTS, b""),
    "weights of 600,000 tensors": header_of_tensors(WEIGHTS, 600_000),
    "weights of no tensors": header_with(WEIGHTS, b"{}"),
    "weights a pipe": replaced_by(WEIGHTS, os.mkfifo),
}
"""Harms to a full checkpoint; each is refused."""

NEVER_READ: dict[str, Harm] = {
    "quantised by nobody": backbone_config_with(quantization_config={"quant_method": "evil"}),
    "index that points outside": file_with(
        "backbone/model.safetensors.index.json", '{"metadata": {}, "weight_map": {"a": "../../../x.safetensors"}}'
    ),
    "pickle beside": file_with("backbone/pytorch_model.bin", b"cos\nsystem\n(S'exit 3'\ntR."),
}
"""What a full checkpoint may hold without any effect: it scores as it did, or is refused."""

STATE: dict[str, Harm] = {
    "state empty": state_with(""),
    "state a list": state_with("[]"),
    "state deep": state_with("[" * DEEP),
    "state long number": state_with('{"step": ' + DIGITS + "}"),
    "state step text": state_with(step="5"),
    "state step negative": state_with(step=-5),
    "state unknown field": state_with(run_this=1),
    "state drawn a list": state_with(drawn=[1]),
    "state drawn negative": state_with(drawn={"own": -4}),
    "state best of text": state_with(best={"step": "x", "value": "y"}),
    "state best seen text": state_with(best_seen="low"),
    "state seconds nan": state_with('{"seconds": NaN}'),
    "state interval of text": state_with(interval={"losses": "abc", "tokens": 1, "labels": {}, "seconds": 1.0}),
    "state interval half": state_with(interval={"losses": [1.0]}),
    "state interval uneven": state_with(
        interval={"losses": [1.0], "weights": [1.0, 2.0], "tokens": 1, "labels": {}, "seconds": 1.0}
    ),
    "state scaler of objects": state_with(scaler={"scale": {"a": 1}}),
    "state sources of numbers": state_with(sources={"own": 3}),
}
"""Harms to what resuming reads."""


def copies(original: Path, root: Path, harms: dict[str, Harm]) -> Iterator[tuple[str, Path]]:
    """A copy of `original` for each harm, one at a time."""
    for number, (name, harm) in enumerate(harms.items()):
        folder = Path(shutil.copytree(original, root / str(number) / original.name))
        harm(folder)
        yield name, folder
        shutil.rmtree(folder.parent)
