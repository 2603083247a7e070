"""Captions of pictures: in W&B, and in a file that a run which goes on reads."""

import json

import numpy as np
import wandb

from lightning_modules.runs.loggers import FailSafeWandbLogger
from lightning_modules.runs.wandb_history import history
from lightning_modules.runs.wandb_pictures import log_pictures, read_captions
from tests.helpers import wandb_history


def test_captions_are_logged_and_kept_for_a_run_that_goes_on(tmp_path):
    logger = FailSafeWandbLogger(tmp_path, offline=True, project="x")
    logger.log_metrics({"train/loss": 0.5}, step=3)
    pictures = [np.full((4, 4, 3), value, np.uint8) for value in (10, 20)]
    log_pictures(logger, "val/pictures", pictures, ["kitchen", "hall"], step=3)
    wandb.finish()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    row = wandb_history(folder)[-1]
    assert row["val/pictures.captions"] == ["kitchen", "hall"]

    (tmp_path / "metrics.csv").write_text("step,train/loss\n3,0.5\n")
    steps = [(step, row) for step, row in history(tmp_path, 0) if "val/pictures" in row]
    assert [(step, [image._caption for image in row["val/pictures"]]) for step, row in steps] == [
        (3, ["kitchen", "hall"])
    ]


def test_torn_lines_and_a_missing_file_are_no_captions(tmp_path):
    assert read_captions(tmp_path) == {}
    (tmp_path / "wandb").mkdir()
    lines = [json.dumps({"key": "val/x", "step": 1, "captions": ["a"]}), '{"key": "val/x", "st', "3"]
    lines.append(json.dumps({"key": "val/x", "step": 1, "captions": ["b"]}))
    (tmp_path / "wandb" / "captions.jsonl").write_text("\n".join(lines))
    assert read_captions(tmp_path) == {("val/x", 1): ["b"]}


def test_pictures_are_logged_where_captions_cannot_be_kept(tmp_path):
    logger = FailSafeWandbLogger(tmp_path, offline=True, project="x")
    logger.log_metrics({"train/loss": 0.5}, step=3)
    (tmp_path / "wandb" / "captions.jsonl").mkdir()
    log_pictures(logger, "val/pictures", [np.zeros((4, 4, 3), np.uint8)], ["kitchen"], step=3)
    wandb.finish()
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert wandb_history(folder)[-1]["val/pictures.captions"] == ["kitchen"]
