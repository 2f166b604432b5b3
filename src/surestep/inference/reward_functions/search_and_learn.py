"""search-and-learn's `PRM` (huggingface/search-and-learn at 027a727, `src/sal/models/reward_models.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from surestep.counted import counted
from surestep.errors import InputError
from surestep.inference.reward_functions.answer_rewards import AnswerRewards, SolutionScorer, rewards_of


class PRM:
    """What its beam search, best-of-N and DVTS ask for scores, in place of the object that `load_prm` gives.

    Steps are split at blank lines, as its search does, unless `AnswerRewards` say otherwise.

    Args:
        scorer: what scores, or `AnswerRewards` with settings of one's own.
    """

    def __init__(self, scorer: SolutionScorer | AnswerRewards) -> None:
        self._rewards = rewards_of(scorer, step_rule="tag:\n\n")

    def score(self, questions: Sequence[str], outputs: Sequence[Sequence[str]]) -> list[list[list[float]]]:
        """For each question, for each of its outputs, the confidence of each step.

        Raises:
            InputError: not as many lists of outputs as questions, or an output that cannot be read or scored whole.
        """
        if len(questions) != len(outputs):
            raise InputError(
                f"{counted(len(questions), 'question')} and {len(outputs)} lists of outputs; allowed: as many of each"
            )
        prompts = [question for question, answers in zip(questions, outputs, strict=True) for _ in answers]
        found = self._rewards.beside(prompts, [answer for answers in outputs for answer in answers])
        confidences = iter(self._rewards.step_confidences(found))
        return [[next(confidences) for _ in answers] for answers in outputs]
