"""What was made of the settings for optimiser, weights and passes, in words."""

from __future__ import annotations

from surestep.config import TrainingConfig
from surestep.scoring.build_model import BuiltModel
from surestep.training.optimizer.adamw_8bit import SMALLEST
from surestep.training.optimizer.averaged_weights import average_bytes


def settings_lines(
    training: TrainingConfig, built: BuiltModel, *, recorded: bool, unrecordable: str | None
) -> list[str]:
    """What was made of the settings for optimiser and passes."""
    lines = []
    if training.optimizer == "adamw_8bit":
        lines.append(
            f"optimiser: AdamW with moments in 8 bits (as set); 32 for head, row, embedding and tensors below "
            f"{SMALLEST:,} numbers"
        )
    if training.ema_decay is not None:
        size = average_bytes(built.model, training.ema_decay)
        lines.append(
            f"weights: their moving average over about {1 / (1 - training.ema_decay):,.0f} steps is validated and "
            f"saved ({size / 1e6:,.1f} MB, in float32); the training state holds the weights themselves"
        )
    if recorded:
        lines.append("passes: recorded once for each shape and run again (CUDA graphs); --cuda_graphs false")
    elif training.cuda_graphs is True:
        lines.append(f"passes: not recorded, though --cuda_graphs is true: {unrecordable}")
    return lines
