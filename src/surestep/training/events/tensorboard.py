"""The same figures for TensorBoard, where it is installed and wanted."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from surestep.training.events import TrainingEvents
from surestep.training.events.records import StepRecord, ValidationRecord


class TensorBoardLog(TrainingEvents):
    """Scalars under `train/` and `validation/`."""

    def __init__(self, folder: Path, *, resumed_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # purge_step hides what an interrupted run logged beyond the checkpoint it resumes from.
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_step + 1 if resumed_step else None)

    @staticmethod
    def is_installed() -> bool:
        """Whether the `tensorboard` package is there."""
        return find_spec("tensorboard") is not None

    def logged(self, record: StepRecord) -> None:
        figures = ("loss", "loss_per_label", "learning_rate", "grad_norm", "tokens_per_s", "labels_per_s", "memory_gb")
        values = {name: getattr(record, name) for name in figures}
        values |= {f"learning_rate/{role}": rate for role, rate in record.learning_rates.items()}
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(f"train/{name}", value, record.step)

    def validated(self, record: ValidationRecord) -> None:
        for name, figures in {"mean": record.mean, **record.per_dataset}.items():
            for figure, value in figures.items():
                if isinstance(value, float):
                    self._writer.add_scalar(f"validation/{figure}/{name}", value, record.step)
        self._writer.flush()

    def finished(self) -> None:
        self._writer.close()
