"""The loggers of a run: a CSV always, W&B with what a dashboard compares runs by."""

import pytest
from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from lightning_modules.run_loggers import run_loggers


@pytest.fixture
def config():
    return Namespace(
        experiment="lite_unet",
        model=Namespace(class_path="lightning_modules.supervised_depth.SupervisedDepth"),
        data=Namespace(class_path="datamodules.rooms.datamodule.RoomsDataModule"),
        seed_everything=3,
        tags=["ablation"],
    )


def test_offline_run_is_grouped_tagged_and_says_how_to_sync(config, tmp_path, capsys):
    csv_logger, wandb_logger = run_loggers(config, tmp_path / "lite_unet" / "r1", job_type="fit")
    assert isinstance(csv_logger, CSVLogger)
    assert csv_logger.log_dir.rstrip("/") == str(tmp_path / "lite_unet" / "r1")
    assert isinstance(wandb_logger, WandbLogger)
    settings = wandb_logger._wandb_init
    assert settings["group"] == "supervised_depth"
    assert settings["job_type"] == "fit"
    assert settings["tags"] == ["rooms", "lite_unet", "seed=3", "ablation"]
    assert settings["id"] == "lite_unet-r1", "a requeued run has to find its W&B run again"
    assert settings["resume"] == "allow"
    assert "wandb sync" in capsys.readouterr().err


def test_a_manifest_is_tagged_by_its_kind(config, tmp_path):
    config.data = Namespace(class_path="datamodules.manifest.ManifestDataModule")
    assert "manifest" in run_loggers(config, tmp_path, job_type="fit")[1]._wandb_init["tags"]


def test_disabled_means_none(config, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert [type(logger) for logger in run_loggers(config, tmp_path, job_type="fit")] == [CSVLogger]
