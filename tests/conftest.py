"""What all tests share: a repeatable Hypothesis, the places of real data and models, tiny backbones."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from backbones import save_backbone
from quick_plots import quick_png
from runs import write_own
from small_datasets import write_datasets
from surestep.evaluation.report.charts import png
from warm_python import warm_python

if TYPE_CHECKING:
    from surestep.config import Config
    from surestep.scoring.build_model import BuiltModel

settings.register_profile(
    "surestep",
    derandomize=True,
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("surestep")

# Under `nohup` it is ignored, by every process that tests start as well; a program leaves that as it is, rightly.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

DRAWN_PNG = png.png_of

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


LONGEST = {"test_best_practices.py", "test_notebooks.py", "test_package.py", "test_tutorial.py"}
"""Files with tests of half a minute and more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick tests first; of the slow ones the longest: at the end, no process waits for another that has one."""
    items.sort(key=lambda item: (item.get_closest_marker("slow") is not None, item.path.name not in LONGEST))


class ShownGpu:
    """Whether the test that runs sees the machine's GPU: those of tests/gpu do, and others with the mark `gpu`.

    The others compare with what a CPU computes, to the bit and in its memory; on a machine with a GPU `auto` would be
    that, and a checkpoint that was trained on the CPU scored on it. What they start sees none either.
    """

    FOLDER = Path(__file__).parent / "gpu"
    HIDDEN = "CUDA_VISIBLE_DEVICES"

    def __init__(self) -> None:
        import torch

        self.is_shown = True
        self._torch: Any = torch
        self._visible = os.environ.get(self.HIDDEN)

    def has_gpu(self) -> bool:
        """In place of `hardware.has_gpu`."""
        return self.is_shown and self._torch.cuda.is_available()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before any fixture, of whatever scope, is set up for the test."""
        self.is_shown = item.get_closest_marker("gpu") is not None or self.FOLDER in item.path.parents
        if not self.is_shown:
            os.environ[self.HIDDEN] = ""
        elif self._visible is None:
            os.environ.pop(self.HIDDEN, None)
        else:
            os.environ[self.HIDDEN] = self._visible
        if self.is_shown:
            self._torch.cuda._cached_device_count = None  # counted while they were hidden, maybe


def pytest_collection_finish(session: pytest.Session) -> None:
    """On a machine with a GPU, hide it from tests that are not about it; torch, asked here, has seen it for good."""
    if "torch" not in sys.modules and not any(Path(driver).exists() for driver in ("/dev/nvidiactl", "/dev/dxg")):
        return  # and nobody waits for its import
    from surestep.scoring import hardware

    if hardware.has_gpu():
        shown = ShownGpu()
        session.config.pluginmanager.register(shown)
        hardware.has_gpu = shown.has_gpu


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The collector of cycles does not walk through all modules: they stay, and it is a tenth of their import."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _find(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path.name} is not at {path.parent}")
    return path


@pytest.fixture(scope="session", autouse=True)
def _quick_plots() -> Iterator[None]:
    """Commands write the plots of a report undrawn, which are most of an evaluation's time; see `drawn_plots`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "png_of", quick_png)
        yield


@pytest.fixture
def drawn_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this test plots are drawn as users get them."""
    monkeypatch.setattr(png, "png_of", DRAWN_PNG)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, or a skip."""
    return _find(SHARED / "data")


@pytest.fixture(scope="session")
def stories260k() -> Path:
    """A real pretrained Llama of 260 thousand parameters with its tokenizer, or a skip."""
    return _find(SHARED / "models" / "stories260K")


@pytest.fixture(scope="session")
def qwen3_tokenizer() -> Path:
    """The tokenizer of the default backbone, or a skip."""
    return _find(SHARED / "models" / "qwen3-tokenizer")


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny random backbone of a family (see `backbones.FAMILIES`), built once."""
    root = tmp_path_factory.mktemp("backbones")

    def find(family: str) -> Path:
        folder = root / family
        return folder if folder.is_dir() else save_backbone(family, folder)

    return find


