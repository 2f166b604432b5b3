"""Runs that must give the same results before and after the code is rearranged: training, scores, figures, tables.

    python benchmarks/fixed_runs.py BEFORE            # about three minutes on one core, no network
    python benchmarks/same_results.py BEFORE AFTER    # compares two such folders

Each run is made by public commands, in a process of its own, on a CPU with one thread, and lies in a folder of its own
below OUT_FOLDER, beside its exit codes (`commands.json`) and what it printed (`printed.txt`). Data is made here by seed
or cut from the real files of `--shared`, and tokens go to a cache in OUT_FOLDER, so that no version reads what another
one left. Knows commands, flags and file formats; imports nothing of Surestep, so it may be run from any version's tree:
the tested package is the one beside this file unless `--src` names another.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fixed_inputs import write_inputs

STOP_AFTER = 10
ATTEMPTS_TO_STOP = 3
_SINGLE = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "TOKENIZERS_PARALLELISM": "false",
}
_QUIET = {"HF_HUB_OFFLINE": "1", "NO_COLOR": "1", "COLUMNS": "160", "PYTHONUNBUFFERED": "1"}
_LIBRARIES = (
    *("torch", "transformers", "transformers.models.llama.modeling_llama", "peft", "accelerate"),
    *("sklearn.linear_model", "sklearn.feature_extraction.text", "matplotlib.figure", "rich.table", "pydantic", "yaml"),
)
"""Other people's, loaded once: half a minute of a slow machine's time for each command. Surestep is not among them."""

_PLACE = ("--cache_dir", "cache", "--device", "cpu", "--bootstrap_resamples", "200")
_TRAINING = ("--tensorboard", "false", "--logging_steps", "1", "--save_predictions", "true")
_DEMO = (
    *("--backbone", "builtin:tiny", "--mlp_hidden_dims", "[128]", "--mlp_dropout", "0"),
    *("--use_prm800k", "false", "--use_eqasc", "false", "--use_arithmetic", "true"),
    *("--arithmetic_problems", "1000", "--arithmetic_eval_problems", "100", "--max_steps_per_example", "none"),
    *("--max_steps", "40", "--learning_rate", "5e-4", "--warmup_steps", "8", "--batch_size", "8"),
    *("--gradient_accumulation_steps", "1", "--token_budget", "4096"),
    *("--eval_steps", "20", "--save_steps", "20", "--validation_samples", "60"),
)
_MIXTURE = (
    *("--preset", "lora", "--backbone", "inputs/stories260K", "--mlp_hidden_dims", "[32]", "--lora_r", "4"),
    *("--data_dir", "inputs", "--prm800k_phase", "1", "--use_prm800k", "true", "--use_eqasc", "true"),
    *("--use_own", "true", "--own_train", "inputs/own_train.jsonl", "--own_test", "inputs/own_test.jsonl"),
    *("--prm800k_weight", "0.5", "--eqasc_weight", "0.2", "--own_weight", "0.3", "--validation_fraction", "0.25"),
    *("--max_length", "320", "--max_steps_per_example", "8", "--learning_rate", "5e-3", "--warmup_steps", "2"),
    *("--max_steps", "20", "--batch_size", "3", "--gradient_accumulation_steps", "2", "--token_budget", "2048"),
    *("--eval_steps", "10", "--save_steps", "10", "--validation_samples", "12"),
)
_LORA = "lora/lora/checkpoint_step_20"
_DEMO_TRAINED = "demo/demo/checkpoint_step_40"
_DOUBTFUL = (
    *("--use_own", "true", "--own_name", "doubtful"),
    *("--own_validation", "inputs/doubtful_validation.jsonl", "--own_test", "inputs/doubtful_test.jsonl"),
)
_COMPARED_BY = ("nll", "ece_equal_mass", "auroc", "rms_calibration_error")


class Runs:
    """Makes the runs in one folder, in which every command is started: all paths in results are relative."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands: list[dict[str, Any]] = []
        self.printed: list[str] = []

    def surestep(self, *arguments: str, allowed: Sequence[int] = (0,)) -> str:
        """Run a command; what it wrote to stdout.

        Raises:
            SystemExit: its exit code is none of `allowed`; the message ends with what it printed last.
        """
        lines: list[str] = []
        exit_code = self._process(arguments, lines.append)
        return self._answer(arguments, exit_code, "".join(lines), allowed)

    def stopped(self, *arguments: str, after: int) -> int:
        """Run a training and send SIGTERM when it says that step `after` is done; the step at which it stopped."""
        lines: list[str] = []

        def read(line: str) -> None:
            # Once: a second signal ends the program at once, and the first may make it print this line again.
            if line.startswith(f"step {after}/") and not any(line.startswith(f"step {after}/") for line in lines):
                os.kill(self.process, signal.SIGTERM)
            lines.append(line)

        exit_code = self._process(arguments, read)
        said = next((line for line in lines if line.startswith("stopped by SIGTERM after step ")), None)
        if said is None:
            raise SystemExit(f"surestep {' '.join(arguments)}\nwas not stopped, exit code {exit_code}")
        step = int(said.removeprefix("stopped by SIGTERM after step ").split(";")[0])
        if step == after:
            self._note(arguments, exit_code, "".join(lines))
        return step

    def in_two_processes(self, *arguments: str) -> None:
        """Run a command in two processes that know of each other."""
        launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
        command = [sys.executable, *launch, "-m", "surestep.cli.main", *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        (self.folder / "stderr.txt").write_text(done.stderr, encoding="utf-8")
        self._answer(arguments, done.returncode, done.stdout, (0,))

    def _process(self, arguments: Sequence[str], read: Callable[[str], None]) -> int:
        """What `python -m surestep.cli.main` does, in a process that has loaded other people's libraries already.

        `read` is called with each line of stdout as it comes. Returns the exit code.
        """
        from_child, to_parent = os.pipe()
        self.process = os.fork()
        if self.process == 0:
            os.close(from_child)
            os.chdir(self.folder)
            os.dup2(to_parent, 1)
            os.dup2(os.open("stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
            os._exit(_run_module("surestep.cli.main", arguments))
        os.close(to_parent)
        with os.fdopen(from_child, encoding="utf-8") as lines:
            for line in lines:
                read(line)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def _answer(self, arguments: Sequence[str], exit_code: int, printed: str, allowed: Sequence[int]) -> str:
        self._note(arguments, exit_code, printed)
        if exit_code not in allowed:
            said = (self.folder / "stderr.txt").read_text(encoding="utf-8")
            raise SystemExit(f"surestep {' '.join(arguments)}\nexit code {exit_code}\n{said[-3000:]}")
        return printed

    def _note(self, arguments: Sequence[str], exit_code: int, printed: str) -> None:
        command = " ".join(["surestep", *arguments])
        self.commands.append({"command": command, "exit_code": exit_code})
        self.printed.append(f"$ {command}\n{printed}")

    def close(self, name: str) -> None:
        """Write what the commands of run `name` answered, and forget it."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "commands.json").write_text(json.dumps(self.commands, indent=1) + "\n", encoding="utf-8")
        (folder / "printed.txt").write_text("\n".join(self.printed), encoding="utf-8")
        (self.folder / "stderr.txt").unlink()
        self.commands, self.printed = [], []


def train_demo(runs: Runs) -> None:
    """(i) The demo's data, every weight trained from the embedded model."""
    runs.surestep("train", *_DEMO, *_PLACE, *_TRAINING, "--output_dir", "demo", "--experiment_name", "demo")


def train_lora(runs: Runs) -> None:
    """(ii) LoRA on a small real model: a mixture of PRM800K, eQASC's layout and own data."""
    runs.surestep("train", *_MIXTURE, *_PLACE, *_TRAINING, "--output_dir", "lora", "--experiment_name", "lora")
    _evaluate(runs, _LORA, "lora/test")


def train_resumed(runs: Runs) -> None:
    """(iii) The same, stopped by a signal after step 10 and resumed."""
    flags = ("train", *_MIXTURE, *_PLACE, *_TRAINING, "--output_dir", "resumed", "--experiment_name", "lora")
    # The signal meets the validation of step 10, unless this process was kept waiting for longer than that takes.
    for _ in range(ATTEMPTS_TO_STOP):
        if runs.stopped(*flags, "--overwrite", after=STOP_AFTER) == STOP_AFTER:
            break
    else:
        raise SystemExit(f"training did not stop at step {STOP_AFTER} in {ATTEMPTS_TO_STOP} attempts: too busy here")
    runs.surestep(*flags, "--resume")


def train_two_processes(runs: Runs) -> None:
    """(iv) The same in two processes."""
    flags = (*_MIXTURE, *_PLACE, *_TRAINING, "--output_dir", "two_processes", "--experiment_name", "lora")
    runs.in_two_processes("train", *flags)


def calibrate(runs: Runs) -> None:
    """(v) Maps fitted on two datasets' validation; their tests with the pooled map, with own ones and with none."""
    runs.surestep("calibrate", "--checkpoint", _DEMO_TRAINED, *_DOUBTFUL, *_PLACE)
    _evaluate(runs, _DEMO_TRAINED, "calibrated/pooled", *_DOUBTFUL)
    for calibration in ("dataset", "none"):
        more = ("--calibration", calibration, "--baselines", "false")
        _evaluate(runs, _DEMO_TRAINED, f"calibrated/{calibration}", *_DOUBTFUL, *more)


def evaluate_predictions(runs: Runs) -> None:
    """(vi) A report on what another scorer wrote."""
    file = ("--predictions", "inputs/other_predictions.jsonl")
    runs.surestep("evaluate", *file, "--output_dir", "predictions/other", "--report", "false")


def run_benchmarks(runs: Runs) -> None:
    """(vii) ProcessBench, PRMBench and best-of-N, scored by a checkpoint and by a file."""
    checkpoints = {"processbench": _LORA, "prmbench": _DEMO_TRAINED, "best-of-n": _LORA}
    from_file = {
        "processbench": ("processbench.json", "--predictions", "inputs/processbench_predictions.jsonl"),
        "prmbench": ("prmbench.jsonl", "--predictions", "inputs/prmbench_predictions.jsonl"),
        "best-of-n": ("candidates_scored.jsonl",),
    }
    for name, (data, *scorer) in from_file.items():
        common = ("--resamples", "200", "--output_dir", f"benchmarks/{name}")
        runs.surestep("benchmark", name, "--data", f"inputs/{data}", *scorer, *common)
        data = "candidates.jsonl" if name == "best-of-n" else data
        scorer = ["--checkpoint", checkpoints[name], "--device", "cpu", "--save_predictions", "true"]
        runs.surestep("benchmark", name, "--data", f"inputs/{data}", *scorer, *common[:-1], f"{common[-1]}_checkpoint")


def compare(runs: Runs) -> None:
    """(viii) Three scorers of the same steps, in the order of four figures."""
    _evaluate(runs, "lora/lora/checkpoint_step_10", "compared/step_10", "--baselines", "false")
    _evaluate(runs, "two_processes/lora/checkpoint_step_20", "compared/two_processes", "--baselines", "false")
    for figure in _COMPARED_BY:
        names = ("lora/test", "compared/step_10", "compared/two_processes")
        found = runs.surestep("compare", *names, "--sort", figure, "--resamples", "200", "--json")
        (runs.folder / "compared" / f"by_{figure}.json").write_text(found, encoding="utf-8")


def check(runs: Runs) -> None:
    """(ix) The production checklist."""
    flags = ("--evaluation", "lora/test", "--probe_problems", "8", "--leak_data", "inputs/processbench.json")
    found = runs.surestep("check", _LORA, *flags, *_PLACE, "--json", allowed=(0, 1))
    (runs.folder / "check").mkdir()
    (runs.folder / "check" / "check.json").write_text(found, encoding="utf-8")


def report(runs: Runs) -> None:
    """(x) The page, its charts and the card of the evaluation with the pooled map."""
    shutil.copytree(runs.folder / "calibrated" / "pooled", runs.folder / "report" / "pooled")
    runs.surestep("report", "report/pooled", "--checkpoint", _DEMO_TRAINED)


def _evaluate(runs: Runs, checkpoint: str, folder: str, *more: str) -> None:
    flags = ("--checkpoint", checkpoint, "--output_dir", folder, "--save_predictions", "true", "--report", "false")
    runs.surestep("evaluate", *flags, *_PLACE, *more)


RUNS = {
    "demo": train_demo,
    "lora": train_lora,
    "resumed": train_resumed,
    "two_processes": train_two_processes,
    "calibrated": calibrate,
    "predictions": evaluate_predictions,
    "benchmarks": run_benchmarks,
    "compared": compare,
    "check": check,
    "report": report,
}
"""A run's folder to the function that makes it, in this order: later ones use what earlier ones left."""


def _run_module(name: str, arguments: Sequence[str]) -> int:
    """Run a module as a program; its exit code, 1 after a traceback."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.argv = [name, *arguments]
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _prepare(src: Path) -> None:
    """Set what commands find in their environment, and load once the libraries that all of them use."""
    path = os.pathsep.join([str(src), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.update({**_SINGLE, **_QUIET, "PYTHONPATH": path})
    sys.path.insert(0, str(src))
    for name in _LIBRARIES:
        importlib.import_module(name)


def make(folder: Path, shared: Path, src: Path) -> None:
    """Make inputs and runs in `folder`, and say how long each took."""
    write_inputs(folder / "inputs", shared)
    _prepare(src)
    runs = Runs(folder)
    for name, make_run in RUNS.items():
        started, before = time.monotonic(), _cpu_seconds()
        make_run(runs)
        runs.close(name)
        seconds = time.monotonic() - started
        print(f"{name}: {seconds:.0f} s, {_cpu_seconds() - before:.0f} s of it on a processor", flush=True)


def _cpu_seconds() -> float:
    """What ended commands have computed: says more than a clock where others use the machine too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Read the arguments and make the runs."""
    root = Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser(description="Make the fixed runs.", allow_abbrev=False)
    parser.add_argument("folder", type=Path, metavar="OUT_FOLDER", help="where everything goes; must not exist")
    parser.add_argument(
        "--shared", type=Path, default=root.parent / "shared", help="real data and models (default: ../shared)"
    )
    parser.add_argument(
        "--src", type=Path, default=root / "src", help="folder of the package (default: beside this file)"
    )
    arguments = parser.parse_args()
    if not (arguments.shared / "data").is_dir():
        parser.error(f"{arguments.shared} holds no folder data: name the folder of real data and models with --shared")
    if not (arguments.src / "surestep").is_dir():
        parser.error(f"{arguments.src} holds no package surestep: name the folder that holds it with --src")
    if arguments.folder.exists():
        parser.error(f"{arguments.folder} exists: name a new folder, so that nothing old is compared")
    make(arguments.folder.resolve(), arguments.shared.resolve(), arguments.src.resolve())


if __name__ == "__main__":
    main()
