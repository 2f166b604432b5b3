"""The best-practices page: the document that users brought, as they wrote it, and our notes beside it, all of it run.

Outside its quotations (`> ...`) the page is the users' document: its headings in their order, and the text of each
section, code included, by its hash; where their file lies beside the repository, the two are compared line by line.
Inside the quotations stand our additions and corrections.

Every shell block and every Python block runs, in order, in one folder: the users' in one, those of our notes in
another, so that neither leans on the other.

The text is changed before it runs, the program is not:

- Steps are divided by 500 wherever they stand, in options, in assignments and in the names of checkpoints: every
  whole number from 1,000 that 500 divides (1000 becomes 2, `checkpoint_step_10000` becomes `checkpoint_step_20`).
- `python train_lora.py` and `python train.py` get the flags of `FLAGS` right behind them: a random Llama of two
  layers as the backbone, the CPU, and `save_steps` 5, which stands for 2,500 and so still saves the 5,000th, 7,500th
  and 10,000th step. They come first, so what the document says wins.
- A Python block that assumes a `config` starts with `from config import get_lora_config; config = get_lora_config()`.
  After such a block its configuration is compared with what the block assigned, saved, and one step is trained with
  it, so that a field which is accepted but breaks the run is found. A configuration that several blocks make is
  trained once.

The folder holds the four files of the repository's root, small data where the default `data_dir` looks for them, and,
where a block needs it, a finished run `outputs/exp`. It is trained by the plain interpreter; all other commands are
run by the quick one of `warm_python` (also a process for each, forked from one that has already imported torch),
because importing torch takes longer than these trainings.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from documents import Block, Ran, blocks_of, run
from small_datasets import write_datasets

pytestmark = pytest.mark.slow  # every block of two documents runs

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "best-practices.md").read_text(encoding="utf-8")
STEPS_DIVISOR = 500
FLAGS = "--backbone small-llama --device cpu --save_steps 5"
FEW_DRAWS = "--bootstrap_resamples 50"
USERS_SECTIONS = [
    ("# Best Practices", "e3b0c44298fc"),
    ("## Training Strategies", "e3b0c44298fc"),
    ("### Start with LoRA", "3e6565ddf38c"),
    ("### Progressive Training", "d567fef061da"),
    ("### Hyperparameter Tuning", "c346aefdf8ba"),
    ("## Model Architecture", "e3b0c44298fc"),
    ("### MLP Head Design", "5ff2d0ed108c"),
    ("### LoRA Configuration", "53c2ae7f2216"),
    ("## Dataset Strategies", "e3b0c44298fc"),
    ("### Dataset Selection by Goal", "db8fd00fbd1f"),
    ("### Curriculum Learning", "a5d8ebbe69ea"),
    ("## Training Hyperparameters", "e3b0c44298fc"),
    ("### Learning Rate Guidelines", "aff2b7ed0035"),
    ("### Batch Size Strategy", "1798f0076ce8"),
    ("### Warmup and Scheduling", "9f756d4774dd"),
    ("## Regularization", "e3b0c44298fc"),
    ("### Dropout", "5786b6531267"),
    ("### Weight Decay", "ecd40d65994c"),
    ("### Gradient Clipping", "c68d845ce59d"),
    ("## Evaluation Best Practices", "e3b0c44298fc"),
    ("### During Training", "f5f746ecb8a1"),
    ("### After Training", "204ab3d78113"),
    ("## Memory Optimization", "e3b0c44298fc"),
    ("### Sequence Length", "b6de1653c385"),
    ("### Steps Per Example", "bda22ef4325d"),
    ("## Reproducibility", "e3b0c44298fc"),
    ("### Set Random Seed", "9bc887445f06"),
    ("### Save Configuration", "c0f17c4b8cc1"),
    ("### Log Everything", "00966daf8db7"),
    ("## Production Checklist", "869b70fea2b8"),
    ("## Common Pitfalls to Avoid", "d98e9af3f77b"),
    ("## Recommended Workflows", "e3b0c44298fc"),
    ("### Quick Experiment (2 hours)", "55a4aa6b6bc4"),
    ("### Production Training (12 hours)", "2f5444772c58"),
    ("### Hyperparameter Search", "b4c42d29795a"),
    ("## Performance Targets", "e3b0c44298fc"),
    ("### After 1000 Steps (Quick Test)", "64a10000e192"),
    ("### After 10000 Steps (Full Training)", "28efd4e5e7d1"),
    ("### Production Quality", "44893403ef90"),
    ("## See Also", "5a72e0e72420"),
]
"""Each heading of the users' document, in order, and a hash of the text under it."""
PRELUDE = "from config import get_lora_config\nconfig = get_lora_config()\n"


