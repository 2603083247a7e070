"""Checkpoints as artifacts: their aliases and files in an offline run, and failures that end no training."""

from pathlib import Path

import pytest
import wandb
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from torch import ones
from torch.utils.data import DataLoader

from cli import main
from lightning_modules.callbacks import checkpoint_artifacts
from lightning_modules.callbacks.checkpoint_artifacts import CheckpointArtifacts, checkpoints_of
from tests.helpers import quiet_trainer, wandb_records
from tests.lightning_modules.callbacks.test_run_summary import Scripted

ROOT = Path(__file__).parents[3]


def train(folder, **settings):
    """Two epochs, of which the first one has the best score."""
    loader = DataLoader(ones(2, 1))
    best = ModelCheckpoint(folder / "checkpoints", monitor="val/score", filename="best")
    last = ModelCheckpoint(folder / "checkpoints", filename="last", enable_version_counter=False)
    trainer = quiet_trainer(
        default_root_dir=folder,
        max_epochs=2,
        enable_checkpointing=True,
        callbacks=[CheckpointArtifacts(), best, last],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **settings,
    )
    trainer.fit(Scripted([0.25, 0.5], [1.0, 1.0]), loader, loader)
    return trainer


def test_both_checkpoints_are_in_the_offline_run_with_their_aliases(tmp_path):
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="x", id="exp-1")
    trainer = train(tmp_path, logger=logger)
    wandb.finish()
    best, last = tmp_path / "checkpoints" / "best.ckpt", tmp_path / "checkpoints" / "last.ckpt"
    assert checkpoints_of(trainer) == {"best": best, "last": last}
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    artifacts = wandb_records(folder, "artifact")
    assert [each["name"] for each in artifacts] == ["checkpoint-exp-1"] * 2
    assert [set(each["aliases"]) - {"latest"} for each in artifacts] == [{"best"}, {"last"}]
    assert [each["type"] for each in artifacts] == ["model", "model"]
    assert '"val/score":0.25' in artifacts[0]["metadata"]
    for artifact, original in zip(artifacts, (best, last), strict=True):
        (entry,) = artifact["manifest"]["contents"]
        assert entry["path"] == original.name
        kept = Path(entry["local_path"])
        assert kept.is_relative_to(folder), "moved together with the offline run"
        content = original.read_bytes()
        original.unlink()
        assert kept.read_bytes() == content, "a later training that replaces the checkpoint changes nothing"


def test_where_links_are_not_possible_the_file_is_copied(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError("not supported")

    monkeypatch.setattr(checkpoint_artifacts.os, "link", no_links)
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="x")
    train(tmp_path, logger=logger)
    wandb.finish()
    (kept,) = tmp_path.glob("wandb/offline-run-*/artifacts/best-*.ckpt")
    assert kept.read_bytes() == (tmp_path / "checkpoints" / "best.ckpt").read_bytes()


def test_a_failure_is_one_line_and_the_training_ends_well(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint_artifacts, "checkpoints_of", lambda trainer: 1 / 0)
    logger = WandbLogger(save_dir=tmp_path, offline=True, project="x")
    train(tmp_path, logger=logger)
    wandb.finish()
    assert "W&B could not take the checkpoints (division by zero); they are in" in capsys.readouterr().err


def test_without_wandb_one_line_says_so(tmp_path, capsys):
    train(tmp_path, logger=False)
    assert "note: --artifacts has no effect" in capsys.readouterr().err


@pytest.mark.parametrize(("word", "count"), [("--artifacts", 2), ("--artifacts=false", 0)])
def test_the_command_line_logs_them_on_request(rooms_root, tmp_path, word, count):
    configs = [ROOT / "experiments" / "fcn_ssim.yaml", ROOT / "tests" / "overlays" / "rooms.yaml"]
    words = [part for config in configs for part in ("--config", str(config))]
    main(["fit", *words, "--data.init_args.root", str(rooms_root), "--test_after_fit=false", word])
    (folder,) = tmp_path.glob("runs/fcn_ssim/*/wandb/offline-run-*")
    assert len(wandb_records(folder, "artifact")) == count
