"""Evaluation and calibration by the processes that a launcher started: `torchrun`, `accelerate launch`.

The first process does all that one alone does; the others only score their shares of the trees for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from surestep.config import DataConfig
from surestep.data.datasets.dataset import Split
from surestep.data.sources.choose import enabled_sources
from surestep.inference.tables.processes import find_processes
from surestep.scoring.build_model import BuiltModel
from surestep.scoring.model_scorer import ModelScorer
from surestep.scoring.protocol import Scorer, Wanted
from surestep.scoring.score_split import score_split
from surestep.scoring.spread.spread_scorer import SpreadScorer
from surestep.scoring.spread.together import FIRST_WAIT, Together
from surestep.scoring.stored_split import ProgressFactory, StoredSplit, prepare_source, silent

ALONE = Together()


@contextmanager
def launched_together() -> Iterator[Together]:
    """The processes of this launch, connected for as long as the block lasts; this one alone where no launcher was.

    Raises:
        ConfigError: the launcher's variables hold no numbers.
        ProcessesError: the others do not answer.
    """
    found = find_processes(on_several_machines=True)
    if found.count == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(found.local_rank)
    torch.distributed.init_process_group("gloo", timeout=FIRST_WAIT)
    yield Together(found.rank, found.count, wait=FIRST_WAIT)
    torch.distributed.destroy_process_group()


def spread(scorer: Scorer, built: BuiltModel, together: Together) -> Scorer:
    """`scorer`, a model's, as all processes have it: each scores its share of the trees."""
    return scorer if together.count == 1 else SpreadScorer(scorer, together, attention=built.attention_per_token)


def stored_splits(
    built: BuiltModel,
    data: DataConfig,
    split: Split,
    *,
    seed: int,
    progress: ProgressFactory = silent,
    together: Together = ALONE,
) -> list[StoredSplit]:
    """`split` of each enabled dataset with the tokens of a model; the first process makes those that are not there yet.

    Raises:
        DataError: a dataset's files are missing or malformed.
    """
    sources = enabled_sources(data, split, seed=seed)
    with together.first_goes_ahead():
        return [
            prepare_source(source, built.tokenizer, built.formatter, cache_dir=data.cache_dir, progress=progress)
            for source in sources
        ]


def help_to_score(
    scorer: ModelScorer,
    built: BuiltModel,
    data: DataConfig,
    split: Split,
    together: Together,
    *,
    seed: int,
    wanted: Wanted = "all",
) -> None:
    """Score a process's shares for the first one, which asks for the same split with the same settings."""
    splits = stored_splits(built, data, split, seed=seed, together=together)
    score_split(spread(scorer, built, together), splits, wanted=wanted)
