"""A callback that validates and saves the weights of the last step of a training."""

import atexit
import os
import signal
import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lightning_modules.callbacks.saving import model_checkpoints, save_last
from lightning_modules.runs.signals import Stopped
from structures.private_names import SAVE_ON_TRAIN_EPOCH_END, last_batch_is_ready, may_stop_early, validation_is_due


class FinalWeights(Callback):
    """Adds a validation and a checkpoint after the last step of a training.

    Lightning validates every ``val_check_interval`` steps, or every few epochs, and saves with the validation. Weights
    trained after the last validation would be in no checkpoint, and a training shorter than the interval would leave
    none. This callback makes Lightning's loop validate after the last step, too, so that the best and the last
    checkpoint are chosen among all weights, and the run can be resumed exactly from its end.
    """

    def __init__(self) -> None:
        self._undo: list[
            tuple[Any, str, Any]
        ] = []  # owner, name and previous value of what was changed for the last validation

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Request a validation after the last batch of the training, or save the weights if nothing is validated."""
        if _keeps_nothing(trainer) or not _ends_with_this_batch(trainer):
            return
        if not trainer.enable_validation:
            save_last(trainer)
            return
        loop = trainer.fit_loop
        if validation_is_due(loop):
            return
        # Lightning validates before it stops early, in whichever epoch that is.
        self._set(trainer, "check_val_every_n_epoch", None)
        trainer.should_stop = True
        # A run resumes exactly from a checkpoint inside an epoch if it was saved with the validation, and from one at
        # the end of an epoch if it was saved after that end, as the validation is not due there by the settings.
        at_end = last_batch_is_ready(loop)
        for callback in model_checkpoints(trainer):
            self._set(callback, SAVE_ON_TRAIN_EPOCH_END, at_end)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let a failing process save and end without the others, which wait for it inside a step."""
        if trainer.world_size == 1 or (isinstance(exception, Stopped) and exception.agreed):
            return
        trainer.strategy.barrier = lambda *_: None  # type: ignore[method-assign]
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGKILL)
        atexit.register(_leave, exception.exit_code if isinstance(exception, Stopped) else 1)

    def _set(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Undo the changes, and save the weights if a stop by time or by a callback left them unsaved."""
        while self._undo:
            owner, name, value = self._undo.pop()
            setattr(owner, name, value)
        if not _keeps_nothing(trainer) and trainer.global_step > 0 and save_last(trainer):
            sys.stderr.write(f"the last weights, of step {trainer.global_step}, were saved but not validated\n")


def _leave(exit_code: int) -> None:
    """End a failed process without waiting for the others, as torch does when it closes its connections."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _keeps_nothing(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))  # Trainer sets it, but does not declare it


def _ends_with_this_batch(trainer: Trainer) -> bool:
    """Whether no batch follows the one that was just trained on."""
    loop = trainer.fit_loop
    if 0 <= trainer.max_steps <= trainer.global_step or (trainer.should_stop and may_stop_early(loop)):
        return True
    if not last_batch_is_ready(loop):
        return False
    max_epochs = trainer.max_epochs
    return max_epochs is not None and 0 <= max_epochs <= int(vars(loop.epoch_progress.current)["processed"]) + 1