def shrink_steps(code: str) -> str:
    """Divide every number of steps in `code` by `STEPS_DIVISOR`."""

    def divided(found: re.Match[str]) -> str:
        number = int(found[0])
        is_steps = number >= 1000 and number % STEPS_DIVISOR == 0
        return str(number // STEPS_DIVISOR) if is_steps else found[0]

    return re.sub(r"(?<![\d.])\d+(?![\d.])", divided, code)


def with_flags(code: str) -> str:
    """Give every training command the flags of a small run, and every evaluation few resamples."""
    code = re.sub(r"python (train(?:_lora)?\.py)", rf"python \1 {FLAGS} {FEW_DRAWS}", code)
    return re.sub(r"python evaluate\.py", rf"\g<0> {FEW_DRAWS}", code)


def assumes_config(code: str) -> bool:
    """Whether a Python block uses a `config` that it does not make."""
    names = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name) and node.id == "config"]
    return bool(names) and not any(isinstance(node.ctx, ast.Store) for node in names)


def assignments(code: str) -> dict[str, Any]:
    """Dotted path below `config` to the value that a Python block assigns to it."""
    found = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).startswith("config."):
            found[ast.unparse(node.targets[0]).removeprefix("config.")] = ast.literal_eval(node.value)
    return found


def test_steps_are_divided_and_other_numbers_stay() -> None:
    before = "--max_steps 1000 --learning_rate 5e-4 checkpoint_step_7500 [2048, 1024] 1e-4 $((r * 2)) 500 42"
    after = "--max_steps 2 --learning_rate 5e-4 checkpoint_step_15 [2048, 1024] 1e-4 $((r * 2)) 500 42"
    assert shrink_steps(before) == after


class Reader:
    """Someone who types the blocks of a document in a folder of their own."""

    def __init__(self, folder: Path, quick: Path) -> None:
        self.folder = folder
        self.quick = quick
        self.trained: list[dict[str, Any]] = []

    def shell(self, code: str, *, plain: bool = False) -> Ran:
        """Run `code` in bash; the first failing command ends it."""
        first = Path(sys.executable).parent if plain else self.quick
        return run(["bash", "-e", "-o", "pipefail", "-c", with_flags(code)], self.folder, first_on_path=first)

    def follow(self, number: int, block: Block) -> Ran:
        """Run one block, and train a step with the configuration that it makes."""
        code = shrink_steps(block.code)
        if block.language == "bash":
            return self.shell(code)
        if not assumes_config(code):
            return self.python(number, code)
        saved = f"blocks/{number}.json"
        ran = self.python(number, f"{PRELUDE}{code}config.check()\nconfig.save({saved!r})\n")
        if ran.code:
            return ran
        values = json.loads((self.folder / saved).read_text())
        for path, value in assignments(code).items():
            found = values
            for name in path.split("."):
                found = found[name]
            assert found == value, f"line {block.line}: config.{path} is {found}, not {value}"
        if values in self.trained:  # a block may assign what is the default
            return ran
        self.trained.append(values)
        return self.shell(f"python train_lora.py --config {saved} --max_steps 1 --experiment_name block_{number}")

    def python(self, number: int, code: str) -> Ran:
        """Run `code` as a script in the folder."""
        script = self.folder / f"block_{number}.py"
        script.write_text(code, encoding="utf-8")
        return run(["python", script.name], self.folder, first_on_path=self.quick)


