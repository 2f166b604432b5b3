"""Which problems an ensemble may be judged on: those that none of its members was trained on."""

from __future__ import annotations

from surestep.config import DataConfig
from surestep.data.sources.choose import enabled_sources
from surestep.errors import ConfigError
from surestep.scoring.ensemble.load_ensemble import LoadedEnsemble


def check_held_out(ensemble: LoadedEnsemble, data: DataConfig, *, seed: int) -> None:
    """Raise unless all members held out the very validation problems of `data`.

    Which problems are held out of training data follows from a seed: with another one, a member has seen them.

    Args:
        ensemble: whose members are asked.
        data: what is scored.
        seed: by which it is held out where `data.validation_seed` is unset, `training.seed`.

    Raises:
        ConfigError: naming a member that was trained on some of them.
        DataError: a dataset's files are missing.
    """
    scored = _held_out(data, data, seed)
    for member in ensemble.members:
        theirs, of_run = member.config.data, member.config.training.seed
        if _held_out(data, theirs, of_run) != scored:
            raise ConfigError(
                f"the validation problems of {ensemble.members[0].folder} are not those that {member.folder} held out "
                f"(seeds {_seed(data, seed)} and {_seed(theirs, of_run)}), which was trained on some of them: use the "
                "test split or other labels (--data), or train the members with one --validation_seed"
            )


def _held_out(data: DataConfig, member: DataConfig, seed: int) -> list[str]:
    """Fingerprints of the validation data of `data`, held out as `member` and its seed held them out."""
    chosen = data.model_copy(deep=True)
    chosen.validation_seed, chosen.validation_fraction = member.validation_seed, member.validation_fraction
    return [source.fingerprint() for source in enabled_sources(chosen, "validation", seed=seed)]


def _seed(data: DataConfig, seed: int) -> int:
    return seed if data.validation_seed is None else data.validation_seed
