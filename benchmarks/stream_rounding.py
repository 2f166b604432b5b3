"""How far gradients under bf16 autocast lie from those of float32, by the dtype of the sums between layers.

    python benchmarks/stream_rounding.py --backbone stories260K

Full fine-tuning of a small real backbone on made chains, on the CPU: relative distance over all weights, with the sums
in float32 (as autocast leaves them) and in bf16 (as Surestep keeps them, decision 0016). Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from surestep.bench.example_work import chain
from surestep.encoding.packing import Pack, pack_trees
from surestep.model import confidence_model
from surestep.model.attention.executions import product_dtype
from surestep.model.backbones.load import load_backbone
from surestep.model.confidence_model import ConfidenceModel
from surestep.model.head import ConfidenceHead
from surestep.scoring.model_scorer import to_batch

STREAMS: dict[str, Callable[[Tensor], torch.dtype]] = {"float32": lambda x: x.dtype, "bf16": product_dtype}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--packs", type=int, default=8)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    backbone = load_backbone(arguments.backbone, revision=None, dtype=torch.float32)
    head = ConfidenceHead(backbone.hidden_size, [32], dropout=0.0)
    num_ids = backbone.module.get_input_embeddings().num_embeddings
    model = ConfidenceModel(backbone.module, head, confidence_id=num_ids)
    distances: dict[str, list[float]] = {name: [] for name in STREAMS}
    for _ in range(arguments.packs):
        pack = pack_trees([chain(145, rng, num_ids=num_ids, confidence_id=num_ids) for _ in range(4)])
        exact = gradients(model, pack, autocast=False)
        for name, dtype_of in STREAMS.items():
            with mock.patch.object(confidence_model, "product_dtype", dtype_of):
                found = gradients(model, pack, autocast=True)
            distances[name].append(float((found - exact).norm() / exact.norm()))
    means = {name: float(np.mean(values)) for name, values in distances.items()}
    print(json.dumps({"mean_distance": means, "distances": distances, "torch": torch.__version__}))


def gradients(model: ConfidenceModel, pack: Pack, *, autocast: bool) -> Tensor:
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(to_batch(pack))
    logits.float().square().sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


if __name__ == "__main__":
    main()
