"""A callback by which a training that was interrupted anywhere goes on as if it had not been."""

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch.optim import Optimizer

from lightning_modules.runs.buffer_copies import BufferCopies
from lightning_modules.runs.checkpoint_io import HALF_STEP, STATE_KEY
from lightning_modules.runs.loop_state import BatchCount, ask_for_validation, rewind
from lightning_modules.runs.newest import remove_older_requeue_files
from lightning_modules.runs.random_state import RandomState, seed_streams
from structures.private_names import drop_train_loader, set_log_step, validation_is_due

_SEED_VARIABLE = "PL_GLOBAL_SEED"  # of Lightning's seed_everything


@dataclass(frozen=True)
class _StepEnd:
    """State at the end of an optimizer step, to which later batches without a step are rewound."""

    step: int
    epoch: int
    done: BatchCount
    random: RandomState


class ExactResume(Callback):
    """Makes the checkpoints of a training complete: the resumed training has the losses and weights of an unbroken one.

    Lightning saves neither random states nor the gradients of an unfinished step, and counts a batch that raised an
    exception in some of its counters. This callback adds to every checkpoint what is missing:

    - A checkpoint holds the state after an optimizer step. If it is written inside a batch, e.g. after an exception, or
      between the batches of one step (``accumulate_grad_batches``), the counters, the random state and the buffers,
      such as the statistics of batch norms, are those of the end of the last step. Inside the optimizer's own
      computation some weights are new and others old; then nothing is written and the earlier checkpoint is kept.
    - In one process, the random state of torch (CPU and GPU), numpy and Python is saved and restored. In several
      processes, every rank's streams are seeded before each batch by (seed, rank, epoch, batch): ranks draw different
      numbers, and the state of every rank is known without a message, even if one of them was killed.
    - A validation that was due or unfinished is run from its beginning when the training resumes.

    Order and augmentation of samples need no state: they are functions of (seed, epoch, index), see
    ``datamodules/loading``.
    """

    def __init__(self) -> None:
        self._last_step: _StepEnd | None = None
        self._buffers: BufferCopies | None = None
        self._inside_step = False
        self._validated_batch: int | None = None  # of the whole training, after which a validation has ended
        self._before_validation: RandomState | None = None
        self._seed = 0
        self._loaded: dict[str, Any] | None = None  # of the checkpoint; empty if it is of an earlier version
        self._undo: list[tuple[Any, str, Any]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier training."""
        if stage == "fit":
            self.__init__()  # type: ignore[misc]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the checkpoint until the training starts."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self._loaded = dict(checkpoint.get(STATE_KEY, {}), step=checkpoint["global_step"])
        if trainer.strategy.restore_checkpoint_after_setup:  # then on_fit_start was before
            self._prepare_loop(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let Lightning make the training data again if it made them before it restored its position."""
        if self._loaded is not None:
            self._prepare_loop(trainer)

    def _prepare_loop(self, trainer: Trainer) -> None:
        assert self._loaded is not None
        drop_train_loader(trainer.fit_loop)
        loop = trainer.fit_loop.epoch_loop
        if self._loaded.get("validation") and 0 <= loop.max_steps <= self._loaded["step"]:
            # Lightning would not start its loop, so that the last weights would not be validated.
            self._set(loop, "max_steps", self._loaded["step"] + 1)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random state and the position of the log, and let an unfinished validation come first."""
        seed = int(os.environ.get(_SEED_VARIABLE, "0"))
        if self._loaded is not None:
            seed = self._loaded.get("seed", seed)
            self._resume(trainer)
        self._seed = trainer.strategy.broadcast(seed)
        self._loaded = None
        self._buffers = BufferCopies(pl_module)

    def _resume(self, trainer: Trainer) -> None:
        assert self._loaded is not None
        random = self._loaded.get("random")
        if trainer.world_size == 1:
            if random is not None:
                RandomState.from_plain(random).restore(trainer.strategy.root_device)
            elif trainer.is_global_zero:
                sys.stderr.write(
                    f"note: {trainer.ckpt_path} holds no random state of one process, so random draws differ from "
                    "those of a training that was not interrupted\n"
                )
        if trainer.is_global_zero and trainer.ckpt_path is not None:
            remove_older_requeue_files(trainer.default_root_dir, trainer.ckpt_path, self._loaded["step"])
        if self._loaded.get("validation") and trainer.enable_validation:
            self._set(trainer, "check_val_every_n_epoch", None)
            self._set(trainer, "val_check_batch", 1)
        else:
            self._validated_batch = trainer.fit_loop.epoch_loop.total_batch_idx
        # Lightning saves a number of logged steps that depends on where it saved, and adds one in some of the cases.
        loop = trainer.fit_loop.epoch_loop
        first = validation_is_due(trainer.fit_loop) or not loop.restarted_on_last
        set_log_step(trainer.fit_loop, trainer.global_step - (1 if loop.restarting and first else 0))

    def _set(self, owner: Any, name: str, value: Any) -> None:
        self._undo.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _restore_settings(self) -> None:
        while self._undo:
            owner, name, value = self._undo.pop()
            setattr(owner, name, value)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the state before the first batch of a step; seed the streams of a rank of several."""
        self._restore_settings()
        self._inside_step = False
        if trainer.world_size > 1:
            seed_streams(self._seed, rank=trainer.global_rank, epoch=trainer.current_epoch, batch=batch_idx)
        if self._ended_step(trainer) is None:
            self._last_step = self._now(trainer)
            assert self._buffers is not None
            self._buffers.update()

    def _ended_step(self, trainer: Trainer) -> _StepEnd | None:
        """The kept state if no step was made since."""
        kept = self._last_step
        unchanged = kept is not None and (kept.step, kept.epoch) == (trainer.global_step, trainer.current_epoch)
        return kept if unchanged else None

    def _now(self, trainer: Trainer) -> _StepEnd:
        batches = trainer.fit_loop.epoch_loop.batch_progress
        done = BatchCount(total=batches.total.completed, epoch=batches.current.completed)
        device = trainer.strategy.root_device
        return _StepEnd(trainer.global_step, trainer.current_epoch, done, RandomState.now(device))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Note that weights may be half updated from here on."""
        self._inside_step = True

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Note that all weights are updated."""
        self._inside_step = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the random state with which the validation begins."""
        self._restore_settings()
        self._before_validation = RandomState.now(trainer.strategy.root_device)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the weights of this batch are validated."""
        self._validated_batch = trainer.fit_loop.epoch_loop.total_batch_idx
        self._before_validation = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the random state, and move the state of the loop, the buffers and the random state between two steps."""
        for logger in trainer.loggers if trainer.is_global_zero else ():
            with contextlib.suppress(OSError):  # of the log, without which the checkpoint is still good
                logger.save()  # so that the log has every step before the checkpoint's
        batches = vars(trainer.fit_loop.epoch_loop.batch_progress.current)
        inside_batch = batches["processed"] < batches["ready"]
        validation = self._validation_is_missing(trainer)
        state, random = checkpoint["loops"]["fit_loop"], RandomState.now(trainer.strategy.root_device)
        end = self._ended_step(trainer)
        if end is not None:  # batches since then made no step, and their gradients are not saved
            assert self._buffers is not None
            self._buffers.write_into(checkpoint.get("current_model_state", checkpoint["state_dict"]))
            random, validation = end.random, False
            rewind(state, end.done)
        elif inside_batch:  # before its computation
            rewind(state, self._now(trainer).done)
        elif validation:
            if trainer.validating and self._before_validation is not None:
                random = self._before_validation
            ask_for_validation(state)
        checkpoint[STATE_KEY] = {
            "random": random.as_plain() if trainer.world_size == 1 else None,
            "seed": self._seed,
            "validation": validation,
            HALF_STEP: inside_batch and self._inside_step,
        }

    def _validation_is_missing(self, trainer: Trainer) -> bool:
        """Whether a validation is due after the current batch, or running, and has not ended."""
        loop = trainer.fit_loop.epoch_loop
        current = vars(loop.batch_progress.current)
        if trainer.state.fn != TrainerFn.FITTING or current["ready"] == 0 or current["processed"] < current["ready"]:
            return False
        if self._validated_batch == loop.total_batch_idx:
            return False
        # After the end of the batch a stop that was asked for has had its validation, or gets none.
        stopped = trainer.should_stop and current["completed"] == current["processed"]
        return bool(trainer.validating or (validation_is_due(trainer.fit_loop) and not stopped))
