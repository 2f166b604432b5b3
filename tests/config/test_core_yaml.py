"""Configuration files: the meaning of YAML 1.2, and nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from surestep.config import Config
from surestep.config.core_yaml import StrictReadError, dump_yaml, load_json, load_yaml
from surestep.config.read import read_config_file
from surestep.errors import ConfigError
from surestep.evaluation.check.targets import load_targets


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1:30:00", "1:30:00"),
        ("190:20:30.15", "190:20:30.15"),
        ("010", 10),
        ("0o17", 15),
        ("-0o17", "-0o17"),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1e-4", 0.0001),
        ("1e3", 1000.0),
        ("+12", 12),
        (".5", 0.5),
        ("5.", 5.0),
        ("yes", "yes"),
        ("On", "On"),
        ("no", "no"),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("2026-01-02", "2026-01-02"),
        ("~", None),
        ("null", None),
        ("", None),
        ("'010'", "010"),
        ("=", "="),
    ],
)
def test_a_plain_word_means_what_yaml_1_2_says(written: str, meant: Any) -> None:
    found = load_yaml(f"a: {written}\n")["a"]
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize("text", ["!!int yes", "!!float x", "!!bool no", "!!int 1:30"])
def test_a_tag_does_not_bring_the_old_meaning_back(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"a: {text}\n")
    with pytest.raises(ConfigError, match="line 1: not valid YAML"):
        read_config_file(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
    | st.from_regex(r"[-+0-9._eEoxXyYnN:<~]{1,6}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_what_is_saved_is_read_again(values: Any) -> None:
    text = dump_yaml({"a": values})
    assert load_yaml(text) == {"a": values}
    assert yaml.safe_load(text) == {"a": values}
    assert load_json(json.dumps(values)) == values


@pytest.mark.parametrize(
    ("name", "text", "line", "key"),
    [
        ("c.yaml", "training:\n  seed: 1\n  max_steps: 3\n  seed: 2\n", 4, "'seed'"),
        ("c.yml", "training: {seed: 1}\ndata: {}\n'training': {}\n", 3, "'training'"),
        ("c.yaml", "- &a {x: 1}\n- <<: *a\n  <<: *a\n", 3, "'<<'"),
        ("c.yaml", "a: [{b: 1, b: 1}]\n", 1, "'b'"),
        ("c.json", '{"training": {"seed": 1,\n\n"seed": 1}}', 3, "'seed'"),
        ("c.json", '{"a": "x\\"{",\n "b": [{}, {"c": 1}, {"c": 1}],\n "\\u0061": 2}', 3, "'a'"),
    ],
)
def test_a_key_twice_is_refused_with_its_line(name: str, text: str, line: int, key: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    for read in (Config.from_file, read_config_file, lambda path: load_targets("full", path)):
        with pytest.raises(ConfigError, match=rf"{name}, line {line}: the key {key} is there twice"):
            read(path)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c{", 'd"', "é", "f:"]), st.integers(0, 2)), max_size=5))
def test_exactly_repeated_keys_are_refused(pairs: list[tuple[str, int]]) -> None:
    inner = ",\n".join(f"{json.dumps(key)}: {{{json.dumps(key)}: {value}}}" for key, value in pairs)
    text = f'{{"list": [{{{inner}}}, 1], "x": "}}"}}'
    if len({key for key, _ in pairs}) == len(pairs):
        assert load_json(text) == json.loads(text)
    else:
        with pytest.raises(StrictReadError):
            load_json(text)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_json_has_no_nan(value: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(f'{{"training": {{\n"learning_rate": {value}}}}}')
    with pytest.raises(ConfigError, match=f"line 2: {value} is no number of JSON"):
        read_config_file(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", '{"a": 1e999}'),
        ("c.json", f'{{"a": {"9" * 5000}}}'),
        ("c.yaml", f"a: {'9' * 5000}"),
        ("c.json", '{"a":' * 100_000),
        ("c.yaml", "[" * 3000),
    ],
    ids=["beyond floats", "digits", "digits yaml", "deep", "deep yaml"],
)
def test_what_no_configuration_holds_is_one_line(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_config_file(path)
    assert len(str(raised.value)) < 300
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize("written", ["null", "none", "[1]", "3", "true"])
def test_a_section_that_is_none_is_refused_in_plain_words(written: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    for name, text in (("training", f"training: {written}"), ("phases.0", f"phases: [{written}]")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=f"{name} is .*; allowed: an object of fields [(][A-Za-z]+[)]$"):
            Config.from_file(path)
    path.write_text(f"training: {{{written}: 2}}" if written in {"null", "3", "true"} else "1: 2")
    with pytest.raises(ConfigError, match="allowed: a field's name as key, which is text"):
        Config.from_file(path)


@pytest.mark.parametrize(("name", "text"), [("c.json", '{"training": {"seed": 7}}'), ("c.yaml", "training: {seed: 7}")])
def test_a_mark_of_byte_order_in_front_means_nothing(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert Config.from_file(path).training.seed == 7
