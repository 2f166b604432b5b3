"""What happened while data was read: every row dropped, merged or left unlabelled, with its reason.

Knows the reasons and how to say them; knows no file format. Readers count here instead of dropping
anything in silence, so a reason that is not in `REASONS` is a bug and raises KeyError.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

REASONS: dict[str, str] = {
    # what was read
    "records": "[record|records] read",
    "trees": "[tree|trees] made",
    "steps": "[step|steps] in them",
    "labels": "[step|steps] with a label",
    "candidates": "[candidate|candidates] read",
    "shared_steps": "[step|steps] that candidates share with an earlier one, scored once",
    # repaired
    "text_cleaned": "[problem, step or piece of evidence|problems, steps and pieces of evidence] with white space "
    "around [it|them] or foreign line ends, cleaned",
    "tag_in_problem": "step [tag|tags] inside a problem's text, removed with [its verdict|their verdicts]",
    "step_one_spelling": "[solution|solutions] whose first step begins with another spelling of 'Step 1:'",
    "step_one_missing": "[solution|solutions] without 'Step 1:': [its|their] first step is what follows the last "
    "question mark",
    "empty_step_kept": "empty [step|steps] kept: [it|each] gets a score of its own, as every step that a benchmark "
    "lists",
    "step_number_removed": "[step|steps] whose number in front ('Step 3.', '3.') was removed (step_numbers is "
    "'remove')",
    # merged
    "rated_again": "[step|steps] rated more than once (same problem, same steps before it): the mean is used",
    "rating_conflict": "of those, [step|steps] whose ratings differ",
    "duplicate_steps": "unlabelled [repeat|repeats] of a step merged into one",
    "evidence_rows_merged": "further evidence [row|rows] of a step joined with it",
    "evidence_conflict": "[step|steps] whose evidence rows have different attribution labels",
    "gold_added": "gold fact [pair|pairs] added as valid chains",
    "gold_present": "gold fact [pair|pairs] already among the chains",
    # left out
    "bad_row": "[row|rows] that [contradicts|contradict] the layout, left out (bad_rows is 'skip')",
    "quality_control": "quality-control [record|records] left out (keep_quality_control keeps them)",
    "screening": "labeller-screening [record|records] left out (keep_screening keeps them)",
    "empty_step": "empty [step|steps] dropped, with whatever followed [it|them]",
    "after_empty_step": "[record|records] cut short because the step that continues is empty",
    "no_steps": "[record|records] without any step",
    "solution_without_steps": "[solution|solutions] without any step, kept: with nothing to find, 'no error' is right",
    "unchosen_end": "[record|records] with steps after one where nobody chose a continuation; those steps are dropped",
    "bad_choice": "[record|records] cut short because the chosen completion does not exist",
    "chosen_and_human": "[step|steps] with both a chosen and a human completion; the chosen one continues",
    "unlabelled_tail": "[step|steps] without a label that [leads|lead] to no labelled step, dropped",
    "tree_without_labels": "[tree|trees] dropped because none of [its|their] steps has a label",
    "no_chains": "answer [choice|choices] without chains, left out",
    "label_past_end": "[record|records] whose error index is outside [its|their] steps, dropped",
    "verdict_conflict": "[solution|solutions] whose verdict and first wrong step contradict each other, left out",
    "error_step_by_number": "first wrong [step|steps] found by the number that [its|their] text begins with, not by "
    "[its|their] place",
    "not_useful_step": "[step|steps] judged not useful: no error here",
    "path_without_verdict": "[path|paths] left out: a step up to [its|their] first wrong one has no label",
    "error_index_outside": "error [index that is outside its|indices that are outside their] steps, ignored",
    "error_record_outside": "[record|records] with such an index; [its|their] other steps are evaluated",
    "no_original": "[record|records] without the solution before the change, which `correct` and `similarity` are "
    "made of",
    "repeated_record": "[record|records] with the category and id of one before [it|them], left out",
    "candidate_without_steps": "[candidate|candidates] without any step: [it stays|they stay] among the N, with "
    "score 0",
    "candidate_without_answer": "[candidate|candidates] without a recognisable answer: [it|each] is alone in its vote",
    "answer_conflict": "[problem|problems] where candidates with the same answer are judged both right and wrong",
    "incomplete_row": "[row|rows] without a question, an answer id or a step index, dropped",
    "step_text_differs": "[row|rows] whose step text differs from another row's of the same step, dropped",
    "fields_not_read": "[record|records] with fields that this layout does not know; those fields are ignored",
    # missing labels
    "missing_rating": "[completion|completions] that the labeller did not rate",
    "neutral_missing": "neutral [rating|ratings] left unlabelled (prm800k_neutral is 'missing')",
    "human_step": "human-written [step|steps]: context without a label",
    "missing_verdict": "[chain|chains] that the crowd did not judge",
    "unsure_negative": "[chain|chains] judged `?` or `unsure`, counted as not valid (eqasc_unsure is 'negative')",
    "unsure_half": "[chain|chains] judged `?` or `unsure`, labelled 0.5 (eqasc_unsure is 'half')",
    "unsure_missing": "[chain|chains] judged `?` or `unsure`, left unlabelled (eqasc_unsure is 'missing')",
    "unsure_votes": "[chain|chains] judged `?` or `unsure`, labelled with the share of votes for `yes`",
    "verdict_without_votes": "[chain|chains] whose votes are not in the file, labelled by the crowd's verdict",
    "unsure_vote": "[vote|votes] of `?` or `unsure`, which [is|are] no rating",
    "unsure_without_votes": "[chain|chains] judged `?` or `unsure` whose votes are not in the file, counted as not "
    "valid",
    "missing_score": "[fact|facts] without a retrieval score",
    "unlisted_verdict": "[chain|chains] with a verdict word outside the documented ones, counted as not valid",
    "missing_label": "[step|steps] whose label is missing",
    "after_error": "[step|steps] after the first error: unlabelled, because nobody judged them",
    # splits and overlaps
    "other_split": "[tree|trees] of the same file that [belongs|belong] to another split (divided by problem)",
}
"""Reason -> what it means, as the words that follow a count; `[of one|of several]` where they differ."""


def _said(meaning: str, number: int) -> str:
    """
    >>> _said("[row|rows] that [contradicts|contradict] the layout", 1)
    'row that contradicts the layout'
    """
    return _EITHER.sub(lambda either: either[1 if number == 1 else 2], meaning)


_EITHER = re.compile(r"\[([^|\]]*)\|([^\]]*)\]")


NUM_PLACES = 3
"""How many places (file, line) are remembered for each reason."""


@dataclass(slots=True)
class ReadReport:
    """Counts by reason, the first places where each occurred, and notes for people.

    >>> report = ReadReport()
    >>> report.count("empty_step", where="a.jsonl, line 3")
    >>> report.lines()
    ['1 empty step dropped, with whatever followed it (a.jsonl, line 3)']
    """

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def expect(self, reason: str, number: int) -> None:
        """About how often `reason` will have been counted in the end: for whoever watches (`WatchedReport`)."""

    def count(self, reason: str, number: int = 1, *, where: str | None = None) -> None:
        """Adds `number` to a reason of `REASONS`; `where` is kept for the first few."""
        if reason not in REASONS:
            raise KeyError(reason)
        if number == 0:
            return
        self.counts[reason] = self.counts.get(reason, 0) + number
        if where is not None:
            places = self.places.setdefault(reason, [])
            if len(places) < NUM_PLACES:
                places.append(where)

    def note(self, sentence: str) -> None:
        """Keeps a sentence that people must see (terms of use, which label was used), once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def __getitem__(self, reason: str) -> int:
        """How often `reason` occurred; 0 where it did not."""
        if reason not in REASONS:
            raise KeyError(reason)
        return self.counts.get(reason, 0)

    def is_empty(self) -> bool:
        """Whether nothing was counted and nothing noted."""
        return not (self.counts or self.notes)

    def merge(self, other: ReadReport) -> None:
        """Adds all that `other` saw to this report."""
        for reason, number in other.counts.items():
            self.count(reason, number)
        for reason, places in other.places.items():
            mine = self.places.setdefault(reason, [])
            mine.extend(places[: max(0, NUM_PLACES - len(mine))])
        for sentence in other.notes:
            self.note(sentence)

    def lines(self) -> list[str]:
        """One sentence a reason, in the order of `REASONS`, then the notes."""
        said = []
        for reason, meaning in REASONS.items():
            if number := self.counts.get(reason, 0):
                where = f" ({'; '.join(self.places[reason])})" if self.places.get(reason) else ""
                said.append(f"{number:,} {_said(meaning, number)}{where}")
        return said + self.notes

    def to_dict(self) -> dict[str, object]:
        """Plain values for a JSON file; `from_dict` reads them back."""
        return {
            "counts": {name: self.counts[name] for name in REASONS if name in self.counts},
            "meanings": {name: _said(REASONS[name], self.counts[name]) for name in REASONS if name in self.counts},
            "places": dict(self.places),
            "notes": list(self.notes),
        }

    def copy(self) -> ReadReport:
        """The same counts, places and notes, to go on with."""
        return ReadReport(
            dict(self.counts), {name: list(where) for name, where in self.places.items()}, list(self.notes)
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> ReadReport:
        """The report that `to_dict` wrote; reasons unknown to this version raise KeyError."""
        report = cls()
        counts, places, notes = values.get("counts"), values.get("places"), values.get("notes")
        assert isinstance(counts, dict)
        assert isinstance(places, dict)
        assert isinstance(notes, list)
        for reason, number in counts.items():
            report.count(reason, number)
        report.places = {reason: list(where) for reason, where in places.items()}
        report.notes = list(notes)
        return report


Watch = Callable[[str, int, int | None], None]
"""Is told a reason, how often it was counted so far, and how often it will be in the end, where that is known."""


@dataclass(slots=True)
class WatchedReport(ReadReport):
    """A report that tells of every record that is read and of every tree that is made, while it happens."""

    watch: Watch = lambda _reason, _done, _expected: None
    expected: dict[str, int] = field(default_factory=dict)

    def expect(self, reason: str, number: int) -> None:
        """Remembered, told now (what comes before the first may take seconds), and with every count."""
        self.expected[reason] = number
        self.watch(reason, self.counts.get(reason, 0), number)

    def count(self, reason: str, number: int = 1, *, where: str | None = None) -> None:
        """Counts, and tells."""
        ReadReport.count(self, reason, number, where=where)
        if reason in {"records", "trees"}:
            self.watch(reason, self.counts.get(reason, 0), self.expected.get(reason))
