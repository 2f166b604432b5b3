"""Sources: the right file for each split, all missing ones named at once, and a fingerprint of what is read."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from surestep.config import DataConfig
from surestep.data.records.reading_report import ReadReport
from surestep.data.sources.choose import SPLITS, enabled_sources
from surestep.data.sources.source import Source
from surestep.data.trees.identity import problem_key
from surestep.errors import ConfigError, DataError

OFF = {f"use_{name}": False for name in ("prm800k", "reveal", "eqasc", "arithmetic", "own")}


def config(tmp_path: Path, **values: Any) -> DataConfig:
    return DataConfig(**(OFF | {"data_dir": tmp_path} | values))


def put_prm800k(folder: Path, num_problems: int = 40) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        records = [
            {
                "question": {"problem": f"{split} {number}"},
                "label": {"steps": [{"completions": [{"text": "s", "rating": rating}], "chosen_completion": 0}]},
            }
            for number in range(num_problems)
            for rating in (1, 0)
        ]
        (folder / f"phase1_{split}.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")


def put_eqasc(folder: Path, *splits: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        chain = [{"text": "a", "score": 20}, {"text": "b", "score": 30}, {"turk_label": {"label": "yes"}}]
        questions = [
            {
                "id": f"{split}-{number}",
                "question": {
                    "stem": f"s{number}",
                    "choices": [{"text": t, "label": t, "chains": [chain]} for t in "AB"],
                },
                "answerKey": "A",
                "fact1": "g1",
                "fact2": "g2",
            }
            for number in range(30)
        ]
        (folder / f"eqasc_{split}_grc.json").write_text(json.dumps(questions), encoding="utf-8")


def put_reveal(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["question_id,question,answer_id,step_idx,step,evidence,attribution_label,correctness_label"]
    lines += [f"q{number},What {number}?,a{number},0,s,e,fully," for number in range(50)]
    (folder / "reveal_eval.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def problems(source: Source) -> set[str]:
    return {problem_key(tree) for tree in source.read(ReadReport())}


def test_folders_are_found_in_any_case_and_layout(tmp_path: Path) -> None:
    for place in ("PRM800K", "prm800k", "Prm800K/prm800k/data"):
        data = tmp_path / place.replace("/", "_")
        put_prm800k(data / place)
        (source,) = enabled_sources(config(data, use_prm800k=True, prm800k_phase=1), "test")
        assert source.files == (data / place / "phase1_test.jsonl",)


def test_a_gzipped_file_stands_in_for_the_plain_one(tmp_path: Path) -> None:
    put_prm800k(tmp_path / "prm800k")
    plain = tmp_path / "prm800k" / "phase1_test.jsonl"
    Path(f"{plain}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    (source,) = enabled_sources(config(tmp_path, use_prm800k=True, prm800k_phase=1), "test")
    assert len(problems(source)) == 40


def test_prm800k_validation_is_held_out_of_train_by_problem(tmp_path: Path) -> None:
    put_prm800k(tmp_path / "prm800k")
    data = config(tmp_path, use_prm800k=True, prm800k_phase=1, validation_fraction=0.2)
    train, validation, test = (problems(enabled_sources(data, split)[0]) for split in SPLITS)
    assert train | validation == {f"train {number}" for number in range(40)}
    assert not train & validation
    assert validation
    assert test == {f"test {number}" for number in range(40)}


def test_the_report_of_a_divided_file_counts_what_the_split_holds(tmp_path: Path) -> None:
    put_prm800k(tmp_path / "prm800k")
    (source,) = enabled_sources(config(tmp_path, use_prm800k=True, prm800k_phase=1), "validation")
    report = ReadReport()
    trees = list(source.read(report))
    assert report["trees"] == report["labels"] == len(trees)
    assert report["other_split"] == 40 - len(trees)
    assert report["records"] == 80
    assert {tree.dataset for tree in trees} == {"prm800k"}


def test_eqasc_uses_its_dev_file_where_present(tmp_path: Path) -> None:
    put_eqasc(tmp_path / "eQASC", "train", "dev", "test")
    data = config(tmp_path, use_eqasc=True)
    train, validation, test = (enabled_sources(data, split)[0] for split in SPLITS)
    assert [source.files[0].name for source in (train, validation, test)] == [
        "eqasc_train_grc.json",
        "eqasc_dev_grc.json",
        "eqasc_test_grc.json",
    ]
    assert len(problems(train)) == 30


def test_eqasc_without_dev_holds_out_whole_questions(tmp_path: Path) -> None:
    put_eqasc(tmp_path / "eqasc", "train", "test")
    data = config(tmp_path, use_eqasc=True, validation_fraction=0.3)
    train, validation = (problems(enabled_sources(data, split)[0]) for split in ("train", "validation"))
    assert len(train) + len(validation) == 30
    assert not train & validation


def test_gold_chains_join_train_only(tmp_path: Path) -> None:
    put_eqasc(tmp_path / "eqasc", "train", "dev", "test")
    data = config(tmp_path, use_eqasc=True)
    for split in SPLITS:
        report = ReadReport()
        list(enabled_sources(data, split)[0].read(report))
        assert report["gold_added"] == (30 if split == "train" else 0)


def test_reveal_questions_are_divided_three_ways_and_its_terms_are_said(tmp_path: Path) -> None:
    put_reveal(tmp_path / "REVEAL" / "eval")
    sides, report = [], ReadReport()
    for split in SPLITS:
        (source,) = enabled_sources(config(tmp_path, use_reveal=True), split, seed=3)
        sides.append({problem_key(tree) for tree in source.read(report)})
    assert sum(map(len, sides)) == len(set.union(*sides)) == 50
    assert all(sides)
    assert len([note for note in report.notes if "not as a training set" in note]) == 1


def test_the_reveal_test_questions_do_not_depend_on_the_seed(tmp_path: Path) -> None:
    put_reveal(tmp_path / "reveal")
    data = config(tmp_path, use_reveal=True)
    first, second = (problems(enabled_sources(data, "test", seed=seed)[0]) for seed in (1, 2))
    assert first == second


def test_every_missing_file_is_named_at_once_with_its_command(tmp_path: Path) -> None:
    data = config(tmp_path, use_prm800k=True, use_eqasc=True, use_own=True, own_train=tmp_path / "mine.jsonl")
    with pytest.raises(DataError) as caught:
        enabled_sources(data, "train")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "phase2_train.jsonl",
        "surestep data fetch prm800k",
        "eqasc_train_grc.json",
        "surestep data fetch eqasc",
        str(tmp_path / "mine.jsonl"),
        "own_train",
    ):
        assert part in message


def test_a_folder_named_in_the_configuration_is_the_only_one_searched(tmp_path: Path) -> None:
    put_prm800k(tmp_path / "prm800k")
    data = config(tmp_path, use_prm800k=True, prm800k_phase=1, prm800k_dir=tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"elsewhere \(prm800k_dir\)"):
        enabled_sources(data, "train")


def test_everything_off_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="every dataset is off"):
        enabled_sources(config(tmp_path), "train")
    with pytest.raises(ConfigError, match="weight 0"):
        enabled_sources(config(tmp_path, use_arithmetic=True, arithmetic_weight=0.0), "train")


def test_own_files_without_a_test_file_have_no_test_split(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"problem": "p", "steps": ["a"], "confidences": [1]}\n' * 2, encoding="utf-8")
    data = config(tmp_path, use_own=True, own_train=path, own_name="mine")
    with pytest.raises(ConfigError, match="own_test is not set"):
        enabled_sources(data, "test")
    (source,) = enabled_sources(data, "train")
    assert [tree.dataset for tree in source.read(ReadReport())] == ["mine"]


@pytest.mark.parametrize("taken", ["prm800k", "eqasc", "reveal", "arithmetic", "PRM800K"])
@pytest.mark.parametrize("split", SPLITS)
def test_own_data_under_a_built_in_name_is_refused_in_every_split(tmp_path: Path, taken: str, split: Any) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"problem": "p", "steps": ["a"], "confidences": [1]}\n' * 2, encoding="utf-8")
    data = config(tmp_path, use_own=True, own_train=path, own_test=path, own_name=taken, use_arithmetic=True)
    with pytest.raises(ConfigError, match=f"own_name is '{taken}', which is the name of a built-in"):
        enabled_sources(data, split)


def test_a_split_left_without_problems_says_why(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"problem": "p", "steps": ["a"]}\n', encoding="utf-8")
    (source,) = enabled_sources(config(tmp_path, use_own=True, own_train=path), "train")
    with pytest.raises(DataError, match=r"no labelled problem for train in .*mine\.jsonl; 1 record read"):
        list(source.read(ReadReport()))


def test_own_data_in_another_layout(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "p", "completions": ["a"], "labels": [0.9]}\n', encoding="utf-8")
    (source,) = enabled_sources(config(tmp_path, use_own=True, own_test=path, own_format="stepwise"), "test")
    assert [tree.nodes[0].confidence for tree in source.read(ReadReport())] == [0.9]


def test_arithmetic_needs_no_file_and_keeps_its_true_confidences(tmp_path: Path) -> None:
    data = config(tmp_path, use_arithmetic=True, arithmetic_problems=5, arithmetic_eval_problems=3)
    counts = []
    for split in SPLITS:
        trees = list(enabled_sources(data, split, seed=7)[0].read(ReadReport()))
        counts.append(len(trees))
        assert all(node.true_confidence is not None for tree in trees for node in tree.nodes)
    assert counts == [5, 3, 3]


def test_the_fingerprint_follows_all_that_decides_the_trees(tmp_path: Path) -> None:
    put_prm800k(tmp_path / "prm800k")
    base = {"use_prm800k": True, "prm800k_phase": 1}

    def fingerprint(split: Any = "train", seed: int = 0, **values: Any) -> str:
        return enabled_sources(config(tmp_path, **(base | values)), split, seed=seed)[0].fingerprint()

    first = fingerprint()
    assert first == fingerprint()
    others = [
        fingerprint("validation"),
        fingerprint(seed=1),
        fingerprint(prm800k_neutral="missing"),
        fingerprint(validation_fraction=0.3),
        fingerprint(keep_quality_control=True),
    ]
    assert len({first, *others}) == 6
    assert fingerprint(max_length=4096) == first
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "prm800k", moved)
    assert fingerprint(prm800k_dir=moved) == first


def test_the_fingerprint_sees_a_changed_file(tmp_path: Path) -> None:
    put_prm800k(tmp_path / "prm800k")
    data = config(tmp_path, use_prm800k=True, prm800k_phase=1)
    before = enabled_sources(data, "train")[0].fingerprint()
    path = tmp_path / "prm800k" / "phase1_train.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("train 3", "train x"), encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert enabled_sources(data, "train")[0].fingerprint() != before


@pytest.mark.parametrize("name", ["own", "renamed"])
def test_ways_to_type_a_problem_never_part_and_a_datasets_name_moves_none(tmp_path: Path, name: str) -> None:
    """Each problem stands in the file in four spellings; with them on two sides, a split would leak."""
    path = tmp_path / "own.jsonl"
    rows = [
        {"problem": spelling, "id": str(index), "steps": [{"text": "s", "confidence": 1}]}
        for number in range(40)
        for index, spelling in enumerate(
            (
                f"What is {number} - 1?",
                f"what is ${number}-1$",
                f"What  is {number}−1 ?",
                f"What is {number} \u2013 1.\n",
            )
        )
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sides = {}
    for chosen in ("own", name):
        data = config(tmp_path, use_own=True, own_train=path, validation_fraction=0.3, own_name=chosen)
        train, validation = (enabled_sources(data, split)[0] for split in ("train", "validation"))
        sides[chosen] = (problems(train), problems(validation))
    (train_problems, held_out) = sides["own"]
    assert sides[name] == sides["own"]
    assert len(train_problems) + len(held_out) == 40
    assert not train_problems & held_out
