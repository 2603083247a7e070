"""Position of a resumed run in the data, with corrections of two epoch-counting errors of Lightning 2.6."""

from typing import Any

import lightning

from structures.private_names import count_step, end_restart


def resume_position(trainer: lightning.Trainer | None) -> tuple[int, int]:
    """Return the epoch of the next batch and the number of its batches that are already processed.

    Call it when loaders are created. It may correct the trainer's counters, see :func:`close_finished_epoch`.

    Args:
        trainer: The trainer, or None outside of a run.

    Returns:
        Epoch and batches, ``(0, 0)`` at the start of a run or without one.
    """
    if trainer is None:
        return 0, 0
    close_finished_epoch(trainer)
    loop = trainer.fit_loop
    epoch = _processed(loop.epoch_progress)
    if not loop.restarting:
        return epoch, 0
    batches = loop.epoch_loop.batch_progress
    if batches.is_last_batch:  # saved by validation after the last batch: only the end of the epoch remains
        return epoch + 1, 0
    return epoch, _processed(batches)


def close_finished_epoch(trainer: lightning.Trainer) -> None:
    """Mark the epoch of a run resumed after its last batch as completed, so that the next epoch is counted once.

    - With ``max_steps`` set, Lightning treats every resume as one inside an epoch. From a checkpoint of
      ``on_train_epoch_end`` it runs that epoch again without any batch and counts it twice, so one epoch number, and
      with it one order of the data, is skipped.
    - From a checkpoint of ``on_train_batch_end`` after the last batch it continues with the next epoch but does not
      count it as started; a second resume then repeats an epoch.

    In both cases the epoch is marked as completed, a state that Lightning resumes correctly.
    """
    loop = trainer.fit_loop
    if not loop.restarting:
        return
    epochs, batches = loop.epoch_progress, loop.epoch_loop.batch_progress
    counted = 0 < epochs.current.ready <= _processed(loop.epoch_progress)
    uncounted = batches.is_last_batch and batches.current.completed < _processed(batches)
    if not counted and uncounted:
        epochs.increment_processed()
        epochs.increment_completed()
        count_step(loop)  # Lightning saves a value without the step of that batch
    if counted or uncounted:
        end_restart(loop)


def _processed(progress: Any) -> int:
    # Lightning declares a narrower tracker type than it assigns.
    return int(vars(progress.current)["processed"])
