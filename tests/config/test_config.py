"""The configuration: documented defaults, checked assignments, errors all at once, exact round trips."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

import surestep
import surestep.config as config_package
from surestep.config import Config, get_default_config, get_lora_config
from surestep.config.trackers import wanted_trackers
from surestep.errors import ConfigError, StorageError
from surestep.untrusted import SHA256, checked

DOCUMENTED = {
    "training.learning_rate": 2e-5,
    "training.lr_scheduler_type": "cosine",
    "training.warmup_steps": 500,
    "training.warmup_ratio": None,
    "training.weight_decay": 0.01,
    "training.max_grad_norm": 1.0,
    "training.per_device_train_batch_size": 4,
    "training.gradient_accumulation_steps": 4,
    "training.seed": 42,
    "training.max_steps": 10_000,
    "training.eval_steps": 100,
    "training.save_steps": 500,
    "training.logging_steps": 10,
    "training.save_total_limit": None,
    "training.loss_weighting": "dataset",
    "lora.use_lora": False,
    "lora.lora_r": 16,
    "lora.lora_alpha": 32,
    "lora.lora_dropout": 0.1,
    "model.backbone": "Qwen/Qwen3-4B-Instruct-2507",
    "model.mlp_hidden_dims": [1024, 256],
    "model.mlp_dropout": 0.1,
    "data.max_length": 2048,
    "data.max_steps_per_example": 10,
    "data.max_train_samples": None,
    "data.prm800k_weight": 0.5,
    "data.reveal_weight": 0.25,
    "data.eqasc_weight": 0.25,
    "data.prm800k_phase": 2,
    "data.prm800k_neutral": 0.5,
    "data.use_prm800k": True,
    "data.use_reveal": False,
    "data.use_eqasc": True,
    "data.eqasc_label": "validity",
    "output_dir": Path("outputs"),
}
"""What the documents promise of a configuration in which nothing was set."""


def get(config: Config, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("path", DOCUMENTED)
def test_a_field_has_its_documented_default(path: str) -> None:
    assert get(Config(), path) == DOCUMENTED[path]
    assert type(get(Config(), path)) is type(DOCUMENTED[path]) or path == "output_dir"


def test_the_lora_preset_differs_in_two_fields_only() -> None:
    lora, full = get_lora_config(), get_default_config()
    assert (lora.lora.use_lora, lora.training.learning_rate) == (True, 1e-4)
    lora.lora.use_lora, lora.training.learning_rate = False, 2e-5
    assert lora == full == Config()


def test_two_configurations_share_nothing() -> None:
    first, second = get_lora_config(), get_lora_config()
    first.model.mlp_hidden_dims.append(7)
    first.training.max_steps = 1
    assert second.model.mlp_hidden_dims == [1024, 256]
    assert second.training.max_steps == 10_000


def test_the_configuration_is_imported_as_the_documents_do() -> None:
    import importlib.util

    path = Path(config_package.__file__).parents[3] / "config.py"
    spec = importlib.util.spec_from_file_location("root_config", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.get_lora_config is get_lora_config
    assert module.Config is Config


ASSIGNMENTS: list[tuple[Callable[[Config], Any], str, Any]] = [
    (lambda c: c.training, "max_steps", 1000),
    (lambda c: c.training, "warmup_ratio", 0.1),
    (lambda c: c.training, "learning_rate", 5e-4),
    (lambda c: c.training, "token_budget", None),
    (lambda c: c.model, "mlp_hidden_dims", [2048, 1024, 512]),
    (lambda c: c.model, "mlp_hidden_dims", []),
    (lambda c: c.lora, "lora_target_modules", ["q_proj"]),
    (lambda c: c.data, "max_train_samples", 5000),
    (lambda c: c.data, "prm800k_neutral", "missing"),
    (lambda c: c.data, "prm800k_neutral", 1.0),
    (lambda c: c.data, "max_steps_per_example", None),
    (lambda c: c, "experiment_name", "lr_5e-4"),
]


@pytest.mark.parametrize(("section", "name", "value"), ASSIGNMENTS)
def test_a_good_value_is_taken(section: Callable[[Config], Any], name: str, value: Any) -> None:
    config = Config()
    setattr(section(config), name, value)
    assert getattr(section(config), name) == value


BAD: list[tuple[Callable[[Config], Any], str, Any, str]] = [
    (lambda c: c.training, "max_steps", 0, "greater than 0"),
    (lambda c: c.training, "max_steps", 1.5, "a whole number$"),
    (lambda c: c.training, "max_steps", "many", "a whole number$"),
    (lambda c: c.lora, "use_lora", "maybe", "true or false$"),
    (lambda c: c.model, "backbone", 3, "text$"),
    (lambda c: c.training, "learning_rate", -1e-4, "greater than 0"),
    (lambda c: c.training, "learning_rate", float("nan"), "finite"),
    (lambda c: c.training, "learning_rate", float("inf"), "finite|less than"),
    (lambda c: c.training, "learning_rate", "fast", "number"),
    (lambda c: c.training, "lr_scheduler_type", "cosin", "'cosine'"),
    (lambda c: c.training, "warmup_ratio", 1.0, "less than 1"),
    (lambda c: c.training, "seed", -1, "greater than or equal to 0"),
    (lambda c: c.model, "mlp_hidden_dims", "wide", "list"),
    (lambda c: c.model, "mlp_dropout", 1.0, "less than 1"),
    (lambda c: c.lora, "lora_r", 0, "greater than or equal to 1"),
    (lambda c: c.data, "prm800k_phase", 3, "1 or 2"),
    (lambda c: c.data, "prm800k_neutral", 1.5, "less than or equal to 1.*'missing'"),
    (lambda c: c.data, "prm800k_weight", -0.1, "greater than or equal to 0"),
    (lambda c: c.data, "use_prm800k", "perhaps", "true or false$"),
    (lambda c: c.data, "max_length", 0, "greater than or equal to 8"),
    (lambda c: c, "experiment_name", "a/b", "letters, digits and _ .*, a letter or digit first$"),
    (lambda c: c, "experiment_name", "../up", "letters, digits and _ .*, a letter or digit first$"),
    (lambda c: c, "experiment_name", "", "letters, digits and _ .*, a letter or digit first$"),
    (lambda c: c, "training", 5, "TrainingConfig"),
]


@pytest.mark.parametrize(("section", "name", "value", "allowed"), BAD)
def test_a_bad_value_raises_at_its_line_and_changes_nothing(
    section: Callable[[Config], Any], name: str, value: Any, allowed: str
) -> None:
    config = Config()
    with pytest.raises(ConfigError, match=f"{name}.*allowed: .*{allowed}") as caught:
        setattr(section(config), name, value)
    assert repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert config == Config()


def test_a_bad_value_within_a_list_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"mlp_hidden_dims\.1 is 0; allowed: greater than or equal to 1"):
        Config().model.mlp_hidden_dims = [16, 0]


@pytest.mark.parametrize(
    ("section", "typo", "meant"),
    [
        (lambda c: c.training, "learnig_rate", "learning_rate"),
        (lambda c: c.training, "max_step", "max_steps"),
        (lambda c: c.lora, "lora_rank", "lora_"),
        (lambda c: c, "experiment", "experiment_name"),
        (lambda c: c, "trainig", "training"),
    ],
)
def test_a_typo_raises_with_the_name_that_was_meant(section: Callable[[Config], Any], typo: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"no field '{typo}'; did you mean '{meant}"):
        setattr(section(Config()), typo, 1)


def test_a_name_like_no_other_lists_the_fields() -> None:
    with pytest.raises(ConfigError, match=r"fields: .*lora_alpha.*use_lora"):
        Config().lora.zzzz = 1  # type: ignore[attr-defined]


def test_every_error_of_a_file_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(
            {
                "experiment_nam": "x",
                "training": {"max_steps": -5, "learnig_rate": 1e-4, "lr_scheduler_type": "step"},
                "model": {"mlp_hidden_dims": [16, -1], "mlp_dropout": 2},
                "data": {"prm800k_neutral": "drop"},
            }
        )
    problems = caught.value.problems
    assert len(problems) == 7
    for part in (
        "experiment_nam: no such field; did you mean 'experiment_name'",
        "training.learnig_rate: no such field; did you mean 'learning_rate'",
        "training.max_steps is -5; allowed: greater than 0",
        "training.lr_scheduler_type is 'step'; allowed: 'cosine', 'linear', 'constant', 'wsd'",
        "model.mlp_hidden_dims.1 is -1; allowed: greater than or equal to 1",
        "model.mlp_dropout is 2; allowed: less than 1",
    ):
        assert any(part in problem for problem in problems), part
    (neutral,) = (problem for problem in problems if "prm800k_neutral" in problem)
    assert "'drop'" in neutral
    assert "missing" in neutral, "the branches of a union are one sentence"


def test_fields_that_are_not_named_keep_their_defaults() -> None:
    config = Config.from_dict({"training": {"max_steps": 7}})
    assert config.training.max_steps == 7
    assert config.training.learning_rate == 2e-5
    assert Config.from_dict({}) == Config()


def changed() -> Config:
    config = get_lora_config()
    config.experiment_name = "1e-4"
    config.output_dir = Path("somewhere/else")
    config.training.max_steps = 7
    config.training.warmup_ratio = 0.25
    config.training.learning_rate = 3e-7
    config.model.mlp_hidden_dims = []
    config.lora.lora_target_modules = ["q_proj", "v_proj"]
    config.data.prm800k_neutral = "missing"
    config.data.max_steps_per_example = None
    config.data.own_train = Path("my data/ü.jsonl")
    return config


@pytest.mark.parametrize("name", ["c.json", "c.yaml", "c.yml", "deep/er/c.json"])
def test_saving_and_reading_changes_nothing(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    changed().save(path)
    assert Config.from_file(path) == changed()
    assert Config.from_file(str(path), base=get_lora_config()) == changed()


def test_json_is_json_and_yaml_is_yaml(tmp_path: Path) -> None:
    changed().save(tmp_path / "c.json")
    changed().save(tmp_path / "c.yaml")
    assert (tmp_path / "c.json").read_text().startswith("{\n")
    assert "{" not in (tmp_path / "c.yaml").read_text()
    assert Config.from_json(tmp_path / "c.json") == changed()


def test_from_json_keeps_the_file_over_the_default_preset(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"training": {"max_steps": 3}}')
    config = Config.from_file(tmp_path / "c.json", base=get_lora_config())
    assert (config.training.max_steps, config.training.learning_rate) == (3, 1e-4)


def test_a_yaml_number_without_a_point_is_a_number(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-4 as text; a learning rate is written so."""
    (tmp_path / "c.yaml").write_text("training:\n  learning_rate: 1e-4\n  max_steps: 20\n")
    assert Config.from_file(tmp_path / "c.yaml").training.learning_rate == 1e-4


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("c.json", '{\n"training": {\n"max_steps": 5,,\n}}', "c.json, line 3: not valid JSON"),
        ("c.yaml", "training:\n  max_steps: [1\n", "c.yaml, line 3: not valid YAML"),
        ("c.json", "[1]", "holds a list"),
        ("c.yaml", "", "holds a NoneType"),
        ("c.json", '{"training": 5}', "training is 5"),
        ("c.json", '{"traning": {}}', "did you mean 'training'"),
    ],
)
def test_a_bad_file_is_one_line_a_problem_that_names_it(name: str, text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        Config.from_file(tmp_path / name)
    (problem,) = caught.value.problems
    assert expected in problem
    assert str(tmp_path / name) in problem
    assert "\n" not in problem


def test_a_missing_file_and_a_file_that_is_no_text_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nonsuch\.json: .*No such file"):
        Config.from_file(tmp_path / "nonsuch.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Config.from_file(tmp_path / "b.json")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"file/c\.json"):
        Config().save(tmp_path / "file" / "c.json")


def test_warmup_follows_the_ratio_where_it_is_set() -> None:
    config = Config()
    config.training.max_steps = 1000
    assert config.training.num_warmup_steps == 500
    config.training.warmup_ratio = 0.1
    assert config.training.num_warmup_steps == 100
    config.training.warmup_ratio = 0.0
    assert config.training.num_warmup_steps == 0


def test_the_default_mixture_sums_to_one_without_reveal() -> None:
    assert Config().data.enabled() == {"prm800k": pytest.approx(2 / 3), "eqasc": pytest.approx(1 / 3)}


def test_a_dataset_of_weight_zero_is_not_in_the_mixture() -> None:
    config = Config()
    config.data.use_reveal = True
    config.data.eqasc_weight = 0.0
    assert config.data.enabled() == {"prm800k": pytest.approx(2 / 3), "reveal": pytest.approx(1 / 3)}


def problems_after(**changes: Any) -> list[str]:
    config = Config()
    for path, value in changes.items():
        section, name = path.split("__")
        setattr(getattr(config, section), name, value)
    return config.problems()


def test_a_configuration_without_contradiction_has_no_problems() -> None:
    assert Config().problems() == []
    Config().check()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data__use_prm800k": False, "data__use_eqasc": False}, "every dataset is disabled.*--use_prm800k"),
        ({"data__prm800k_weight": 0.0, "data__eqasc_weight": 0.0}, "sum to 0"),
        ({"data__use_own": True}, "own_train"),
        ({"training__device": "cpu", "training__mixed_precision": "fp16"}, "fp16.*GPU"),
        ({"training__device": "cpu", "model__attention": "flex"}, "flex.*GPU"),
        ({"lora__base_precision": "nf4"}, "nf4.*frozen.*--use_lora true"),
        ({"lora__base_precision": "fp8"}, "fp8.*frozen.*--use_lora true"),
        ({"lora__base_precision": "nf4", "lora__use_lora": True, "training__device": "cpu"}, "nf4.*GPU.*same"),
    ],
)
def test_a_contradiction_says_what_mends_it(changes: dict[str, Any], expected: str) -> None:
    import re

    (problem,) = problems_after(**changes)
    assert re.search(expected, problem)


