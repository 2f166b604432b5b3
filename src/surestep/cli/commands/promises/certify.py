"""`surestep certify`: a finite-sample promise about what a checkpoint keeps, stored in it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surestep.cli.checkpoint_argument import add_checkpoint
from surestep.cli.commands.promises.curve import write_curve
from surestep.cli.commands.promises.problems import data_of, sources_of, trees_of
from surestep.cli.flags import add_scoring_flags, flag_values, override
from surestep.cli.output.console import make_console, say
from surestep.config import get_default_config
from surestep.data.datasets import LAYOUTS
from surestep.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from surestep.data.sources.source import Source
    from surestep.evaluation.certify.run import CertifiedOn
    from surestep.guarantees.certificate import Certificate, MadeFor
    from surestep.guarantees.terms import Terms
    from surestep.scored import ScoredSteps


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    from surestep.evaluation.certify.curve import COSTS
    from surestep.guarantees.critical_values import LOSSES, UNLABELLED
    from surestep.guarantees.monitoring import STATISTICS
    from surestep.guarantees.path_scores import SCORES
    from surestep.guarantees.promises import PROMISES
    from surestep.metrics.benchmarks.aggregation import AGGREGATIONS

    add_checkpoint(parser)
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="certify the scores of this file instead: one confidence for every step of --data, judged or not",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="labelled problems that nothing has seen (default: the test split of the checkpoint's datasets)",
    )
    parser.add_argument("--format", choices=LAYOUTS, help="layout of --data (default: recognised by its keys)")
    parser.add_argument(
        "--promise",
        choices=tuple(PROMISES),
        default="chosen",
        help="what is promised: "
        + "; ".join(f"{name}: {promise.title}" for name, promise in PROMISES.items())
        + " (default: chosen)",
    )
    parser.add_argument(
        "--alpha", type=float, default=0.1, metavar="X", help="the share that may go wrong, chosen beforehand (0.1)"
    )
    parser.add_argument(
        "--confidence",
        type=float,
        metavar="X",
        help="promise alpha for this share of calibration sets (0.9, say), in place of their average",
    )
    parser.add_argument(
        "--score",
        choices=SCORES,
        default="product",
        help="what is compared with the cut-off (default: product, of calibrated confidences; min: of raw ones)",
    )
    parser.add_argument(
        "--policy",
        choices=tuple(AGGREGATIONS),
        help="how one of several solutions is chosen, as `rerank --by` does (default: as --score)",
    )
    parser.add_argument(
        "--most", type=int, metavar="N", help="the policy looks at the first N solutions of a problem at most (all)"
    )
    parser.add_argument(
        "--stop_above",
        type=float,
        metavar="X",
        help="the policy stops at the first solution with a score above X, which other problems have fixed",
    )
    parser.add_argument(
        "--escalate_above",
        type=float,
        metavar="X",
        help="selective: what is not handed out is escalated where its score is above X, else there is no answer",
    )
    parser.add_argument(
        "--statistic",
        choices=tuple(STATISTICS),
        default=next(iter(STATISTICS)),
        help="monitor: what stops a solution (default: lowest_step, of raw confidences)",
    )
    parser.add_argument("--by", choices=("dataset",), help="one rule for each dataset, small ones together")
    parser.add_argument(
        "--wrong_below", type=float, default=0.5, metavar="X", help="a step is wrong where its label is below (0.5)"
    )
    parser.add_argument(
        "--unlabelled", choices=UNLABELLED, default="ignore", help="what a step without a label counts as (ignore)"
    )
    parser.add_argument(
        "--loss", choices=LOSSES, default="wrong_step", help="soft: promise the mean of the largest 1 − label kept"
    )
    parser.add_argument(
        "--curve",
        type=Path,
        metavar="FILE",
        help="write cost against accuracy of these problems as JSON, and a picture of it beside it; promises nothing",
    )
    parser.add_argument("--cost", choices=COSTS, default="steps", help="what --curve counts (default: steps)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the certificate to this file as well")
    parser.add_argument("--no_store", action="store_true", help="only show it: the checkpoint stays as it is")
    parser.add_argument("--remove", action="store_true", help="remove the certificate from the checkpoint")
    parser.add_argument("--remove_seen", action="store_true", help="leave out problems that were used before")
    parser.add_argument(
        "--unchecked_training",
        action="store_true",
        help="go on where what was trained on cannot be read here: the certificate records it",
    )
    add_scoring_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Certify; 0 when done, also where there is no rule and nothing was to be stored."""
    terms = _terms(args)
    if args.checkpoint is None:
        return _of_predictions(args, terms)

    from surestep.scoring.checkpoint.find import locked_run
    from surestep.scoring.checkpoint.manifest import check_is_checkpoint

    check_is_checkpoint(args.checkpoint)
    with locked_run(args.checkpoint, command="surestep certify") as said:
        if said is not None:
            say(f"· {said}")
        return _remove(args.checkpoint, args.promise) if args.remove else _of_checkpoint(args, terms)


