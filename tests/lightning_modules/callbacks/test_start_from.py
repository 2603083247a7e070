"""Weights of another run at the start: what fits is taken, the rest stays, a continued run keeps its own."""

from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_modules.callbacks.start_from import StartFrom
from lightning_modules.gam_depth import GAMDepth
from lightning_modules.monodepth2 import Monodepth2
from lightning_modules.runs.loading import RECIPE_KEY, CheckpointError
from lightning_modules.tasks.optimisation import Optimisation
from losses.weighting import Averaging
from networks.disparity import DisparityNet, DisparitySegmentationNet
from networks.pose import PoseNet, ResidualPoseNet
from tests.data.make_clips import plane_clips
from tests.helpers import quiet_trainer

SMALL = {"encoder_weights": None, "decoder_widths": (4, 4, 4, 4, 4)}


def save(module, path):
    recipe = {"class_path": "lightning_modules.monodepth2.Monodepth2", "model": {}}
    torch.save({"state_dict": module.state_dict(), RECIPE_KEY: recipe}, path)
    return str(path)


def monodepth2():
    return Monodepth2(
        DisparityNet("tf_efficientnet_lite0", **SMALL), PoseNet("plain", encoder_weights=None, decoder_width=8)
    )


def gam_depth(width=8):
    return GAMDepth(
        depth_network=DisparitySegmentationNet(3, "tf_efficientnet_lite0", **SMALL),
        pose_network=ResidualPoseNet("plain", encoder_weights=None, decoder_width=width),
    )


def begin(callback, module, stage="fit", ckpt_path=None):
    trainer = quiet_trainer()
    trainer._checkpoint_connector._ckpt_path = ckpt_path
    callback.setup(trainer, module, stage)


def test_what_fits_is_taken_and_the_rest_stays(tmp_path):
    source, module = monodepth2(), gam_depth(width=16)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    begin(StartFrom(save(source, tmp_path / "a.ckpt")), module)
    found, n_taken = source.state_dict(), 0
    for name, value in module.state_dict().items():
        fits = name in found and found[name].shape == value.shape
        assert torch.equal(value, found[name] if fits else before[name]), name
        n_taken += fits
    taken = {name.split(".")[0] for name in found}
    assert {"depth_network", "pose_network"} <= taken
    assert n_taken > 100
    # The wider decoder of motion and what the other paper lacks begin afresh.
    assert not torch.equal(module.pose_network.decoder[0].weight[:8], source.pose_network.decoder[0].weight)
    assert torch.equal(module.pose_network.encoder.body[0].weight, source.pose_network.encoder.body[0].weight)


def test_nothing_is_loaded_outside_a_new_training(tmp_path):
    path = save(monodepth2(), tmp_path / "a.ckpt")
    for callback, changes in (
        (StartFrom(None), {}),
        (StartFrom(path), {"stage": "test"}),
        (StartFrom(path), {"ckpt_path": "last.ckpt"}),
        (StartFrom(str(tmp_path / "gone.ckpt")), {"ckpt_path": "last.ckpt"}),
    ):
        module = monodepth2()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        begin(callback, module, **changes)
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_training_begins_with_the_weights(tmp_path):
    source, batch = monodepth2(), plane_clips(3)
    for key in ("image", "frames", "frames_jittered", "depth", "depth_mask"):
        batch[key] = (
            torch.nn.functional.interpolate(batch[key].flatten(0, -4).float(), (64, 64))
            .view(*batch[key].shape[:-2], 64, 64)
            .to(batch[key].dtype)
        )
    module = Monodepth2(
        DisparityNet("tf_efficientnet_lite0", **SMALL),
        PoseNet("plain", encoder_weights=None, decoder_width=8),
        weighting=Averaging(),
        optimisation=Optimisation(partial(torch.optim.SGD, lr=0.0)),
    )
    callback = StartFrom(save(source, tmp_path / "a.ckpt"))
    quiet_trainer(max_steps=1, callbacks=[callback]).fit(module, DataLoader([batch], batch_size=None))
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, source.get_parameter(name)), name


def test_files_that_cannot_serve_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        begin(StartFrom(str(tmp_path / "gone.ckpt")), monodepth2())
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointError, match="was not written by this project"):
        begin(StartFrom(str(tmp_path / "foreign.ckpt")), monodepth2())
    path = save(torch.nn.Linear(2, 2), tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"none of the weights of .* fits a Monodepth2 with these networks"):
        begin(StartFrom(path), monodepth2())
