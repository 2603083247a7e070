"""The optimisation settings of each paper: its optimizer, one changed setting, what is built, bad values."""

from argparse import ArgumentError
from functools import partial

import pytest
import torch
import yaml
from lightning.pytorch.cli import ReduceLROnPlateau
from torch.optim.lr_scheduler import StepLR

from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.optimisation import Optimisation
from tests.helpers import Affine
from tests.lightning_modules.tasks.test_evaluation import PAPERS, parser

NETWORKS = {paper: settings for paper, (settings, _) in PAPERS.items()} | {
    "lightning_modules.boxinst_depth.BoxInstDepth": {
        "network": {
            "class_path": "networks.condinst.CondInst",
            "init_args": {"n_classes": 2, "encoder": "resnet18", "encoder_weights": None, "depth_guided": True},
        }
    },
    "lightning_modules.teachers.segmenter.Segmenter": {
        "network": {
            "class_path": "networks.segmenter.SegmentationNet",
            "init_args": {"n_classes": 2, "encoder_weights": None, "decoder_widths": [4, 4, 4, 4, 4]},
        }
    },
}
BOXINST = "lightning_modules.boxinst_depth.BoxInstDepth"
STEP = "torch.optim.lr_scheduler.StepLR"


def parsed(paper, *more):
    settings = {"model": {"class_path": paper, "init_args": NETWORKS[paper]}}
    return parser().parse_args([f"--config={yaml.safe_dump(settings)}", *more])


def built(config):
    return parser().instantiate(config).model


@pytest.mark.parametrize("paper", NETWORKS)
@pytest.mark.parametrize(
    "more", [[], ["--model.optimisation.interval=epoch"], ["--model.optimisation.optimizer.lr=0.5"]]
)
def test_a_paper_keeps_its_optimizer_whatever_else_is_changed(paper, more):
    config = parsed(paper, *more)
    kind = torch.optim.SGD if paper == BOXINST else torch.optim.Adam
    assert config.model.init_args.optimisation.optimizer.class_path == f"torch.optim.{kind.__name__}"
    module = built(config)
    optimizer = module.configure_optimizers()
    assert type(optimizer) is kind
    assert optimizer.defaults["lr"] == (0.5 if more and "lr" in more[0] else 1e-3)
    assert module.optimisation.interval == ("epoch" if more and "epoch" in more[0] else "step")
    assert module.optimisation.monitor == "val/score"


def test_a_scheduler_alone_keeps_the_optimizer_and_can_be_taken_away_again():
    scheduler = [f"--model.optimisation.lr_scheduler={STEP}", "--model.optimisation.lr_scheduler.step_size=4"]
    wiring = built(parsed(BOXINST, *scheduler)).configure_optimizers()
    assert type(wiring["optimizer"]) is torch.optim.SGD
    assert type(wiring["lr_scheduler"]["scheduler"]) is StepLR
    assert wiring["lr_scheduler"]["scheduler"].step_size == 4
    away = "--config={model: {init_args: {optimisation: {lr_scheduler: null}}}}"
    assert type(built(parsed(BOXINST, *scheduler, away)).configure_optimizers()) is torch.optim.SGD


def test_a_file_that_changes_the_rate_keeps_the_schedule():
    overlay = "--config={model: {init_args: {optimisation: {optimizer: {init_args: {lr: 0.25}}}}}}"
    scheduler = [f"--model.optimisation.lr_scheduler={STEP}", "--model.optimisation.lr_scheduler.step_size=4"]
    wiring = built(parsed(BOXINST, *scheduler, overlay)).configure_optimizers()
    assert wiring["optimizer"].defaults["lr"] == 0.25
    assert wiring["lr_scheduler"]["scheduler"].step_size == 4


def test_the_scheduler_is_wired_with_its_interval_and_monitor():
    plateau = partial(ReduceLROnPlateau, monitor="val/rmse_img")
    optimisation = Optimisation(partial(torch.optim.SGD, lr=0.1), plateau, interval="epoch", monitor="val/rmse_img")
    wiring = SupervisedDepth(Affine(), optimisation=optimisation).configure_optimizers()["lr_scheduler"]
    assert (wiring["interval"], wiring["monitor"]) == ("epoch", "val/rmse_img")


@pytest.mark.parametrize("option", ["--model.optimisation.optimzer=x", "--model.optimisation.interval=day"])
def test_unknown_names_and_choices_are_refused(option):
    with pytest.raises(ArgumentError, match=option.split("=")[0].split(".")[-1]):
        parsed(BOXINST, option)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"interval": "day"}, "optimisation: interval is 'day', but must be 'step' or 'epoch'"),
        ({"monitor": ""}, "optimisation: monitor is empty, but must name a metric"),
        ({"optimizer": None}, "optimisation: optimizer is None, but must be a class such as torch.optim.Adam"),
        ({"lr_scheduler": 0.1}, "optimisation: lr_scheduler is 0.1, but must be a class"),
    ],
)
def test_a_value_that_cannot_be_meant_is_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        Optimisation(**settings)
    assert "\n" not in str(caught.value)