@pytest.fixture
def reader(tmp_path: Path, quick_python: Path, backbone_folder: Callable[[str], Path]) -> Reader:
    for name in ("config.py", "train.py", "train_lora.py", "evaluate.py"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(backbone_folder("llama"), tmp_path / "small-llama")
    write_datasets(tmp_path / "data")
    return Reader(tmp_path, quick_python)


def follow_document(reader: Reader, *, quoted: bool) -> None:
    """Run the blocks of our notes, or those of the users' text; fails with every block that failed."""
    blocks = [block for block in blocks_of(PAGE) if block.language in {"bash", "python"} and block.quoted is quoted]
    assert len(blocks) >= (10 if quoted else 40), "the document has lost its blocks"
    if any("outputs/exp/checkpoint" in block.code for block in blocks):
        train = shrink_steps("python train_lora.py --experiment_name exp --max_steps 10000")
        prepared = reader.shell(train, plain=not quoted)
        assert prepared.code == 0, prepared.output
    failed = []
    for number, block in enumerate(blocks):
        ran = reader.follow(number, block)
        if ran.code:
            failed.append(f"line {block.line} ({block.heading}), exit code {ran.code}:\n{block.code}\n{ran.output}")
    assert not failed, "\n\n".join(failed)


def check_runs(outputs: Path, names: set[str]) -> None:
    """Every run has left its last checkpoint and the validation result of its best one."""
    for name in names:
        best = json.loads((outputs / name / "best_checkpoint.json").read_text())
        assert (outputs / name / best["checkpoint"] / "manifest.json").is_file()
        report = json.loads((outputs / f"eval_{name}" / "eval_metrics.json").read_text())
        assert report["split"] == "validation"
        assert 0 < report["overall"]["mse"] < 1
        assert set(report["per_dataset"]) == {"prm800k", "eqasc"}


def users_text(page: str) -> list[str]:
    """The lines that are not ours: no quotations; of several blank lines one."""
    lines: list[str] = []
    for line in page.splitlines():
        if not line.startswith(">") and (line.strip() or (lines and lines[-1])):
            lines.append(line.rstrip())
    return lines if lines[-1] else lines[:-1]


def sections(lines: list[str]) -> list[tuple[str, str]]:
    """Each heading, and a hash of the text under it; a comment in a code block is no heading."""
    found: list[tuple[str, list[str]]] = []
    in_code = False
    for line in lines:
        in_code ^= line.strip().startswith("```")
        if line.startswith("#") and not in_code:
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return [(heading, hashlib.sha256("\n".join(text).strip().encode()).hexdigest()[:12]) for heading, text in found]


def test_every_section_of_the_users_document_stands_as_it_was_written() -> None:
    assert sections(users_text(PAGE)) == USERS_SECTIONS


def test_the_page_is_the_users_file_where_that_is_at_hand() -> None:
    path = next((ROOT.parent / "shared").glob("*/best-practices.md"), None)
    if path is None:
        pytest.skip("the users' best-practices.md is not beside the repository")
    assert users_text(PAGE) == users_text(path.read_text(encoding="utf-8"))


def test_a_changed_word_of_the_users_text_is_noticed() -> None:
    changed = PAGE.replace("- MSE: <0.015", "- MSE: <0.15")
    assert changed != PAGE
    assert sections(users_text(changed)) != USERS_SECTIONS


def test_the_document_that_users_brought(reader: Reader) -> None:
    follow_document(reader, quoted=False)
    outputs = reader.folder / "outputs"
    rates = {f"hparam_lr_{rate}" for rate in ("5e-5", "1e-4", "2e-4", "5e-4")} | {"lr_5e-5", "lr_1e-4", "lr_5e-4"}
    ranks = {f"hparam_r_{rank}" for rank in (8, 16, 32)}
    check_runs(outputs, {"exp_001", "exp_002", "quick_exp", "production_v1", "exp"} | rates | ranks)
    places = ["eval_quick", *(f"eval_production_step_{step}" for step in (10, 15, 20))]
    places += [f"eval_exp/checkpoint_step_{step}" for step in (10, 15, 20)]
    for place in places:
        report = json.loads((outputs / place / "eval_metrics.json").read_text())
        assert report["split"] == "test", place
    rank = json.loads((outputs / "hparam_r_32" / "checkpoint_step_6" / "config.json").read_text())["lora"]
    assert (rank["lora_r"], rank["lora_alpha"]) == (32, 64)
    assert (reader.folder / "configs" / "surestep.json").is_file()


def test_snippets_of_the_users_document_typed_into_one_session_all_take_effect() -> None:
    """Both alternatives for warmup stand in the document: what is typed last is in force, and nothing typed before."""
    from surestep.config import get_lora_config

    path = next((ROOT.parent / "shared").glob("*/best-practices.md"), None)
    if path is None:
        pytest.skip("the users' best-practices.md is not beside the repository")
    config = get_lora_config()
    for block in blocks_of(path.read_text(encoding="utf-8")):
        if block.language != "python" or not assumes_config(block.code) or "config.save" in block.code:
            continue
        exec(block.code, {"config": config})
        for name, value in assignments(block.code).items():
            section, _, field = name.rpartition(".")
            assert getattr(getattr(config, section) if section else config, field) == value
        if "warmup_ratio" in block.code:
            assert config.training.num_warmup_steps == config.training.max_steps // 10
        if "warmup_steps = 0" in block.code:
            assert config.training.num_warmup_steps == 0
    assert config.training.num_warmup_steps == 0
    assert config.problems() == []


def test_our_own_document(reader: Reader) -> None:
    follow_document(reader, quoted=True)
    outputs = reader.folder / "outputs"
    check_runs(outputs, {"easy", "hard", "exp"})
    started_from = json.loads((outputs / "hard" / "config.json").read_text())["training"]["init_from"]
    assert started_from == "outputs/easy/checkpoint_step_6"
    assert (outputs / "eval_exp" / "checkpoint_step_20" / "predictions.jsonl.gz").is_file()


@pytest.mark.parametrize(
    ("language", "code", "said"),
    [
        ("bash", "python evaluate.py --checkpoint outputs/exp/checkpoint_step_1000\necho done\n", "checkpoint_step_2"),
        ("python", "config.training.max_step = 1000\n", "max_steps"),
        ("python", "import json\nprint(json.load(open('outputs/eval_a/eval_metrics.json')))\n", "FileNotFoundError"),
    ],
)
def test_a_block_that_fails_is_noticed(reader: Reader, language: str, code: str, said: str) -> None:
    ran = reader.follow(0, Block(language, code, 1, "", ""))
    assert ran.code != 0
    assert said in ran.output
