"""`certificate.json`, `monitor.json`, `selective.json`: what a checkpoint promises, files that its manifest lists.

Knows the files, their place, and what they are for: refused beside other weights, or other calibration maps where they
need them. Makes no promise itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from surestep.calibration.calibration import Calibration
from surestep.errors import CheckpointError, SurestepError
from surestep.files import CALIBRATION, CERTIFICATE, CERTIFICATES, MONITOR, SELECTIVE, storage_errors
from surestep.guarantees.certificate import Certificate
from surestep.scoring.checkpoint.manifest import Manifest, replace_file
from surestep.untrusted import place_inside, read_json

_PROMISE_FLAG = {CERTIFICATE: "", MONITOR: " --promise monitor", SELECTIVE: " --promise selective"}
_DECIDES_NO_SCORE = {CALIBRATION, *CERTIFICATES}


def checkpoint_identity(manifest: Manifest) -> str:
    """Hash of everything of a checkpoint that decides its raw confidences: its weights, tokenizer, text format.

    A calibration or a certificate that is put into it changes nothing here.
    """
    values = asdict(manifest)
    files = {name: entry["sha256"] for name, entry in values["files"].items() if name not in _DECIDES_NO_SCORE}
    kept = ("kind", "step", "confidence_id", "backbone", "formatter_hash", "tokenizer_hash")
    text = json.dumps({"files": files, **{name: values[name] for name in kept}}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def calibration_identity(calibration: Calibration | None) -> str | None:
    """Hash of a checkpoint's calibration maps, not of their record; None where it has none."""
    if calibration is None:
        return None
    maps = {**calibration.to_json(), "about": {}}
    return hashlib.sha256(json.dumps(maps, sort_keys=True).encode()).hexdigest()


def read_certificate(
    folder: Path, manifest: Manifest, calibration: Calibration | None, name: str = CERTIFICATE
) -> Certificate | None:
    """One certificate of a checkpoint, None where it has none; its hash is the manifest's business.

    Args:
        folder: the checkpoint.
        manifest: as `read_manifest` gave it.
        calibration: the maps that lie beside it.
        name: which of `CERTIFICATES`.

    Raises:
        CheckpointError: the file holds no certificate, or one of another checkpoint or of other calibration maps.
    """
    if name not in manifest.files:
        return None
    path = folder / name
    mend = f"remove it with `surestep certify --remove{_PROMISE_FLAG[name]}` and certify again"
    try:
        certificate = Certificate.from_json(read_json(place_inside(folder, name)))
        if certificate.promise.file != name:
            raise ValueError(f"it holds the promise {certificate.terms.promise}, which is stored in another file")
    except (OSError, ValueError, SurestepError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); {mend}") from None
    if certificate.made_for.checkpoint != checkpoint_identity(manifest):
        raise CheckpointError(f"{path} is of another checkpoint: its promise does not hold for this one; {mend}")
    if certificate.needs_map and certificate.made_for.calibration != calibration_identity(calibration):
        raise CheckpointError(
            f"{path} was made with other calibration maps, which its scores depend on: its "
            f"promise does not hold with these; {mend}"
        )
    return certificate


def certificate_text(certificate: Certificate) -> str:
    """The content of `certificate.json`."""
    return json.dumps(certificate.to_json(), indent=2, allow_nan=False) + "\n"


def store_certificate(
    folder: Path, manifest: Manifest, certificate: Certificate | None, name: str = CERTIFICATE
) -> None:
    """Put a certificate into a finished checkpoint, in place of any in its file, or take that out (None).

    Killed at any moment, it leaves a valid checkpoint with the old certificate or with the new one.

    Args:
        folder: the checkpoint.
        manifest: as `read_manifest` gave it.
        certificate: the new one.
        name: the file to take out; a certificate knows its own.

    Raises:
        StorageError: the folder cannot be written; the checkpoint is still valid.
    """
    name = name if certificate is None else certificate.promise.file
    content = None if certificate is None else certificate_text(certificate).encode()
    with storage_errors(folder / name, "free space or allow writing there and run the command again"):
        replace_file(folder, manifest, name, content)


def remove_stale_certificate(folder: Path, manifest: Manifest, calibration: Calibration | None) -> str | None:
    """Take out what does not hold with these maps, before they are stored; a line where there was a certificate.

    Raises:
        StorageError: as `store_certificate`.
    """
    lines: list[str] = []
    for name in CERTIFICATES:
        try:
            certificate = read_certificate(folder, manifest, calibration, name)
        except CheckpointError:
            store_certificate(folder, manifest, None, name)
            again = f"surestep certify{_PROMISE_FLAG[name]}"
            lines.append(f"removed: {folder / name}, which was made with the former calibration; run `{again}` again")
            continue
        if certificate is not None:
            lines.append(f"{folder / name} holds on: it reads the model's own confidences")
    return "; ".join(lines) or None


def carried_to(certificate: Certificate, manifest: Manifest) -> Certificate:
    """The certificate of a checkpoint for the same one in another form, as `export` writes it.

    Args:
        certificate: of the checkpoint that was exported.
        manifest: of what was written.
    """
    made_for = replace(certificate.made_for, checkpoint=checkpoint_identity(manifest))
    about = {**certificate.about, "carried_from_checkpoint": certificate.made_for.checkpoint}
    return Certificate(certificate.terms, certificate.rules, certificate.groups, made_for, about)
