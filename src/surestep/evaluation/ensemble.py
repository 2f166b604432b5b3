"""Which problems an ensemble may be judged on: those that none of its members was trained on."""

from __future__ import annotations

from surestep.config import Config
from surestep.data.sources.choose import enabled_sources
from surestep.errors import ConfigError
from surestep.scoring.ensemble.load_ensemble import LoadedEnsemble


def check_held_out(ensemble: LoadedEnsemble, config: Config) -> None:
    """Raise unless all members held out the very validation problems that `config` names.

    Which problems are held out of training data follows from a seed: with another one, a member has seen them.

    Raises:
        ConfigError: naming a member that was trained on some of them.
        DataError: a dataset's files are missing.
    """
    scored = _held_out(config, config)
    for member in ensemble.members:
        if _held_out(config, member.config) != scored:
            raise ConfigError(
                f"the validation problems of {ensemble.members[0].folder} are not those that {member.folder} held out "
                f"(seeds {_seed(config)} and {_seed(member.config)}), which was trained on some of them: use the test "
                "split or other labels (--data), or train the members with one --validation_seed"
            )


def _held_out(config: Config, member: Config) -> list[str]:
    """Fingerprints of the validation data of `config`, held out as `member` held them out."""
    data = config.data.model_copy(deep=True)
    data.validation_seed, data.validation_fraction = member.data.validation_seed, member.data.validation_fraction
    return [source.fingerprint() for source in enabled_sources(data, "validation", seed=member.training.seed)]


def _seed(config: Config) -> int:
    return config.training.seed if config.data.validation_seed is None else config.data.validation_seed