def test_all_contradictions_come_at_once() -> None:
    config = Config()
    config.data.use_prm800k = config.data.use_eqasc = False
    config.training.device, config.training.mixed_precision = "cpu", "fp16"
    config.model.attention = "varlen"
    with pytest.raises(ConfigError) as caught:
        config.check()
    assert len(caught.value.problems) == 3


def test_folders_follow_the_experiments_name() -> None:
    config = Config()
    config.experiment_name = "lr_1e-4"
    assert config.experiment_dir == Path("outputs/lr_1e-4")
    assert config.validation_dir == Path("outputs/eval_lr_1e-4")


def test_every_field_is_described() -> None:
    sections = [Config, *(field.annotation for field in Config.model_fields.values())]
    undescribed = [
        f"{section.__name__}.{name}"
        for section in sections
        if isinstance(section, type) and hasattr(section, "model_fields")
        for name, field in section.model_fields.items()
        if not field.description and not hasattr(field.annotation, "model_fields")
    ]
    assert undescribed == []


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("none", []), (None, []), ([], []), ("", []), ("auto", "auto"), (["all"], "all"),
        (" WandB , mlflow,wandb", ["wandb", "mlflow"]), (["aim", "tensorboard"], ["aim", "tensorboard"]),
    ],
)  # fmt: skip
def test_trackers_are_named_as_other_trainers_name_them(said: object, kept: object, tmp_path: Path) -> None:
    config = Config.from_dict({"training": {"report_to": said}})
    assert config.training.report_to == kept
    for name in ("config.json", "config.yaml"):
        config.save(tmp_path / name)
        assert Config.from_file(tmp_path / name).training.report_to == kept


