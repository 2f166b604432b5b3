"""A certificate: terms, the rules they led to, what it was made with, and all critical values.

With the critical values other levels, weights and audits need no data. Knows its JSON form; knows no file and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from surestep.guarantees.critical_values import CriticalValues, Judging, Loss, Unlabelled
from surestep.guarantees.format_version import check_format_version
from surestep.guarantees.path_scores import ScoreName
from surestep.guarantees.promises import PROMISES
from surestep.guarantees.promises.promise import Promise, Rule
from surestep.guarantees.terms import Terms
from surestep.untrusted import Matching, checked_record

FORMAT_VERSION: Literal[1] = 1
ALL = "all"
"""The group of everything, where a certificate has no groups."""

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Name = Annotated[str, Field(max_length=1024)]
_Decimal = Annotated[str, Matching(r"-?(inf|[0-9.e+-]{1,32})", "a number or inf, as a text")]


class _StoredRule(TypedDict):
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]
    n: _Count
    k: _Count
    cutoff: _Decimal
    num_wrong: _Count
    critical_values: list[_Finite]
    weights: list[_Finite]
    problem: list[_Count]
    kept: dict[_Name, _Share | None]
    clean_scores: list[_Finite]
    reference_scores: list[_Finite]
    facts: dict[_Name, Any]


class _StoredTerms(TypedDict):
    __pydantic_config__ = ConfigDict(strict=True, extra="forbid")  # type: ignore[misc]
    promise: _Name
    alpha: _Share
    delta: _Share | None
    score: ScoreName
    wrong_below: _Share
    unlabelled: Unlabelled
    loss: Loss
    policy: _Name
    most: _Count | None
    stop_above: _Finite | None
    escalate_above: _Finite | None
    statistic: _Name
    seed: int


@dataclass(frozen=True, slots=True)
class MadeFor:
    """What a certificate was made with, and what alone it is for.

    Attributes:
        checkpoint: hash of everything of a checkpoint that decides its raw confidences; "" for another scorer.
        calibration: hash of its calibration maps, None where it has none.
        data: hash of what decides the calibration problems, by dataset.
        problems: hash of the sorted problem keys.
        own_maps: whether each dataset's own calibration map was applied, where it has one.
    """

    checkpoint: str
    calibration: str | None
    data: Mapping[str, str]
    problems: str
    own_maps: bool = False


@dataclass(frozen=True)
class _Stored:
    terms: _StoredTerms
    rules: dict[_Name, _StoredRule]
    groups: dict[_Name, _Name]
    made_for: dict[_Name, Any]
    about: dict[_Name, Any]
    strict: Literal[True]
    format_version: Literal[1]


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is promised, by which rules, and for what.

    Attributes:
        terms: fixed before the labels were looked at.
        rules: the rule of each group; of `ALL` where there are no groups.
        groups: the group of each dataset; empty where there are none.
        made_for: refused with anything else.
        about: how it was made, JSON-ready; decides nothing.
    """

    terms: Terms
    rules: Mapping[str, Rule]
    groups: Mapping[str, str]
    made_for: MadeFor
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def promise(self) -> Promise:
        """The kind of promise."""
        return PROMISES[self.terms.promise]

    @property
    def needs_map(self) -> bool:
        """Whether it holds with the calibration maps alone that it was made with."""
        chooses = any(rule.facts.get("solutions", [0, 0])[1] > 1 for rule in self.rules.values())
        return self.promise.reads_calibrated(self.terms, chooses=chooses)

    def rule_for(self, dataset: str | None) -> Rule | None:
        """The rule for a problem of this dataset; None where there are groups and it is in none."""
        if not self.groups:
            return self.rules[ALL]
        return self.rules.get(self.groups.get(dataset or "", ""))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `certificate.json`; cut-offs as the shortest decimals that give the same float64."""
        judging = asdict(self.terms.judging)
        terms = {
            "promise": self.terms.promise,
            "alpha": self.terms.alpha,
            "delta": self.terms.delta,
            **judging,
            "policy": self.terms.policy,
            "most": self.terms.most,
            "stop_above": self.terms.stop_above,
            "escalate_above": self.terms.escalate_above,
            "statistic": self.terms.statistic,
            "seed": self.terms.seed,
        }
        return {
            "format_version": FORMAT_VERSION,
            "strict": True,
            "terms": terms,
            "rules": {name: _rule_to_json(rule) for name, rule in self.rules.items()},
            "groups": dict(self.groups),
            "made_for": {**asdict(self.made_for), "data": dict(self.made_for.data)},
            "about": dict(self.about),
        }

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """What `to_json` gave.

        Raises:
            ValueError: another format version, a missing or unknown field, a value out of its range.
        """
        check_format_version(values, FORMAT_VERSION, "certificate")
        stored = checked_record(values, _Stored)
        said: dict[str, Any] = dict(stored.terms)
        if said["promise"] not in PROMISES:
            raise ValueError(f"promise {said['promise']!r}; allowed: {', '.join(PROMISES)}")
        names = ("score", "wrong_below", "unlabelled", "loss")
        judging = Judging(**{name: said.pop(name) for name in names})
        terms = Terms(judging=judging, **said)
        rules = {name: _rule_from_json(rule) for name, rule in stored.rules.items()}
        if missing := ({*stored.groups.values()} if stored.groups else {ALL}) - rules.keys():
            raise ValueError(f"certificate without the rule of {sorted(missing)[0]!r}")
        for rule in rules.values():
            PROMISES[terms.promise].check(terms, rule)
        return cls(terms, rules, stored.groups, checked_record(stored.made_for, MadeFor), stored.about)


def _rule_to_json(rule: Rule) -> dict[str, Any]:
    critical = rule.critical
    return {
        "n": critical.n,
        "k": rule.k,
        "cutoff": repr(float(rule.cutoff)),
        "num_wrong": rule.num_wrong,
        "critical_values": critical.values.tolist(),
        "weights": critical.weights.tolist(),
        "problem": critical.problem.tolist(),
        "kept": dict(rule.kept),
        "clean_scores": list(rule.clean_scores),
        "reference_scores": list(rule.reference_scores),
        "facts": dict(rule.facts),
    }


def _rule_from_json(stored: _StoredRule) -> Rule:
    sizes = {len(stored[name]) for name in ("critical_values", "weights", "problem")}
    if len(sizes) > 1:
        raise ValueError("critical_values, weights and problem of a rule differ in length")
    if any(number >= stored["n"] for number in stored["problem"]):
        raise ValueError("a critical value is of a problem beyond the number of problems")
    solutions = stored["facts"].get("solutions", [0, 0])
    if not isinstance(solutions, list) or [type(number) for number in solutions] != [int, int]:
        raise ValueError("solutions of a rule are no two whole numbers")
    critical = CriticalValues(
        np.array(stored["critical_values"], np.float64),
        np.array(stored["weights"], np.float64),
        np.array(stored["problem"], np.int64),
        stored["n"],
    )
    return Rule(
        critical,
        stored["num_wrong"],
        stored["k"],
        float(stored["cutoff"]),
        stored["kept"],
        stored["clean_scores"],
        stored["reference_scores"],
        stored["facts"],
    )
