"""`surestep push`: a checkpoint to the Hugging Face hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from surestep.cli.output.console import say


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a run, a checkpoint or an exported folder")
    parser.add_argument("name", metavar="OWNER/NAME", help="the repository on the hub; made where it is missing")
    parser.add_argument("--revision", metavar="BRANCH", help="branch to write; made where it is missing")
    parser.add_argument("--public", action="store_true", help="a repository that is made now is public, not private")
    parser.add_argument("--message", metavar="TEXT", help="of the commit")
    parser.add_argument("--update", action="store_true", help="replace what lies in the repository")
    parser.add_argument(
        "--card", type=Path, metavar="FILE", help="README.md (default: the evaluation's MODEL_CARD.md, or a plain one)"
    )
    parser.add_argument("--license", metavar="ID", help="the weights' licence, as the hub writes it: apache-2.0, say")
    parser.add_argument(
        "--with_training_state", "--with-training-state", action="store_true", help="with what --resume needs"
    )
    parser.add_argument("--dry_run", "--dry-run", action="store_true", help="say what would be uploaded, and stop")


def run(args: argparse.Namespace) -> int:
    """Upload; 0 when done."""
    from surestep.evaluation.publish.push_to_hub import push_to_hub

    made = push_to_hub(
        args.checkpoint,
        args.name,
        revision=args.revision,
        private=not args.public,
        message=args.message,
        update=args.update,
        card=args.card,
        licence=args.license,
        with_training_state=args.with_training_state,
        dry_run=args.dry_run,
        say=say,
    )
    if made is None:
        say("dry run: nothing was uploaded")
        return 0
    at = "" if args.revision is None else f", revision={args.revision!r}"
    say(f"uploaded: {made.url}")
    say(f"next: Scorer.load({args.name!r}{at})")
    return 0
