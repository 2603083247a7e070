"""Saving of the last state of a training through Lightning's own checkpoint callbacks."""

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from structures.private_names import last_saved_step, save_now


def model_checkpoints(trainer: Trainer) -> list[ModelCheckpoint]:
    """The ``ModelCheckpoint`` callbacks of a trainer."""
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]


def save_last(trainer: Trainer) -> bool:
    """Save through the checkpoint callbacks without a metric that have not saved this step; whether there are any."""
    behind = [
        callback
        for callback in model_checkpoints(trainer)
        if callback.monitor is None and callback.save_top_k != 0 and last_saved_step(callback) != trainer.global_step
    ]
    for callback in behind:
        save_now(callback, trainer)
    return bool(behind)
