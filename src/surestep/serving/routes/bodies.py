"""What our own interface takes and answers; FastAPI describes it in /openapi.json from these classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from surestep.guarantees.monitoring import MonitorReading
from surestep.inference.certifier import Certifier
from surestep.inference.rerank import RankedCandidate
from surestep.inference.result import SolutionScores

_PROBLEM = "What is 12 * 3 + 4?"
_STEPS: list[Any] = ["12 * 3 = 36.", "36 + 4 = 41."]


def _written(text: str) -> str:
    """The text, if it says something.

    Raises:
        ValueError: it is blank, or holds half of a surrogate pair, which no text file can.
    """
    if not text.strip():
        raise ValueError("the text is empty")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the text holds half of a surrogate pair") from None
    return text


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 3.0 is a whole one too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Text = Annotated[str, Field(min_length=1, json_schema_extra={"pattern": r"\S"}), AfterValidator(_written)]
Confidence = Annotated[float, Field(ge=0, le=1)]
HowMade = Literal["min", "product", "mean", "last"]


class Body(BaseModel):
    """What a client sends: no other fields, no other types."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class StepsBody(Body):
    """One solution."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"problem": _PROBLEM, "steps": _STEPS, "threshold": 0.5}]}
    )

    problem: Text = Field(description="The text that all steps answer.")
    steps: list[Text] = Field(min_length=1, description="The steps in order.")
    contexts: list[Text | None] | None = Field(
        None, description="Evidence shown to the model in front of each step; as many as steps."
    )
    dataset: Text | None = Field(None, description="Apply this dataset's own calibration map, where it has one.")
    threshold: Confidence | None = Field(None, description="Name the first step with a confidence below it.")


class RerankBody(Body):
    """Several solutions of one problem."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"problem": _PROBLEM, "candidates": [_STEPS, ["12 * 3 = 36.", "36 + 4 = 40."]], "by": "min"}]
        }
    )

    problem: Text = Field(description="The text that all candidates answer.")
    candidates: list[Annotated[list[Text], Field(min_length=1)]] = Field(
        min_length=1, description="Each a list of steps; what they begin with together is scored once."
    )
    by: HowMade = Field("min", description="How the confidences of a candidate become one number.")
    dataset: Text | None = Field(None, description="Apply this dataset's own calibration map, where it has one.")


class SessionBody(Body):
    """A solution that grows."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"problem": _PROBLEM}]})

    problem: Text = Field(description="The text that all steps answer.")


class AddBody(Body):
    """The next step of a session."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"step": _STEPS[0], "at": 0}]})

    step: Text = Field(description="The step as written.")
    context: Text | None = Field(None, description="Evidence in front of it.")
    at: Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(_whole)] | None = Field(
        None,
        description="How many steps the session has before it. With it a request may safely be sent again: a step that "
        "is there already is answered with its stored number.",
    )


class CandidatesBody(Body):
    """What may follow in a session."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"steps": ["36 + 4 = 41.", "36 + 4 = 40."]}]})

    steps: list[Text] = Field(min_length=1, description="Candidates for the next step; none of them is kept.")
    context: Text | None = Field(None, description="Evidence in front of each of them.")


class MonitorAnswer(BaseModel):
    """What the checkpoint's monitor says of the session so far."""

    alarm: bool | None = Field(
        description="Whether the solution is stopped, at this step or before; null beyond the calibrated length, where "
        "the monitor says nothing: that is not the same as no alarm."
    )
    level: float | None = Field(
        description="At most alpha means alarm. The share of calibrated problems whose right solutions ever looked as "
        "suspicious as this one has; null beyond the calibrated length."
    )
    promised_until: int = Field(description="The step up to which a right solution is stopped as seldom as promised.")
    promised: bool = Field(description="Whether this step is among those.")
    note: str = Field(description="A line where the promise ends, or where no alarm can be given; else empty.")


class CertifiedPart(BaseModel):
    """What the model's certificate says of a solution."""

    num_kept: int = Field(description="So many of its first steps are kept.")
    levels: list[float] = Field(description="Of each step the smallest alpha at which it would be kept.")
    promise: str = Field(description="What is promised of the kept part, in a sentence.")


class Scores(BaseModel):
    """The numbers of one solution; null where a step ends beyond the longest path that the model takes."""

    confidences: list[float | None] = Field(description="Calibrated confidence of each step, in [0, 1].")
    raw: list[float | None] = Field(description="The model's own confidence of each step, before calibration.")
    min: float | None = Field(description="The least confidence.")
    product: float | None = Field(description="All confidences multiplied.")
    mean: float | None = Field(description="The mean confidence.")
    last: float | None = Field(description="The confidence of the last step.")
    certified: CertifiedPart | None = Field(
        None,
        description="There where the model has a certificate; null where that does not speak of what is handed out.",
    )


class StepsAnswer(Scores):
    """The numbers of one solution."""

    first_below: int | None = Field(description="Index of the first step below `threshold`; null: none, or not asked.")
    num_tokens: int = Field(description="Tokens of problem and steps.")


class Ranked(Scores):
    """One candidate in its place."""

    index: int = Field(description="Which of the candidates sent, from 0.")
    score: float | None = Field(description="The number that it is ranked by; null comes last.")


class RerankAnswer(BaseModel):
    """Candidates, best first."""

    ranking: list[Ranked]
    num_tokens: int = Field(description="Tokens of the problem and all candidates, each shared beginning once.")


class SessionAnswer(BaseModel):
    """A session as it stands."""

    id: str = Field(description="128 random bits; it belongs to the key that opened it.")
    steps: list[str]
    confidences: list[float | None]
    raw: list[float | None]
    num_tokens: int
    monitor: MonitorAnswer | None = Field(
        description="After the last step; null where the checkpoint has no monitor, or there is no step."
    )
    expires_in_s: float = Field(description="Unless it is used.")


class AddAnswer(BaseModel):
    """The number of the step that was added."""

    confidence: float | None
    raw: float | None
    num_steps: int = Field(description="Steps of the session, this one included.")
    num_tokens: int = Field(description="Tokens of the session.")
    monitor: MonitorAnswer | None = Field(description="After this step; null where the checkpoint has no monitor.")


class CandidatesAnswer(BaseModel):
    """A number for each candidate."""

    confidences: list[float | None]
    raw: list[float | None]


def numbers_of(scores: SolutionScores) -> dict[str, Any]:
    """The fields of `Scores`, null for NaN."""

    def plain(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {"confidences": list(scores.confidences), "raw": list(scores.raw)} | {
        how: plain(scores.aggregate(how)) for how in ("min", "product", "mean", "last")
    }


def monitor_answer(readings: Sequence[MonitorReading], count: int) -> MonitorAnswer | None:
    """As JSON has it: the reading after `count` steps, if there is one."""
    return MonitorAnswer(**readings[count - 1].to_json()) if 0 < count <= len(readings) else None


def certified_of(scores: SolutionScores, certifier: Certifier | None) -> dict[str, Any]:
    """The field `certified`; none where the model has no certificate."""
    if certifier is None:
        return {}
    part = scores.certified
    return {"certified": None if part is None else CertifiedPart(**asdict(part) | {"levels": list(part.levels)})}


def in_rank(candidate: RankedCandidate, certifier: Certifier | None = None) -> Ranked:
    """As JSON has it."""
    score = None if math.isnan(candidate.score) else candidate.score
    certified = certified_of(candidate.scores, certifier)
    return Ranked(**numbers_of(candidate.scores), **certified, index=candidate.index, score=score)
