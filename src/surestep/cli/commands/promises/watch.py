"""`surestep watch`: look at new problems after certifying, again and again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from surestep.cli.checkpoint_argument import add_checkpoint
from surestep.cli.commands.promises.problems import trees_in_order
from surestep.cli.flags import add_scoring_flags, override
from surestep.cli.output.console import make_console
from surestep.config import get_default_config
from surestep.counted import counted
from surestep.data.datasets import LAYOUTS
from surestep.errors import ConfigError

if TYPE_CHECKING:
    from surestep.evaluation.certify.watch import Watch
    from surestep.guarantees.certificate import Certificate
    from surestep.scored import ScoredSteps


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_checkpoint(parser, purpose=" with a certificate")
    parser.add_argument(
        "--certificate", type=Path, metavar="FILE", help="with --predictions: what `certify --out` wrote"
    )
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="the scores of --data, in place of a checkpoint"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE", help="new problems with solutions, labelled or not"
    )
    parser.add_argument("--format", choices=LAYOUTS, help="layout of --data (default: recognised by its keys)")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        help="what earlier looks have found: read where it is there, and written, so that the next look goes on",
    )
    parser.add_argument(
        "--selective", action="store_true", help="watch the scores of `certify --promise selective` instead"
    )
    add_scoring_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Look; 0 where nothing warns, 1 where something does or has before."""
    _check(args)
    certificate, steps = _of_checkpoint(args) if args.predictions is None else _of_predictions(args)
    watch = _begun(args.state, certificate)
    watch.look(certificate, steps)
    _show(watch)
    if args.state is not None:
        from surestep.files import write_json

        write_json(args.state, watch.to_json(), advice="free space or choose another --state")
    return int(watch.warns)


def _check(args: argparse.Namespace) -> None:
    if (args.checkpoint is None) == (args.predictions is None):
        raise ConfigError("name either --checkpoint FOLDER or --predictions FILE with --certificate FILE")
    if (args.predictions is None) != (args.certificate is None):
        raise ConfigError(
            "--predictions and --certificate go together: scores of a file, and what was certified of such"
        )


def _of_checkpoint(args: argparse.Namespace) -> tuple[Certificate, ScoredSteps]:
    from surestep.cli.output.progress import counting
    from surestep.scoring.checkpoint.load import load_checkpoint, read_config
    from surestep.scoring.checkpoint.manifest import check_is_checkpoint
    from surestep.scoring.hardware import for_scoring_here
    from surestep.scoring.score_split import score_trees

    check_is_checkpoint(args.checkpoint)
    config = override(for_scoring_here(read_config(args.checkpoint)), args)
    trees = trees_in_order(args, config)
    built = load_checkpoint(args.checkpoint, config=config).built
    certificate = built.selective if args.selective else built.certificate
    if certificate is None:
        again = "surestep certify --promise selective" if args.selective else "surestep certify"
        raise ConfigError(f"{args.checkpoint} has no certificate to watch: run `{again}` first")
    own = config.data.own_name if certificate.made_for.own_maps else None
    with counting(make_console()) as progress:
        advance = progress("scoring new problems")
        return certificate, score_trees(built.scorer(config), trees, dataset=own, advance=advance)


def _of_predictions(args: argparse.Namespace) -> tuple[Certificate, ScoredSteps]:
    from surestep.guarantees.certificate import Certificate
    from surestep.scoring.score_file import FileScorer
    from surestep.scoring.score_split import score_trees
    from surestep.untrusted import read_json

    try:
        certificate = Certificate.from_json(read_json(args.certificate))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{args.certificate}: cannot be read as a certificate ({error}); write it anew") from None
    trees = trees_in_order(args, override(get_default_config(), args))
    return certificate, score_trees(FileScorer.read(args.predictions, by_id=True), trees)


def _begun(state: Path | None, certificate: Certificate) -> Watch:
    from surestep.evaluation.certify.watch import Watch
    from surestep.untrusted import read_json

    if state is None or not state.exists():
        return Watch.begin(certificate)
    try:
        return Watch.from_json(read_json(state), certificate)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{state}: cannot go on ({error}); name another --state to begin anew") from None


def _show(watch: Watch) -> None:
    console = make_console()
    for name, group in watch.groups.items():
        lines = list(group.lines())
        if len(watch.groups) > 1:
            lines.insert(0, ("Group", name))
        for title, sentence in lines:
            console.print(f"{title:<12} {sentence}", markup=False, highlight=False)
    if watch.repeated:
        console.print(
            f"· {counted(watch.repeated, 'problem was', 'problems were')} looked at before: not counted again",
            markup=False,
        )
