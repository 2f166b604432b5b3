"""Who may take how many tokens depends on the problems before it, not on which of them are done first."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from fake_server import at_once
from surestep.inference.generation.budgets import RunBudget

MOST = 10


@given(
    st.lists(st.tuples(st.integers(0, MOST), st.integers(0, 20)), max_size=12),
    st.integers(1, 150),
    st.integers(1, 6),
    st.sampled_from([None, 3, 8]),
)
def test_a_total_budget(problems: list[tuple[int, int]], total: int, together: int, problem_tokens: int | None) -> None:
    """Each wants some tokens and takes some time; `together` of them may run at once."""
    most = MOST if problem_tokens is None else problem_tokens

    async def run() -> list[tuple[int | None, int]]:
        budget = RunBudget(total, most, problem_tokens)
        budget.begin()
        free = asyncio.Semaphore(together)
        taken: list[tuple[int | None, int]] = [(None, 0)] * len(problems)

        async def one(number: int) -> None:
            async with free:
                mine = await budget.admit(number)
                wanted, seconds = problems[number]
                await asyncio.sleep(seconds)
                used = min(wanted, most if mine.left is None else mine.left)
                taken[number] = (mine.left, used)
                await budget.settle(used)

        await asyncio.gather(*(one(number) for number in range(len(problems))))
        assert budget.spent == sum(used for _, used in taken)
        return taken

    taken = at_once(run())
    spent = 0
    for (left, used), (wanted, _) in zip(taken, problems, strict=True):
        allowed = min(most, total - spent)
        assert used == min(wanted, allowed)
        assert left is None or left >= allowed
        spent += used
    assert spent <= total


def test_problems_that_are_sure_to_have_enough_run_side_by_side() -> None:
    async def run() -> int:
        budget = RunBudget(35, MOST)
        budget.begin()
        admitted = [await budget.admit(number) for number in range(3)]
        fourth = asyncio.create_task(budget.admit(3))
        await asyncio.sleep(1)
        assert not fourth.done()
        for _ in admitted:
            await budget.settle(10)
        return (await fourth).left or 0

    assert at_once(run()) == 5
