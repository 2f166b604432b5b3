"""`surestep.Scorer`: a checkpoint that scores texts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from surestep.counted import counted
from surestep.data.trees.split_steps import check_rule, split_steps
from surestep.errors import InputError
from surestep.inference.certifier import Certifier, HandedOut, hand_out
from surestep.inference.loading import check_options, chosen_checkpoints, load_scorer, split_as_in_training
from surestep.inference.rerank import RankedCandidate, ranked
from surestep.inference.result import SolutionScores
from surestep.inference.solutions import (
    SolutionTree,
    Splitter,
    checked_candidates,
    checked_solution,
    checked_steps,
    checked_text,
    kind_of,
)
from surestep.inference.stream import AT_ONCE, Window, grouped, in_windows
from surestep.metrics.benchmarks.aggregation import AGGREGATIONS
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.sessions import Session, SessionScorer
from surestep.terminal_text import to_stderr
from surestep.untrusted.bounds import shown

if TYPE_CHECKING:
    from surestep.config import Config
    from surestep.scoring.ensemble.ensemble_scorer import EnsembleScorer


class Scorer:
    """A checkpoint in memory, ready to score what its user writes; safe to use from several threads.

    Texts are cleaned and joined as in training, packed into passes, and calibrated by the checkpoint's own map.

    >>> scorer = Scorer.load("outputs/mine")  # doctest: +SKIP
    >>> result = scorer.score("What is 12 * 3 + 4?", ["12 * 3 = 36.", "36 + 4 = 41."])  # doctest: +SKIP
    >>> result.confidences, result.min, result.first_below(0.5)  # doctest: +SKIP
    ((0.97, 0.04), 0.04, 1)

    Attributes:
        model_scorer: the model with its tokenizer, for whoever has trees or tokens; of several checkpoints their mean.
        split_rule: how raw solutions were split in training, where they were; see `surestep.split_steps`.
        reasons: one line for each choice that loading made: device, arithmetic, attention.
        certifier: adds what the checkpoint's certificate says; None where it has none.
    """

    def __init__(
        self,
        model_scorer: ModelScorer | EnsembleScorer,
        *,
        dataset: str | None = None,
        split_rule: str | None = None,
        reasons: Sequence[str] = (),
        say: Callable[[str], None] = to_stderr,
    ) -> None:
        self.model_scorer = model_scorer
        self.split_rule = split_rule
        self.reasons = tuple(reasons)
        self._say = say
        self._named: set[str] = set()
        self._dataset = self._checked_dataset(dataset)
        held = model_scorer.certificate
        self.certifier = None if held is None else Certifier(held, model_scorer.calibration, say)
        self._sessions: SessionScorer | None = None
        self._sessions_lock = threading.Lock()

    @classmethod
    def load(
        cls,
        path: str | Path | Sequence[str | Path],
        *,
        revision: str | None = None,
        device: str = "auto",
        calibrated: bool = True,
        token_budget: int | None = None,
        dataset: str | None = None,
        backbone: str | Path | None = None,
        calibration_file: str | Path | None = None,
        say: Callable[[str], None] = to_stderr,
    ) -> Self:
        """Load a checkpoint; every file is compared with its hash, and the backbone with the one trained on.

        Args:
            path: a run's folder (its best checkpoint is taken, and said), a checkpoint, a folder that `surestep export`
                wrote, or `owner/name` on the Hugging Face hub. Addresses (s3://, gs://, https://) are refused. A list
                of them is a deep ensemble: the confidence is the mean of the members' probabilities.
            revision: a branch, tag or commit of the hub repository.
            device: `auto`, `cpu` or `cuda`.
            calibrated: whether the checkpoint's calibration map is applied; `raw` is there either way.
            token_budget: tokens in one forward pass; unset: what memory allows, and fewer should it run out.
            dataset: the dataset whose own calibration map is applied, where the checkpoint has one.
            backbone: where the backbone of a LoRA checkpoint lies now; unset: where it lay in training.
            calibration_file: of an ensemble, the map that `surestep calibrate` fitted to its mean.
            say: is told, in a line, what a user should know; unset: it goes to stderr.

        Raises:
            InputError: an argument of the wrong type or out of range.
            CheckpointError: there is no checkpoint, or it is damaged or not one of this version's.
            DeviceError: the device is not here.
        """
        check_options(revision, device, calibrated, token_budget, backbone, calibration_file)
        members = chosen_checkpoints(path, revision, device, token_budget, backbone, say)
        file = None if calibration_file is None else Path(calibration_file)
        return cls.from_configs(members, calibrated=calibrated, dataset=dataset, say=say, calibration_file=file)

    @classmethod
    def from_configs(
        cls,
        members: Sequence[tuple[Path, Config]],
        *,
        calibrated: bool = True,
        dataset: str | None = None,
        say: Callable[[str], None] = to_stderr,
        calibration_file: Path | None = None,
    ) -> Self:
        """Load checkpoints, each with every setting of its configuration; the other arguments are those of `load`.

        Raises:
            CheckpointError, ConfigError, DeviceError: as `load`; a calibration file of one checkpoint, or of others.
        """
        found = load_scorer(members, calibrated=calibrated, calibration_file=calibration_file, say=say)
        return cls(found.scorer, dataset=dataset, split_rule=found.split_rule, reasons=found.reasons, say=say)

    @classmethod
    def from_config(
        cls,
        folder: Path,
        config: Config,
        *,
        calibrated: bool = True,
        dataset: str | None = None,
        say: Callable[[str], None] = to_stderr,
    ) -> Self:
        """Load the checkpoint in `folder` with every setting of `config`; the other arguments are those of `load`.

        Raises:
            CheckpointError, DeviceError: as `load`.
        """
        return cls.from_configs([(folder, config)], calibrated=calibrated, dataset=dataset, say=say)

    def score(
        self, problem: str, steps: Iterable[str], *, dataset: str | None = None, split: str | None = None
    ) -> SolutionScores:
        """The confidences of one solution, step by step.

        A step that ends beyond the longest path that the model takes has None, and a line says so.

        Args:
            problem: the text that the steps answer.
            steps: a list of texts, one a step; or a raw solution, where `split` or the checkpoint says how it is split.
            dataset: as in `load`, for this solution.
            split: the rule for a raw solution (`surestep.split_steps`); unset: `split_rule`.

        Raises:
            InputError: an argument of the wrong type, an empty problem or an empty step, a raw solution without a rule.
        """
        together = SolutionTree(checked_text(problem, "'problem'"))
        together.add(checked_steps(steps, split=self._splitter(split)))
        (result,) = self.certified(self.score_grouped([together], dataset=dataset), dataset)
        self._tell_unscored([result], "the solution")
        return result

    def score_many(
        self,
        items: Iterable[Mapping[str, Any] | Iterable[Any]],
        *,
        dataset: str | None = None,
        split: str | None = None,
        at_once: int = AT_ONCE,
    ) -> Iterator[SolutionScores]:
        """The confidences of many solutions, in their order, each as soon as it is known.

        Solutions are packed together, and those of one problem that follow each other share what they begin with. An
        endless iterable is fine: a few are taken first, then more, never more than `at_once` whose results were not
        given yet. Where an item is wrong, or the iterable raises, the results of the items before it come first.

        Args:
            items: each (problem, steps), or a mapping with `problem` and `steps`, whose other keys are left alone.
            dataset: as in `load`, for all of them.
            split: as in `score`, for all of them.
            at_once: the most solutions to take before their results are given: 1 gives each before the next is taken.

        Raises:
            InputError: at once, where `items` is none; else at the item that is wrong, by its number from 1.
        """
        if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
            raise InputError(
                f"'items' is {kind_of(items)}; allowed: an iterable of (problem, steps) or of objects with 'problem' "
                "and 'steps'"
            )
        if isinstance(at_once, bool) or not isinstance(at_once, int) or at_once < 1:
            raise InputError(f"'at_once' is {kind_of(at_once)}; allowed: a whole number from 1")
        check = partial(checked_solution, split=self._splitter(split))
        return self._stream(in_windows(iter(items), check, at_once), self._dataset_of(dataset))

    def _stream(self, windows: Iterator[Window], dataset: str | None) -> Iterator[SolutionScores]:
        number, unscored = 0, 0
        for window, error in windows:
            for result in self.certified(self.score_grouped(grouped(window), dataset=dataset), dataset):
                number += 1
                if None in result.confidences:
                    unscored += 1
                    if unscored == 1:
                        self._tell_unscored([result], f"item {number}")
                yield result
            if error is not None:
                raise error
        if unscored > 1:
            self._say(f"{unscored:,} of {number:,} solutions have steps without a confidence, for the same reason")

    def rerank(
        self,
        problem: str,
        candidates: Sequence[Iterable[str]],
        *,
        by: str = "min",
        dataset: str | None = None,
        split: str | None = None,
    ) -> list[RankedCandidate]:
        """Solutions of one problem, best first; what they begin with in common is scored once.

        Candidates that the calibration map ties are told apart by the model's own confidences, then by their place. One
        without steps, or with a step that has no confidence, has no score (NaN) and comes last.

        Args:
            problem: the text that all of them answer.
            candidates: the steps of each, as `score` takes them.
            by: how the confidences of a solution become one number: `min`, `product`, `mean` or `last`.
            dataset: as in `load`, for this problem.
            split: as in `score`, for all of them.

        Raises:
            InputError: an argument of the wrong type, an unknown `by`, an empty problem or step.
        """
        if not isinstance(by, str) or by not in AGGREGATIONS:
            raise InputError(f"'by' is {shown(by)}; allowed: {', '.join(AGGREGATIONS)}")
        together = SolutionTree(checked_text(problem, "'problem'"))
        for steps in checked_candidates(candidates, self._splitter(split)):
            together.add(steps)
        results = list(self.score_grouped([together], dataset=dataset))
        self._tell_unscored(results, "the candidates")
        return self.ranked(results, by, dataset)

    def hand_out(
        self,
        problem: str,
        candidates: Iterable[Iterable[str]],
        *,
        dataset: str | None = None,
        split: str | None = None,
    ) -> HandedOut:
        """One of several solutions, taken by the policy that was certified; handed out, escalated, or no answer.

        By the checkpoint's certificate of `selective`, else by that of `chosen`. Candidates may come from a generator:
        where the policy stops early, no more are asked for.

        Args:
            problem: the text that all of them answer.
            candidates: the steps of each, in the order of sampling.
            dataset: as in `load`, for this problem.
            split: as in `score`, for all of them.

        Raises:
            InputError: the checkpoint has neither certificate, or it does not speak of this; or as `rerank`.
        """
        held = self.model_scorer.selective or self.model_scorer.certificate
        if held is None or held.terms.promise not in ("selective", "chosen"):
            raise InputError("the checkpoint has no certificate to hand out by: `surestep certify --promise selective`")
        text, splitter = checked_text(problem, "'problem'"), self._splitter(split)
        checked = checked_candidates(candidates, splitter)

        def one(steps: tuple[str, ...]) -> SolutionScores:
            alone = SolutionTree(text)
            alone.add(steps)
            return next(self.score_grouped([alone], dataset=dataset))

        return hand_out(held, map(one, checked), self._dataset_of(dataset))

    def session(self, problem: str, *, dataset: str | None = None) -> Session:
        """A solution that grows: `add` scores the next step at the cost of its own tokens, `fork` branches.

        Steps of all sessions of this scorer share what they begin with. A step keeps the confidence it was given. Where
        the checkpoint has a monitor, `session.monitor` says whether the solution is stopped.

        Args:
            problem: the text that the steps answer.
            dataset: as in `load`, for this session.

        Raises:
            InputError: the problem is no text, or blank; or this is an ensemble.
            BackboneError: the backbone cannot score from kept keys and values; the message says why. `score` can.
        """
        if not isinstance(self.model_scorer, ModelScorer):
            raise InputError("a session is of one checkpoint, and this is an ensemble: load one of them, or use score")
        with self._sessions_lock:
            if self._sessions is None:
                self._sessions = SessionScorer(self.model_scorer)
        return self._sessions.open(checked_text(problem, "'problem'"), dataset=self._dataset_of(dataset))

    @property
    def is_ensemble(self) -> bool:
        """Whether several checkpoints answer together."""
        return not isinstance(self.model_scorer, ModelScorer)

    def about(self) -> dict[str, Any]:
        """Which checkpoint, what it is built on, and how it is run; JSON-ready."""
        return self.model_scorer.about()

    def __repr__(self) -> str:
        about = self.about()
        name = about.get("checkpoint", about.get("scorer", {}).get("name", "a model"))
        device = self.model_scorer.hardware.device
        return f"<Scorer of {name} on {device}, calibration {about.get('calibration', {}).get('applied', 'none')}>"

    def score_grouped(
        self, together: Sequence[SolutionTree], *, dataset: str | None = None
    ) -> Iterator[SolutionScores]:
        """The scores of solutions that are put together by problem, one after the other; all packed together.

        Nobody is told of steps without a confidence.
        """
        trees = [solutions.tree() for solutions in together]
        scores = self.model_scorer.score(trees, dataset=self._dataset_of(dataset))
        for solutions, of_tree in zip(together, scores, strict=True):
            yield from solutions.results(of_tree)

    def certified(self, results: Iterable[SolutionScores], dataset: str | None = None) -> Iterator[SolutionScores]:
        """Solutions that are each handed out as they are, with what the certificate says of them, if there is one."""
        for result in results:
            if self.certifier is None:
                yield result
            else:
                yield from self.certifier.solutions([result], self._dataset_of(dataset))

    def ranked(self, results: Sequence[SolutionScores], by: str, dataset: str | None = None) -> list[RankedCandidate]:
        """Best first, the best with what the certificate says of it, if there is one."""
        ranking = ranked(results, by)
        return ranking if self.certifier is None else self.certifier.ranking(ranking, by, self._dataset_of(dataset))

    def _tell_unscored(self, results: Sequence[SolutionScores], what: str) -> None:
        unscored = sum(result.confidences.count(None) for result in results)
        if unscored:
            total, most = sum(len(result.steps) for result in results), self.model_scorer.max_positions
            self._say(
                f"{unscored:,} of {counted(total, 'step')} of {what} end beyond the longest path that the model takes "
                f"({counted(most or 0, 'token')}) and have no confidence"
            )

    def _splitter(self, rule: str | None) -> Splitter | None:
        """What makes steps of a raw solution; None where nobody says how."""
        if rule is not None:
            chosen = check_rule(rule)
            return lambda text: split_steps(text, chosen).steps
        if self.split_rule is None:
            return None
        return partial(split_as_in_training, rule=self.split_rule)

    def _dataset_of(self, dataset: str | None) -> str | None:
        return self._dataset if dataset is None or dataset == self._dataset else self._checked_dataset(dataset)

    def _checked_dataset(self, dataset: str | None) -> str | None:
        """`dataset`, which may have no map of its own: the pooled one serves it too, and a line says so."""
        if dataset is None:
            return None
        if not isinstance(dataset, str):
            raise InputError(f"'dataset' is {kind_of(dataset)}; allowed: the name of a dataset")
        calibration = self.model_scorer.calibration
        if calibration is not None and dataset not in calibration.datasets and dataset not in self._named:
            self._named.add(dataset)
            own = ", ".join(calibration.datasets) or "none"
            self._say(f"no calibration map of {dataset}'s own (datasets with one: {own}): the pooled map is applied")
        if calibration is None and self.model_scorer.certificate is None and not self._named:
            self._named.add(dataset)
            self._say(f"no calibration map is applied, so naming the dataset {dataset} changes nothing")
        return dataset
