"""Training speed in samples per second."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class SamplesPerSecond(Callback):
    """Logs ``train/samples_per_s`` over all ranks, averaged since the last entry.

    Time spent in validation is not counted. On a GPU the number is right on average, since kernels run
    asynchronously, at most a few steps behind.

    Args:
        every_n_steps: Steps between two entries.
    """

    def __init__(self, every_n_steps: int = 10) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}, but must be at least 1")
        self.every_n_steps = every_n_steps
        self._samples = 0
        self._seconds = 0.0
        self._last = 0.0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._last = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock again after a validation in the middle of an epoch."""
        self._last = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count a batch and log at the interval."""
        now = time.perf_counter()
        self._seconds += now - self._last
        self._last = now
        self._samples += len(batch["image"]) * trainer.world_size
        if trainer.global_step % self.every_n_steps == 0 and self._seconds > 0:
            pl_module.log("train/samples_per_s", self._samples / self._seconds, batch_size=1)
            self._samples, self._seconds = 0, 0.0
