"""Lines about a training where there is no progress bar."""

import re
import sys

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader

from lightning_modules.callbacks import training_log as module
from lightning_modules.callbacks.progress import StepProgressBar
from lightning_modules.callbacks.training_log import TrainingLog
from tests.helpers import quiet_trainer

STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


class Falling(LightningModule):
    """Its loss is 1 / (step + 1), its score 10 - step."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.automatic_optimization = True

    def training_step(self, batch, batch_idx):
        return self.weight * 0 + 1 / (self.global_step + 1)

    def validation_step(self, batch, batch_idx):
        self.log("val/score", 10.0 - self.global_step, batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(count):
    return DataLoader([{"image": torch.zeros(3)} for _ in range(count)], batch_size=2)


def train(log, capsys, **settings):
    defaults = {"max_steps": 8, "val_check_interval": 4, "check_val_every_n_epoch": None, "num_sanity_val_steps": 0}
    trainer = quiet_trainer(callbacks=[log], **(defaults | settings))
    trainer.fit(Falling(), loader(12), loader(4))
    return [line for line in capsys.readouterr().out.splitlines() if STAMP.match(line)]


def test_the_start_the_first_steps_and_every_validation_have_a_line(capsys):
    lines = train(TrainingLog(first_step=3), capsys)
    assert [STAMP.sub("", line).split(":")[0] for line in lines] == [
        "training begins",
        "step 3 of 8 (38%)",
        "step 4 of 8 (50%) validated",
        "step 8 of 8 (100%) validated",
    ]
    mean = (1 + 1 / 2 + 1 / 3) / 3
    assert f"loss {mean:.4g}, " in lines[1]
    assert "images/s" in lines[1]
    assert re.search(r"\d+ s left$", lines[1])
    assert "loss 0.25, score 6, " in lines[2]
    mean = (1 / 5 + 1 / 6 + 1 / 7 + 1 / 8) / 4
    assert f"loss {mean:.4g}, score 2, " in lines[3]
    assert lines[3].endswith(", 0 s left")


def test_a_line_at_the_interval_names_the_step_of_its_score(capsys):
    lines = train(TrainingLog(first_step=100, every_n_steps=5), capsys, max_steps=6)
    (line,) = [line for line in lines if "step 5 of 6" in line]
    assert "score 6 at step 4" in line


def test_lines_come_by_time(capsys, monkeypatch):
    now = [0.0]

    def monotonic():  # a second passes at every look
        now[0] += 1
        return now[0]

    monkeypatch.setattr(module.time, "monotonic", monotonic)
    many = train(TrainingLog(first_step=100, every_s=2), capsys, val_check_interval=8)
    few = train(TrainingLog(first_step=100, every_s=1000), capsys, val_check_interval=8)
    assert len(many) > len(few) == 2


def test_accumulated_batches_count_as_one_step_with_their_mean_loss(capsys):
    lines = train(TrainingLog(first_step=1), capsys, accumulate_grad_batches=2, max_steps=2, limit_val_batches=0)
    assert "step 1 of 2 (50%): loss 1, " in lines[1]


def test_epochs_have_a_length_too(capsys):
    settings = {"max_steps": -1, "max_epochs": 1, "accumulate_grad_batches": 2, "limit_val_batches": 0}
    lines = train(TrainingLog(first_step=2), capsys, **settings)
    assert "step 2 of 3 (67%)" in lines[1]


def test_a_long_validation_prints_its_batches(capsys, monkeypatch):
    monkeypatch.setattr(module, "ProgressLines", lambda *names, every_s, write: Always(names, write))
    lines = train(TrainingLog(), capsys, max_steps=4)
    assert [line for line in lines if "validation 1 of 2" in line]


class Always:
    """Writes a line for every batch."""

    def __init__(self, names, write):
        self.names, self.write, self.done = names, write, 0

    def add(self):
        self.done += 1
        self.write(f"{self.names[0]} {self.done} of {self.names[2]}\n")


def test_a_progress_bar_on_a_terminal_takes_its_place(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    log = TrainingLog(first_step=1)
    trainer = quiet_trainer(callbacks=[log, StepProgressBar()], enable_progress_bar=True, max_steps=2)
    trainer.fit(Falling(), loader(4))
    assert not any(STAMP.match(line) for line in capsys.readouterr().out.splitlines())
    assert len(train(log, capsys)) > 2, "a terminal without a bar has lines"


@pytest.mark.parametrize(
    "settings", [{"first_step": 0}, {"every_s": 0.0}, {"every_s": float("nan")}, {"every_n_steps": 0}]
)
def test_senseless_intervals_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is "):
        TrainingLog(**settings)
