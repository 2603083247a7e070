"""The loggers of a run: a CSV always, W&B with what a dashboard compares runs by."""

import csv
import http.server
import threading

import cv2
import numpy as np
import pytest
import wandb
from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger, WandbLogger

from lightning_modules.runs import loggers as module
from lightning_modules.runs.loggers import attempt, finish_wandb, picture_loggers, run_loggers
from lightning_modules.runs.metrics_file import StepCSVLogger
from tests.helpers import wandb_history


@pytest.fixture(autouse=True)
def _ends_its_run():
    yield
    finish_wandb()  # otherwise the next logger of this process goes on with it


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
    assert "wandb sync" not in capsys.readouterr().err, "there is nothing to upload yet"
    wandb_logger.log_metrics({"train/loss": 1.0}, step=1)
    finish_wandb()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("W&B")]
    assert said == [f"W&B is offline. To upload this run later: wandb sync {tmp_path}/lite_unet/r1/wandb/offline-run-*"]


def test_the_project_is_that_of_the_environment_where_it_names_one(config, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    assert run_loggers(config, tmp_path, job_type="fit")[1]._wandb_init["project"] == module.PROJECT
    monkeypatch.setenv("WANDB_PROJECT", "depth")
    assert run_loggers(config, tmp_path, job_type="fit")[1]._wandb_init["project"] == "depth"


def test_a_manifest_is_tagged_by_its_kind(config, tmp_path):
    config.data = Namespace(class_path="datamodules.manifest.datamodule.ManifestDataModule")
    assert "manifest" in run_loggers(config, tmp_path, job_type="fit")[1]._wandb_init["tags"]


def test_disabled_means_none(config, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert [type(logger) for logger in run_loggers(config, tmp_path, job_type="fit")] == [StepCSVLogger]


class Refuses(http.server.BaseHTTPRequestHandler):
    """A W&B server that is there and knows nobody."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def do_POST(self):
        self.send_response(401)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_server_that_refuses_the_key_costs_no_run(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
        wandb.teardown()  # it keeps the settings of the run before
        _, logger = run_loggers(config, tmp_path / "x" / "r2", job_type="fit")
        assert "W&B is offline" not in capsys.readouterr().err
        logger.log_metrics({"train/loss": 1.0}, step=1)
        finish_wandb()
        server.shutdown()
        wandb.teardown()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("W&B")]
    assert len(said) == 1
    assert said[0].startswith("W&B could not begin its run (")
    assert f"it is offline. To upload this run later: wandb sync {tmp_path}/x/r2/wandb/offline-run-*" in said[0]
    assert list((tmp_path / "x" / "r2" / "wandb").glob("offline-run-*"))


def broken(*_, **__):
    raise wandb.Error("the service died.\nAt once.")


def test_a_wandb_that_does_not_work_at_all_is_left_out(config, tmp_path, monkeypatch, capsys):
    _, logger = run_loggers(config, tmp_path, job_type="fit")
    begin = wandb.init
    monkeypatch.setattr(wandb, "init", lambda **given: broken() if given["mode"] != "disabled" else begin(**given))
    logger.log_metrics({"train/loss": 1.0}, step=1)
    assert "W&B could not begin its run (the service died. At once); it is left out, metrics" in capsys.readouterr().err
    logger.experiment.log({"picture": 1})
    finish_wandb()


def test_a_failure_in_training_is_said_once(config, tmp_path, monkeypatch, capsys):
    _, logger = run_loggers(config, tmp_path, job_type="fit")
    monkeypatch.setattr(logger.experiment, "log", broken)
    for step in range(3):
        logger.log_metrics({"train/loss": 1.0}, step=step)
    assert capsys.readouterr().err.count("W&B failed (the service died. At once)") == 1


def test_after_a_failure_nothing_is_tried_again(config, tmp_path, monkeypatch, capsys):
    _, logger = run_loggers(config, tmp_path, job_type="fit")
    run = logger.experiment
    tried = []
    for name in ("log", "log_artifact"):
        monkeypatch.setattr(run, name, lambda *_, **__: tried.append(1) or broken())
    attempt(logger, lambda run: run.config.update({"commit": "abc"}))
    assert run.config["commit"] == "abc"
    assert picture_loggers([logger]) == [logger]
    logger.log_image("val/pictures", [np.zeros((4, 4, 3), np.uint8)], step=1)
    logger.log_metrics({"train/loss": 1.0}, step=2)
    logger.log_hyperparams({"lr": 0.1})
    attempt(logger, lambda run: run.summary.update({"best/val": 1.0}))
    assert picture_loggers([logger]) == []
    logger.finalize("success")
    assert tried == [1]
    assert "lr" not in run.config
    assert capsys.readouterr().err.count("W&B failed") == 1


def test_no_picture_is_drawn_for_a_disabled_run(config, tmp_path, monkeypatch):
    _, logger = run_loggers(config, tmp_path, job_type="fit")
    logger._wandb_init["mode"] = "disabled"
    assert picture_loggers([logger, CSVLogger(tmp_path)]) == []


def test_a_plain_wandb_logger_fails_as_it_does(tmp_path):
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    with pytest.raises(wandb.Error, match="the service died"):
        attempt(logger, broken)


def test_a_failure_at_the_end_changes_nothing(monkeypatch, capsys):
    monkeypatch.setattr(module.wandb, "run", object())
    monkeypatch.setattr(module.wandb, "finish", broken)
    finish_wandb()
    assert "W&B could not finish its run (the service died. At once)" in capsys.readouterr().err
    finish_wandb()
    assert capsys.readouterr().err == ""


def test_an_ended_run_waits_for_its_uploads_no_longer_than_is_said(config, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_FINISH_TIMEOUT", raising=False)
    settings = run_loggers(config, tmp_path, job_type="fit")[1]._wandb_init["settings"]
    assert settings.finish_timeout == module.FINISH_TIMEOUT_S
    assert settings.init_timeout == module.INIT_TIMEOUT_S
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "7")
    settings = run_loggers(config, tmp_path, job_type="fit")[1]._wandb_init["settings"]
    assert settings.finish_timeout != module.FINISH_TIMEOUT_S


def log_training(config, folder, steps, resumed=None, pictures=()):
    """What a training logs from one step to another, with a test at its end."""
    loggers = run_loggers(config, folder, "fit", resumed)
    for step in steps:
        for logger in loggers:
            logger.log_metrics({"lr": 0.1}, step=step)
            logger.log_metrics({"train/loss": 1 / (step + 1), "epoch": 0}, step=step)
        if step in pictures:
            loggers[1].log_image("val/pictures", [np.full((4, 4, 3), step, np.uint8)], step=step)
    for logger in loggers:
        logger.log_metrics({"test/score": float(steps.stop), "epoch": 0}, step=steps.stop)
        logger.save()
    finish_wandb()


def test_the_folder_of_an_offline_run_has_every_step_of_all_attempts_once(config, tmp_path):
    folder = tmp_path / "lite_unet" / "r1"
    log_training(config, folder, range(6), pictures=(1, 3, 5))
    log_training(config, folder, range(4, 7), resumed=4, pictures=(4,))
    log_training(config, folder, range(7, 9), resumed=7)
    (last,) = folder.glob("wandb/offline-run-*")
    assert len(list(folder.glob("wandb/replaced-offline-run-*"))) == 2
    rows = wandb_history(last)
    assert [row["_step"] for row in rows] == [row["trainer/global_step"] for row in rows] == list(range(9))
    assert [row["train/loss"] for row in rows] == [pytest.approx(1 / (step + 1)) for step in range(9)]
    assert [row["_step"] for row in rows if "test/score" in row] == [6, 8]
    drawn = {row["_step"]: row["val/pictures.filenames"] for row in rows if "val/pictures.filenames" in row}
    assert drawn.keys() == {1, 3, 4}, "the picture of step 5 was of an attempt that was cut off before"
    for step, (name,) in drawn.items():
        assert (cv2.imread(str(last / "files" / name)) == step).all()
    steps = [row["step"] for row in csv.DictReader((folder / "metrics.csv").open())]
    assert steps == [str(step) for step in range(9)]


class Server:
    """A W&B run that the server knows up to a step."""

    def __init__(self, starting_step):
        self.starting_step = starting_step
        self.rows = []

    def begins(self, monkeypatch):
        """Let loggers find this run when they begin theirs."""
        monkeypatch.setattr(WandbLogger, "experiment", property(lambda logger: vars(logger).setdefault("run", self)))
        monkeypatch.setattr(WandbLogger, "_experiment", property(lambda logger: vars(logger).get("run"), print), False)

    def log(self, row, step):
        self.rows.append((step, row.get("train/loss")))


@pytest.mark.parametrize("known", [2, 6])
def test_an_online_run_gets_what_its_server_lacks_and_nothing_twice(config, tmp_path, monkeypatch, known):
    folder = tmp_path / "lite_unet" / "r1"
    log_training(config, folder, range(5))
    server = Server(known)
    monkeypatch.setattr(module, "wandb_mode", lambda: "online")
    monkeypatch.setattr(module, "why_unreachable", lambda: None)
    server.begins(monkeypatch)
    _, logger = run_loggers(config, folder, "fit", 4)
    for step in range(4, 8):
        logger.log_metrics({"train/loss": 1 / (step + 1)}, step=step)
    assert [step for step, loss in server.rows if loss is not None] == list(range(known, 8))
    assert not list(folder.glob("wandb/offline-run-*")), "its content is on the server"


def test_another_evaluation_of_a_checkpoint_is_logged_again(config, tmp_path, monkeypatch):
    server = Server(1)
    server.begins(monkeypatch)
    _, logger = run_loggers(config, tmp_path, "test")
    logger.log_metrics({"train/loss": 2.0}, step=0)
    assert server.rows == [(1, 2.0)]


def test_an_online_run_that_goes_on_offline_repeats_nothing(config, tmp_path):
    folder = tmp_path / "lite_unet" / "r1"
    log_training(config, folder, range(4))
    (offline,) = folder.glob("wandb/offline-run-*")
    offline.rename(folder / "wandb" / "run-20260101_000000-lite_unet-r1")
    log_training(config, folder, range(4, 6), resumed=4)
    (last,) = folder.glob("wandb/offline-run-*")
    assert [row["_step"] for row in wandb_history(last)] == [4, 5]
