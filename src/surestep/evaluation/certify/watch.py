"""Watching new problems after certifying: whether their scores have changed, and whether labels still keep the promise.

Knows scored trees, a certificate and what earlier looks have found; knows no command line. Writes nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from surestep.errors import DataError
from surestep.guarantees.certificate import ALL, Certificate
from surestep.guarantees.critical_values import of_path, of_tree, solutions_of
from surestep.guarantees.problems import ScoredProblem, problems_of
from surestep.guarantees.promises.kept_parts import drawn_place
from surestep.guarantees.promises.promise import Rule
from surestep.guarantees.shift import LabelledAudit, ScoreMartingale
from surestep.guarantees.terms import Terms
from surestep.scored import ScoredSteps

FORMAT_VERSION = 1


@dataclass
class WatchedGroup:
    """What has been found of one group of problems.

    Attributes:
        shift: the game on scores; None where the certificate has no reference scores.
        audit: the game on labels; None where the promise allows none.
        why_no_audit: in a line, where there is none.
    """

    shift: ScoreMartingale | None
    audit: LabelledAudit | None
    why_no_audit: str = ""

    @property
    def warns(self) -> bool:
        """Whether one of the two has ever warned."""
        return any(game is not None and game.warns for game in (self.shift, self.audit))

    def go_on(self, stored: Any) -> None:
        """Take what an earlier look has found.

        Raises:
            KeyError, TypeError, ValueError: it is damaged, or not of this certificate's problems.
        """
        if self.shift is not None:
            shift = ScoreMartingale.from_json(stored["shift"])
            if (shift.reference, shift.seed) != (self.shift.reference, self.shift.seed):
                raise ValueError("its reference scores are not those of the certificate")
            self.shift = shift
        if self.audit is not None:
            # Before it is made: what an audit costs to make grows with n.
            if (stored["audit"]["k"], stored["audit"]["n"]) != (self.audit.k, self.audit.n):
                raise ValueError("its audit is of another rule")
            self.audit = LabelledAudit.from_json(stored["audit"])

    def lines(self) -> Iterator[tuple[str, str]]:
        """What is said of it, by subject."""
        no_scores = "not watched: the certificate holds no reference scores"
        yield "Scores", no_scores if self.shift is None else self.shift.in_words()
        yield "Labels", self.why_no_audit if self.audit is None else self.audit.in_words()


@dataclass
class Watch:
    """All that has been found since certifying; goes on with every further look.

    Attributes:
        certificate: hash of the certificate that is watched.
        groups: by the certificate's groups.
        seen: keys of the problems that were looked at: each counts once, however often it comes.
        repeated: problems of the last look that had been looked at before.
    """

    certificate: str
    groups: dict[str, WatchedGroup]
    seen: set[int] = field(default_factory=set)
    repeated: int = 0

    @classmethod
    def begin(cls, certificate: Certificate) -> Self:
        """Before the first new problem."""
        groups = {name: _begun(rule, certificate.terms) for name, rule in certificate.rules.items()}
        return cls(identity_of(certificate), groups)

    @property
    def warns(self) -> bool:
        """Whether anything has ever warned."""
        return any(group.warns for group in self.groups.values())

    def look(self, certificate: Certificate, steps: ScoredSteps) -> None:
        """Take new problems, in the order of the data.

        Args:
            certificate: as it was begun with.
            steps: every step of every tree of the problems, scored as the certificate's were, labelled or not.

        Raises:
            DataError: the certificate has groups, and a dataset is in none of them; or a tree lacks steps.
        """
        self.repeated = 0
        for name, group in self.groups.items():
            rule = certificate.rules[name]
            for problem in problems_of(_of_group(steps, certificate, name)):
                if problem.key in self.seen:
                    self.repeated += 1
                    continue
                self.seen.add(problem.key)
                _take(problem, group, rule, certificate.terms)

    def to_json(self) -> dict[str, Any]:
        """Plain values; from them the watch goes on as if it had not been stored."""
        return {
            "format_version": FORMAT_VERSION,
            "certificate": self.certificate,
            "seen": sorted(self.seen),
            "groups": {
                name: {
                    "shift": None if group.shift is None else group.shift.to_json(),
                    "audit": None if group.audit is None else group.audit.to_json(),
                }
                for name, group in self.groups.items()
            },
        }

    @classmethod
    def from_json(cls, values: Any, certificate: Certificate) -> Self:
        """What `to_json` gave, for the same certificate.

        Raises:
            ValueError: another format version or another certificate, or a field that is missing or damaged.
        """
        if not isinstance(values, dict) or values.get("format_version") != FORMAT_VERSION:
            found = values.get("format_version") if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"watch of format version {found!r}; this Surestep reads {FORMAT_VERSION}")
        made = cls.begin(certificate)
        if values.get("certificate") != made.certificate:
            raise ValueError("it is of another certificate")
        try:
            made.seen = {int(key) for key in values["seen"]}
            for name, group in made.groups.items():
                group.go_on(values["groups"][name])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"a field of a watch is missing or of the wrong kind ({error})") from None
        return made


def identity_of(certificate: Certificate) -> str:
    """Hash of everything of a certificate that decides something."""
    values = {**certificate.to_json(), "about": {}}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _begun(rule: Rule, terms: Terms) -> WatchedGroup:
    reference = tuple(score for score in rule.reference_scores if math.isfinite(score))
    shift = ScoreMartingale(reference, terms.seed) if reference else None
    reason = ""
    if terms.promise not in ("chosen", "random", "tree"):
        reason = f"not audited: {terms.promise} keeps no part of a solution; evaluate it on labels"
    elif not rule.exists or not rule.k:
        reason = "not audited: there is no rule"
    elif not rule.counts_whole_problems:
        reason = "not audited: its critical values are weighted, so the risk of its rule has no known distribution"
    return WatchedGroup(shift, None if reason else LabelledAudit(rule.k, rule.critical.n), reason)


def _of_group(steps: ScoredSteps, certificate: Certificate, name: str) -> ScoredSteps:
    if name == ALL and not certificate.groups:
        return steps
    unknown = [one for one in steps.dataset_names if one not in certificate.groups]
    if unknown:
        raise DataError(
            f"the certificate has no group for the dataset {unknown[0]!r}; allowed: {', '.join(certificate.groups)}; "
            "name the data's own with --own_name"
        )
    members = [i for i, one in enumerate(steps.dataset_names) if certificate.groups[one] == name]
    return steps.select(np.isin(steps.dataset, members))


def _take(problem: ScoredProblem, group: WatchedGroup, rule: Rule, terms: Terms) -> None:
    """One problem's handed-out solution: its last score, and where it is judged whether it keeps a wrong step."""
    if terms.promise == "random" and (solutions := solutions_of(problem)):
        taken = solutions[drawn_place(problem, len(solutions), terms.seed)]
    elif (found := terms.taken(problem)) is not None:
        taken = found
    else:
        return
    tree, path = taken
    if group.shift is not None:
        group.shift.add(float(terms.judging.scores(tree)[path][-1]))
    if group.audit is None:
        return
    if terms.promise == "tree":
        is_judged = problem.num_labels > 0
        values, falls = of_tree(problem, terms.judging)
    else:
        is_judged = not np.isnan(tree.label[path]).all()
        values, falls = of_path(tree, path, terms.judging)
    if is_judged:
        group.audit.add(min(1.0, float(falls[values > rule.cutoff].sum())))
