"""The IO processor against a record of vLLM 0.33's interface: what vLLM would call, with what, in which order."""

from __future__ import annotations

import asyncio
import inspect
import json
import shutil
import sys
import tomllib
import types
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from surestep import Scorer
from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import Beta, Platt
from surestep.config import Config
from surestep.errors import CheckpointError, InputError
from surestep.inference.vllm_plugin import StepConfidenceProcessor, register
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.vllm.export import export_for_vllm

PROBLEM, STEPS = "What is 2 + 2?", ["two and two", "is <CONFIDENCE> 4", "so 4"]


@dataclass
class PoolingParams:
    """Of vllm.PoolingParams, what a plugin may set."""

    task: str | None = None
    use_activation: bool | None = None


class RecordedInterface(ABC):
    """The methods of vllm.plugins.io_processors.interface.IOProcessor (0.33), by name and parameters."""

    def __init__(self, vllm_config: Any, renderer: Any) -> None:
        self.vllm_config = vllm_config

    def parse_data(self, data: object) -> Any:
        raise NotImplementedError

    def merge_sampling_params(self, params: Any = None) -> Any:
        raise NotImplementedError

    def merge_pooling_params(self, params: Any = None) -> Any:
        raise NotImplementedError

    @abstractmethod
    def pre_process(self, prompt: Any, request_id: str | None = None, **kwargs: Any) -> Any: ...

    async def pre_process_async(self, prompt: Any, request_id: str | None = None, **kwargs: Any) -> Any:
        raise NotImplementedError

    @abstractmethod
    def post_process(self, model_output: Sequence[Any], request_id: str | None = None, **kwargs: Any) -> Any: ...

    async def post_process_async(
        self, model_output: AsyncGenerator[tuple[int, Any]], request_id: str | None = None, **kwargs: Any
    ) -> Any:
        raise NotImplementedError


@pytest.fixture(scope="module")
def checkpoints(
    tmp_path_factory: pytest.TempPathFactory, build_small: Any, small_config: Callable[..., Config]
) -> dict[str, Path]:
    """A checkpoint and its export for each layout: two hidden layers with a beta map, ReLU on Qwen2, linear."""
    root = tmp_path_factory.mktemp("vllm")
    kinds = {
        "plugin": ("llama", [16, 8], "gelu", Beta(1.2, 0.7, 0.1)),
        "process-reward": ("qwen2_window", [16], "relu", Platt(0.5, 0.2)),
        "classification": ("qwen3", [], "gelu", Platt(0.5, 0.2)),
    }
    for layout, (family, dims, activation, pooled) in kinds.items():
        config = small_config(family).model_copy(deep=True)
        config.model.mlp_hidden_dims, config.model.mlp_activation = dims, activation  # type: ignore[assignment]
        built = build_small(family, config=config)
        built.calibration = Calibration(pooled)
        save_checkpoint(root / layout / "checkpoint_step_1", built, config, step=1, label_means={})
        assert export_for_vllm(root / layout / "checkpoint_step_1", root / layout / "out").layout == layout
    return {layout: root / layout for layout in kinds}


def processor(folder: Path) -> StepConfidenceProcessor:
    config = SimpleNamespace(model_config=SimpleNamespace(model=str(folder), revision=None))
    return StepConfidenceProcessor(config, None)


class RecordedVllm:
    """What vLLM's `/pooling` does with a plugin: parse, pre-process, one pass a prompt, pool, post-process."""

    def __init__(self, folder: Path, *, pooling: str = "STEP") -> None:
        from safetensors.torch import load_file
        from transformers import AutoConfig, AutoModel

        self.plugin = processor(folder)
        self.values = json.loads((folder / "config.json").read_text())
        self.pooler = json.loads((folder / "pooler_config.json").read_text())
        self.pooling = pooling
        self.tensors = load_file(folder / "model.safetensors")
        self.backbone = AutoModel.from_config(AutoConfig.from_pretrained(folder)).eval()
        names = {name.removeprefix("model."): value for name, value in self.tensors.items()}
        self.backbone.load_state_dict({name: value for name, value in names.items() if not name.startswith("score.")})

    def answer(self, data: Any) -> Any:
        prompts = self.plugin.pre_process(prompt=self.plugin.parse_data(data), request_id="pool-1")
        params = self.plugin.merge_pooling_params()
        outputs = [self._output(prompt["prompt_token_ids"], params) for prompt in prompts]
        response = self.plugin.post_process(outputs, request_id="pool-1")
        json.dumps(response, allow_nan=False)
        return response

    def _output(self, tokens: list[int], params: PoolingParams) -> Any:
        with torch.no_grad():
            rows = self.backbone(torch.tensor([tokens])).last_hidden_state[0]
        rows = self._headed(rows, params)
        if self.pooling == "STEP":
            rows = rows[torch.tensor(tokens) == self.pooler["step_tag_id"]]
        return SimpleNamespace(outputs=SimpleNamespace(data=rows), prompt_token_ids=tokens)

    def _headed(self, rows: Tensor, params: PoolingParams) -> Tensor:
        if "score.0.weight" in self.tensors:
            assert params.task == "token_classify"
            hidden = torch.relu(rows @ self.tensors["score.0.weight"].T + self.tensors["score.0.bias"])
            logits = hidden @ self.tensors["score.2.weight"].T + self.tensors["score.2.bias"]
            return torch.softmax(logits, -1) if params.use_activation else logits
        if "score.weight" in self.tensors:
            assert params.task == "token_classify"
            logits = rows @ self.tensors["score.weight"].T
            logits = (logits - self.pooler["logit_mean"]) / self.pooler["logit_sigma"]
            return torch.sigmoid(logits) if params.use_activation else logits
        assert params.task == "token_embed"
        return torch.nn.functional.normalize(rows, dim=-1) if params.use_activation else rows


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """`import vllm` finds the names that the plugin asks for, and no others."""
    module = types.ModuleType("vllm")
    module.PoolingParams, module.SamplingParams = PoolingParams, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)


