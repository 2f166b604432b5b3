"""`push_to_hub`: a run, a checkpoint or an export to the Hugging Face hub, and what is said before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from surestep.counted import counted
from surestep.evaluation.publish.card import PublishedCard, published_card
from surestep.evaluation.report.model_card import HUB_NAME
from surestep.files import MANIFEST
from surestep.scoring.checkpoint.find import find_checkpoint
from surestep.scoring.checkpoint.to_hub import (
    VLLM_ABOUT,
    Upload,
    Uploaded,
    check_target,
    files_to_upload,
    places_named,
    size_in_words,
    upload,
)
from surestep.terminal_text import to_stderr
from surestep.untrusted import read_json


@dataclass(frozen=True)
class PushPlan:
    """What would be uploaded.

    Attributes:
        upload: the files, the card and where they go.
        lines: all that a user should know before, a line each.
    """

    upload: Upload
    lines: tuple[str, ...]


def plan_push(
    path: str | Path,
    name: str,
    *,
    revision: str | None = None,
    private: bool = True,
    card: Path | None = None,
    licence: str | None = None,
    with_training_state: bool = False,
) -> PushPlan:
    """Look at everything that a push needs, without the network.

    Raises:
        CheckpointError: there is no checkpoint, or a file of it has changed.
        InputError: the card cannot be read.
        UploadError: `name` or `revision` cannot be a repository's or a branch's.
    """
    check_target(name, revision)
    folder, found_by = _found(path)
    files, left_out = files_to_upload(folder, with_state=with_training_state)
    is_for_vllm = MANIFEST not in files
    command = _vllm_command(folder, name) if is_for_vllm else None
    made = published_card(folder, name, card=card, licence=licence, command=command)
    what = Upload(name=name, files=files, card=made.text, keeps_card=card is None, revision=revision, left_out=left_out)
    return PushPlan(what, tuple(_lines(folder, what, made, private=private, found_by=found_by)))


def push_to_hub(
    path: str | Path,
    name: str,
    *,
    revision: str | None = None,
    private: bool = True,
    message: str | None = None,
    update: bool = False,
    card: Path | None = None,
    licence: str | None = None,
    with_training_state: bool = False,
    token: str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = to_stderr,
) -> Uploaded | None:
    """Upload a checkpoint, so that `Scorer.load("owner/name")` loads it; None after a dry run.

    Args:
        path: a run's folder (its best checkpoint is taken, and said), a checkpoint, or what `surestep export` wrote.
        name: owner/name.
        revision: the branch, which is made where it is missing; unset: the default branch.
        private: whether a repository that is made now is private.
        message: of the commit.
        update: replace what lies in a repository that is there.
        card: a file to take as `README.md`; unset: the card of the checkpoint's evaluation, or one without figures.
        licence: the weights' licence, as the hub writes it.
        with_training_state: with `training_state/`, which only resuming needs.
        token: unset: that of `hf auth login` or `HF_TOKEN`.
        dry_run: say what would be uploaded, and ask no network.
        say: is told, in a line, what is uploaded, before it is, and what a user should know.

    Raises:
        CheckpointError, InputError, UploadError: as `plan_push`, and where the hub does not take it; nothing on the
            hub has changed then.
    """
    plan = plan_push(
        path,
        name,
        revision=revision,
        private=private,
        card=card,
        licence=licence,
        with_training_state=with_training_state,
    )
    for line in plan.lines:
        say(line)
    if dry_run:
        return None
    return upload(plan.upload, private=private, message=message, update=update, token=token, say=say)


def _found(path: str | Path) -> tuple[Path, str | None]:
    folder = Path(path).expanduser()
    if (folder / VLLM_ABOUT).is_file():
        return folder, None
    found = find_checkpoint(folder)
    return found.folder, found.line


def _vllm_command(folder: Path, name: str) -> str:
    from surestep.scoring.vllm.export import command_for

    layout = read_json(folder / VLLM_ABOUT).get("layout", "plugin")
    return f"hf download {name} --local-dir model\n{command_for(layout, Path('model'))}"


def _lines(folder: Path, what: Upload, card: PublishedCard, *, private: bool, found_by: str | None) -> list[str]:
    lines = [] if found_by is None else [found_by]
    at = "" if what.revision is None else f", branch {what.revision}"
    kind = "private" if private else "public, to everybody"
    lines.append(
        f"{folder} -> {what.name} ({kind}{at}): {counted(len(what.files) + 1, 'file')}, {size_in_words(what.num_bytes)}"
    )
    lines += [f"  {name} ({size_in_words(path.stat().st_size)})" for name, path in what.files.items()]
    lines.append(f"  README.md: the card, {card.source}")
    lines += what.left_out
    if places := places_named(what.files):
        shown = ", ".join(places[:3]) + (", ..." if places[3:] else "")
        lines.append(f"places of this machine can be read in it: {shown}")
    if MANIFEST in what.files and (backbone := _backbone_elsewhere(what.files[MANIFEST])):
        lines.append(
            f"it adapts {backbone}, a folder of this machine, without which nobody can load it: `surestep export` "
            "makes a checkpoint that needs no other"
        )
    return [*lines, *(f"licence of {line}" for line in card.licences)]


def _backbone_elsewhere(manifest: Path) -> str | None:
    """The backbone of a LoRA checkpoint, where it is neither on the hub nor part of Surestep."""
    values = read_json(manifest)
    name = str(values["backbone"]["name"])
    is_public = HUB_NAME.fullmatch(name) or name.startswith("builtin:")
    return None if values["kind"] != "lora" or is_public else name
