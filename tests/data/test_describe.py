"""Descriptions and rendered trees: figures equal a plain count, and every step is shown or counted."""

from __future__ import annotations

from surestep.data.inspect.describe import describe
from surestep.data.inspect.render import render_tree
from surestep.types import Node, ReasoningTree, chain

TREE = ReasoningTree(
    "p",
    (
        Node("a", -1, 1.0, 1),
        Node("alternative", -1, 0.0, 1),
        Node("b", 0, 0.5, 2),
        Node("c", 2, None, 0, "page"),
        Node("d", 2, 0.3, 1),
    ),
)


def test_counts_of_a_small_tree() -> None:
    values = describe([TREE, chain("q", ["x" * 9] * 12, [1.0] * 12)]).to_dict()
    assert (values["num_trees"], values["num_steps"], values["num_labels"]) == (2, 17, 16)
    assert values["num_rated_again"] == 1
    assert values["mean_label"] == (1.0 + 0.0 + 0.5 + 0.3 + 12) / 16
    assert values["label_bins"] == [1, 0, 0, 1, 0, 1, 0, 0, 0, 13]
    assert values["steps_per_path"] == {"min": 1, "median": 3, "p95": 12, "max": 12}
    assert values["share_labels_beyond_depth_10"] == 2 / 16
    assert values["longest_step_characters"] == 11
    assert values["step_characters_at_least"] == {"1": 4, "8": 13}


def test_nothing_is_described_as_nothing() -> None:
    values = describe([]).to_dict()
    assert (values["num_trees"], values["mean_label"], values["steps_per_path"]) == (0, None, None)


def test_the_path_that_goes_on_is_shown_after_its_competitors() -> None:
    assert render_tree(TREE) == [
        "p",
        "  1.00  a",
        "  0.50  b",
        "       ·    c  [evidence: page]",
        "      0.30  d",
        "  0.00  alternative",
    ]


def test_long_trees_say_how_many_steps_are_not_shown() -> None:
    lines = render_tree(chain("p", [f"s{number}" for number in range(5000)]), max_lines=10)
    assert len(lines) == 10
    shown = sum("s" in line and "more" not in line for line in lines)
    assert lines[-1].strip() == f"… {5000 - shown:,} more steps"


def test_no_line_is_wider_than_asked() -> None:
    lines = render_tree(chain("long " * 100, ["word " * 100, "a\nb\n\nc"]), width=60)
    assert max(map(len, lines)) <= 60
    assert lines[2].endswith("a b c")
