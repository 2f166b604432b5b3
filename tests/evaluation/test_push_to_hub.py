"""`surestep push` against a hub on this machine: there and back, refused in a sentence, never half done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import surestep
from stub_hub import StubHub, stub_hub
from surestep import Scorer, push_to_hub
from surestep.calibration.calibration import Calibration
from surestep.calibration.maps import Platt
from surestep.cli.main import main
from surestep.config import Config
from surestep.errors import CheckpointError, InputError, UploadError
from surestep.evaluation.publish.push_to_hub import plan_push
from surestep.files import BEST, write_json
from surestep.inference.vllm_plugin import StepConfidenceProcessor
from surestep.scoring.checkpoint.export import export_merged
from surestep.scoring.checkpoint.save import save_checkpoint
from surestep.scoring.vllm.export import export_for_vllm

PROBLEM, STEPS = "What is 2 + 2?", ["two and two", "is 4"]
NAME = "someone/gpt2-prm"


def _write_state(folder: Path) -> None:
    (folder / "optimizer.bin").write_bytes(b"x" * 4096)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, build_small: Any, small_config: Callable[..., Config]) -> Path:
    """A run of a LoRA model with two checkpoints, training state and a data report; the first is the best."""
    folder = tmp_path_factory.mktemp("push") / "outputs" / "mine"
    config = small_config("llama", lora=True)
    built = build_small("llama", lora=True)
    built.calibration = Calibration(Platt(0.5, 0.3))
    for step in (2, 4):
        save_checkpoint(
            folder / f"checkpoint_step_{step}", built, config, step=step, label_means={}, write_state=_write_state
        )
    write_json(folder / BEST, {"checkpoint": "checkpoint_step_2"})
    used = {"problems": 3, "labels": 9, "share_of_loss": 0.5}
    write_json(folder / "data_report.json", {"datasets": {"prm800k": used, "own": used}})
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "outputs" / "mine"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StubHub]:
    monkeypatch.chdir(tmp_path)
    with stub_hub(monkeypatch, tmp_path / "cache") as made:
        yield made


def push(path: Path, **options: Any) -> list[str]:
    lines: list[str] = []
    push_to_hub(path, NAME, say=lines.append, **options)
    return lines


def refusal(path: Path, kind: type[Exception] = UploadError, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        push(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_what_is_pushed_scores_as_before_when_it_is_loaded_by_its_name(
    hub: StubHub, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = Scorer.load(run, device="cpu", say=lambda _line: None).score(PROBLEM, STEPS)
    assert main(["push", str(run), NAME, "--message", "first", "--license", "apache-2.0"]) == 0
    said = capsys.readouterr().out
    assert "its best checkpoint by validation is checkpoint_step_2" in said
    assert f"{NAME} (private): " in said
    assert "training_state/ (4.1 kB, needed by --resume only) stays here" in said
    assert "licence of training data prm800k: MIT" in said
    assert "licence of training data own: not known to Surestep: state it here" in said
    assert "licence of these weights: apache-2.0" in said
    assert "without which nobody can load it: `surestep export`" in said, "its backbone is a folder of this machine"
    assert f"next: Scorer.load('{NAME}')" in said
    repository = hub.repositories[NAME]
    assert (repository.private, repository.messages) == (True, ["initial commit", "first"])
    files = hub.files(NAME)
    assert not any(name.startswith("training_state") for name in files)
    assert {"manifest.json", "config.json", "head.safetensors", "calibration.json", "README.md"} < files.keys()
    header = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert (header["license"], header["library_name"]) == ("apache-2.0", "surestep")
    assert f'Scorer.load("{NAME}")' in files["README.md"].decode()
    loaded = Scorer.load(NAME, device="cpu")
    assert loaded.score(PROBLEM, STEPS) == expected


@pytest.mark.slow
def test_a_merged_export_needs_no_backbone_and_transformers_loads_it(hub: StubHub, run: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    expected = Scorer.load(run, device="cpu", say=lambda _line: None).score(PROBLEM, STEPS)
    export_merged(run / "checkpoint_step_2", run.parent / "merged")
    assert not any("without which nobody" in line for line in push(run.parent / "merged", revision="v1", private=False))
    assert not hub.repositories[NAME].private
    assert "manifest.json" not in hub.files(NAME, "main"), "the branch alone was written"
    found = Scorer.load(NAME, revision="v1", device="cpu").score(PROBLEM, STEPS)
    assert found.confidences == pytest.approx(expected.confidences, abs=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(NAME, revision="v1", subfolder="backbone")
    assert tokenizer.convert_tokens_to_ids("<CONFIDENCE>") in tokenizer("a<CONFIDENCE>")["input_ids"]
    assert AutoModel.from_pretrained(NAME, revision="v1", subfolder="backbone").config.model_type == "llama"


@pytest.mark.slow
def test_an_export_for_vllm_is_pushed_as_it_is(hub: StubHub, run: Path) -> None:
    export_for_vllm(run / "checkpoint_step_2", run.parent / "vllm")
    push(run.parent / "vllm")
    assert {"surestep/about.json", "surestep/head.safetensors", "model.safetensors", "README.md"} < hub.files(
        NAME
    ).keys()
    assert "vllm serve model --runner pooling --convert embed" in hub.files(NAME)["README.md"].decode()
    # vLLM may be given the name: the plugin takes what it needs, and no weights of the backbone.
    config = SimpleNamespace(model_config=SimpleNamespace(model=NAME, revision=None))
    assert StepConfidenceProcessor(config)._about["layout"] == "plugin"
    assert f"GET /{NAME}/resolve/{hub.repositories[NAME].branches['main']}/model.safetensors" not in hub.requests
    config.model_config.model = "someone/else"
    with pytest.raises(CheckpointError, match="someone/else cannot be taken from the hub"):
        StepConfidenceProcessor(config)


def test_a_dry_run_asks_no_network_and_says_the_same(hub: StubHub, run: Path) -> None:
    said = push(run, dry_run=True)
    assert hub.requests == []
    assert [line for line in push(run) if line in said] == said
    assert any(line.startswith("  head.safetensors (") for line in said)
    places = next(line for line in said if line.startswith("places of this machine"))
    assert "/" in places


@pytest.mark.parametrize("broken", ["/lfs/", f"/api/models/{NAME}/commit", f"/api/models/{NAME}/preupload"])
@pytest.mark.parametrize(
    "status", [pytest.param(0, marks=pytest.mark.slow), 500, pytest.param(413, marks=pytest.mark.slow)]
)
def test_an_upload_that_breaks_off_changes_nothing_and_can_be_run_again(
    broken: str, status: int, hub: StubHub, run: Path
) -> None:
    hub.broken = {broken: status}
    message = refusal(run)
    assert "the upload broke off" in message
    assert "nothing on the hub's branch has changed: run the command again" in message
    assert list(hub.files(NAME)) == [".gitattributes"]
    sent = set(hub.objects)
    hub.broken, hub.requests[:] = {}, []
    push(run)
    assert "manifest.json" in hub.files(NAME)
    assert not [request for request in hub.requests if request.removeprefix("PUT /lfs/") in sent], "sent once"


@pytest.mark.slow
def test_a_taken_name_is_left_alone_unless_the_update_is_asked_for(hub: StubHub, run: Path) -> None:
    push(run)
    before = dict(hub.files(NAME))
    message = refusal(run / "checkpoint_step_4")
    assert f"{NAME} is taken: it holds adapter/" in message
    assert "or replace it with --update" in message
    assert hub.files(NAME) == before
    # A new branch replaces nothing.
    push(run / "checkpoint_step_4", revision="later")
    assert json.loads(hub.files(NAME, "later")["manifest.json"])["step"] == 4
    assert hub.files(NAME) == before
    assert "at revision later is taken" in refusal(run, revision="later")
    # An update leaves no file of the former checkpoint that would be read with the new one.
    hub.repositories[NAME].commit("main", {**before, "model.safetensors": b"", "results.json": b"{}"}, "by hand")
    export_merged(run / "checkpoint_step_4", run.parent / "merged")
    said = push(run.parent / "merged", update=True, private=False)
    assert any("files of the former upload go (adapter/" in line for line in said)
    assert f"{NAME} is there already and stays private" in said
    assert "README.md on the hub stays as it is; --card FILE replaces it" in said
    assert not any(name.startswith("adapter/") or name == "model.safetensors" for name in hub.files(NAME))
    assert hub.files(NAME)["results.json"] == b"{}", "what is somebody's own stays"
    assert hub.files(NAME)["README.md"] == before["README.md"]
    assert Scorer.load(NAME, device="cpu").about()["step"] == 4


def test_a_repository_with_nothing_but_a_card_and_a_licence_is_free(hub: StubHub, run: Path) -> None:
    push(run)
    repository = hub.repositories[NAME]
    repository.commit("main", {"README.md": b"mine", "LICENSE": b"theirs", ".gitattributes": b""}, "emptied")
    push(run)
    assert (hub.files(NAME)["README.md"], hub.files(NAME)["LICENSE"]) == (b"mine", b"theirs")


def test_tokens_and_owners_that_may_not_write_get_a_sentence(
    hub: StubHub, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "does not accept the token, or there is none; log in with `hf auth login`" in refusal(run, token="hf_wrong")
    with pytest.raises(UploadError, match="the token may not write as another"):
        push_to_hub(run, "another/name", say=lambda _line: None)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/no/such/token")
    assert "or there is none" in refusal(run)
    assert hub.repositories == {}


def test_without_a_hub_it_says_so_at_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "the hub does not answer; connect to the network" in refusal(run)


@pytest.mark.parametrize(
    "name", ["", "name", "a/b/c", "/b", "a/", "../x", "a/..", "a b/c", "https://huggingface.co/a/b", "a/b--c", "a/b-"]
)
def test_a_name_that_no_repository_can_have_is_refused(name: str, run: Path) -> None:
    with pytest.raises(UploadError, match="is no hub id; allowed: owner/name"):
        plan_push(run, name)


@pytest.mark.parametrize("revision", ["", "a b", "../x", "x/", "-x"])
def test_a_branch_that_cannot_be_is_refused(revision: str, run: Path) -> None:
    with pytest.raises(UploadError, match="is no name of a branch"):
        plan_push(run, NAME, revision=revision)


def test_what_is_no_checkpoint_or_is_damaged_is_never_published(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        plan_push(tmp_path / "nothing", NAME)
    path = run / "checkpoint_step_2" / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="has changed since it was written"):
        plan_push(run, NAME)
    shutil.rmtree(run / "checkpoint_step_4" / "training_state")
    with pytest.raises(CheckpointError, match="holds no training_state"):
        plan_push(run / "checkpoint_step_4", NAME, with_training_state=True)


def test_the_training_state_goes_where_it_is_asked_for(run: Path) -> None:
    plan = plan_push(run, NAME, with_training_state=True)
    assert "training_state/optimizer.bin" in plan.upload.files


def _evaluate(run: Path, folder: Path, step: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "eval_metrics.json", {"checkpoint": f"{run}/checkpoint_step_{step}", "step": step})
    (folder / "MODEL_CARD.md").write_text(
        f"---\nlibrary_name: surestep\n---\n\n# measured {step}\n\n## How to load it\n\nlocally\n"
        '<!-- surestep-made-from {"a": 1} -->\n'
    )


def test_the_card_of_its_own_evaluation_is_taken(run: Path) -> None:
    _evaluate(run, run.parent / "eval_mine", 4)  # of another checkpoint
    assert "without figures" in "\n".join(plan_push(run, NAME).lines)
    _evaluate(run, run.parent / "eval_mine" / "checkpoint_step_2", 2)
    plan = plan_push(run, NAME, licence="mit")
    text = plan.upload.card
    assert text.startswith("---\nlicense: mit\nlibrary_name: surestep\n---\n\n# measured 2\n")
    assert "surestep-made-from" not in text
    assert text.index(f'Scorer.load("{NAME}")') < text.index("## How to load it")
    assert any("MODEL_CARD.md (measured before the checkpoint last changed" in line for line in plan.lines)
    own = run / "own.md"
    own.write_text("mine")
    assert plan_push(run, NAME, card=own).upload.card == "mine"
    assert plan_push(run, NAME, card=own, licence="mit").upload.card == "---\nlicense: mit\n---\n\nmine"
    with pytest.raises(InputError, match="cannot be read as a card"):
        plan_push(run, NAME, card=run / "none.md")
    with pytest.raises(InputError, match="is no identifier"):
        plan_push(run, NAME, licence="MIT License")


BROKEN_METADATA = [
    "a: [1",
    "- a",
    "3",
    "model-index: text",
    "model-index: [{name: a}]",
    "model-index: [{name: a, results: [{task: 3}]}]",
    "model-index: [{name: a, results: [{task: {type: t}, dataset: {type: d, name: d}, metrics: [3]}]}]",
    "ignore_metadata_errors: true\nmodel-index: [{}]",
    "tags: 5",
    "1: a",
]


@pytest.mark.parametrize("header", BROKEN_METADATA)
def test_a_card_whose_metadata_are_not_the_hubs_is_one_line_before_any_request(
    hub: StubHub, run: Path, header: str
) -> None:
    (run / "card.md").write_text(f"---\n{header}\n---\n\ntext")
    said = refusal(run, InputError, card=run / "card.md")
    assert said.startswith(f"{run / 'card.md'}: the metadata of the card are not the hub's (")
    assert hub.requests == []


def test_what_the_hub_says_of_a_card_is_one_line(hub: StubHub, run: Path) -> None:
    hub.card_errors = ['"license" must be one of', '"tags" must be a list']
    said = refusal(run)
    assert 'does not take the card (Invalid metadata in README.md. - "license" must be one of - "tags"' in said
    assert hub.repositories[NAME].messages == ["initial commit"]


def test_a_card_without_figures_says_what_is_not_known(run: Path) -> None:
    (run / "data_report.json").unlink()
    plan = plan_push(run, NAME)
    assert "What it was trained on is not known here. **State it before publishing.**" in plan.upload.card
    assert "It was not measured where this card was written" in plan.upload.card
    assert str(run) not in plan.upload.card
    assert any("training data: not known here" in line for line in plan.lines)


def test_push_to_hub_is_a_public_name() -> None:
    assert "push_to_hub" in surestep.__all__
