"""A training that was interrupted anywhere has the losses, weights and validations of one that was not."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from lightning_modules.callbacks.exact_resume import ExactResume
from lightning_modules.callbacks.final_weights import FinalWeights
from lightning_modules.callbacks.periodic_checkpoint import PeriodicCheckpoint
from lightning_modules.runs.checkpoint_io import AtomicCheckpointIO
from lightning_modules.runs.newest import newest_checkpoint
from lightning_modules.schedules import WarmupCosine
from tests.data.memory import MemoryDataModule


class StoppedError(Exception):
    """What interrupts a training."""


class Noisy(LightningModule):
    """A network with a batch norm, trained with draws of all random streams, which logs what it does.

    Args:
        fails: Place and batch (validations: number of the validation) at which it raises :class:`StoppedError`, once.
    """

    def __init__(self, fails=None):
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
        self.fails = fails
        self.losses, self.validated, self.seen = [], [], 0

    def fail(self, place, number):
        if self.fails == (place, number):
            self.fails = None
            raise StoppedError

    def training_step(self, batch, batch_idx):
        number = self.trainer.fit_loop.total_batch_idx
        image = batch["image"] + 0.1 * torch.randn_like(batch["image"]) * np.random.rand() * random.random()
        loss = (self.network(image) - batch["depth"][..., 1:-1, 1:-1]).square().mean()
        self.fail("forward", number)
        if self.fails == ("backward", number):
            loss.register_hook(lambda _: self.fail("backward", number))
        logged = self.trainer.fit_loop.epoch_loop._batches_that_stepped
        self.losses.append((number, logged, batch["index"].tolist(), float(loss)))
        return loss

    def on_validation_epoch_start(self):
        self.errors = []

    def validation_step(self, batch, batch_idx):
        if batch_idx == 1:
            self.fail("validation", self.global_step)
        self.errors.append(float((self.network(batch["image"]) ** 2).mean() + torch.rand(())))

    def on_validation_epoch_end(self):
        step = self.trainer.fit_loop.epoch_loop._batches_that_stepped
        self.validated.append((self.global_step, step, len(self.errors), sum(self.errors)))
        self.log("val/score", sum(self.errors), batch_size=1)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.01)
        scheduler = WarmupCosine(optimizer)
        scheduler.set_total_steps(int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class FailAt(Callback):
    """Raises in a hook after some steps, once."""

    def __init__(self, hook, step):
        self.done = False

        def fail(trainer, *_, **__):
            if trainer.global_step == step and not self.done:
                self.done = True
                raise StoppedError

        setattr(self, hook, fail)


def fit(folder, *, fails=None, callback=None, workers=0, ckpt_path=None, every_steps=None, io=None, **settings):
    seed_everything(5 if ckpt_path is None else 77, verbose=False)  # a resumed run does not use its own numbers
    best = ModelCheckpoint(folder / "checkpoints", monitor="val/score", filename="best", enable_version_counter=False)
    last = ModelCheckpoint(
        folder / "checkpoints", filename="last", save_on_exception=True, enable_version_counter=False
    )
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        plugins=[io or AtomicCheckpointIO()],
        callbacks=[
            best,
            last,
            PeriodicCheckpoint(every_minutes=None, every_steps=every_steps),
            *([callback] if callback else []),
            FinalWeights(),
            ExactResume(),
        ],
        **settings,
    )
    module = Noisy(fails)
    data = MemoryDataModule((11, 5, 2), num_workers=workers)  # five batches an epoch, three of a validation
    if fails or callback:
        with pytest.raises(StoppedError):
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    else:
        trainer.fit(module, datamodule=data, ckpt_path=ckpt_path)
    return module


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A training with some settings that was not interrupted, made once: its folder and its module."""
    made = {}

    def train(name, settings):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = folder, fit(folder, **settings)
        return made[name]

    return train


