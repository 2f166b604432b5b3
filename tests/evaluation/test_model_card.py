"""`MODEL_CARD.md`: true to the run it is written from, valid for the hub, and usable as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from runs import Watcher
from surestep.config import Config
from surestep.data.datasets import DATASETS
from surestep.errors import CheckpointError, DataError
from surestep.evaluation.evaluate import evaluate_checkpoint
from surestep.evaluation.report.model_card import card_text, metadata
from surestep.evaluation.report.write import report_on_folder
from surestep.evaluation.results.run_files import RunFiles, find_run
from surestep.scoring.checkpoint.load import load_checkpoint
from surestep.scoring.stored_split import silent
from surestep.training.run import train


@pytest.fixture(scope="module")
def evaluated(small_config: Callable[..., Config], run_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The evaluation folder of a small run, beside that run."""
    config = small_config(lora=True).model_copy(deep=True)
    config.output_dir = tmp_path_factory.mktemp("card") / "outputs"
    config.data.data_dir, config.data.cache_dir = run_files, run_files / "cache"
    config.data.use_prm800k, config.data.prm800k_phase = True, 1
    config.data.use_eqasc = False
    config.data.use_own = True
    config.data.own_train = run_files / "train.jsonl"
    config.data.own_validation = run_files / "validation.jsonl"
    config.data.own_test = run_files / "test.jsonl"
    config.training.max_steps, config.training.warmup_steps = 2, 0
    config.training.tensorboard = False
    config.eval.save_predictions = True
    config.eval.bootstrap_resamples = 20
    train(config, Watcher())
    checkpoint = config.experiment_dir / "checkpoint_step_2"
    folder = config.validation_dir / checkpoint.name
    loaded = load_checkpoint(checkpoint, config=config)
    evaluation = evaluate_checkpoint(loaded, config, split="test", output_dir=folder, progress=silent)
    assert evaluation.written is not None
    assert evaluation.written.page.missing == ()
    return folder


def report_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "eval_metrics.json").read_text(encoding="utf-8"))
    return values


