"""What a run says of its loss: which parts are on, what they cost, and what has to be done after them."""

from __future__ import annotations

from collections.abc import Mapping

from surestep.config.loss import LossOptions
from surestep.counted import counted
from surestep.scoring.training_set import TrainingSet


def loss_lines(options: LossOptions, data: Mapping[str, TrainingSet], *, token_budget: int) -> list[str]:
    """Lines for the start of a run; none where the loss is the plain one."""
    if options.is_plain:
        return []
    parts: list[str] = [options.loss] if options.loss != "none" else []
    if options.pairwise_weight > 0.0:
        parts.append(f"{options.pairwise_weight:g} x pairwise over siblings")
    if options.pqm_weight > 0.0:
        parts.append(f"{options.pqm_weight:g} x PQM ranking over chains (margin {options.pqm_margin:g})")
    shaped = [
        *([f"label smoothing {options.label_smoothing:g}"] if options.label_smoothing > 0.0 else []),
        *([f"positive part x {options.pos_weight:g}"] if options.pos_weight != 1.0 else []),
        *(["labels balanced over positions"] if options.balance_positions else []),
        *([f"ratings correlated by {options.rating_correlation:g}"] if options.rating_correlation < 1.0 else []),
    ]
    lines = [f"loss: {' + '.join(parts)}{''.join(f', {text}' for text in shaped)} (as set)"]
    if options.rating_correlation < 1.0:
        lines += _several_ratings(data)
    if options.compares:
        largest = max(dataset.largest_tree() for dataset in data.values())
        if largest > token_budget:
            lines.append(
                "steps are compared within whole trees, so none is cut: the largest, of up to "
                f"{counted(largest, 'token')}, is "
                f"a pass of its own beyond the token budget of {token_budget:,}; where memory does not hold it, lower "
                "--max_length or --max_steps_per_example, or set --gradient_checkpointing true"
            )
    return lines


def _several_ratings(data: Mapping[str, TrainingSet]) -> list[str]:
    """Of each dataset, how many labels have more than one rating: nothing changes for the others."""
    lines = []
    for name, dataset in data.items():
        steps = dataset.labelled_steps()
        several = int((dataset.store.num_ratings(steps.tree, steps.step) > 1).sum())
        lines.append(f"{name}: {several:,} of {len(steps.label):,} training labels are the mean of several ratings")
    return lines


def uncalibrated(options: LossOptions) -> list[str]:
    """What is said at the end of a run whose loss is not lowest at the mean label."""
    parts = options.miscalibrating()
    if not parts:
        return []
    return [
        f"the loss ({', '.join(parts)}) is not lowest at the mean label, so these confidences are not calibrated: "
        "fit a map with `surestep calibrate` before they are read as probabilities"
    ]
