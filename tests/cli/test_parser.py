"""A mistyped command or flag is refused in one line that names what was probably meant."""

from __future__ import annotations

import pytest

from surestep.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evalute", "--checkpoint", "x"], ["'evalute'", "did you mean evaluate?"]),
        (["train", "--batchsize", "3"], ["--batchsize", "did you mean --batch_size?"]),
        (["evaluate", "--outputdir=x"], ["--outputdir", "did you mean --output_dir?"]),
        (["bench", "trian"], ["'trian'", "did you mean train?", "score"]),
        (["data", "lst"], ["'lst'", "did you mean list?"]),
        (["train", "--zzzz"], ["--zzzz", "--help"]),
        ([], ["COMMAND", "--help"]),
    ],
)
def test_one_line_says_what_was_meant(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    for word in words:
        assert word in shown.err
    assert ("did you mean" in shown.err) == any("did you mean" in word for word in words)
