"""What only a person can see to: that the errors were read, that a copy lies somewhere safe.

A person signs with name and date; the sign-offs are kept in the run's folder, beside its checkpoints. One holds for
the checkpoint as it was then: after a new calibration, say, it has to be given again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationError

from surestep.disk import real_path
from surestep.errors import CheckpointError, ConfigError
from surestep.evaluation.check.finding import Finding, Status
from surestep.files import SIGN_OFFS, write_json
from surestep.scoring.checkpoint.find import locked_run
from surestep.scoring.checkpoint.manifest import manifest_sha256
from surestep.settings import Section
from surestep.untrusted import SHA256, Matching, read_json

SignedItem = Literal["backup", "error_analysis"]
SIGNED_ITEMS: tuple[SignedItem, ...] = get_args(SignedItem)
"""The points of the checklist that may be signed off; each is an `item` of the findings."""


_TIME = Matching(r"[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}\+00:00", "a time such as 2026-11-29T06:30:00+00:00")


class SignOff(Section):
    """One person's word for one point of the checklist.

    Attributes:
        item: the point.
        by: who signed.
        date: when, UTC, as ISO 8601.
        checkpoint: name of the checkpoint's folder.
        manifest_sha256: the checkpoint's manifest at that moment: the state that was signed.
        note: what the person wants to be read with it.
    """

    item: SignedItem
    by: Annotated[str, Field(min_length=1, max_length=200)]
    date: Annotated[str, _TIME]
    checkpoint: str
    manifest_sha256: Annotated[str, SHA256]
    note: Annotated[str, Field(max_length=2000)] = ""

    def __str__(self) -> str:
        return f"signed off by {self.by} on {self.date[:10]}"


def sign_off(folder: Path, items: Collection[SignedItem], *, by: str, note: str = "") -> list[SignOff]:
    """Keep `by`'s word for `items` of the checkpoint in `folder` as it is now; former ones stay in the file.

    Raises:
        ConfigError: the name is empty, or name or note is too long.
        CheckpointError: the file of sign-offs is damaged.
        LockedError: another process works in the run's folder.
        StorageError: it cannot be written.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    state = manifest_sha256(folder)
    if not by.strip():
        raise ConfigError("--by is empty; allowed: the name of the person who signs, as in --by 'Ada Lovelace'")
    try:
        signed = [
            SignOff(
                item=item, by=by.strip(), date=now, checkpoint=real_path(folder).name, manifest_sha256=state, note=note
            )
            for item in items
        ]
    except ValidationError as error:
        where = error.errors()[0]
        raise ConfigError(f"--{where['loc'][0]}: {where['msg'].lower()}; name and note are kept as they are") from None
    with locked_run(folder, command="surestep check --sign_off"):
        write_json(_path(folder), {"sign_offs": [one.model_dump() for one in (*read_sign_offs(folder), *signed)]})
    return signed


def read_sign_offs(folder: Path) -> list[SignOff]:
    """All sign-offs of the run that the checkpoint in `folder` belongs to, oldest first.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = _path(folder)
    if not path.is_file():
        return []
    try:
        values = read_json(path)
        return [SignOff.model_validate(one) for one in values["sign_offs"]]
    except (OSError, ValueError, TypeError, KeyError):
        raise CheckpointError(f"{path} is damaged; restore it, or remove it and sign off again") from None


def check_signed(
    item: SignedItem, what: str, folder: Path, signed: Sequence[SignOff] | str, *, demanded: bool, mend: str
) -> Finding:
    """Whether somebody signed `item` for the checkpoint as it is now.

    Args:
        item: the point.
        what: how the finding names it.
        folder: the checkpoint.
        signed: the run's sign-offs, or why they cannot be read.
        demanded: whether the targets ask for it; where not, a missing one is no failure.
        mend: how to see to it.
    """
    if isinstance(signed, str):
        return Finding(item, what, "fail", value="cannot be read", detail=signed, mend=mend)
    name = real_path(folder).name
    given = [one for one in signed if one.item == item and one.checkpoint == name]
    try:
        state = manifest_sha256(folder)
    except CheckpointError as error:
        return Finding(item, what, "fail", value="cannot be judged", detail=str(error), mend=mend)
    if current := [one for one in given if one.manifest_sha256 == state]:
        last = current[-1]
        return Finding(item, what, "pass", value=str(last), target="a name and a date", detail=last.note)
    if given:
        value, detail = "of an earlier state", f"{given[-1]}; the checkpoint has changed since (a new calibration, say)"
    else:
        value, detail = "nobody has signed", ""
    status: Status = "fail" if demanded else "skipped"
    return Finding(item, what, status, value=value, target="a name and a date", detail=detail, mend=mend)


def _path(folder: Path) -> Path:
    return real_path(folder).parent / SIGN_OFFS