@pytest.fixture(scope="session")
def small_config(backbone_folder: Callable[[str], Path]) -> Callable[..., Config]:
    """A configuration of a tiny backbone with a small head, on the CPU, without dropout.

    Behind the family may stand what its head reads: `llama, mix`, `llama, pooled`, or both.
    """
    from surestep.config import get_default_config, get_lora_config

    def make(family: str = "llama", *, lora: bool = False) -> Config:
        config = get_lora_config() if lora else get_default_config()
        family, *head = family.split(", ")
        config.model.head_layers = "mix" if "mix" in head else "last"
        config.model.head_pooling = "mean" if "pooled" in head else "confidence"
        config.model.backbone = str(backbone_folder(family))
        config.model.mlp_hidden_dims = [16]
        config.model.mlp_dropout = 0.0
        config.lora.lora_dropout = 0.0
        config.lora.lora_r = 4
        config.training.device = "cpu"
        config.training.mixed_precision = "no"
        config.eval.bootstrap_resamples = 20
        return config

    return make


@pytest.fixture(scope="session")
def build_small(small_config: Callable[..., Config]) -> Callable[..., BuiltModel]:
    """A new tiny model of a family whose head answers to what it reads; `lora` puts random adapters in."""
    import torch

    from surestep.scoring.build_model import build_model
    from surestep.scoring.hardware import choose_hardware

    def make(family: str = "llama", *, lora: bool = False, config: Config | None = None) -> BuiltModel:
        config = config or small_config(family, lora=lora)
        built = build_model(config, choose_hardware("cpu", "no"))
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(1)
            built.model.head.output.weight.normal_()
            for name, parameter in built.model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
        return built

    return make


@pytest.fixture(scope="session")
def run_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train.jsonl`, `test.jsonl` and `validation.jsonl` in our own layout, and made files of the real datasets."""
    folder = tmp_path_factory.mktemp("run-files")
    write_own(folder / "train.jsonl", 40, seed=1)
    write_own(folder / "validation.jsonl", 12, seed=2, offset=1000)
    write_own(folder / "test.jsonl", 15, seed=3, offset=2000)
    write_datasets(folder, num_problems=24)
    return folder


@pytest.fixture
def run_config(small_config: Callable[..., Config], run_files: Path, tmp_path: Path) -> Callable[..., Config]:
    """A run of a few steps on our own small files; keywords set fields by their own names or dotted paths."""

    def make(family: str = "llama", *, lora: bool = True, **settings: Any) -> Config:
        config = small_config(family, lora=lora).model_copy(deep=True)
        config.output_dir = tmp_path / "outputs"
        config.data.data_dir = run_files
        config.data.cache_dir = run_files / "cache"
        config.data.use_prm800k = config.data.use_eqasc = False
        config.data.use_own = True
        config.data.own_train = run_files / "train.jsonl"
        config.data.own_validation = run_files / "validation.jsonl"
        config.data.own_test = run_files / "test.jsonl"
        config.training.max_steps = 6
        config.training.learning_rate = 1e-3
        config.training.per_device_train_batch_size = 2
        config.training.gradient_accumulation_steps = 2
        config.training.warmup_steps = 2
        config.training.eval_steps = 100
        config.training.logging_steps = 1
        config.training.tensorboard = False
        for name, value in settings.items():
            for section in (config, config.model, config.lora, config.data, config.training, config.eval):
                if name in type(section).model_fields:
                    setattr(section, name, value)
                    break
            else:
                raise TypeError(f"no field is named {name}")
        return config

    return make


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes its time and is not what is tested here; writing what was drawn is."""
    from surestep.files import write_whole

    def draw(_chart: Any, path: Path) -> None:
        with write_whole(path, "wb") as file:
            file.write(b"drawn")

    monkeypatch.setattr("surestep.evaluation.report.page.write_png", draw)


@pytest.fixture(scope="session")
def quick_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a `python` and a `surestep` that start fast (see `warm_python`), the same in all test processes."""
    own = tmp_path_factory.getbasetemp()
    with warm_python(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) as folder:
        yield folder