def assert_continues(folder, unbroken, first, **settings):
    """Resume and compare with the training that was not interrupted; the step from which it went on."""
    whole_folder, whole = unbroken
    newest = newest_checkpoint(folder)
    assert newest is not None
    begun = torch.load(newest, weights_only=True)
    batches = begun["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["processed"]
    second = fit(folder, ckpt_path=newest, **settings)
    assert second.losses == whole.losses[batches:]
    if first is not None:  # between the batches of one step a validation is repeated
        validated = [*first.validated, *second.validated]
        assert list(dict.fromkeys(validated)) == whole.validated
        assert len(validated) == len(whole.validated) or "accumulate_grad_batches" in settings
    for kind in ("last", "best"):
        paths = [where / "checkpoints" / f"{kind}.ckpt" for where in (whole_folder, folder)]
        one, two = (torch.load(path, weights_only=True) for path in paths)
        assert one["global_step"] == two["global_step"]
        assert one["epoch"] == two["epoch"]
        for key, value in one["state_dict"].items():
            assert torch.equal(value, two["state_dict"][key]), key
        assert one["lr_schedulers"] == two["lr_schedulers"]
        assert torch.equal(one["training_state"]["random"]["cpu"], two["training_state"]["random"]["cpu"])
    assert one["callbacks"].keys() == two["callbacks"].keys()
    return begun["global_step"]


STEPS = {"max_steps": 17, "val_check_interval": 4, "check_val_every_n_epoch": None}
EPOCHS = {"max_epochs": 3}
SECOND_EPOCHS = {"max_epochs": 3, "check_val_every_n_epoch": 2}
ACCUMULATED = {"max_steps": 8, "val_check_interval": 4, "check_val_every_n_epoch": None, "accumulate_grad_batches": 2}
LIMITS = {"steps": STEPS, "epochs": EPOCHS, "second": SECOND_EPOCHS, "accumulated": ACCUMULATED}

# Batches count from 0: 4 and 9 end an epoch; after 3, 7 and 11 the training by steps is validated.
FAILURES = [
    *(("steps", "forward", batch) for batch in (1, 4, 5, 8, 9)),
    *(("steps", "backward", batch) for batch in (4, 10)),
    *(("epochs", "forward", batch) for batch in (4, 5)),
    *(("second", "backward", batch) for batch in (9, 10)),
    *(("accumulated", "forward", batch) for batch in (3, 4, 6, 8)),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("limit", "place", "batch"), FAILURES)
def test_a_batch_that_fails_is_not_counted(tmp_path, unbroken, limit, place, batch):
    settings = LIMITS[limit]
    first = fit(tmp_path, fails=(place, batch), **settings)
    begun = assert_continues(tmp_path, unbroken(limit, settings), first, **settings)
    assert begun == ({3: 1, 4: 2, 6: 3, 8: 4}[batch] if limit == "accumulated" else batch)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("limit", "step"), [("steps", 4), ("steps", 17), ("epochs", 5), ("second", 10), ("second", 15)]
)
def test_an_unfinished_validation_is_run_whole(tmp_path, unbroken, limit, step):
    settings = LIMITS[limit]
    first = fit(tmp_path, fails=("validation", step), **settings)
    assert assert_continues(tmp_path, unbroken(limit, settings), first, **settings) == step


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("limit", "hook", "step"),
    [
        ("steps", "on_train_batch_start", 4),
        ("steps", "on_train_batch_start", 5),
        ("steps", "on_train_batch_end", 4),
        ("steps", "on_train_batch_end", 5),
        ("steps", "on_train_batch_end", 7),
        ("steps", "on_validation_start", 8),
        ("steps", "on_train_epoch_end", 5),
        ("epochs", "on_train_batch_end", 5),
        ("epochs", "on_validation_start", 10),
        ("epochs", "on_train_epoch_end", 5),
        ("accumulated", "on_train_batch_end", 3),
    ],
)
def test_an_error_of_a_callback_loses_nothing(tmp_path, unbroken, limit, hook, step):
    settings = LIMITS[limit]
    first = fit(tmp_path, callback=FailAt(hook, step), **settings)
    assert assert_continues(tmp_path, unbroken(limit, settings), first, **settings) == step


class Kill(AtomicCheckpointIO):
    """Ends the training without another checkpoint when it has written so many."""

    def __init__(self, count):
        self.left = count

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        if self.left == 0:
            raise StoppedError
        super().save_checkpoint(checkpoint, path, storage_options)
        self.left -= 1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("limit", "workers", "count"),
    [("steps", 0, 1), ("steps", 0, 2), ("steps", 2, 4), ("steps", 0, 6), ("accumulated", 0, 2), ("accumulated", 0, 4)],
)
def test_a_kill_goes_back_to_the_last_checkpoint(tmp_path, unbroken, limit, workers, count):
    settings = LIMITS[limit] | {"every_steps": 3}
    with pytest.raises(StoppedError):
        fit(tmp_path, workers=workers, io=Kill(count), **settings)
    assert_continues(tmp_path, unbroken(f"{limit} saved", settings), None, workers=workers, **settings)


@pytest.mark.filterwarnings("ignore")
def test_half_updated_weights_are_not_saved(tmp_path, unbroken, capsys, monkeypatch):
    step = torch.optim.AdamW.step

    def interrupted(self, closure=None):
        result = step(self, closure)
        if closure is not None and self.state[self.param_groups[0]["params"][0]]["step"] == 8:
            raise StoppedError
        return result

    settings = STEPS | {"every_steps": 3}
    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(StoppedError):
        fit(tmp_path, **settings)
    monkeypatch.undo()
    said = [line for line in capsys.readouterr().err.splitlines() if "weights of step" in line]
    assert len(said) == 1
    assert said[0].startswith(
        "the weights of step 7 are partly updated, as the optimizer was interrupted inside a step"
    )
    assert assert_continues(tmp_path, unbroken("steps saved", settings), None, **settings) == 6


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_of_an_earlier_version_is_resumed_with_a_note(tmp_path, capsys):
    fit(tmp_path, **STEPS | {"max_steps": 6})
    path = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    del content["training_state"]
    torch.save(content, path)
    assert [loss[0] for loss in fit(tmp_path, ckpt_path=path, **STEPS).losses] == list(range(6, 17))
    assert f"note: {path} holds no random state of one process" in capsys.readouterr().err


def test_all_ranks_draw_different_numbers_that_depend_on_nothing_else():
    trainers = [SimpleNamespace(world_size=2, global_rank=rank, current_epoch=3, global_step=7) for rank in (0, 1)]
    drawn = []
    for trainer in [*trainers, *trainers]:
        callback = ExactResume()
        callback._last_step = SimpleNamespace(step=7, epoch=3)
        torch.rand(5)
        callback.on_train_batch_start(trainer, None, None, batch_idx=4)
        drawn.append((float(torch.rand(())), np.random.rand(), random.random()))
    assert drawn[:2] == drawn[2:]
    assert all(a != b for a, b in zip(drawn[0], drawn[1], strict=True))
