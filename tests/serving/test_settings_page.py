"""docs/how-to/serve.md says every setting of the server, its default and its reason, as the program has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from surestep.errors import ConfigError
from surestep.serving.http.failures import TYPES
from surestep.serving.settings import ServeConfig

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "serve.md").read_text(encoding="utf-8")


def row(name: str) -> str:
    """A setting's row in the table."""
    field = ServeConfig.model_fields[name]
    value = field.get_default()
    default = "unset" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"
    return f"| `--{name}` | {default} | {field.description} |"


def test_the_page_has_every_setting_in_order_and_no_other() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `--")]
    assert rows == [row(name) for name in ServeConfig.model_fields]


def test_the_page_explains_every_status() -> None:
    table = PAGE.split("| status | meaning |")[1].split("\n\n")[0]
    named = {int(number) for number in re.findall(r"\b[45]\d\d\b", table.replace("405", ""))}
    assert named == set(TYPES) - {405}


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", 65_536), ("deadline_s", 0.0), ("deadline_s", float("nan")), ("key_share", 1.5), ("max_steps", 0)],
)
def test_a_setting_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        setattr(ServeConfig(), name, value)
