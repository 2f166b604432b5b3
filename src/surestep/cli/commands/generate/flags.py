"""The flags of `surestep generate`; knows arguments only."""

from __future__ import annotations

import argparse

from surestep.cli.flags import add_section_flags
from surestep.cli.output.console import add_json_flag
from surestep.cli.table_command import add_flags, add_input, add_row_flags, add_scorer_flags, positive
from surestep.inference.generation.settings import GenerationSettings

KEY, SCORER_KEY = "OPENAI_API_KEY", "SURESTEP_API_KEY"
"""Environment variables that hold the keys of the endpoint, and of a server that scores."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_input(parser)
    generator = parser.add_argument_group("generator").add_mutually_exclusive_group(required=True)
    endpoint = {"metavar": "URL", "help": "a server that speaks the OpenAI protocol: http://127.0.0.1:8000/v1"}
    local = {"metavar": "NAME", "help": "a transformers causal model: a folder, or a hub id"}
    add_flags(generator, {"endpoint": endpoint, "local_model": local})
    add_flags(
        parser,
        {
            "scorer": {
                "metavar": "CHECKPOINT|URL",
                "help": "who gives confidences: a run, a checkpoint or a hub id, or the address of `surestep serve` "
                f"(its key: the environment variable {SCORER_KEY}); a majority vote needs none",
            },
            "model": {"metavar": "NAME", "help": "the endpoint's model (default: the only one it has)"},
            "api": {
                "choices": ("chat", "completions"),
                "default": "chat",
                "help": "chat, or completions, which needs the chat template within --prompt (default: chat)",
            },
            "api_key_env": {
                "metavar": "NAME",
                "help": f"the environment variable that holds the endpoint's API key (default: {KEY})",
            },
            "concurrency": {
                "type": positive,
                "default": 16,
                "metavar": "N",
                "help": "requests on their way at once (default: 16)",
            },
            "per_request": {
                "type": positive,
                "default": 1,
                "metavar": "N",
                "help": "solutions asked for in one request, with one seed (default: 1, each with its own)",
            },
            "timeout_s": {"type": _seconds, "default": 600.0, "metavar": "S", "help": "of a request (default: 600)"},
            "retries": {
                "type": positive,
                "default": 8,
                "metavar": "N",
                "help": "how often a request is sent again where a fault may pass (default: 8)",
            },
            "extra": {"metavar": "JSON", "help": "more fields of each request: '{\"top_k\": 20}'; null takes one away"},
            "batch_size": {
                "type": positive,
                "default": 16,
                "metavar": "N",
                "help": "solutions that a local model writes at once (default: 16)",
            },
            "bootstrap_resamples": {
                "type": positive,
                "default": 1000,
                "metavar": "N",
                "help": "of the problems, for the intervals of accuracies (default: 1000)",
            },
        },
    )
    add_section_flags(parser.add_argument_group("search"), GenerationSettings)
    add_json_flag(parser)
    add_row_flags(parser, "generated", ("problem", "answer"), bad="read", rows_per_part=32)
    add_scorer_flags(parser)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text}; allowed: a number above 0")
    return value
