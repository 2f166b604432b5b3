"""eQASC (CC BY 4.0): chains of two facts that should support a claim, as one tree a question and choice.

Layout: https://github.com/harsh19/Reasoning-Chains-MultihopQA; eOBQA has the same. The crowd judged
whole chains; the retrieval scores are of single facts and say how similar, not how right, a fact is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from surestep.data.records.read_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record, as_paths, read_records
from surestep.data.trees.builder import TreeBuilder, finish
from surestep.types import ROOT, ReasoningTree, normalize_text

VERSION = 1
"""Changes whenever the trees made from the same file change."""

Label = Literal["validity", "retrieval"]

VERDICTS = {
    "yes": 1.0, "no": 0.0, "fact1": 0.0, "fact2": 0.0, "fact12": 0.0, "not-quite": 0.0, "bad-answer": 0.0,
    "?": 0.5, "unsure": 0.5,
}  # fmt: skip
"""The crowd's words for a whole chain -> confidence; only `yes` is valid, two are undecided."""

NOTES = {
    "validity": "eQASC labels: the crowd's verdict on the whole chain, carried by its last fact",
    "retrieval": "eQASC labels: each fact's retrieval score, (score - 10) / 78 clamped to 0..1; "
    "it measures similarity to the question, not correctness",
}


def retrieval_confidence(score: float) -> float:
    """A fact's retrieval score (about 10 to 88) mapped to [0, 1].

    >>> retrieval_confidence(49.0), retrieval_confidence(5.0), retrieval_confidence(90.0)
    (0.5, 0.0, 1.0)
    """
    return min(1.0, max(0.0, (score - 10.0) / 78.0))


def read_eqasc(
    paths: PathOrPaths, *, report: ReadReport, label: Label = "validity", add_gold: bool = False
) -> Iterator[ReasoningTree]:
    """One tree for each question and answer choice that has chains; a question's trees share a group.

    Args:
        paths: `eqasc_{train,dev,test}_grc.json`.
        report: counts everything left out or unlabelled, and notes which label was used.
        label: `validity` labels a chain's last fact with the crowd's verdict; `retrieval` labels every
            fact with its score. Missing ones stay missing.
        add_gold: with `validity`, add the author's fact pair to the correct choice as a valid chain
            where it is absent. For training only: it would make a test easier.

    Raises:
        DataError: naming file and line, where a file is broken or a score is not a number.
    """
    report.note(NOTES[label])
    for path in as_paths(paths):
        for record in read_records(path, fetch="eqasc"):
            report.count("records")
            question = record.inner(record.values.get("question"), "'question'")
            stem, identity = question.text("stem"), _identity(record)
            for values in question.items("choices"):
                choice = record.inner(values, "a choice")
                builder = TreeBuilder(
                    _problem(stem, choice), id=f"{identity}:{choice.optional_text('label')}", group=identity
                )
                for chain in choice.items("chains"):
                    if not isinstance(chain, list):
                        raise record.error("a chain is not a list; allowed: [fact, fact, verdict]")
                    _add_chain(builder, record, chain, label, report)
                if add_gold and label == "validity" and choice.values.get("label") == record.values.get("answerKey"):
                    _add_gold(builder, record, report)
                if len(builder) == 0:
                    report.count("no_chains")
                elif tree := finish(builder, report, drop_unlabelled_tails=True):
                    yield tree


def _identity(record: Record) -> str:
    value = record.values.get("id")
    return str(value) if isinstance(value, str | int) and str(value) else f"{record.path.stem}:{record.number}"


def _problem(stem: str, choice: Record) -> str:
    """What the chain must support: the question, the choice and, where given, the claim they make."""
    claim = choice.optional_text("df")
    lines = [f"Question: {stem}", f"Answer: {choice.text('text')}"]
    return "\n".join([*lines, f"Claim: {claim}"] if claim and claim.strip() else lines)


def _add_chain(builder: TreeBuilder, record: Record, chain: list[Any], label: Label, report: ReadReport) -> None:
    parts = [record.inner(part, "a part of a chain") for part in chain]
    facts = [part for part in parts if "text" in part.values]
    if not facts:
        report.count("no_steps", where=record.place)
        return
    verdict = None
    if label == "validity":
        verdict = _verdict([part for part in parts if "text" not in part.values], record, report)
    parent = ROOT
    for number, fact in enumerate(facts, start=1):
        text = fact.text("text")
        if not text.strip():
            report.count("empty_step", where=record.place)
            return
        confidence = verdict if number == len(facts) else None
        if label == "retrieval":
            confidence = _score(fact, report)
        parent = builder.add(text, parent, confidence=confidence)


def _verdict(others: list[Record], record: Record, report: ReadReport) -> float | None:
    judged = next((part.values["turk_label"] for part in others if part.values.get("turk_label") is not None), None)
    word = None if judged is None else record.inner(judged, "'turk_label'").optional_text("label")
    if word is None:
        report.count("missing_verdict")
        return None
    if word not in VERDICTS:
        report.count("unlisted_verdict", where=f"{record.place}: {word!r}")
    return VERDICTS.get(word, 0.0)


def _score(fact: Record, report: ReadReport) -> float | None:
    score = fact.values.get("score")
    if score is None:
        report.count("missing_score")
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or score != score:
        raise fact.error(f"'score' is {score!r}; allowed: a number or null")
    return retrieval_confidence(float(score))


def _add_gold(builder: TreeBuilder, record: Record, report: ReadReport) -> None:
    first, second = record.optional_text("fact1"), record.optional_text("fact2")
    if not first or not second or not first.strip() or not second.strip():
        return
    wanted = {normalize_text(first), normalize_text(second)}
    if any({normalize_text(text) for text in path} == wanted for path in builder.chains()):
        report.count("gold_present")
        return
    builder.add(second, builder.add(first), confidence=1.0)
    report.count("gold_added")
