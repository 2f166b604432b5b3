"""What all tests share: a repeatable Hypothesis, the places of real data and models, tiny backbones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from backbones import save_backbone

if TYPE_CHECKING:
    from surestep.config import Config
    from surestep.scoring.build import BuiltModel

settings.register_profile(
    "surestep",
    derandomize=True,
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("surestep")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def _find(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path.name} is not at {path.parent}")
    return path


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
    """A configuration of a tiny backbone with a small head, on the CPU, without dropout."""
    from surestep.config import get_default_config, get_lora_config

    def make(family: str = "llama", *, lora: bool = False) -> Config:
        config = get_lora_config() if lora else get_default_config()
        config.model.backbone = str(backbone_folder(family))
        config.model.mlp_hidden_dims = [16]
        config.model.mlp_dropout = 0.0
        config.lora.lora_dropout = 0.0
        config.lora.lora_r = 4
        config.training.device = "cpu"
        config.training.mixed_precision = "no"
        return config

    return make


@pytest.fixture(scope="session")
def build_small(small_config: Callable[..., Config]) -> Callable[..., BuiltModel]:
    """A new tiny model of a family whose head answers to what it reads; `lora` puts random adapters in."""
    import torch

    from surestep.scoring.build import build_model
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