def text_of(folder: Path) -> str:
    return (folder / "MODEL_CARD.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_card_says_what_the_run_says(evaluated: Path) -> None:
    card, report = text_of(evaluated), report_of(evaluated)
    run = find_run(report, evaluated)
    assert run.checkpoint is not None
    manifest = json.loads((run.checkpoint / "manifest.json").read_text())
    assert manifest["backbone"]["weights_sha256"] in card
    assert "LoRA adapter over the pinned backbone" in card
    assert "| training.max_steps | 2 |" in card
    for name, section in report["per_dataset"].items():
        assert f"| {name} | {section['num_steps']:,} | {section['skill']['mse']:.3f} ".replace("-", "−") in card
    trained = run.data_report["datasets"]
    assert f"{trained['own']['problems']:,} problems, {trained['own']['labels']:,} labels, " in card
    assert re.search(r"\| prm800k .*\| MIT \|", card)
    assert "not known to Surestep: state it here" in card
    assert "No calibration map is stored" in card
    assert "&#" not in card


@pytest.mark.slow
def test_the_page_and_the_card_come_out_the_same_again(evaluated: Path) -> None:
    before = {name: (evaluated / name).read_bytes() for name in ("report.html", "MODEL_CARD.md")}
    report_on_folder(evaluated)
    assert {name: (evaluated / name).read_bytes() for name in before} == before


def test_the_header_is_valid_for_the_hub(evaluated: Path) -> None:
    card = ModelCard(text_of(evaluated))
    assert card.data.library_name == "surestep"
    results = card.data.eval_results
    assert results is not None
    found = {(result.dataset_name, result.metric_type): result.metric_value for result in results}
    report = report_of(evaluated)["per_dataset"]
    assert found["own", "mse"] == pytest.approx(report["own"]["mse"], abs=1e-6)
    assert found["prm800k", "ece"] == pytest.approx(report["prm800k"]["ece"], abs=1e-6)
    _, header, _ = text_of(evaluated).split("---\n", 2)
    values = yaml.safe_load(header)
    # A local folder is no model of the hub, and no machine's path belongs in a card.
    assert "base_model" not in values
    assert str(evaluated.parents[2]) not in text_of(evaluated)


def test_a_backbone_of_the_hub_is_named_as_such() -> None:
    report = {"checkpoint": "outputs/exp/checkpoint_step_1", "per_dataset": {}}
    origin = {"name": "Qwen/Qwen3-4B-Instruct-2507", "revision": "abc", "weights_sha256": "0"}
    found = metadata(report, RunFiles(manifest={"kind": "full", "backbone": origin})).to_dict()
    assert (found["base_model"], found["base_model_relation"]) == ("Qwen/Qwen3-4B-Instruct-2507", "finetune")
    found = metadata(report, RunFiles(manifest={"kind": "lora", "backbone": origin})).to_dict()
    assert found["base_model_relation"] == "adapter"
    assert "model-index" not in found, "nothing was measured"


@pytest.mark.slow
@given(
    st.dictionaries(
        st.one_of(st.sampled_from(sorted(DATASETS)), st.from_regex(r"^[A-Za-z0-9_.-]+$", fullmatch=True)),
        st.dictionaries(st.sampled_from(["mse", "ece", "nll"]), st.floats(0, 10), min_size=1),
        min_size=1,
        max_size=5,
    ),
    st.text(min_size=1, max_size=20),
)
@settings(max_examples=60)
def test_the_hubs_library_reads_every_figure_back(sections: dict[str, dict[str, float]], name: str) -> None:
    report = {"checkpoint": "a/b", "per_dataset": sections, "settings": {"experiment_name": name}}
    text = metadata(report, RunFiles()).to_yaml()
    results = ModelCard(f"---\n{text}\n---\n").data.eval_results
    assert results is not None
    found = {(result.dataset_name, result.metric_type): result.metric_value for result in results}
    assert found == {(data, figure): round(v, 6) for data, values in sections.items() for figure, v in values.items()}


def test_what_it_says_of_loading_works(
    evaluated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", text_of(evaluated), re.DOTALL)
    checkpoint = find_run(report_of(evaluated), evaluated).checkpoint
    assert checkpoint is not None
    monkeypatch.chdir(checkpoint.parent)
    exec(code, {})
    ((first, second),) = json.loads(capsys.readouterr().out)
    assert 0 < first < 1
    assert 0 < second < 1


def test_training_on_reveal_is_said_plainly(evaluated: Path) -> None:
    values = {"problems": 1, "labels": 2, "share_of_loss": 1.0, "label_mean": 0.5}
    card = card_text(report_of(evaluated), RunFiles(data_report={"datasets": {"reveal": values}}))
    assert "CC BY-ND 4.0" in card
    assert "**REVEAL was trained on.**" in card
    assert "for testing, not for" in card
    assert ModelCard(card).data.datasets == ["google/reveal"]
    assert "REVEAL was trained on" not in text_of(evaluated)


def test_a_calibration_map_is_named_with_its_effect(evaluated: Path) -> None:
    report = report_of(evaluated)
    around = {"ece": 0.25, "nll": 0.5, "mse": 0.125}
    report["calibration"] = {
        "applied": "pooled",
        "stored": True,
        "before": {"overall": around},
        "after": {"overall": {name: value / 2 for name, value in around.items()}},
    }
    card = card_text(report, find_run(report, evaluated))
    assert "| ECE | 0.250 | 0.125 |" in card
    assert "(here: pooled)" in card


def test_names_from_data_break_no_table(evaluated: Path) -> None:
    report = report_of(evaluated)
    report["per_dataset"]["a | <script>\nb"] = report["per_dataset"].pop("own")
    card = card_text(report, RunFiles())
    assert "| a / &lt;script&gt; b | " in card
    assert "State it before publishing" in card
    assert ModelCard(card).data.eval_results is not None


def test_a_checkpoint_that_moved_is_named_and_another_is_refused(evaluated: Path, tmp_path: Path) -> None:
    report = report_of(evaluated)
    checkpoint = find_run(report, evaluated).checkpoint
    assert checkpoint is not None
    report["checkpoint"] = "elsewhere/run/checkpoint_step_2"
    assert "is not there any more" in find_run(report, tmp_path).missing[0]
    assert find_run(report, tmp_path, checkpoint=checkpoint).manifest["step"] == 2
    # From the results' folder it is found at its usual place, whatever folder the evaluation ran in.
    report["checkpoint"] = "outputs/surestep/checkpoint_step_2"
    assert find_run(report, evaluated).checkpoint == evaluated.parents[1] / "surestep" / "checkpoint_step_2"
    with pytest.raises(CheckpointError, match="of step 2, the evaluation of step 7"):
        find_run({**report, "step": 7}, tmp_path, checkpoint=checkpoint)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"per_dataset": {}, "overall": null}', '{"per_dataset": {"a": 1}}']
)
def test_what_is_no_evaluation_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"holds no eval_metrics\.json"):
        report_on_folder(tmp_path)
    (tmp_path / "eval_metrics.json").write_text(content)
    with pytest.raises(DataError, match="evaluate again"):
        report_on_folder(tmp_path)