def _terms(args: argparse.Namespace) -> Terms:
    """The terms, and everything that contradicts another said before anything is loaded."""
    from surestep.guarantees.critical_values import Judging
    from surestep.guarantees.terms import Terms

    if (args.checkpoint is None) == (args.predictions is None):
        raise ConfigError("name either --checkpoint FOLDER or --predictions FILE")
    if args.predictions is not None and (args.data is None or args.remove):
        raise ConfigError("--predictions holds scores only: name the labelled trees with --data, and drop --remove")
    if args.format is not None and args.data is None:
        raise ConfigError("--format is the layout of --data: name a file with --data")
    if args.remove and (args.data is not None or args.out is not None):
        raise ConfigError("--remove only removes the certificate: drop --data and --out, or drop --remove")
    if args.promise in ("monitor", "selective") and args.by is not None:
        raise ConfigError(f"--by {args.by} with --promise {args.promise}: there is one for all datasets; drop --by")
    if args.escalate_above is not None and args.promise != "selective":
        raise ConfigError("--escalate_above is of --promise selective; drop it, or add that")
    if args.cost == "tokens" and args.checkpoint is None:
        raise ConfigError("--cost tokens needs the tokenizer of a --checkpoint; drop it, to count steps")
    if args.confidence is not None and not 0.0 < args.confidence < 1.0:
        raise ConfigError(f"--confidence {args.confidence}; allowed: above 0, below 1 (0.9, say)")
    return Terms(
        promise=args.promise,
        alpha=args.alpha,
        # As it was written: 1 − 0.9 is 0.09999999999999998.
        delta=None if args.confidence is None else round(1.0 - args.confidence, 12),
        judging=Judging(args.score, args.wrong_below, args.unlabelled, args.loss),
        policy=args.policy or args.score,
        most=args.most,
        stop_above=args.stop_above,
        escalate_above=args.escalate_above,
        statistic=args.statistic,
        seed=flag_values(args).get("training.seed", get_default_config().training.seed),
    )


def _of_checkpoint(args: argparse.Namespace, terms: Terms) -> int:
    from surestep.cli.output.progress import counting
    from surestep.evaluation.certify.run import certify, choose_problems
    from surestep.evaluation.certify.seen import find_seen, refuse_seen
    from surestep.guarantees.certificate import MadeFor
    from surestep.scoring.checkpoint.certificate_file import (
        calibration_identity,
        checkpoint_identity,
        store_certificate,
    )
    from surestep.scoring.checkpoint.load import load_checkpoint, read_config
    from surestep.scoring.hardware import for_scoring_here
    from surestep.scoring.score_split import score_split
    from surestep.scoring.stored_split import prepare_source

    console = make_console()
    saved = read_config(args.checkpoint)
    # What training read is looked through for these problems, so the mixture of its training stays.
    trained = override(saved, args, kept=saved.data.used())
    config = data_of(args, for_scoring_here(trained))
    sources = sources_of(config)
    trees = trees_of(sources)
    loaded = load_checkpoint(args.checkpoint, config=config)
    built = loaded.built
    seen = find_seen(
        trained.data,
        trained.training,
        built.calibration,
        trees,
        accept_unknown=args.unchecked_training,
        phases=trained.data_of_phases(),
    )
    if not args.remove_seen:
        refuse_seen(seen, len({tree.problem for tree in trees}))
    by_dataset = args.by == "dataset"
    with counting(console) as progress:
        splits = [
            prepare_source(source, built.tokenizer, built.formatter, cache_dir=config.data.cache_dir, progress=progress)
            for source in sources
        ]
        steps = score_split(built.scorer(config), splits, own_maps=by_dataset, progress=progress)
    made_for = MadeFor(
        checkpoint_identity(loaded.manifest),
        calibration_identity(built.calibration),
        _contents(sources),
        problems="",
        own_maps=by_dataset,
    )
    if args.curve is not None:
        write_curve(args, terms, steps, console, built.tokenizer)
    about: dict[str, Any] = {"split": "as given" if args.data else "test", "precision": built.hardware.precision}
    about["reading"] = {split.name: split.report for split in splits}
    on = choose_problems(steps, trees, seen)
    certificate = certify(on, terms, made_for=made_for, by_dataset=by_dataset, about=about)
    _show(console, certificate)
    if not _may_store(args, certificate, wants=not args.no_store):
        return 0
    if args.out is not None:
        _write(args.out, certificate, console)
    if not args.no_store:
        name = certificate.promise.file
        what = "replaced" if name in loaded.manifest.files else "stored"
        store_certificate(args.checkpoint, loaded.manifest, certificate)
        console.print(f"{what}: {args.checkpoint / name}", markup=False, highlight=False)
    return 0


