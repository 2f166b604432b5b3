"""eQASC (CC BY 4.0): chains of two facts that should support a claim, as one tree a question and choice.

Layout: https://github.com/harsh19/Reasoning-Chains-MultihopQA; eOBQA has the same. The crowd judged
whole chains; the retrieval scores are of single facts and say how similar, not how right, a fact is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from surestep.data.datasets.dataset import Dataset, RemoteFile, RowKeys, SplitPlan, SplitRequest, Weight
from surestep.data.records.bad_rows import BadRows, read_rows
from surestep.data.records.labels import read_name
from surestep.data.records.reading_report import ReadReport
from surestep.data.records.record import PathOrPaths, Record
from surestep.data.trees.identity import normalize_text
from surestep.data.trees.text import clean_text
from surestep.data.trees.tree_builder import TreeBuilder, finish
from surestep.settings import Section
from surestep.types import ROOT, ReasoningTree

VERSION = 2
"""Changes whenever the trees made from the same file change."""

Label = Literal["validity", "votes", "retrieval"]

Unsure = Literal["negative", "half", "missing", "votes"]

VERDICTS = {
    "yes": 1.0, "no": 0.0, "fact1": 0.0, "fact2": 0.0, "fact12": 0.0, "not-quite": 0.0, "bad-answer": 0.0,
}  # fmt: skip
"""The crowd's words for a whole chain -> confidence; only `yes` is valid."""

UNSURE = frozenset({"?", "unsure"})
"""Its words for a chain that the annotators could not agree on, or not decide."""

NOTES = {
    "validity": "eQASC labels: the crowd's verdict on the whole chain, as the label of its last fact",
    "votes": "eQASC labels: the annotators' votes on the whole chain, each a rating of its last fact, valid or not; "
    "the crowd's verdict where a file has no votes",
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
    paths: PathOrPaths,
    *,
    report: ReadReport,
    label: Label = "validity",
    unsure: Unsure = "negative",
    add_gold: bool = False,
    bad_rows: BadRows = "stop",
) -> Iterator[ReasoningTree]:
    """One tree for each question and answer choice that has chains; a question's trees share a group.

    Args:
        paths: `eqasc_{train,dev,test}_grc.json`.
        report: counts everything left out or unlabelled, and notes which label was used.
        label: `validity` labels a chain's last fact with the crowd's verdict, `votes` with each annotator's vote as
            a rating of its own (the verdict where the file has no votes; eOBQA has them); `retrieval` labels
            every fact with its score. Missing ones stay missing.
        unsure: what the verdicts `?` and `unsure` become. `negative`, the rule of the data's authors: not valid;
            `half`: 0.5; `missing`: no label; `votes`: the share of the annotators who voted `yes`, and not valid
            where the file has no votes (eOBQA has them).
        add_gold: unless with `retrieval`, add the author's fact pair to the correct choice as a valid chain
            where it is absent. For training only: it would make a test easier.
        bad_rows: see `read_rows`.

    Raises:
        DataError: naming file and line: a broken file; where rows are not skipped, a question, chain or score that is
            none.
    """
    report.note(NOTES[label])
    parse = partial(_parse, label=label, unsure=unsure, add_gold=add_gold and label != "retrieval")
    for trees in read_rows(paths, parse, report=report, bad_rows=bad_rows, fetch="eqasc"):
        yield from trees


def _parse(record: Record, report: ReadReport, *, label: Label, unsure: Unsure, add_gold: bool) -> list[ReasoningTree]:
    """The trees of one question."""
    question = record.inner(record.get("question"), "'question'")
    stem, name = question.text("stem"), read_name(record, "id")
    identity = name or f"{record.path.stem}:{record.number or record.line}"
    # The choices of a question stay together; one without an id is known by its text, not by its place in the file.
    group = name or f"question {hashlib.sha256(normalize_text(stem).encode()).hexdigest()[:16]}"
    trees = []
    for values in question.items("choices"):
        choice = record.inner(values, "a choice")
        builder = TreeBuilder(_problem(stem, choice), id=f"{identity}:{read_name(choice, 'label')}", group=group)
        for chain in choice.items("chains"):
            if not isinstance(chain, list):
                raise record.error("a chain is not a list; allowed: [fact, fact, verdict]")
            _add_chain(builder, record, chain, label, unsure, report)
        if add_gold and choice.values.get("label") == record.values.get("answerKey"):
            _add_gold(builder, record, report)
        if len(builder) == 0:
            report.count("no_chains")
        elif tree := finish(builder, report, drop_unlabelled_tails=True):
            trees.append(tree)
    return trees


def _problem(stem: str, choice: Record) -> str:
    """What the chain must support: the question, the choice and, where given, the claim they make."""
    claim = clean_text(choice.optional_text("df") or "")
    lines = [f"Question: {clean_text(stem)}", f"Answer: {clean_text(choice.text('text'))}"]
    return "\n".join([*lines, f"Claim: {claim}"] if claim else lines)


def _add_chain(
    builder: TreeBuilder, record: Record, chain: list[Any], label: Label, unsure: Unsure, report: ReadReport
) -> None:
    parts = [record.inner(part, "a part of a chain") for part in chain]
    facts = [part for part in parts if "text" in part.values]
    if not facts:
        report.count("no_steps", where=record.place)
        return
    ratings: list[float | None] = [None]
    if label != "retrieval":
        ratings = _ratings([part for part in parts if "text" not in part.values], record, label, unsure, report)
    parent = ROOT
    for number, fact in enumerate(facts, start=1):
        text = fact.text("text")
        if not text.strip():
            report.count("empty_step", where=record.place)
            return
        own = ratings if number == len(facts) else [None]
        if label == "retrieval":
            own = [_score(fact, report)]
        places = [builder.add(text, parent, confidence=rating) for rating in own]
        parent = places[0]  # all are the same


