"""What a set of trees is like, in numbers: sizes, labels, lengths, agreement.

Knows trees; knows no file and no tokenizer, so lengths are in steps and characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from surestep.types import ROOT, ReasoningTree

NUM_BINS = 10


@dataclass(slots=True)
class Description:
    """Counts gathered tree by tree, so that a large set is described while it streams by.

    Attributes:
        label_bins: labels in [0, 0.1), ... [0.9, 1.0]; the last owns 1.0.
        path_lengths: steps on the path to each leaf -> how many leaves.
        label_depths: depth of each labelled step (1 is the first) -> how many.
        step_characters: length of each step, by powers of two (key k: 2^k to 2^(k+1) - 1) -> how many.
    """

    num_trees: int = 0
    num_steps: int = 0
    num_labels: int = 0
    num_rated_again: int = 0
    label_sum: float = 0.0
    label_bins: list[int] = field(default_factory=lambda: [0] * NUM_BINS)
    label_values: Counter[float] = field(default_factory=Counter)
    path_lengths: Counter[int] = field(default_factory=Counter)
    label_depths: Counter[int] = field(default_factory=Counter)
    step_characters: Counter[int] = field(default_factory=Counter)
    problem_characters: int = 0
    longest_step_characters: int = 0

    def add(self, tree: ReasoningTree) -> None:
        """Counts one tree."""
        self.num_trees += 1
        self.num_steps += len(tree.nodes)
        self.problem_characters += len(tree.problem)
        depths: list[int] = []
        for node in tree.nodes:
            depths.append(1 if node.parent == ROOT else depths[node.parent] + 1)
            self.step_characters[len(node.text).bit_length() - 1] += 1
            self.longest_step_characters = max(self.longest_step_characters, len(node.text))
            self.num_rated_again += node.num_ratings > 1
            if node.confidence is not None:
                self.num_labels += 1
                self.label_sum += node.confidence
                self.label_bins[min(int(node.confidence * NUM_BINS), NUM_BINS - 1)] += 1
                # Soft labels may all differ; a handful of values is all that anybody reads.
                if len(self.label_values) < 1000 or node.confidence in self.label_values:
                    self.label_values[node.confidence] += 1
                self.label_depths[depths[-1]] += 1
        self.path_lengths.update(depths[leaf] for leaf in tree.leaves())

    def to_dict(self) -> dict[str, object]:
        """Plain values for a JSON file; None for shares and quantiles of nothing."""
        return {
            "num_trees": self.num_trees,
            "num_steps": self.num_steps,
            "num_labels": self.num_labels,
            "num_rated_again": self.num_rated_again,
            "mean_label": self.label_sum / self.num_labels if self.num_labels else None,
            "label_bins": self.label_bins,
            "common_labels": [[value, count] for value, count in self.label_values.most_common(6)],
            "steps_per_path": _quantiles(self.path_lengths),
            "labelled_depth": _quantiles(self.label_depths),
            "share_labels_beyond_depth_10": self.share_beyond(10),
            "mean_problem_characters": self.problem_characters / self.num_trees if self.num_trees else None,
            "step_characters_at_least": {str(2**power): n for power, n in sorted(self.step_characters.items())},
            "longest_step_characters": self.longest_step_characters,
        }

    def share_beyond(self, depth: int) -> float | None:
        """Share of the labels that a cap of `max_steps_per_example` = `depth` would cost."""
        beyond = sum(count for place, count in self.label_depths.items() if place > depth)
        return beyond / self.num_labels if self.num_labels else None


def describe(trees: Iterable[ReasoningTree]) -> Description:
    """The description of all `trees`."""
    description = Description()
    for tree in trees:
        description.add(tree)
    return description


def observe(trees: Iterable[ReasoningTree], description: Description) -> Iterator[ReasoningTree]:
    """Passes trees through and describes them on the way."""
    for tree in trees:
        description.add(tree)
        yield tree


def _quantiles(counts: Counter[int]) -> dict[str, int] | None:
    """Smallest, median, 95th percentile and largest of a counted set of whole numbers."""
    total = sum(counts.values())
    if total == 0:
        return None
    ordered, passed, found = sorted(counts), 0, {}
    for value in ordered:
        passed += counts[value]
        for name, share in (("median", 0.5), ("p95", 0.95)):
            if name not in found and passed >= share * total:
                found[name] = value
    return {"min": ordered[0], **found, "max": ordered[-1]}
