"""A training saves every few minutes or steps, and processes agree on when."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_modules.callbacks import periodic_checkpoint
from lightning_modules.callbacks.exact_resume import ExactResume
from lightning_modules.callbacks.periodic_checkpoint import PeriodicCheckpoint
from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
from tests.data.memory import MemoryDataModule
from tests.lightning_modules.callbacks.test_final_weights import Line


class Clock:
    """Seconds that pass only by steps."""

    def __init__(self, monkeypatch, step_s):
        self.now, self.step_s = 0.0, step_s
        monkeypatch.setattr(periodic_checkpoint, "time", SimpleNamespace(monotonic=lambda: self.now))


class Slow(Line):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def training_step(self, batch, batch_idx):
        self.clock.now += self.clock.step_s
        return super().training_step(batch, batch_idx)


class Steps(AtomicCheckpointIO):
    """Writes down the steps of the checkpoints."""

    def __init__(self):
        self.steps = []

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        self.steps.append(checkpoint["global_step"])
        super().save_checkpoint(checkpoint, path, storage_options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("minutes", "every_steps", "saved"),
    [
        (1.0, None, [6, 10, 16, 20]),  # ten seconds a step; the validations after 10 and 20 start the clock anew
        (None, 4, [4, 8, 10, 12, 16, 20]),
        (1.0, 4, [4, 8, 10, 12, 16, 20]),
        (None, None, [10, 20]),
    ],
)
@pytest.mark.parametrize("accumulated", [1, 2])
def test_it_is_saved_between_the_validations(tmp_path, monkeypatch, minutes, every_steps, saved, accumulated):
    clock, io = Clock(monkeypatch, 10 / accumulated), Steps()
    last = ModelCheckpoint(tmp_path, filename="last", enable_version_counter=False)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=[io],
        max_steps=21,
        val_check_interval=10 * accumulated,
        check_val_every_n_epoch=None,
        accumulate_grad_batches=accumulated,
        callbacks=[last, PeriodicCheckpoint(minutes, every_steps), ExactResume()],
    )
    trainer.fit(Slow(clock), datamodule=MemoryDataModule((64, 2, 2)))
    assert io.steps == saved
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert state["total"]["completed"] == 20 * accumulated


class Ranks:
    """Two processes whose clocks differ; a message is what the first one says."""

    def __init__(self):
        self.messages = 0
        self.said = None

    def trainer(self, rank):
        def broadcast(value):
            if rank == 0:
                self.messages += 1
                self.said = value
            return self.said

        return SimpleNamespace(
            world_size=2, global_step=0, fast_dev_run=False, strategy=SimpleNamespace(broadcast=broadcast)
        )


@pytest.mark.parametrize("step_s", [0.05, 1.0, 100.0])
def test_several_processes_save_at_the_same_steps_with_few_messages(monkeypatch, step_s):
    clock, ranks, saved = Clock(monkeypatch, step_s), Ranks(), ([], [])
    callbacks = [PeriodicCheckpoint(5.0), PeriodicCheckpoint(5.0)]
    trainers = [ranks.trainer(0), ranks.trainer(1)]
    current = 0

    def save(trainer):
        saved[current].append(trainer.global_step)
        callbacks[current].on_save_checkpoint(trainer, None, {})

    monkeypatch.setattr(periodic_checkpoint, "save_last", save)
    for callback, trainer in zip(callbacks, trainers, strict=True):
        callback.on_train_start(trainer, None)
        clock.now += 3.0  # the second begins later
    steps = int(3 * 300 / step_s) + 5
    for step in range(1, steps):
        clock.now += step_s
        for current, trainer in enumerate(trainers):
            trainer.global_step = step
            callbacks[current].on_train_batch_start(trainer, None, None, 0)
    assert saved[0] == saved[1]
    gaps = [b - a for a, b in zip([0, *saved[0]], saved[0], strict=False)]
    assert len(gaps) >= 2
    assert all(290 - step_s <= gap * step_s <= 300 + 3 * step_s for gap in gaps)
    if step_s < 100:
        assert ranks.messages < steps / 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_minutes": 0.0}, "every_minutes is 0.0, but must be a positive number or null"),
        ({"every_minutes": float("nan")}, "every_minutes is nan"),
        ({"every_steps": 0}, "every_steps is 0, but must be at least 1 or null"),
    ],
)
def test_a_setting_out_of_range_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PeriodicCheckpoint(**arguments)