def _ratings(
    others: list[Record], record: Record, label: Label, unsure: Unsure, report: ReadReport
) -> list[float | None]:
    """The ratings of a chain, one at least: its votes where they are wanted and there, else the crowd's verdict."""
    votes = [vote for part in others for vote in _votes(part)] if label == "votes" else []
    if not votes:
        if label == "votes":
            report.count("verdict_without_votes")
        return [_verdict(others, record, unsure, report)]
    decided = [vote for vote in votes if vote not in UNSURE]
    report.count("unsure_vote", len(votes) - len(decided))
    return [_valid(vote, record, report) for vote in decided] or [None]


def _votes(part: Record) -> list[str]:
    return [part.as_text(vote, "a vote") for vote in part.items("votes") if vote is not None]


def _verdict(others: list[Record], record: Record, unsure: Unsure, report: ReadReport) -> float | None:
    part = next((part for part in others if part.get("turk_label") is not None), None)
    word = None if part is None else record.inner(part.get("turk_label"), "'turk_label'").optional_text("label")
    if part is None or word is None:
        report.count("missing_verdict")
        return None
    if word in UNSURE:
        return _unsure(part, unsure, report)
    return _valid(word, record, report)


def _valid(word: str, record: Record, report: ReadReport) -> float:
    """A verdict or a vote that is neither missing nor unsure."""
    if word not in VERDICTS:
        report.count("unlisted_verdict", where=f"{record.place}: {word!r}")
    return VERDICTS.get(word, 0.0)


def _unsure(part: Record, unsure: Unsure, report: ReadReport) -> float | None:
    """The label of a chain that the crowd was unsure about."""
    votes = _votes(part)
    if unsure == "votes" and not votes:
        report.count("unsure_without_votes")
        return 0.0
    report.count(f"unsure_{unsure}")
    if unsure == "votes":
        return sum(vote == "yes" for vote in votes) / len(votes)
    return {"negative": 0.0, "half": 0.5, "missing": None}[unsure]


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


class Fields(Section):
    """eQASC's fields of the configuration."""

    use_eqasc: bool = Field(True, description="eQASC: two-fact science explanations (CC BY 4.0).")
    eqasc_weight: Weight = Field(0.25, description="Share of eQASC, before normalisation.")
    eqasc_dir: Path | None = Field(None, description="eQASC's folder; unset: found in `data_dir`.")
    eqasc_label: Label = Field(
        "validity",
        description="`validity`: the crowd's verdict on the chain; `votes`: each annotator's vote as a rating, where a "
        "file has votes; `retrieval`: each fact's score, (s - 10) / 78.",
    )
    eqasc_unsure: Unsure = Field(
        "negative",
        description="What the verdicts `?` and `unsure` become: not valid (the authors' rule), 0.5, no label, or the "
        "share of votes for yes where a file has votes (else not valid).",
    )


def _options(fields: Fields) -> dict[str, Any]:
    return {"label": fields.eqasc_label, "unsure": fields.eqasc_unsure}


def _splits(fields: Fields, request: SplitRequest) -> SplitPlan:
    """Validation is the dev file where it is there, else held out of train; gold chains join train only."""
    dev = "eqasc_dev_grc.json"
    if request.split == "test":
        return SplitPlan(names=("eqasc_test_grc.json",))
    if request.split == "validation" and request.has(dev):
        return SplitPlan(names=(dev,))
    return SplitPlan(
        names=("eqasc_train_grc.json",),
        options={"add_gold": fields.eqasc_label != "retrieval"} if request.split == "train" else {},
        divisions=() if request.has(dev) else (request.hold_out,),
    )


_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="

DATASET = Dataset(
    name="eqasc",
    title="two-fact explanations of science answers, judged by the crowd",
    spelling="eQASC",
    licence="CC BY 4.0 (name the authors: Jhamtani and Clark, 2020)",
    use="training and testing",
    page="https://github.com/harsh19/Reasoning-Chains-MultihopQA",
    read=read_eqasc,
    version=str(VERSION),
    fields=Fields,
    options=_options,
    splits=_splits,
    rows=(RowKeys(("question", "answerKey"), lambda row: "choices" in (row.seen("question") or ())),),
    inner_folders=("data", "data/eqasc"),
    language="en",
    files=(
        RemoteFile(
            "eqasc_train_grc.json",
            _DRIVE + "13AaSCgbRsqIxvmP-bBZpenvWaAQLs15G",
            sha256="7603e5c908f4d0baac66f8288b2d6351eaa60d3ded2ea55f9f35b655dbbe0e26",
        ),
        RemoteFile(
            "eqasc_dev_grc.json",
            _DRIVE + "1lllyoJLza2k5k8AlDVxJFHSl_pJRzFQb",
            sha256="515a34a92c4e69d54939d4b1c3c07fd17eb319d42b7cd0daf7fcfe81f372df8b",
        ),
        RemoteFile(
            "eqasc_test_grc.json",
            _DRIVE + "16jyHtTtSV_lb-RVZJZLi-HL8DI73XU0w",
            sha256="524ecab20b0f635ab1d95d5ce437413c484c6280bfed5806e61c234f1f8c63b8",
        ),
    ),
)
