"""Early stopping that begins after a part of the training."""

import pytest
import torch
from lightning.pytorch import LightningModule
from torch.utils.data import DataLoader

from lightning_modules.callbacks.early_stopping import EarlyStoppingFrom
from tests.helpers import quiet_trainer


class Scored(LightningModule):
    """Logs given scores, one a validation, and trains one weight."""

    def __init__(self, scores):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.scores = iter(scores)

    def progress(self):
        return self.global_step / 8

    def training_step(self, batch, batch_idx):
        return self.weight.square()

    def validation_step(self, batch, batch_idx):
        self.log("val/score", next(self.scores))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def last_step(scores, **options):
    trainer = quiet_trainer(
        max_steps=8,
        val_check_interval=1,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=[EarlyStoppingFrom(patience=1, **options)],
    )
    loader = DataLoader(torch.zeros(8, 1), batch_size=8)
    trainer.fit(Scored(scores), loader, loader)
    return trainer.global_step


def test_a_warm_up_without_improvement_is_not_stopped():
    flat_then_falling = [1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.7, 0.6]
    assert last_step(flat_then_falling, start=0.0) == 2
    assert last_step(flat_then_falling, start=0.5) == 8


def test_the_best_value_of_the_warm_up_does_not_count():
    lower_before = [0.1, 0.1, 0.1, 0.9, 0.8, 0.7, 0.6, 0.5]
    assert last_step(lower_before, start=0.5) == 8


def test_it_stops_where_the_improvement_is_too_small():
    assert last_step([1.0, 1.0, 1.0, 0.9, 0.6, 0.595, 0.3, 0.2], start=0.5, min_delta=0.01) == 6


def test_a_start_outside_the_training_is_refused():
    with pytest.raises(ValueError, match="start is 2, but is a part of the training, 0 to 1"):
        EarlyStoppingFrom(start=2)
