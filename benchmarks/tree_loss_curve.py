"""Training on packed trees against training on their paths as rows: the same labels, the same steps, two loss curves.

    python benchmarks/tree_loss_curve.py --backbone FOLDER --data_dir FOLDER --plot docs/plots/tree_loss_curve.svg
    python benchmarks/tree_loss_curve.py --shape qwen3-4b --backbone TOKENIZER --data_dir FOLDER --fp8

Both runs draw the same problems of PRM800K phase 1, start from the same weights and count each label once: as a tree,
every step is run once; as rows, every path from the problem to a leaf is a row of its own, and a shared step carries
its label in the first row that holds it. Once without dropout, where the curves must agree up to rounding, and once
with it, where they must agree within the noise that another seed makes. `--shape` takes random weights of a known
shape instead of a backbone; `--fp8` adds a run over frozen weights in 8 bits (without dropout, on a GPU).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from surestep.bench.backbone_shapes import SHAPES, build_shape
from surestep.bench.example_work import paths_of
from surestep.config import Config, get_lora_config
from surestep.encoding.encoded_tree import EncodedTree
from surestep.encoding.formatter import Formatter
from surestep.encoding.load_tokenizer import load_tokenizer
from surestep.encoding.packing import pack_trees, plan_packs
from surestep.model.backbones.load import read_max_positions
from surestep.model.confidence_model import prepare
from surestep.scoring.build_model import build_model
from surestep.scoring.hardware import choose_hardware
from surestep.scoring.model_scorer import to_batch
from surestep.training.loss import step_losses
from surestep.training.optimizer.parameter_groups import build_optimizer
from surestep.training.training_sets import load_run_data


def rows_of(tree: EncodedTree) -> list[EncodedTree]:
    """Every path as a row; each label in the first row that holds its step."""
    seen: set[int] = set()
    rows = []
    for path in paths_of(tree):
        label = path.label_N.copy()
        label[[int(step) in seen for step in path.source_N]] = np.nan
        seen |= {int(step) for step in path.source_N}
        rows.append(EncodedTree(path.tokens_T, path.offsets, path.parent_N, label, path.source_N))
    return rows


def losses(
    config: Config, trees: list[list[EncodedTree]], *, flat: bool, seed: int, budget: int, shape: str | None
) -> tuple[list[float], int]:
    """Loss of each step, a mean over its labels, and the tokens that were run."""
    hardware = choose_hardware(config.training.device, "auto")
    if shape is None:
        built = build_model(config, hardware)
    else:
        built = build_shape(config, hardware, shape, tokenizer=load_tokenizer(config.model.backbone))
    model = built.model.train()
    optimizer = build_optimizer(model, config.training)
    torch.manual_seed(seed)
    curve, tokens = [], 0
    for step in trees:
        pieces = [row for tree in step for row in (rows_of(tree) if flat else [tree])]
        count = sum(piece.num_labels for piece in pieces)
        total = 0.0
        for group in plan_packs([piece.num_tokens for piece in pieces], budget):
            pack = pack_trees([pieces[i] for i in group])
            tokens += pack.num_tokens
            batch = prepare(to_batch(pack), model.route).to(hardware.device)
            with torch.autocast(hardware.device.type, hardware.compute_dtype, hardware.precision != "no"):
                logits = model(batch)
            labels = torch.from_numpy(pack.labels_S).to(hardware.device)
            loss = step_losses(logits.float(), labels, "bce").sum() / count
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        curve.append(total)
    return curve, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--problems", type=int, default=2, help="problems in a step")
    parser.add_argument("--budget", type=int, default=4096)
    parser.add_argument("--shape", choices=sorted(SHAPES))
    parser.add_argument("--dropout", type=float, nargs="+", default=[0.0, 0.1])
    parser.add_argument("--fp8", action="store_true")
    parser.add_argument("--output", type=Path, help="everything as JSON, curves included")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    config = get_lora_config()
    config.model.backbone, config.data.data_dir = arguments.backbone, arguments.data_dir
    config.data.prm800k_phase, config.data.use_eqasc = 1, False
    config.data.max_steps_per_example, config.training.learning_rate = 6, 5e-4
    config.model.mlp_hidden_dims = [128]
    tokenizer = load_tokenizer(config.model.backbone)
    limit = 2048 if arguments.shape else read_max_positions(config.model.backbone, revision=None)
    examples = load_run_data(config, tokenizer, Formatter(), max_positions=limit).training["prm800k"]
    order = np.random.default_rng(0).permutation(len(examples))
    drawn = [int(order[i % len(order)]) for i in range(arguments.steps * arguments.problems)]
    steps = [
        [examples[i] for i in drawn[k * arguments.problems : (k + 1) * arguments.problems]]
        for k in range(arguments.steps)
    ]
    curves: dict[str, list[float]] = {}
    tokens: dict[str, int] = {}
    runs = [(dropout, name, "same") for dropout in arguments.dropout for name in ("trees", "rows")]
    runs += [(dropout, "trees, another seed", "same") for dropout in arguments.dropout if dropout]
    runs += [(0.0, "trees, fp8", "fp8")] if arguments.fp8 else []
    for dropout, name, precision in runs:
        config.model.mlp_dropout = config.lora.lora_dropout = dropout
        config.lora.base_precision = precision
        key = f"{name}, dropout {dropout:g}"
        curves[key], tokens[key] = losses(
            config,
            steps,
            flat=name == "rows",
            seed=2 if name.endswith("seed") else 1,
            budget=arguments.budget,
            shape=arguments.shape,
        )
        print(f"{key}: {tokens[key]:,} tokens, mean of the last 50 losses {np.mean(curves[key][-50:]):.4f}", flush=True)
    result = {"steps": arguments.steps, "tokens": tokens, "curves": curves, "differences": _differences(curves)}
    print(json.dumps({name: value for name, value in result.items() if name != "curves"}, indent=1))
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(result) + "\n", encoding="utf-8")
    if arguments.plot is not None:
        _plot(curves, arguments.plot)


def _differences(curves: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Of each curve from the one of trees with the same dropout, step by step."""
    found = {}
    for name, curve in curves.items():
        label, _, dropout = name.rpartition(", dropout ")
        if label != "trees":
            difference = np.array(curve) - curves[f"trees, dropout {dropout}"]
            found[name] = {
                "mean": float(difference.mean()),
                "rms": float(np.sqrt((difference**2).mean())),
                "largest": float(np.abs(difference).max()),
            }
    return found


def _plot(curves: dict[str, list[float]], path: Path) -> None:
    from matplotlib.figure import Figure

    dropouts = sorted({name.rpartition(", dropout ")[2] for name in curves}, key=float)
    figure = Figure(figsize=(3.5 * len(dropouts), 3.2), layout="constrained")
    axes = figure.subplots(1, len(dropouts), sharey=True, squeeze=False)[0]
    styles = {
        "trees": ("#0072B2", "-"),
        "rows": ("#D55E00", "--"),
        "trees, another seed": ("#999999", ":"),
        "trees, fp8": ("#009E73", "-."),
    }
    for name, curve in curves.items():
        label, _, dropout = name.rpartition(", dropout ")
        width = min(10, len(curve))
        smooth = np.convolve(curve, np.ones(width) / width, mode="valid")
        colour, line = styles[label]
        axes[dropouts.index(dropout)].plot(range(width, len(curve) + 1), smooth, line, color=colour, label=label)
    for place, dropout in zip(axes, dropouts, strict=True):
        place.set_title(f"dropout {dropout}", fontsize=10)
        place.set_xlabel("optimiser step")
        place.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("loss, nats (mean of 10 steps)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
