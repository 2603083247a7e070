"""Values that cannot be meant are refused before anything is written; those that can are not."""

from functools import partial
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.cli import ReduceLROnPlateau

from cli import main
from lightning_modules.command_line.monitors import check_monitors, logged_patterns, metric_names
from lightning_modules.command_line.settings_check import check_settings
from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.optimisation import Optimisation
from tests.helpers import Affine

EXPERIMENT = str(Path(__file__).parents[3] / "experiments" / "lite_unet.yaml")
CPU = ("--trainer.accelerator", "cpu", "--trainer.devices")
STOPPING = "--trainer.callbacks+=lightning.pytorch.callbacks.EarlyStopping"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--trainer.max_steps", "0"], "trainer.max_steps is 0, so nothing would be trained; to evaluate a checkpoint"),
        (["--trainer.max_epochs", "0"], "trainer.max_epochs is 0, so nothing would be trained"),
        (["--trainer.max_steps", "-5"], "trainer.max_steps is -5, but has to be at least 1, or -1 for no limit"),
        (["--trainer.limit_train_batches", "0"], "trainer.limit_train_batches is 0, so nothing would be trained"),
        (["--trainer.limit_train_batches", "0.0"], "trainer.limit_train_batches is 0.0, so nothing would be trained"),
        (
            ["--trainer.limit_train_batches", "1.5"],
            "trainer.limit_train_batches is 1.5, but has to be at least 1 batch",
        ),
        (["--trainer.limit_val_batches", "-1"], "trainer.limit_val_batches is -1, but has to be not negative"),
        (["--trainer.gradient_clip_val", "-1"], "trainer.gradient_clip_val is -1, but has to be not negative"),
        (["--trainer.val_check_interval", "0"], "trainer.val_check_interval is 0, but has to be at least 1 step"),
        (["--trainer.check_val_every_n_epoch", "0"], "trainer.check_val_every_n_epoch is 0, but has to be at least 1"),
        (["--trainer.log_every_n_steps", "0"], "trainer.log_every_n_steps is 0, but has to be at least 1"),
        (["--trainer.accumulate_grad_batches", "0"], "trainer.accumulate_grad_batches is 0, but has to be at least 1"),
        (["--trainer.max_steps", "-1"], "the training has no end: set trainer.max_steps, trainer.max_epochs or"),
        (["--trainer.max_steps", "-1", "--trainer.max_epochs", "-1"], "the training has no end"),
        (
            ["--trainer.max_steps", "-1", "--trainer.max_time", "00:01:00:00"],
            "trainer.max_time alone does not give the",
        ),
        (["--trainer.gradient_clip_val", ".nan"], "trainer.gradient_clip_val is nan, but a finite number is needed"),
        (
            ["--data.init_args.augmentation.brightness", "[.nan, 1]"],
            "augmentation.init_args.brightness[0] is nan, but a",
        ),
        (
            ["--model.init_args.evaluation.max_depth_m", ".inf"],
            "model.init_args.evaluation.max_depth_m is inf, but a finite number is needed",
        ),
        (
            ["--model.init_args.optimisation.optimizer.lr", "-1.0"],
            "model.init_args.optimisation.optimizer.init_args.lr is -1.0, but has to be posi",
        ),
        (
            ["--model.init_args.optimisation.optimizer.lr", "0.0"],
            "model.init_args.optimisation.optimizer.init_args.lr is 0.0, but has to be posit",
        ),
        (["--seed_everything", "-1"], "seed_everything is -1, but has to be between 0 and 4294967295"),
        (["--seed_everything", "4294967296"], "seed_everything is 4294967296, but has to be between 0 and"),
        ([*CPU, "[0, 1]"], "trainer.devices is [0, 1], but on the CPU it is a number of processes: give 1 or auto"),
        ([*CPU, "0,1"], "trainer.devices is '0,1', but on the CPU it is a number of processes"),
        ([*CPU, "-1"], "trainer.devices is '-1', but on the CPU it is a number of processes"),
        ([*CPU, "9999"], "trainer.devices is 9999, but this machine has"),
        (
            ["--model.init_args.evaluation=null"],
            "model.init_args.evaluation is null, but a group of settings is needed",
        ),
        (["--model.init_args.optimisation=null"], "model.init_args.optimisation is null, but a group of settings is"),
        (
            ["--model.init_args.evaluation.max_depth_m=0.0005"],
            "evaluation: The depth range is 0.001 to 0.0005 m, but 0 <",
        ),
        (["--model.init_args.evaluation.crop=[0, 2, 0, 1]"], "evaluation: crop is (0.0, 2.0, 0.0, 1.0), but"),
        (["--model.init_args.optimisation.monitor="], "optimisation: monitor is empty, but must name a metric"),
        (["--model.init_args.loss_weights", "{l1: 0.0, silog: 0}"], "the weights of all loss terms (l1, silog) are 0"),
        (["--experiment", "../../x"], "experiment is '../../x', but it becomes a folder's name"),
        (["--experiment", ""], "experiment is '', but it becomes a folder's name"),
        (["--experiment", ".."], "experiment is '..', but it becomes a folder's name"),
        (
            [STOPPING, "--trainer.callbacks.monitor=val/scor"],
            "EarlyStopping watches 'val/scor', which SupervisedDepth nev",
        ),
        ([STOPPING, "--trainer.callbacks.monitor=val/abs_rel"], "never logs; did you mean 'val/abs_rel_img'?"),
    ],
)
def test_invalid_values_are_refused_and_nothing_is_written(words, sentence):
    with pytest.raises(SystemExit) as left:
        main(["fit", "--config", EXPERIMENT, *words])
    assert str(left.value.code).startswith("error: ")
    assert sentence in str(left.value.code)
    assert not Path("runs").exists()
    assert not list(Path().rglob("checkpoints"))


