"""Validates and saves the weights that a training ends with, also where it ends between two validations."""

import atexit
import os
import signal
import sys
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException


class FinalWeights(Callback):
    """Makes the last step of a training one with a validation and a checkpoint.

    Lightning validates every ``val_check_interval`` steps, or every few epochs, and saves with the validation. What is
    trained after the last of them would be in no checkpoint, and a training shorter than the interval would leave none.
    Here the last step is validated as well, unless it is due anyway, by the loop itself and in its usual place, so that
    the best and the last checkpoint compare all weights, and the run can be resumed exactly from where it ended.
    """

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []  # what was changed for the last validation, and its value before

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Ask for a validation after the last batch of the training, or save it where nothing is validated."""
        if _keeps_nothing(trainer) or not _ends_with_this_batch(trainer):
            return
        if not trainer.enable_validation:
            _save(trainer)
            return
        loop = trainer.fit_loop
        assert loop._data_fetcher is not None  # for the type checker: a batch came out of it
        if loop.epoch_loop._should_check_val_fx(loop._data_fetcher):
            return
        # Lightning validates before it stops early, in whichever epoch that is.
        self._set(trainer, "check_val_every_n_epoch", None)
        trainer.should_stop = True
        # A run resumes exactly from a checkpoint inside an epoch if it was saved with the validation, and from one at
        # the end of an epoch if it was saved after that end, as the validation is not due there by the settings.
        at_end = loop.epoch_loop._num_ready_batches_reached()
        for callback in _model_checkpoints(trainer):
            self._set(callback, "_save_on_train_epoch_end", at_end)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let one of several processes that fails save and end by itself: the others wait inside of a step for it."""
        if trainer.world_size == 1 or isinstance(exception, SIGTERMException | KeyboardInterrupt):
            return
        trainer.strategy.barrier = lambda *_: None  # type: ignore[method-assign]
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher):
            launcher.kill(signal.SIGKILL)
        atexit.register(_leave)

    def _set(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Undo what was changed, and save what a stop by time or by a callback left unsaved."""
        while self._undo:
            owner, name, value = self._undo.pop()
            setattr(owner, name, value)
        if not _keeps_nothing(trainer) and trainer.global_step > 0 and _save(trainer):
            sys.stderr.write(f"the last weights, of step {trainer.global_step}, were saved but not validated\n")


def _leave() -> None:
    """End a process that failed without waiting for the others, as torch does where its connections are closed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _keeps_nothing(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))  # the trainer has it, its type does not say so


def _ends_with_this_batch(trainer: Trainer) -> bool:
    """Whether no batch follows the one that was just trained on."""
    loop = trainer.fit_loop
    if 0 <= trainer.max_steps <= trainer.global_step or (trainer.should_stop and loop._can_stop_early):
        return True
    if not loop.epoch_loop._num_ready_batches_reached():
        return False
    max_epochs = trainer.max_epochs
    return max_epochs is not None and 0 <= max_epochs <= int(vars(loop.epoch_progress.current)["processed"]) + 1


def _model_checkpoints(trainer: Trainer) -> list[ModelCheckpoint]:
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]


def _save(trainer: Trainer) -> bool:
    """Let the checkpoints that watch no metric save the weights as they are; whether one had not done so."""
    behind = [
        callback
        for callback in _model_checkpoints(trainer)
        if callback.monitor is None
        and callback.save_top_k != 0
        and callback._last_global_step_saved != trainer.global_step
    ]
    for callback in behind:
        callback._save_topk_checkpoint(trainer, callback._monitor_candidates(trainer))
    return bool(behind)
