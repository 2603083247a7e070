"""A callback that saves the state of a training at regular times, beside the checkpoints of the validations."""

import math
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_modules.callbacks.saving import save_last

_LONGEST_PAUSE_STEPS = 100
"""Several processes agree on the time after at most so many steps."""


class PeriodicCheckpoint(Callback):
    """Saves through the checkpoint callbacks without a metric (``last.ckpt``) every few minutes or steps.

    A killed training loses no more than the time since the last checkpoint. Checkpoints of validations count: the clock
    starts anew with every one. The state is saved before the next step begins, after the step has been logged and
    validated.

    Lightning's ``train_time_interval`` compares the clocks of all processes in every step. Here the first process
    estimates from the speed of the training when to compare them next.

    Args:
        every_minutes: Time between two checkpoints, in minutes; None saves at no time.
        every_steps: Optimizer steps between two checkpoints; None saves at no step.

    Raises:
        ValueError: If one of them is not positive.
    """

    def __init__(self, every_minutes: float | None = 10.0, every_steps: int | None = None) -> None:
        if every_minutes is not None and not (math.isfinite(every_minutes) and every_minutes > 0):
            raise ValueError(f"every_minutes is {every_minutes}, but must be a positive number or null")
        if every_steps is not None and every_steps < 1:
            raise ValueError(f"every_steps is {every_steps}, but must be at least 1 or null")
        self.every_minutes = every_minutes
        self.every_steps = every_steps
        self._step = 0
        self._saved_s = 0.0
        self._compared_step = self._next_comparison = 0
        self._compared_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._saved_s = self._compared_s = time.monotonic()
        self._step = self._compared_step = self._next_comparison = trainer.global_step

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Start the clock anew, whoever saves."""
        self._saved_s = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save if it is due and a step was made since the last call.

        Raises:
            OSError: If the checkpoint cannot be written.
        """
        step = trainer.global_step
        if step == self._step or getattr(trainer, "fast_dev_run", False):
            return
        self._step = step
        if (self.every_steps is not None and step % self.every_steps == 0) or self._time_is_up(trainer, step):
            save_last(trainer)

    def _time_is_up(self, trainer: Trainer, step: int) -> bool:
        if self.every_minutes is None:
            return False
        now = time.monotonic()
        left_s = 60 * self.every_minutes - (now - self._saved_s)
        if trainer.world_size == 1:
            return left_s <= 0
        if step < self._next_comparison:  # the same on all processes
            return False
        step_s = (now - self._compared_s) / max(step - self._compared_step, 1)
        pause = min(max(int(left_s / max(step_s, 1e-6) / 2), 1), _LONGEST_PAUSE_STEPS)
        up, pause = trainer.strategy.broadcast((left_s <= 0, pause))
        self._compared_step, self._compared_s, self._next_comparison = step, now, step + pause
        return bool(up)
