"""The summary of a run in W&B: one step's metrics as the best ones, and the numbers of its record."""

import json

import pytest
import torch
import wandb
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from torch.utils.data import DataLoader

from lightning_modules.callbacks.run_summary import RunSummary
from lightning_modules.runs.loggers import FailSafeWandbLogger
from tests.helpers import quiet_trainer, wandb_records


class Scripted(LightningModule):
    """Logs given values in each validation."""

    def __init__(self, scores, others):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.scores, self.others = scores, others

    def training_step(self, batch, batch_idx):
        return (self.weight * batch).sum()

    def validation_step(self, batch, batch_idx):
        self.log("val/score", torch.tensor(self.scores[self.current_epoch]))
        self.log("val/ap", torch.tensor(self.others[self.current_epoch]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(folder, summary, scores, others, mode="min", **settings):
    """Train one epoch of two steps a score."""
    loader = DataLoader(torch.ones(2, 1))
    checkpoint = ModelCheckpoint(folder, monitor="val/score", mode=mode, filename="best")
    trainer = quiet_trainer(
        default_root_dir=folder,
        max_epochs=len(scores),
        enable_checkpointing=True,
        callbacks=[summary, checkpoint],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **settings,
    )
    trainer.fit(Scripted(scores, others), loader, loader)
    return trainer


@pytest.mark.parametrize(("mode", "best", "other", "step"), [("min", 0.25, 0.5, 4), ("max", 0.75, 0.375, 6)])
def test_the_best_values_are_those_of_one_step(tmp_path, mode, best, other, step):
    summary = RunSummary()
    train(tmp_path, summary, [0.5, 0.25, 0.75], [0.625, 0.5, 0.375], mode=mode, logger=False)
    assert summary.state_dict() == {
        "score": best,
        "best": {"best/val/score": best, "best/val/ap": other, "best/step": step},
    }


def test_a_training_that_goes_on_keeps_its_best_step_and_nan_is_none(tmp_path):
    first, second = RunSummary(), RunSummary()
    train(tmp_path, first, [0.25], [0.5], logger=False)
    second.load_state_dict(first.state_dict())
    train(tmp_path, second, [float("nan"), 0.5], [0.1, 0.2], logger=False)
    assert second.state_dict() == first.state_dict()


def test_wandb_gets_them_with_the_numbers_of_the_record(tmp_path):
    last = {"train/loss": 0.125, "val/score": 0.25}
    record = {"parameters": 7, "fit_minutes": 1.5, "commit": "0123", "last": last, "best": {"val/score": 0.25}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="x")
    train(tmp_path, RunSummary(), [0.5, 0.25], [0.625, 0.5], logger=logger)
    wandb.finish()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    found = {}
    for record in wandb_records(folder, "summary"):
        found |= record["update"]
    assert {name: found[name] for name in ("parameters", "fit_minutes", "best/step")} == {
        "parameters": 7,
        "fit_minutes": 1.5,
        "best/step": 4,
    }
    assert found["best/val/ap"] == 0.5
    assert (found["best/val/score"], found["last/train/loss"], found["last/val/score"]) == (0.25, 0.125, 0.25)
    assert "commit" not in found


def test_a_failure_of_wandb_ends_no_run(tmp_path, monkeypatch, capsys):
    logger = FailSafeWandbLogger(tmp_path, offline=True, project="x")
    monkeypatch.setattr(type(logger.experiment.summary), "update", lambda *_: 1 / 0)
    train(tmp_path, RunSummary(), [0.5], [0.625], logger=logger)
    assert "W&B failed (division by zero)" in capsys.readouterr().err
    monkeypatch.undo()
    wandb.finish()
