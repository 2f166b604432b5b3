"""A tree as readable text: one line a step, its confidence in front.

Knows trees; knows no terminal. The one path that goes on keeps its indentation, however long; competing
steps that lead nowhere stand indented before it, and so do all branches where several go on.
"""

from __future__ import annotations

from collections.abc import Iterator

from surestep.counted import counted
from surestep.types import ROOT, Node, ReasoningTree


def render_tree(tree: ReasoningTree, *, max_lines: int = 24, width: int = 100) -> list[str]:
    """Lines of at most `width` characters; what does not fit is counted in the last one.

    >>> from surestep.types import chain
    >>> render_tree(chain("1+1?", ["It is 2.", "So 3."], [1.0, None]))
    ['1+1?', '  1.00  It is 2.', '   ·    So 3.']
    """
    lines = [_cut(tree.problem, width)]
    for shown, (node, level) in enumerate(_in_order(tree)):
        if len(lines) + 1 >= max_lines and shown + 1 < len(tree.nodes):
            lines.append(f"  … {counted(len(tree.nodes) - shown, 'more step')}")
            break
        evidence = f"  [evidence: {_cut(node.context, 40)}]" if node.context else ""
        lines.append(_cut(f"{'    ' * level}  {_confidence(node)}  {_flat(node.text)}{evidence}", width))
    return lines


def _in_order(tree: ReasoningTree) -> Iterator[tuple[Node, int]]:
    """Every step with its indentation, depth first."""
    children: dict[int, list[int]] = {}
    for index, node in enumerate(tree.nodes):
        children.setdefault(node.parent, []).append(index)
    stack = [(child, 0) for child in reversed(children.get(ROOT, []))]
    while stack:
        index, level = stack.pop()
        yield tree.nodes[index], level
        below = children.get(index, [])
        goes_on = below if len(below) == 1 else [child for child in below if child in children]
        if len(goes_on) == 1:
            # Pushed first, so that it is shown after the steps it competes with.
            stack.append((goes_on[0], level))
            below = [child for child in below if child != goes_on[0]]
        stack.extend((child, level + 1) for child in reversed(below))


def _confidence(node: Node) -> str:
    return " ·  " if node.confidence is None else f"{node.confidence:.2f}"


def _flat(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str, width: int) -> str:
    flat = text if text.startswith(" ") else _flat(text)
    return flat if len(flat) <= width else flat[: width - 1] + "…"
