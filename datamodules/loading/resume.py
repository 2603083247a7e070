"""Where a resumed run stands in the data, and two slips in how Lightning 2.6 counts epochs when it resumes."""

import lightning
from lightning.pytorch.loops.progress import _Progress


def resume_position(trainer: lightning.Trainer | None) -> tuple[int, int]:
    """Return the epoch whose data come next and how many of its batches are already done.

    Call it where loaders are made; it may correct the trainer's counters, see :func:`close_finished_epoch`.

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
    if batches.is_last_batch:  # saved by validation after the last batch: only the end of the epoch is left to run
        return epoch + 1, 0
    return epoch, _processed(batches)


def close_finished_epoch(trainer: lightning.Trainer) -> None:
    """Let a run that is resumed after the last batch of an epoch go on with the next epoch, and count it once.

    - With ``max_steps`` set, Lightning takes every resume for one inside an epoch: from a checkpoint of
      ``on_train_epoch_end`` it runs that epoch again without any batch and counts it twice, so one epoch number, and
      with it one order of the data, is left out.
    - From a checkpoint of ``on_train_batch_end`` after the last batch it goes on with the next epoch but does not
      count it as begun; a second resume then repeats an epoch.

    In both cases the epoch is marked as done, which is the state that Lightning itself resumes correctly.
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
        loop.epoch_loop._batches_that_stepped += 1  # the step of that batch, which Lightning saves one too low
    if counted or uncounted:
        loop.epoch_loop.restarting = False
        loop._restarting = False  # the property's setter would turn it on again


def _processed(progress: _Progress) -> int:
    # Lightning declares a narrower type of tracker than the one that it puts there.
    return int(vars(progress.current)["processed"])
