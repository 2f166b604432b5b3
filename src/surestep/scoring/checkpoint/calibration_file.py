"""`calibration.json`: the maps of a checkpoint, one of the files that its manifest lists; and the same of any scorer.

The file of another scorer lies where its user wants it, and says in `about.scorer` whose confidences it maps.

Knows the file and its place; fits nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surestep.calibration.calibration import Calibration
from surestep.disk import advice_after
from surestep.errors import CheckpointError, ConfigError, StorageError
from surestep.files import CALIBRATION
from surestep.scoring.checkpoint.certificate_file import remove_stale_certificate
from surestep.scoring.checkpoint.manifest import Manifest, replace_file
from surestep.scoring.protocol import Scorer
from surestep.untrusted import place_inside, read_json


def read_calibration(folder: Path) -> Calibration | None:
    """The calibration of a checkpoint, None where it has none; its hash is the manifest's business.

    Raises:
        CheckpointError: the file is there and holds no calibration.
    """
    path = folder / CALIBRATION
    if not path.is_file():
        return None
    try:
        return Calibration.from_json(read_json(place_inside(folder, CALIBRATION)))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); remove it with `surestep calibrate --remove` and fit it again"
        ) from None


def read_calibration_of(scorer: Scorer, path: Path) -> Calibration:
    """The calibration that `surestep calibrate --scorer` fitted for this scorer.

    Raises:
        ConfigError: the file is missing or holds none, or one of another scorer.
    """
    try:
        found = Calibration.from_json(read_json(path))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"--calibration_file {path} cannot be read ({reason}); fit it with `surestep calibrate --scorer ...`"
        ) from None
    fitted = found.about.get("scorer")
    theirs = fitted if isinstance(fitted, dict) else {}
    ours = scorer.about().get("scorer", {})
    if theirs.get("sha256") != ours.get("sha256"):
        raise ConfigError(
            f"--calibration_file {path} was fitted to {_named(theirs)}, not to {_named(ours)}: a map is for the very "
            "scorer and settings that it was fitted to; fit one with `surestep calibrate --scorer ...`"
        )
    return found


def _named(scorer: Mapping[str, Any]) -> str:
    if "sha256" not in scorer:
        return "a checkpoint of Surestep"
    return f"the {scorer.get('form')} {scorer.get('name')} ({str(scorer['sha256'])[:12]})"


def calibration_text(calibration: Calibration) -> str:
    """The content of `calibration.json`."""
    return json.dumps(calibration.to_json(), indent=2, allow_nan=False) + "\n"


def store_calibration(folder: Path, manifest: Manifest, calibration: Calibration | None) -> str | None:
    """Put a calibration into a finished checkpoint, in place of any that is there, or take it out (None).

    Killed at any moment, it leaves a valid checkpoint with the old calibration or with the new one. A certificate that
    does not hold with the new one goes first.

    Returns:
        A line about the checkpoint's certificate; None where it has none.

    Args:
        folder: the checkpoint.
        manifest: as `read_manifest` gave it.
        calibration: the new one.

    Raises:
        StorageError: the folder cannot be written.
    """
    content = None if calibration is None else calibration_text(calibration).encode()
    line = remove_stale_certificate(folder, manifest, calibration)
    try:
        replace_file(folder, manifest, CALIBRATION, content)
    except OSError as error:
        mend = advice_after(error, "free space or allow writing there and run the command again")
        raise StorageError(
            f"{folder}: the calibration cannot be written ({error.strerror}); {mend}; the checkpoint is still valid"
        ) from None
    return line
