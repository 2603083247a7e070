"""Samples a second over the time of training steps, validation excluded."""

import pytest

from lightning_modules.callbacks import throughput
from lightning_modules.callbacks.throughput import SamplesPerSecond


class Clock:
    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


class Recorder:
    """A trainer and a module in one: counts steps, and keeps what is logged."""

    world_size = 2
    global_step = 0

    def __init__(self):
        self.logged = []

    def log(self, name, value, batch_size):
        assert (name, batch_size) == ("train/samples_per_s", 1)
        self.logged.append((self.global_step, value))


def test_it_is_the_mean_since_the_last_entry_without_validation(monkeypatch):
    clock, run = Clock(), Recorder()
    monkeypatch.setattr(throughput, "time", clock)
    speed = SamplesPerSecond(every_n_steps=2)
    speed.on_train_epoch_start(run, run)
    for seconds, batch_size in ((1.0, 4), (3.0, 4), (2.0, 4), (2.0, 2)):
        clock.now += seconds
        run.global_step += 1
        speed.on_train_batch_end(run, run, None, {"image": [0] * batch_size}, 0)
        if run.global_step == 2:  # a long validation in the middle
            clock.now += 1000.0
            speed.on_validation_end(run, run)
    # Two processes: (4 + 4) * 2 samples in 4 s, then (4 + 2) * 2 in 4 s.
    assert run.logged == [(2, pytest.approx(4.0)), (4, pytest.approx(3.0))]


def test_an_interval_below_one_is_refused():
    with pytest.raises(ValueError, match="every_n_steps is 0, but must be at least 1"):
        SamplesPerSecond(every_n_steps=0)
