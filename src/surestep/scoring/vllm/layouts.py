"""Which of vLLM's layouts holds a head exactly, and the head's tensors in it.

    process-reward   Qwen2 backbones: score.2 (relu (score.0 h)), two logits [0, z], whose softmax is [1 - p, p]
    classification   one linear layer without a bias: p = sigmoid((w h - logit_mean) / logit_sigma)
    plugin           any head: vLLM gives hidden states, `surestep.inference.vllm_plugin` makes confidences of them

In the first two, a calibration map that is a line in the logit (identity, temperature, platt) is part of the weights.
Nothing is approximated: what does not fit is refused, with what would. Knows tensors; writes no file.

Shapes: `D` hidden size of the backbone, `H` width of the head's hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import ConfidenceMap, Identity, Platt, Temperature
from surestep.counted import counted
from surestep.errors import CheckpointError
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.head import ConfidenceHead

Layout = Literal["process-reward", "classification", "plugin"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


class Line(NamedTuple):
    """A calibration map as a line in the logit: logit q = slope · logit p + intercept."""

    slope: float
    intercept: float


@dataclass(frozen=True)
class ChosenLayout:
    """What is written.

    Attributes:
        layout: the layout.
        line: the calibration within its weights; None in `plugin`, which applies any map itself.
        otherwise: where a plainer layout was not possible, which head or map would allow it, in one line.
    """

    layout: Layout
    line: Line | None
    otherwise: str | None = None


def choose_layout(
    model: ConfidenceModel, calibration: Calibration | None, *, wanted: Layout | None = None
) -> ChosenLayout:
    """The plainest layout that holds head and calibration exactly, or the one that is `wanted`.

    Raises:
        CheckpointError: the wanted layout cannot hold them; the message says what would fit.
    """
    pooled = Identity() if calibration is None else calibration.pooled
    line = line_of(pooled)
    reasons: dict[Layout, str | None] = {
        "process-reward": _no_line(pooled, line) or _no_process_reward(model),
        "classification": _no_line(pooled, line) or _no_classification(model, line),
        "plugin": None,
    }
    if wanted is not None and (reason := reasons[wanted]) is not None:
        raise CheckpointError(f"the layout {wanted} of vLLM cannot hold this model: {reason}; or use --layout plugin")
    layout = next(one for one in LAYOUTS if reasons[one] is None) if wanted is None else wanted
    return ChosenLayout(
        layout,
        None if layout == "plugin" else line,
        reasons["process-reward"] if layout != "process-reward" and wanted is None else None,
    )


def line_of(made: ConfidenceMap) -> Line | None:
    """A map as a line in the logit; None where it is none.

    >>> line_of(Temperature(2.0)), line_of(Platt(0.5, 0.25))
    (Line(slope=0.5, intercept=0.0), Line(slope=0.5, intercept=0.25))
    """
    match made:
        case Identity():
            return Line(1.0, 0.0)
        case Temperature(temperature=temperature):
            return Line(1.0 / temperature, 0.0)
        case Platt(slope=slope, intercept=intercept):
            return Line(slope, intercept)
        case _:
            return None


def process_reward_head(head: ConfidenceHead, line: Line) -> nn.Sequential:
    """The head as `Qwen2ForProcessRewardModel` has it: [.., D] to two logits [0, z], through D hidden ReLU units.

    A linear head z = w h + b takes two units, for u = relu(u) - relu(-u); a hidden layer of H < D units is filled up
    with zeros. Both are exact.
    """
    first, output = _layers(head)
    size = (first or output).in_features
    score = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 2))
    with torch.no_grad():
        for parameter in score.parameters():
            parameter.zero_()
        inner, outer = score[0], score[2]
        assert isinstance(inner, nn.Linear)
        assert isinstance(outer, nn.Linear)
        if first is None:
            inner.weight[:2] = torch.cat([output.weight, -output.weight])
            inner.bias[:2] = torch.cat([output.bias, -output.bias])
            outer.weight[1, :2] = torch.tensor([line.slope, -line.slope])
            outer.bias[1] = line.intercept
        else:
            width = first.out_features
            inner.weight[:width], inner.bias[:width] = first.weight, first.bias
            outer.weight[1, :width] = output.weight[0] * line.slope
            outer.bias[1] = output.bias[0] * line.slope + line.intercept
    return score


class ClassificationHead(NamedTuple):
    """A linear head as vLLM's classification has it.

    Attributes:
        weight_1D: float32 [1, D].
        logit_mean, logit_sigma: p = sigmoid((weight_1D · h - logit_mean) / logit_sigma).
    """

    weight_1D: Tensor
    logit_mean: float
    logit_sigma: float


def classification_head(head: ConfidenceHead, line: Line) -> ClassificationHead:
    """A linear head: its bias and its calibration are mean and sigma. The slope of `line` must be above 0."""
    _, output = _layers(head)
    bias = float(output.bias.detach()[0])
    return ClassificationHead(output.weight.detach().clone(), -(bias + line.intercept / line.slope), 1.0 / line.slope)


def _layers(head: ConfidenceHead) -> tuple[nn.Linear | None, nn.Linear]:
    """The only hidden layer, if there is one, and the output layer."""
    hidden = [layer for layer in head.hidden if isinstance(layer, nn.Linear)]
    return (hidden[0] if hidden else None), head.output


def _no_line(made: ConfidenceMap, line: Line | None) -> str | None:
    if line is not None:
        return None
    return (
        f"its calibration map ({made.kind}) is no line in the logit; fit one (`surestep calibrate --method platt`), or "
        "leave it out (--uncalibrated)"
    )


def _no_process_reward(model: ConfidenceModel) -> str | None:
    family = model.transformer.config.model_type
    first, output = _layers(model.head)
    size = (first or output).in_features
    widths, is_relu = _hidden_layers(model.head)
    fits = not widths or (len(widths) == 1 and is_relu and widths[0] <= size)
    if fits and family == "qwen2":
        return None
    return (
        f"process-reward needs a Qwen2 backbone (this one: {family}) and a head that is linear (--mlp_hidden_dims []) "
        f"or has one hidden layer of at most {size} ReLU units (--mlp_hidden_dims [{size}] --mlp_activation relu); "
        f"this one {_described(widths, is_relu)}"
    )


def _no_classification(model: ConfidenceModel, line: Line | None) -> str | None:
    widths, is_relu = _hidden_layers(model.head)
    if widths:
        return f"classification needs a linear head (--mlp_hidden_dims []); this one {_described(widths, is_relu)}"
    if line is not None and line.slope <= 0:
        return "its calibration map makes all confidences one; fit it again, or leave it out (--uncalibrated)"
    if classification_class(model) is None:
        return f"transformers has no sequence classification of its family ({model.transformer.config.model_type})"
    return None


def classification_class(model: ConfidenceModel) -> Any:
    """The family's class for sequence classification in transformers whose backbone is named `model`; else None."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    found = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(model.transformer.config), None)
    return found if found is not None and found.base_model_prefix == "model" else None


def _hidden_layers(head: ConfidenceHead) -> tuple[list[int], bool]:
    """The widths of the hidden layers, and whether ReLU stands behind them."""
    widths = [layer.out_features for layer in head.hidden if isinstance(layer, nn.Linear)]
    return widths, any(isinstance(layer, nn.ReLU) for layer in head.hidden)


def _described(widths: list[int], is_relu: bool) -> str:
    if not widths:
        return "is linear"
    layers = "one hidden layer" if len(widths) == 1 else f"{counted(len(widths), 'hidden layer')}"
    return f"has {layers} ({', '.join(map(str, widths))} {'ReLU' if is_relu else 'GELU'} units)"
