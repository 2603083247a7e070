"""A signal in a training; tests/test_signals.py sends signals to whole commands."""

import os
import signal
import time

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_modules.callbacks.final_weights import FinalWeights
from lightning_modules.callbacks.stop_signals import StopSignals
from lightning_modules.runs.signals import WATCH, Phase, Stopped
from lightning_modules.supervised_depth import SupervisedDepth
from tests.helpers import Affine, RandomDepthModule, quiet_trainer


class SignalAt(Callback):
    """Sends a signal to its own process in a hook, at a step."""

    def __init__(self, hook, step, signum=signal.SIGTERM):
        self.step, self.signum, self.sent, self.after = step, signum, False, []
        setattr(self, hook, self.send)
        self.on_train_batch_start = self.count if hook != "on_train_batch_start" else self.send

    def send(self, trainer, *_):
        if trainer.global_step >= self.step and not self.sent:
            self.sent = True
            os.kill(os.getpid(), self.signum)
            time.sleep(0.05)

    def count(self, trainer, *_):
        if self.sent:
            self.after.append(trainer.global_step)


def fit(folder, callback, **settings):
    """Train eight steps, with a validation after every two; the step of the checkpoint that was written, if any."""
    saver = ModelCheckpoint(folder, "last", save_on_exception=True, enable_version_counter=False, every_n_epochs=1)
    trainer = quiet_trainer(
        callbacks=[callback, StopSignals(), FinalWeights(), saver],
        enable_checkpointing=True,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **({"max_steps": 8, "val_check_interval": 2} | settings),
    )
    module = SupervisedDepth(Affine(), loss_weights={"mse": 1.0})
    try:
        with WATCH.command():
            trainer.fit(module, RandomDepthModule(16, 4))
    finally:
        assert WATCH.phase is Phase.OFF
    return trainer


@pytest.mark.parametrize(
    ("hook", "step", "stopped_at"),
    [
        ("on_train_start", 0, 0),  # the first batch is not begun
        ("on_before_zero_grad", 3, 4),
        ("on_train_batch_end", 3, 3),
        ("on_validation_start", 2, 2),
        ("on_validation_end", 2, 2),
        ("on_save_checkpoint", 2, 2),
        ("on_train_end", 8, 8),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_training_ends_at_the_next_batch(hook, step, stopped_at, tmp_path):
    sender = SignalAt(hook, step)
    with pytest.raises(Stopped) as stop:
        fit(tmp_path, sender)
    assert stop.value.agreed or hook == "on_train_start"
    assert stop.value.signum == signal.SIGTERM
    assert [count for count in sender.after if count > stopped_at] == []
    assert (tmp_path / "last.ckpt").exists() is (stopped_at > 0)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGUSR1])
@pytest.mark.filterwarnings("ignore")
def test_other_signals_are_the_same(signum, tmp_path):
    with pytest.raises(Stopped) as stop:
        fit(tmp_path, SignalAt("on_before_zero_grad", 1, signum))
    assert stop.value.signum == signum


@pytest.mark.filterwarnings("ignore")
def test_a_stop_before_the_training_leaves_the_checkpoint_it_goes_on_from(tmp_path):
    fit(tmp_path, SignalAt("none", 0))
    last = tmp_path / "last.ckpt"
    before = last.stat().st_mtime_ns

    class Early(Callback):
        def on_train_start(self, trainer, *_):
            assert trainer.global_step > 0
            raise Stopped(signal.SIGTERM)

    trainer = quiet_trainer(
        callbacks=[Early(), StopSignals(), ModelCheckpoint(tmp_path, "last", save_on_exception=True)],
        enable_checkpointing=True,
        max_steps=20,
        default_root_dir=tmp_path,
    )
    module = SupervisedDepth(Affine(), loss_weights={"mse": 1.0})
    with pytest.raises(Stopped):
        trainer.fit(module, RandomDepthModule(16, 4), ckpt_path=last)
    assert last.stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["last.ckpt"]


@pytest.mark.filterwarnings("ignore")
def test_nothing_changes_without_a_signal(tmp_path):
    before = {number: signal.getsignal(number) for number in signal.valid_signals()}
    trainer = fit(tmp_path, SignalAt("none", 0))
    assert trainer.global_step == 8
    assert {number: signal.getsignal(number) for number in before} == before
