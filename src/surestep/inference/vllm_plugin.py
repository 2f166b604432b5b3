"""An IO processor for vLLM: a problem and its steps in, a confidence per step out, for any head.

vLLM runs the backbone and gives the hidden states at the `<CONFIDENCE>` tokens; the texts become tokens here as in
training, and the head and the calibration maps make confidences of the hidden states here. Of the layouts that hold the
head themselves, it passes on what vLLM computed. Serves a folder that `surestep export --for vllm` wrote:

    vllm serve OUT --runner pooling --convert embed --pooler-config "$(cat OUT/pooler_config.json)"
    POST /pooling {"data": {"problem": "...", "steps": ["...", "..."]}}

Written to the interface of vLLM 0.33 (vllm/plugins/io_processors/interface.py) and tested against a record of it, not
in vLLM itself. It imports vLLM where vLLM calls it, and nowhere else.

Shapes: `S` steps of a solution, `D` hidden size.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field, TypeAdapter
from torch import Tensor
from typing_extensions import TypedDict

from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import Identity
from surestep.config.model import Activation, Width
from surestep.counted import counted
from surestep.encoding.encoded_tree import encode_problem, encode_steps
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.errors import CheckpointError, InputError
from surestep.inference.result import SolutionScores, solution_scores
from surestep.inference.solutions import Solution, checked_solution, kind_of
from surestep.model.head import ConfidenceHead
from surestep.model.saved_weights import HEAD_FILE, check_keys, read_tensors
from surestep.scoring.checkpoint.calibration_file import read_calibration
from surestep.scoring.checkpoint.sizes import check_head
from surestep.scoring.stored_split import default_cache_dir
from surestep.scoring.vllm.export import ABOUT, FORMAT_VERSION, SURESTEP_FOLDER
from surestep.terminal_text import in_one_line
from surestep.untrusted import checked, place_inside, read_json

MOST_SOLUTIONS = 1024
"""In one request: each is a prompt of its own."""


class _About(TypedDict):
    """What `surestep/about.json` must say; the rest is for people."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]
    layout: Literal["process-reward", "classification", "plugin"]
    confidence_id: Annotated[int, Field(ge=0)]
    formatter_hash: str
    tokenizer_hash: str
    hidden_size: Width
    mlp_hidden_dims: Annotated[list[Width], Field(max_length=32)]
    mlp_activation: Activation


_ABOUT: TypeAdapter[_About] = TypeAdapter(_About)


def register() -> str:
    """What the entry point `vllm.io_processor_plugins` names: the class that vLLM makes."""
    return f"{__name__}.{StepConfidenceProcessor.__name__}"


class StepConfidenceProcessor:
    """vLLM's `IOProcessor` for the steps of solutions; safe to call from several threads, for it keeps no request.

    Args:
        vllm_config: vLLM's configuration; `model_config.model` is the folder that was exported, or its hub id.
        renderer: vLLM's own; not needed here.

    Raises:
        CheckpointError: the folder is no export for vLLM, or is damaged, or reads text otherwise than in training.
    """

    def __init__(self, vllm_config: Any, renderer: Any = None) -> None:
        self.vllm_config = vllm_config
        folder = _folder_of(vllm_config.model_config)
        self._about = _read_about(folder)
        self._formatter = Formatter()
        if self._about["formatter_hash"] != self._formatter.hash():
            raise CheckpointError(
                f"{folder} was trained with text format {self._about['formatter_hash']}, this Surestep writes "
                f"{self._formatter.hash()}: its scores would be wrong; export it again with the Surestep that serves it"
            )
        self._tokenizer = load_tokenizer(str(folder))
        if self._tokenizer.hash() != self._about["tokenizer_hash"]:
            raise CheckpointError(
                f"{folder}: its tokenizer turns text into other tokens than in training; export the checkpoint again"
            )
        inner = folder / SURESTEP_FOLDER
        is_plugin = self._about["layout"] == "plugin"
        self._head = _load_head(inner / HEAD_FILE, self._about) if is_plugin else None
        self._calibration = (read_calibration(inner) if is_plugin else None) or Calibration(Identity())

    def parse_data(self, data: object) -> list[Solution]:
        """The solutions of a request: `{"problem", "steps"}`, or `{"solutions": [{"problem", "steps"}, ...]}`.

        Raises:
            InputError: it is neither, or a text is none; a ValueError, which vLLM answers with 400.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"'data' is {kind_of(data)}; allowed: an object with 'problem' and 'steps'")
        items = data.get("solutions", [data])
        if not isinstance(items, list) or not items or len(items) > MOST_SOLUTIONS:
            raise InputError(
                f"'solutions' is {kind_of(items) if not isinstance(items, list) else f'a list of {len(items)}'}; "
                f"allowed: a list of 1 to {MOST_SOLUTIONS}"
            )
        solutions = [checked_solution(item, f"solution {number}") for number, item in enumerate(items, start=1)]
        if empty := [number for number, solution in enumerate(solutions, start=1) if not solution.steps]:
            raise InputError(f"solution {empty[0]} has no steps; allowed: one or more")
        return solutions

    def merge_sampling_params(self, params: Any = None) -> Any:
        """Sampling has no part in this."""
        from vllm import SamplingParams

        return params or SamplingParams()

    def merge_pooling_params(self, params: Any = None) -> Any:
        """What vLLM computes for a prompt: the hidden states at the steps, or what the layout's head makes of them."""
        from vllm import PoolingParams

        params = params or PoolingParams()
        params.task = "token_embed" if self._head is not None else "token_classify"
        params.use_activation = self._head is None  # which would normalise hidden states
        return params

    def pre_process(
        self, prompt: Sequence[Solution], request_id: str | None = None, **kwargs: Any
    ) -> list[dict[str, list[int]]]:
        """A prompt of token ids per solution: its problem and its steps, each tokenised by itself as in training."""
        return [{"prompt_token_ids": self._tokens_of(solution)} for solution in prompt]

    async def pre_process_async(
        self, prompt: Sequence[Solution], request_id: str | None = None, **kwargs: Any
    ) -> list[dict[str, list[int]]]:
        """As `pre_process`."""
        return self.pre_process(prompt, request_id, **kwargs)

    def post_process(
        self, model_output: Sequence[Any], request_id: str | None = None, **kwargs: Any
    ) -> dict[str, list[dict[str, Any]]]:
        """`{"solutions": [{"confidences", "raw", "min", "product", "mean", "last"}, ...]}`, in the prompts' order.

        Where the layout holds the head, `raw` is `confidences`: a calibration is part of the weights.

        Raises:
            InputError: vLLM's output does not have a row per step: it runs with another --pooler-config.
        """
        return {"solutions": [_as_json(self._scores_of(output)) for output in model_output]}

    async def post_process_async(
        self, model_output: AsyncGenerator[tuple[int, Any]], request_id: str | None = None, **kwargs: Any
    ) -> dict[str, list[dict[str, Any]]]:
        """As `post_process`, of outputs that come with their prompt's number, in any order."""
        numbered = [(number, output) async for number, output in model_output]
        ordered = [output for _, output in sorted(numbered, key=lambda pair: pair[0])]
        return self.post_process(ordered, request_id, **kwargs)

    def _tokens_of(self, solution: Solution) -> list[int]:
        problem = encode_problem(solution.problem, self._tokenizer, self._formatter)
        steps = encode_steps([(text, None) for text in solution.steps], self._tokenizer, self._formatter)
        return [*problem, *(token for step in steps for token in step)]

    def _scores_of(self, output: Any) -> SolutionScores:
        rows = _rows_at_steps(output, self._about["confidence_id"])
        if self._head is None:
            # Two labels: [wrong, right]; one: right.
            raw = rows[:, -1].double().numpy()
        else:
            with torch.inference_mode():
                raw = torch.sigmoid(self._head(rows.float())).double().numpy()
        confidences = np.asarray(self._calibration.map_for().apply(raw))
        return solution_scores([""] * len(raw), confidences.tolist(), raw.tolist())