@settings(max_examples=50)
@given(st.one_of(st.text(), st.integers(), st.lists(st.one_of(st.text(max_size=8), st.none())), st.booleans()))
def test_any_other_list_of_trackers_is_one_sentence(value: object) -> None:
    try:
        kept = Config.from_dict({"training": {"report_to": value}}).training.report_to
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.endswith("names of tensorboard, wandb, mlflow, aim (several with commas, or a list)")
        assert "\n" not in problem
    else:
        assert kept in ("auto", "all") or set(kept) <= {"tensorboard", "wandb", "mlflow", "aim"}


def test_a_file_of_before_keeps_its_meaning() -> None:
    old = Config.from_dict({"training": {"tensorboard": False}}).training
    assert wanted_trackers(old.report_to, tensorboard=old.tensorboard) == ([], True)
    both = Config.from_dict({"training": {"tensorboard": False, "report_to": "tensorboard"}})
    assert any("report_to names tensorboard, but training.tensorboard is false" in line for line in both.problems())


def test_no_field_has_a_pattern_that_only_pydantic_can_say() -> None:
    """It would say the pattern itself; `Matching` has words for it."""
    source = Path(surestep.__file__).parent
    found = [
        f"{path.relative_to(source)}, line {call.lineno}"
        for path in sorted(source.rglob("*.py"))
        if "pattern=" in (text := path.read_text(encoding="utf-8"))
        for call in ast.walk(ast.parse(text))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in {"Field", "StringConstraints"}
        if any(keyword.arg == "pattern" for keyword in call.keywords)
    ]
    assert found == []


def test_a_record_with_a_text_of_another_form_is_one_sentence() -> None:
    record = TypeAdapter(dict[str, Annotated[str, SHA256]])
    assert checked({"a": "0" * 64}, record) == {"a": "0" * 64}
    for value in ("0" * 63, "G" * 64, "0" * 64 + "\n"):
        with pytest.raises(ValueError, match=r"^a is '.+'; allowed: 64 digits from 0 to f$"):
            checked({"a": value}, record)
