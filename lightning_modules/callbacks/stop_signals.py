"""A callback that ends a training between two batches, on all processes at once, after a signal to any of them."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_modules.callbacks.saving import model_checkpoints
from lightning_modules.runs.signals import WATCH, Phase
from structures.private_names import leave_signals_alone, mark_as_saved


class StopSignals(Callback):
    """Raises ``Stopped`` before the next batch of a training or its validation if a process received a signal.

    Lightning's own handlers are not installed: they begin collective operations inside the handler, and write a
    checkpoint wherever the training is, also in loader workers. Several processes compare one number before each batch,
    in place of Lightning's broadcast, which passes on signals to the first process only.

    The checkpoint callbacks with ``save_on_exception`` then save, once.
    """

    def __init__(self) -> None:
        self._training = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep Lightning from handling signals, and note the processes that it started."""
        self._training = False
        leave_signals_alone(trainer)
        WATCH.children = getattr(trainer.strategy.launcher, "procs", ())

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a signal is noted."""
        self._training = True
        if WATCH.phase is Phase.COMMAND:
            WATCH.phase = Phase.TRAINING

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Look for a signal.

        Raises:
            Stopped: If there was one.
        """
        self._stop_if_signalled(trainer)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Look for a signal if this validation belongs to a training.

        Raises:
            Stopped: If there was one.
        """
        if self._training:
            self._stop_if_signalled(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look for a signal a last time; from here on it is raised at once.

        Raises:
            Stopped: If there was one.
        """
        self._stop_if_signalled(trainer)
        self._training = False
        if WATCH.phase is Phase.TRAINING:
            WATCH.phase = Phase.COMMAND

    def _stop_if_signalled(self, trainer: Trainer) -> None:
        signum = WATCH.received or 0
        if trainer.world_size > 1:
            device = trainer.strategy.root_device
            signum = int(trainer.strategy.reduce(torch.tensor(signum, device=device), reduce_op="max"))
        if signum:
            raise WATCH.agree(signum)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let the process end; before a training began, the checkpoint that it goes on from stays as it is."""
        if not self._training:
            for callback in model_checkpoints(trainer):
                mark_as_saved(callback, trainer.global_step)
        if WATCH.phase is Phase.TRAINING:
            WATCH.phase = Phase.ENDING