def _as_json(scores: SolutionScores) -> dict[str, Any]:
    aggregates = {how: scores.aggregate(how) for how in ("min", "product", "mean", "last")}
    return {
        "confidences": list(scores.confidences),
        "raw": list(scores.raw),
        **{how: None if math.isnan(value) else value for how, value in aggregates.items()},
    }


def _rows_at_steps(output: Any, confidence_id: int) -> Tensor:
    """[S, ..]: of STEP pooling all rows, of ALL pooling those at the `<CONFIDENCE>` tokens."""
    data: Tensor = torch.as_tensor(output.outputs.data).cpu()
    tokens = torch.tensor(list(output.prompt_token_ids))
    at_steps = torch.nonzero(tokens == confidence_id).squeeze(1)
    if data.ndim == 2 and len(data) == len(at_steps):
        return data
    if data.ndim == 2 and len(data) == len(tokens):
        return data[at_steps]
    raise InputError(
        f"vLLM gave an output of shape {list(data.shape)} for {counted(len(at_steps), 'step')}; start it with "
        "--pooler-config as in pooler_config.json"
    )


def _folder_of(model_config: Any) -> Path:
    """The exported folder: here, or what the plugin needs of a hub repository, as real files in our own cache.

    Raises:
        CheckpointError: it is neither here nor on the hub.
    """
    folder = Path(str(model_config.model))
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    name, revision = str(model_config.model), getattr(model_config, "revision", None)
    patterns = [f"{SURESTEP_FOLDER}/*", "*.json", "*.txt", "*.model", "*.jinja"]
    place = default_cache_dir() / "hub" / f"vllm--{name.replace('/', '--')}-{(revision or 'main').replace('/', '--')}"
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_dir=place))
    except Exception as error:  # the client fails in every way
        raise CheckpointError(
            f"{name} cannot be taken from the hub ({type(error).__name__}: {in_one_line(str(error), longest=200)}); "
            "serve a local folder"
        ) from None


def _read_about(folder: Path) -> _About:
    path = folder / SURESTEP_FOLDER / ABOUT
    try:
        values = read_json(place_inside(folder, f"{SURESTEP_FOLDER}/{ABOUT}"))
        if not isinstance(values, dict) or values.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"this Surestep reads format version {FORMAT_VERSION}")
        return checked(values, _ABOUT)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"{path} cannot be read ({reason}); serve a folder that `surestep export --for vllm` wrote"
        ) from None


def _load_head(path: Path, about: _About) -> ConfidenceHead:
    check_head(path, about["mlp_hidden_dims"])  # before anything of that size is built
    tensors = read_tensors(path)
    head = ConfidenceHead(
        about["hidden_size"], about["mlp_hidden_dims"], dropout=0.0, activation=about["mlp_activation"]
    )
    found = {name.removeprefix("head."): value for name, value in tensors.items() if name.startswith("head.")}
    check_keys(path, found, head.state_dict())
    head.load_state_dict(found)
    return head.eval()
