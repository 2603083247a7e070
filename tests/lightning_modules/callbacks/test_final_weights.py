"""What a training ends with is validated and saved, wherever its end lies between two validations."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightning_modules.callbacks.final_weights import FinalWeights
from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
from tests.data.memory import MemoryDataModule
from tests.helpers import quiet_trainer


class Line(LightningModule):
    """Fits a slope, so that every step changes the weights, by what is in its batch, and lowers the score."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))

    def training_step(self, batch, batch_idx):
        return ((self.slope - 2 - batch["image"].mean()) ** 2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val/score", (self.slope - 2.5).abs().sum(), batch_size=1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Validated(Callback):
    """Writes down the steps after which was validated, and the state of the training then."""

    def __init__(self):
        self.steps = []

    def on_validation_end(self, trainer, pl_module):
        self.steps.append(trainer.global_step)


def fit(folder, ckpt_path=None, stop=None, stop_first=True, **settings):
    seen = Validated()
    best = ModelCheckpoint(folder, monitor="val/score", filename="best", auto_insert_metric_name=False)
    last = ModelCheckpoint(folder, filename="last", save_on_exception=True)
    for callback in (best, last):
        callback._enable_version_counter = False
    trainer = quiet_trainer(
        enable_checkpointing=True,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=[AtomicCheckpointIO()],
        callbacks=[
            best,
            last,
            seen,
            *([stop] if stop and stop_first else []),
            FinalWeights(),
            *([stop] if stop else []),
        ],
        **settings,
    )
    trainer.fit(Line(), datamodule=MemoryDataModule((20, 2, 2)), ckpt_path=ckpt_path)  # ten batches an epoch
    assert all(callback._save_on_train_epoch_end is None for callback in (best, last))  # as it was
    return trainer, seen.steps


def loaded(path):
    return torch.load(path, weights_only=True)


STEPS = {"check_val_every_n_epoch": None, "max_epochs": -1}


@pytest.mark.parametrize(
    ("settings", "validated"),
    [
        (STEPS | {"max_steps": 25, "val_check_interval": 10}, [10, 20, 25]),
        (STEPS | {"max_steps": 20, "val_check_interval": 10}, [10, 20]),  # due anyway: once
        (STEPS | {"max_steps": 7, "val_check_interval": 10}, [7]),
        (STEPS | {"max_steps": 3, "val_check_interval": 200}, [3]),
        (STEPS | {"max_steps": 25, "val_check_interval": 10, "accumulate_grad_batches": 2}, [5, 10, 15, 20, 25]),
        ({"max_steps": 25}, [10, 20, 25]),  # every epoch
        ({"max_steps": 25, "check_val_every_n_epoch": 5}, [25]),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, [20, 30]),
        ({"max_epochs": 2, "val_check_interval": 4}, [4, 8, 14, 18, 20]),
        ({"max_epochs": 2}, [10, 20]),
    ],
)
def test_the_last_step_is_validated_once_and_saved(settings, validated, tmp_path):
    trainer, steps = fit(tmp_path, **settings)
    assert steps == validated
    last = loaded(tmp_path / "last.ckpt")
    assert last["global_step"] == validated[-1]
    torch.testing.assert_close(last["state_dict"]["slope"], trainer.lightning_module.slope.detach(), rtol=0, atol=0)
    # The slope nears its goal with every step, so the best of all validated weights are the last.
    assert loaded(tmp_path / "best.ckpt")["global_step"] == validated[-1]
    assert trainer.check_val_every_n_epoch == settings.get("check_val_every_n_epoch", 1)


@pytest.mark.parametrize("settings", [STEPS | {"max_steps": 7}, {"max_epochs": 1}, STEPS | {"max_steps": 20}])
def test_without_validation_the_last_weights_are_saved(settings, tmp_path, capsys):
    trainer, steps = fit(tmp_path, limit_val_batches=0, **settings)
    assert steps == []
    assert loaded(tmp_path / "last.ckpt")["global_step"] == trainer.global_step
    assert capsys.readouterr().err == ""


class StopAt(Callback):
    """Asks for an end after three steps, in the hook of a name."""

    def __init__(self, hook):
        def stop(trainer, *_):
            trainer.should_stop = trainer.global_step == 3

        setattr(self, hook, stop)


@pytest.mark.parametrize(("first", "validated"), [(True, [3]), (False, [])])
def test_a_stop_that_a_callback_asks_for_is_saved(first, validated, tmp_path, capsys):
    stop = StopAt("on_train_batch_end")
    # As a timer of Lightning's, which comes after all others, does in an epoch that is not to be validated.
    trainer, steps = fit(tmp_path, stop=stop, stop_first=first, max_epochs=-1, check_val_every_n_epoch=5)
    assert steps == validated
    assert loaded(tmp_path / "last.ckpt")["global_step"] == trainer.global_step == 3
    assert ("of step 3, were saved but not validated" in capsys.readouterr().err) is not first


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "settings",
    [
        STEPS | {"val_check_interval": 10},
        {},
        {"check_val_every_n_epoch": 2},
        {"val_check_interval": 4},
        {"limit_val_batches": 0},
    ],
)
@pytest.mark.parametrize("stop", [7, 10, 25])
def test_a_run_that_goes_on_from_its_end_is_the_run_that_never_ended(settings, stop, tmp_path):
    fit(tmp_path / "whole", max_steps=34, **settings)
    fit(tmp_path / "parts", max_steps=stop, **settings)
    _, validated = fit(tmp_path / "parts", tmp_path / "parts" / "last.ckpt", max_steps=34, **settings)
    whole, parts = loaded(tmp_path / "whole" / "last.ckpt"), loaded(tmp_path / "parts" / "last.ckpt")
    assert parts["global_step"] == whole["global_step"] == 34
    assert parts["epoch"] == whole["epoch"]
    torch.testing.assert_close(parts["state_dict"]["slope"], whole["state_dict"]["slope"], rtol=0, atol=0)
    assert (34 in validated) is ("limit_val_batches" not in settings)


def test_a_check_of_the_code_saves_nothing(tmp_path):
    fit(tmp_path, fast_dev_run=True)
    assert list(tmp_path.iterdir()) == []
