"""Near copies: what is caught and what, as documented, is not."""

from __future__ import annotations

import pytest

from surestep.data.inspect.near_copies import find_near_copies

LONG = (
    "A baker bakes twelve loaves of bread every morning and sells each of them for three dollars at the market. "
    "How many dollars does the baker earn in a week of seven days?"
)


@pytest.mark.parametrize(
    "copy",
    [LONG.replace(". ", " -- ").replace("three", "$3$"), LONG + " Give your answer as a whole number."],
)
def test_reworked_copies_are_caught(copy: str) -> None:
    assert find_near_copies([LONG], [copy]) == [(copy, LONG)]
    assert find_near_copies([copy], [LONG]) == [(LONG, copy)]


def test_exact_copies_are_another_matter() -> None:
    assert find_near_copies([LONG, LONG + " Think."], [LONG.upper()]) == []


@pytest.mark.parametrize(
    "other",
    [
        "Twelve loaves leave the oven of a baker each day; she asks 3 dollars for one. What is her weekly income?",
        "A cook boils ten eggs of a hen every evening and sells all of them for two euros at the shop. "
        "How many euros does the cook earn in a year of twelve months?",
        "How many?",
    ],
)
def test_paraphrases_and_other_numbers_are_not(other: str) -> None:
    assert find_near_copies([LONG], [other]) == []


def test_short_problems_are_not_compared() -> None:
    assert find_near_copies(["What is 2 + 2, my friend?"], ["What is 2+2, my friend??!"]) == []


def test_the_nearest_training_problem_is_named_once() -> None:
    farther = LONG.replace("How many dollars does", "What, in dollars, does")
    nearer = LONG + " Think."
    assert find_near_copies([farther, nearer, nearer], [LONG + " Now."]) == [(LONG + " Now.", nearer)]
