"""`surestep serve`: a checkpoint behind HTTP.

Knows arguments and printing, and puts model and server together; the work is done in `surestep.serving`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from functools import partial
from typing import TYPE_CHECKING

from surestep.cli.checkpoint_argument import add_checkpoint, required
from surestep.cli.flags import add_config_flags, add_section_flags, fields, override, section_from_args
from surestep.cli.output.console import make_console
from surestep.errors import ConfigError
from surestep.serving.api_keys import check_exposed, read_api_keys, who_may_ask
from surestep.serving.protocols.config import ProtocolConfig
from surestep.serving.settings import ServeConfig

if TYPE_CHECKING:
    from fastapi import APIRouter
    from rich.console import Console

    from surestep.scoring.model_scorer import ModelScorer
    from surestep.serving.pass_runner import PassRunner
    from surestep.serving.protocols.settings import ProtocolSettings
    from surestep.serving.service import ScoreTrees

_MODEL_FLAGS = frozenset(
    {
        *("training.device", "training.mixed_precision", "training.cuda_graphs"),
        *("model.backbone", "model.attention", "model.fast_path", "model.compile"),
        *("eval.eval_token_budget", "eval.scoring_weights"),
    }
)
"""What of the configuration a server heeds."""
_PACKAGES = ("fastapi", "uvicorn", "prometheus_client")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_checkpoint(parser, purpose=", or owner/name on the Hugging Face hub", kind=str, finds_itself=True)
    parser.add_argument("--revision", metavar="REVISION", help="a branch, tag or commit of the hub repository")
    parser.add_argument(
        "--calibration",
        choices=("pooled", "none"),
        default="pooled",
        help="apply the checkpoint's calibration, if it has one (default: pooled)",
    )
    add_section_flags(parser.add_argument_group("server"), ServeConfig)
    add_section_flags(parser.add_argument_group("protocols of other stacks"), ProtocolConfig)
    add_config_flags(parser, exclude=frozenset(path for path, _ in fields()) - _MODEL_FLAGS, from_file=False)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal; it is raised again, so that the exit code is 130 or 143."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"surestep serve needs {', '.join(missing)}: pip install 'surestep[serve]'")
    required(args)
    settings, protocol_config = section_from_args(args, ServeConfig), section_from_args(args, ProtocolConfig)
    protocol_config.settings()  # wrong flags are said before anything is loaded
    keys = read_api_keys(settings.api_keys_file)
    check_exposed(settings.host, keys)
    # One encoder thread is enough, and the tokenizer's own threads would take the model's cores.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    from surestep.inference.certifier import Certifier
    from surestep.serving.app import create_app
    from surestep.serving.page.router import PATHS, page_router
    from surestep.serving.run_server import address_of, open_socket, run_server

    console = make_console()
    listening = open_socket(settings)  # before minutes of loading
    console.print(f"· {who_may_ask(keys)}")
    scorer, runner, split_rule = _runner(args, console)
    protocols = partial(_protocols, protocol_config.settings(split_rule=split_rule))
    app = create_app(
        settings,
        runner,
        keys=keys,
        routers=(protocols, page_router()),
        open_paths=PATHS,
        loopback_names_only=not len(keys),
        certifier=None if scorer.certificate is None else Certifier(scorer.certificate, scorer.calibration),
    )

    def started() -> None:
        console.print(f"serving at {address_of(listening)} (/ready says when the model is warm; Ctrl-C stops)")

    run_server(app, listening, started=started)
    return 0


def _protocols(settings: ProtocolSettings, score_trees: ScoreTrees) -> APIRouter:
    """The routes of other stacks' protocols."""
    from surestep.serving.http.context import CURRENT
    from surestep.serving.protocols.router import router_of
    from surestep.serving.protocols.table import PROTOCOLS

    return router_of(PROTOCOLS, score_trees, settings, count_tokens=lambda _trees: CURRENT.get().num_tokens)


def _runner(args: argparse.Namespace, console: Console) -> tuple[ModelScorer, PassRunner, str | None]:
    """The checkpoint's model, what runs it, and the rule by which solutions were split in training, where they were."""
    from surestep.inference.model_runner import ModelRunner, sessions_over
    from surestep.scoring.checkpoint.find import find_checkpoint
    from surestep.scoring.checkpoint.load import load_checkpoint, read_config
    from surestep.scoring.hardware import for_scoring_here

    found = find_checkpoint(args.checkpoint, revision=args.revision)
    if found.line is not None:
        console.print(f"· {found.line}")
    config = override(for_scoring_here(read_config(found.folder)), args)
    loaded = load_checkpoint(found.folder, config=config)
    # A server scores until it is stopped, which repays any time that compiling takes.
    loaded.built.compile_if_worth(config.model.compile, float("inf"))
    for reason in loaded.built.reasons:
        console.print(f"· {reason}")
    scorer = loaded.scorer(config, calibrated=args.calibration == "pooled")
    if (decided := scorer.record_passes(config.training.cuda_graphs)) is not None:
        console.print(f"· {decided}")
    sessions, why_not = sessions_over(scorer)
    if why_not is not None:
        console.print(f"· sessions score their whole path again with each step: {why_not}")
    return scorer, ModelRunner(scorer, sessions), loaded.config.data.split_rule()