@pytest.mark.parametrize("pooling", ["STEP", "ALL"])
@pytest.mark.parametrize("layout", ["plugin", "process-reward", "classification"])
def test_vllm_would_answer_what_the_checkpoint_answers(layout: str, pooling: str, checkpoints: dict[str, Path]) -> None:
    vllm = RecordedVllm(checkpoints[layout] / "out", pooling=pooling)
    scorer = Scorer.load(checkpoints[layout] / "checkpoint_step_1", device="cpu")
    answer = vllm.answer({"solutions": [{"problem": PROBLEM, "steps": STEPS}, {"problem": "1?", "steps": ["one"]}]})
    for found, expected in zip(
        answer["solutions"], [scorer.score(PROBLEM, STEPS), scorer.score("1?", ["one"])], strict=True
    ):
        assert found["confidences"] == pytest.approx(expected.confidences, abs=1e-6)
        assert found["min"] == pytest.approx(expected.min, abs=1e-6)
        if layout == "plugin":
            assert found["raw"] == pytest.approx(expected.raw, abs=1e-6)
    assert vllm.answer({"problem": "1?", "steps": ["one"]})["solutions"] == [answer["solutions"][1]]


def test_every_method_of_the_interface_is_there_with_its_parameters() -> None:
    for name, method in inspect.getmembers(RecordedInterface, inspect.isfunction):
        ours = getattr(StepConfidenceProcessor, name)
        assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(method), name
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(method).parameters), name


def test_outputs_that_come_out_of_order_are_put_in_order(checkpoints: dict[str, Path]) -> None:
    vllm = RecordedVllm(checkpoints["plugin"] / "out")
    data = {"solutions": [{"problem": str(number), "steps": ["a", "b"][: 1 + number % 2]} for number in range(4)]}

    async def outputs() -> AsyncGenerator[tuple[int, Any]]:
        prompts = await vllm.plugin.pre_process_async(vllm.plugin.parse_data(data))
        for number in (2, 0, 3, 1):
            yield number, vllm._output(prompts[number]["prompt_token_ids"], vllm.plugin.merge_pooling_params())

    assert asyncio.run(vllm.plugin.post_process_async(outputs())) == vllm.answer(data)


def test_the_entry_point_names_a_class_that_vllm_can_make() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, function = project["entry-points"]["vllm.io_processor_plugins"]["surestep"].partition(":")
    assert getattr(import_module(module), function) is register
    module, _, name = register().rpartition(".")
    assert getattr(import_module(module), name) is StepConfidenceProcessor


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "'data' is None; allowed: an object with 'problem' and 'steps'"),
        ("text", "'data' is the text"),
        ({}, "solution 1 has no 'problem'"),
        ({"problem": "a"}, "solution 1 has no 'steps'"),
        ({"problem": " ", "steps": ["a"]}, "the problem of solution 1 is empty"),
        ({"problem": "a", "steps": "b"}, "the steps of solution 1 is the text"),
        ({"problem": "a", "steps": [1]}, "step 1 of the steps of solution 1 is the int 1"),
        ({"problem": "a", "steps": []}, "solution 1 has no steps"),
        ({"solutions": []}, "'solutions' is a list of 0"),
        ({"solutions": {"problem": "a"}}, "'solutions' is of type dict"),
        ({"solutions": [{"problem": "a", "steps": ["b"]}, 3]}, "solution 2 is the int 3"),
        ({"solutions": [{"problem": "a", "steps": ["b"]}] * 1025}, "'solutions' is a list of 1025"),
    ],
)
def test_a_wrong_request_gets_a_sentence(data: Any, words: str, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(InputError) as caught:
        processor(checkpoints["plugin"] / "out").parse_data(data)
    assert words in str(caught.value)


def test_an_output_without_a_row_per_step_is_refused(checkpoints: dict[str, Path]) -> None:
    plugin = processor(checkpoints["plugin"] / "out")
    for data in (torch.zeros(32), torch.zeros(2, 32), torch.zeros(0, 32)):
        output = SimpleNamespace(outputs=SimpleNamespace(data=data), prompt_token_ids=[1, 2, 3, 4])
        if data.ndim == 2 and len(data) == 0:  # no step in the prompt: nothing to score
            assert plugin.post_process([output])["solutions"][0]["confidences"] == []
            continue
        with pytest.raises(InputError, match="start it with --pooler-config"):
            plugin.post_process([output])


def _damage(folder: Path, **changes: Any) -> None:
    path = folder / "surestep" / "about.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "this Surestep reads format version 1"),
        ({"layout": "other"}, "cannot be read"),
        ({"formatter_hash": "0"}, "was trained with text format 0"),
        ({"tokenizer_hash": "0"}, "turns text into other tokens than in training"),
        ({"mlp_hidden_dims": [65536, 65536]}, "of another shape than model.mlp_hidden_dims"),
        ({"mlp_hidden_dims": [8, 16]}, "of another shape"),
    ],
)
def test_a_folder_that_would_give_other_scores_is_refused(
    changes: dict[str, Any], words: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(checkpoints["plugin"] / "out", tmp_path / "out")
    _damage(tmp_path / "out", **changes)
    with pytest.raises(CheckpointError) as caught:
        processor(tmp_path / "out")
    assert words in str(caught.value)


def test_a_folder_that_is_no_export_for_vllm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="serve a folder that `surestep export --for vllm` wrote"):
        processor(tmp_path)
