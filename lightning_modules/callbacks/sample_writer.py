"""What the callbacks that write predictions share: which samples of a batch are written, counted or skipped."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from structures.batch import PADDING_INDEX

logger = logging.getLogger(__name__)


class SampleWriter(BasePredictionWriter, ABC):
    """Base of the callbacks that write the result of ``predict`` sample by sample.

    A sample that only pads a rank's share is passed over, since another rank writes it. A sample that carries an
    ``error``, or whose prediction has a fault, is reported, counted and skipped.

    Attributes:
        n_written: Samples that were written.
        failures: Name and reason of each sample that was skipped.
    """

    def __init__(self) -> None:
        super().__init__("batch")
        self.n_written = 0
        self.failures: list[tuple[str, str]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier prediction's counts."""
        self.n_written, self.failures = 0, []

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the samples of a batch.

        Raises:
            OSError: If a file cannot be written, because the disk is full for instance; no half file is left.
            ValueError: If the prediction is not what the subclass writes.
        """
        wanted = self.wanted(trainer, pl_module, prediction, batch["name"])
        for index, name in enumerate(batch["name"]):
            padding = "index" in batch and int(batch["index"][index]) == PADDING_INDEX
            if padding or name not in wanted:
                continue
            error = (batch["error"][index] if "error" in batch else "") or self.fault(name, prediction[index])
            if error:
                logger.warning("skipped: %s", error)
                self.failures.append((name, error))
                continue
            self.write_sample(trainer, pl_module, prediction[index], batch, index)
            self.n_written += 1

    def wanted(
        self, trainer: Trainer, pl_module: LightningModule, prediction: Any, names: Sequence[str]
    ) -> Collection[str]:
        """Check the prediction of a batch and return the names of the samples to write, by default all of them."""
        return names

    def fault(self, name: str, prediction: Any) -> str:
        """Why the prediction for a sample cannot be written, "" where it can."""
        return ""

    @abstractmethod
    def write_sample(
        self, trainer: Trainer, pl_module: LightningModule, prediction: Any, batch: dict[str, Any], index: int
    ) -> None:
        """Write one sample.

        Args:
            trainer: The trainer.
            pl_module: The module that predicts.
            prediction: Of this sample.
            batch: The whole batch.
            index: Place of the sample in the batch.
        """


class FolderWriter(SampleWriter):
    """Base of the callbacks that write files under the names of the images.

    Args:
        output_dir: Folder of the results; None means ``predictions`` in the trainer's folder.
    """

    def __init__(self, output_dir: str | None = None) -> None:
        super().__init__()
        self.output_dir = output_dir

    def folder(self, trainer: Trainer) -> Path:
        """Folder of the results."""
        return Path(trainer.default_root_dir) / "predictions" if self.output_dir is None else Path(self.output_dir)