def _of_predictions(args: argparse.Namespace, terms: Terms) -> int:
    from surestep.evaluation.certify.run import certify, choose_problems, reading_of
    from surestep.files import sha256_of
    from surestep.guarantees.certificate import MadeFor
    from surestep.scoring.score_file import FileScorer
    from surestep.scoring.score_split import score_trees

    console = make_console()
    sources = sources_of(data_of(args, override(get_default_config(), args)))
    trees = trees_of(sources)
    scorer = FileScorer.read(args.predictions, by_id=True)
    steps: ScoredSteps = score_trees(scorer, trees)
    if args.curve is not None:
        write_curve(args, terms, steps, console, None)
    made_for: MadeFor = MadeFor("", None, _contents(sources), problems="")
    about: dict[str, Any] = {"predictions_sha256": sha256_of(args.predictions), "reading": reading_of(sources)}
    on: CertifiedOn = choose_problems(steps, trees, None)
    certificate = certify(on, terms, made_for=made_for, by_dataset=args.by == "dataset", about=about)
    _show(console, certificate)
    if _may_store(args, certificate, wants=False) and args.out is not None:
        _write(args.out, certificate, console)
    return 0


def _contents(sources: Sequence[Source]) -> dict[str, str]:
    return {source.name: str(source.content()) for source in sources}


def _show(console: Console, certificate: Certificate) -> None:
    from surestep.evaluation.certify.in_words import lines_of

    for title, sentence in lines_of(certificate):
        console.print(f"{title:<12} {sentence}" if title else f"{sentence}", markup=False, highlight=False)


def _may_store(args: argparse.Namespace, certificate: Certificate, *, wants: bool) -> bool:
    """Whether there is a rule to store.

    Raises:
        ConfigError: a certificate was asked for, and there is none.
    """
    if any(rule.exists for rule in certificate.rules.values()):
        return True
    if wants or args.out is not None:
        largest = max(certificate.rules.values(), key=lambda rule: rule.critical.n)
        raise ConfigError(
            f"{certificate.promise.why_no_rule(certificate.terms, largest)}; nothing is stored: give more problems or "
            "a larger --alpha, or only look with --no_store"
        )
    return False


def _write(path: Path, certificate: Certificate, console: Console) -> None:
    from surestep.files import write_json

    write_json(path, certificate.to_json(), advice="free space or choose another --out")
    console.print(f"wrote {path}", markup=False, highlight=False)


def _remove(folder: Path, promise: str) -> int:
    from surestep.guarantees.promises import PROMISES
    from surestep.scoring.checkpoint.certificate_file import store_certificate
    from surestep.scoring.checkpoint.manifest import read_manifest

    manifest = read_manifest(folder, with_state=False)
    name = PROMISES[promise].file
    if name not in manifest.files:
        say(f"{folder} has no {name}")
        return 0
    store_certificate(folder, manifest, None, name)
    say(f"removed: {folder / name}; the checkpoint does not promise it any more")
    return 0
