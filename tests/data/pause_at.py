"""A callback that pauses a training at one place and marks that it is there."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer


class PauseAt(Callback):
    """Sleeps where a signal is to arrive.

    Args:
        place: ``fit_start``, ``batch`` (inside a step), ``validation``, ``write`` (of a checkpoint) or ``test``.
        marker: File that exists from then on, with the rank appended to its name.
        seconds: Length of the pause.
        step: Number of steps after which it pauses.
    """

    def __init__(self, place: str, marker: str, seconds: float = 3.0, step: int = 1) -> None:
        self.place, self.marker, self.seconds, self.step = place, marker, seconds, step

    def _pause(self, trainer: Trainer, place: str) -> None:
        if place != self.place or trainer.global_step < self.step:
            return
        Path(f"{self.marker}{trainer.global_rank}").touch()
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline:
            time.sleep(0.05)

    def on_fit_start(self, trainer: Trainer, *_: Any) -> None:
        self._pause(trainer, "fit_start")

    def on_before_zero_grad(self, trainer: Trainer, *_: Any) -> None:
        self._pause(trainer, "batch")

    def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._pause(trainer, "validation")

    def on_save_checkpoint(self, trainer: Trainer, *_: Any) -> None:
        self._pause(trainer, "write")

    def on_test_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._pause(trainer, "test")
