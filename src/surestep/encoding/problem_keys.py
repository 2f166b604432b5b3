"""What makes trees and rows one problem, here for everything that stores, scores and measures them.

Steps of one problem succeed and fail together: they are drawn, split and compared together.
"""

from __future__ import annotations

from surestep.types import normalize_text


def problem_key(problem: str, *, group: str, dataset: str) -> str:
    """The key of a problem: its group within its dataset where it names one, else its text wherever it occurs.

    >>> problem_key("What is 1 + 1?", group="", dataset="a") == problem_key("what is  1 + 1", group="", dataset="b")
    True
    >>> problem_key("x", group="17", dataset="a") == problem_key("x", group="17", dataset="b")
    False
    """
    return f"{dataset}\0{group}" if group else normalize_text(problem)


def text_key(problem: str) -> str:
    """The key of a problem's text alone, whatever its group: what overlaps between sets are found by."""
    return normalize_text(problem)
