"""The effective batch of a training, and the learning rate that is scaled to it."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer
from torch.optim.lr_scheduler import LambdaLR

from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.effective_batch import EffectiveBatch, effective_batch
from lightning_modules.tasks.optimisation import Optimisation
from tests.data.memory import MemoryDataModule
from tests.helpers import Affine


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        (EffectiveBatch(4, 1, 1), "4"),
        (EffectiveBatch(4, 1, 2), "8 = 4 x 2 accumulated batches"),
        (EffectiveBatch(4, 8, 1), "32 = 4 per process x 8 processes"),
        (EffectiveBatch(4, 8, 2), "64 = 4 per process x 8 processes x 2 accumulated batches"),
    ],
)
def test_the_size_is_the_product_of_what_is_printed(batch, text):
    assert str(batch) == text
    assert batch.size == int(text.split(" ")[0])


def test_a_trainer_tells_it_from_its_data_processes_and_accumulation():
    trainer = SimpleNamespace(datamodule=SimpleNamespace(batch_size=3), world_size=4, accumulate_grad_batches=5)
    assert effective_batch(trainer) == (3, 4, 5)
    trainer.datamodule = None
    assert effective_batch(trainer) is None


def fitted(optimisation, monkeypatch):
    """The optimizer after one step with accumulated batches, and the line that was printed."""
    lines = []
    monkeypatch.setattr("lightning_modules.tasks.base.rank_zero_info", lines.append)
    module = SupervisedDepth(Affine(), optimisation=optimisation)
    trainer = Trainer(
        max_steps=1,
        accelerator="cpu",
        accumulate_grad_batches=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(module, MemoryDataModule((11, 5, 7), batch_size=4))
    return module.optimizers().optimizer, lines


SGD = partial(torch.optim.SGD, lr=0.04)
SCHEDULE = partial(LambdaLR, lr_lambda=lambda step: 0.5**step)


@pytest.mark.parametrize(
    ("more", "rate", "text"),
    [
        ({}, 0.04, "effective batch 8 = 4 x 2 accumulated batches, learning rate 0.04"),
        ({"reference_batch_size": 2}, 0.16, "learning rate 0.16 = 0.04 x 4 (linear from a batch of 2)"),
        ({"reference_batch_size": 2, "lr_scaling": "sqrt"}, 0.08, "rate 0.08 = 0.04 x 2 (sqrt from a batch of 2)"),
        ({"reference_batch_size": 8}, 0.04, "learning rate 0.04 = 0.04 x 1 (linear from a batch of 8)"),
    ],
)
def test_the_rate_is_scaled_before_the_schedule_and_both_are_printed(more, rate, text, monkeypatch):
    optimizer, lines = fitted(Optimisation(SGD, SCHEDULE, **more), monkeypatch)
    (group,) = optimizer.param_groups
    assert group["initial_lr"] == pytest.approx(rate)
    assert group["lr"] == pytest.approx(rate / 2)  # after one step of the schedule
    assert len(lines) == 1
    assert lines[0].endswith(text)


def test_a_reference_needs_data_with_a_batch_size():
    with pytest.raises(ValueError, match="reference_batch_size scales the learning rate by the batch size of the data"):
        SupervisedDepth(Affine(), optimisation=Optimisation(reference_batch_size=2)).configure_optimizers()
    assert Optimisation().lr_factor(None) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr_scaling": "cubic"}, "lr_scaling is 'cubic', but must be 'linear' or 'sqrt'"),
        ({"reference_batch_size": 0}, "reference_batch_size is 0, but must be at least 1, or null"),
    ],
)
def test_bad_values_are_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        Optimisation(**settings)