@pytest.mark.parametrize("name", ["", "..", "a/b", "../../x", ".hidden", "a b", "x" * 101])
def test_a_run_id_that_leaves_the_folder_of_runs_is_refused(name, monkeypatch):
    monkeypatch.setenv("RUN_ID", name)
    with pytest.raises(SystemExit) as left:
        main(["fit", "--config", EXPERIMENT])
    assert f"RUN_ID is {name!r}, but it becomes a folder's name" in str(left.value.code)
    assert not Path("runs").exists()


def config(model=None, **trainer):
    return Namespace(model=Namespace(class_path="x", init_args=Namespace(model or {})), trainer=Namespace(trainer))


@pytest.mark.parametrize(
    ("command", "trainer"),
    [
        ("fit", {"max_steps": 1}),
        ("fit", {"max_steps": -1, "max_epochs": 3, "gradient_clip_val": 0.0}),
        ("fit", {"max_steps": -1, "max_epochs": None, "max_time": "00:00:01:00"}),
        ("fit", {"max_steps": -1, "max_epochs": None, "fast_dev_run": True}),
        ("fit", {"max_steps": 9, "limit_train_batches": 1.0, "val_check_interval": 0.5, "limit_val_batches": 0}),
        ("fit", {"max_steps": 9, "val_check_interval": 1, "check_val_every_n_epoch": None, "num_sanity_val_steps": -1}),
        ("fit", {"max_steps": 1, "accelerator": "cpu", "devices": 2}),
        ("fit", {"max_steps": 1, "accelerator": "cpu", "devices": "1"}),
        ("fit", {"max_steps": 1, "accelerator": "auto", "devices": "auto"}),
        ("fit", {"max_steps": 1, "accelerator": "gpu", "devices": [0, 1]}),
        ("test", {"max_steps": 0, "limit_train_batches": 0}),
        ("test", {"max_steps": -1, "max_epochs": None}),
    ],
)
def test_valid_values_pass(command, trainer):
    check_settings(config(**trainer), command)


def test_a_test_of_nothing_and_the_text_none_are_refused():
    with pytest.raises(ValueError, match="limit_test_batches is 0, but has to be at least 1 batch"):
        check_settings(config(limit_test_batches=0), "test")
    with pytest.raises(ValueError, match="encoder_weights is the text 'None': in YAML, nothing is written null"):
        check_settings(config({"encoder_weights": "None"}, max_steps=1), "fit")


class Logs(SupervisedDepth):
    """A user's module that logs a name of its own and one that is computed."""

    def on_train_epoch_end(self):
        """Log."""
        self.log("train/own", 1.0)
        self.log(f"val/own_{self.current_epoch}", 1.0)


class Opaque(SupervisedDepth):
    """A user's module whose names cannot be told."""

    def on_train_epoch_end(self):
        """Log."""
        self.log(self.name, 1.0)


def module(kind=SupervisedDepth):
    return kind(Affine(), loss_weights={"l1": 1.0}, optimisation=Optimisation(partial(torch.optim.SGD, lr=0.1)))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (SupervisedDepth, "val/score"),
        (SupervisedDepth, "val/rmse_img"),
        (SupervisedDepth, "train/l1"),
        (SupervisedDepth, "train/loss"),
        (Logs, "train/own"),
        (Logs, "val/own_3"),
        (Opaque, "anything"),
    ],
)
def test_monitors_that_are_logged_pass(kind, name):
    check_monitors(module(kind), [EarlyStopping(name), ModelCheckpoint(monitor=name)])


@pytest.mark.parametrize(("kind", "name"), [(SupervisedDepth, "train/mse"), (Logs, "val/own"), (Logs, "test/score")])
def test_monitors_that_are_not_are_refused(kind, name):
    with pytest.raises(ValueError, match=f"ModelCheckpoint watches '{name}', which {kind.__name__} never logs"):
        check_monitors(module(kind), [ModelCheckpoint(monitor=name)])


def test_names_are_those_that_the_metrics_compute():
    names = metric_names(module())
    assert {"abs_rel_img", "delta1_img", "edge_f1_img", "score"} <= names
    assert "abs_rel" not in names
    assert logged_patterns(module(Opaque)) is None


@pytest.mark.parametrize("path", ["", "parsed"])
def test_the_monitor_of_a_schedule_is_checked_too(path):
    """A scheduler made by hand is a partial call of its class; that of the command line hides it more deeply."""
    schedule = partial(ReduceLROnPlateau, monitor="val/rmse")
    if path:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(Optimisation, "optimisation")
        name = "lightning.pytorch.cli.ReduceLROnPlateau"
        words = [f"--optimisation.lr_scheduler={name}", "--optimisation.lr_scheduler.monitor=val/rmse"]
        schedule = parser.instantiate(parser.parse_args(words)).optimisation.lr_scheduler
    watching = SupervisedDepth(Affine(), optimisation=Optimisation(lr_scheduler=schedule, monitor="val/rmse"))
    with pytest.raises(ValueError, match="ReduceLROnPlateau watches 'val/rmse', which SupervisedDepth never logs"):
        check_monitors(watching, [])
