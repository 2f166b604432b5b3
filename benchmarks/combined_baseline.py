"""Position, lengths and words together as one fitted baseline, and how far a scorer is ahead of it.

    python benchmarks/combined_baseline.py outputs/mine/checkpoint_step_160 --data_dir data \\
        outputs/eval_mine/test/predictions.jsonl.gz outputs/eval_mine_2/test/predictions.jsonl.gz

`surestep evaluate` fits position and lengths, and TF-IDF, each by itself. This fits a logistic regression on both kinds
of features, on the labels that the checkpoint was trained on, with C chosen as theirs is, and prints, for each file of
predictions of the same steps and for the mean over files, the paired differences in AUROC, MSE and NLL with 95 %
intervals by bootstrap over problems.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy.sparse import csr_matrix, hstack

from surestep.cli.output.fitted_table import FittedTable
from surestep.evaluation.baselines.fitted import FittedScores, logistic, position_features, word_features
from surestep.evaluation.baselines.scores import training_sets, training_steps
from surestep.evaluation.baselines.step_texts import SeenSteps, seen_of_scored
from surestep.metrics.bootstrap.draws import Draws
from surestep.metrics.bootstrap.interval import percentile
from surestep.metrics.figures import FIGURES
from surestep.metrics.measure import Measure, resample
from surestep.scored import ScoredSteps
from surestep.scoring.checkpoint.load import load_checkpoint, read_config
from surestep.scoring.predictions_file import read_predictions

NAMES = ("auroc", "mse", "nll")


def combined(checkpoint: Path, data_dir: Path, scored: SeenSteps) -> FittedScores:
    """Fitted on the training labels of `checkpoint`, asked of the steps `scored`."""
    config = read_config(checkpoint)
    config.data.data_dir, config.training.device = data_dir, "cpu"
    loaded = load_checkpoint(checkpoint, config=config)
    sets = list(training_sets(loaded, config.data).values())
    steps, label, problem = training_steps(sets, seed=config.training.seed)
    numbers, words = position_features(steps, scored), word_features(steps, scored)
    assert words is not None, "training data in which some word occurs twice"
    ours, theirs = (hstack([csr_matrix(one), two]).tocsr() for one, two in zip(numbers, words, strict=True))
    return logistic(ours, label, problem, theirs)


def differences(steps: ScoredSteps, baseline: FittedScores, draws: Draws) -> dict[str, tuple[float, np.ndarray]]:
    """Each figure of the scorer minus that of the baseline, and the same of every draw."""
    other = steps.with_confidence(np.clip(baseline.confidence, 0.0, 1.0))
    measures = [
        Measure(one.densely(), [FIGURES[name] for name in NAMES], num_problems=draws.num_problems)
        for one in (steps, other)
    ]
    resample(measures, draws)
    scorer, fitted = measures
    return {
        name: (scorer.values[name] - fitted.values[name], scorer.draws(name) - fitted.draws(name)) for name in NAMES
    }


def main() -> None:
    """Fit once, compare with each file and with their mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("predictions", type=Path, nargs="+", help="of one set of steps, by one scorer or several")
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    texts = seen_of_scored(read_predictions(given.predictions[0]))
    scored = [read_predictions(path).measured() for path in given.predictions]
    if texts is None or any(not np.array_equal(one.label, scored[0].label) for one in scored):
        parser.error("the files must hold texts, and the same steps")
    baseline = combined(given.checkpoint, given.data_dir, texts)
    table = FittedTable(f"minus position, length and words together ({baseline.how})")
    table.add_columns_of(*NAMES, first="predictions")
    found = [differences(one, baseline, Draws(one.densely().num_problems, given.resamples)) for one in scored]
    for path, row in zip(given.predictions, found, strict=True):
        table.add_cells(str(path), *(_shown(*row[name]) for name in NAMES))
    means = [(np.mean([row[name][0] for row in found]), np.mean([row[name][1] for row in found], 0)) for name in NAMES]
    table.add_cells("mean", *(_shown(float(value), draws) for value, draws in means))
    Console(width=160).print(table)


def _shown(value: float, draws: np.ndarray) -> str:
    interval = percentile(draws)
    return f"{value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


if __name__ == "__main__":
    main()
