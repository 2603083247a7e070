"""Flip post-processing: what is mirrored, what is blended, and that a test's table tells of it."""

import json

import pytest
import torch
from lightning.pytorch import LightningModule

from geometry.mirrored import blend_mirrored
from lightning_modules.callbacks.flip_postprocessing import FlipPostprocessing, turn_on
from lightning_modules.monodepth2 import Monodepth2
from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.flip_postprocessing import blended_with_mirror_image, mirrored_batch
from tests.helpers import RandomDepthModule, Slanted, quiet_trainer


def some_batch(width=40):
    generator = torch.Generator().manual_seed(0)
    K = torch.tensor([[30.0, 0, 11], [0, 30, 8], [0, 0, 1]]).expand(2, 3, 3)
    return {"image": torch.rand(2, 3, 6, width, generator=generator), "K": K, "depth_scale_m": torch.full((2,), 10.0)}


def test_image_and_camera_are_mirrored_and_the_rest_stays():
    batch = some_batch()
    mirrored = mirrored_batch(batch)
    assert torch.equal(mirrored["image"], batch["image"].flip(-1))
    assert mirrored["K"][:, 0, 2].tolist() == [29, 29]
    assert batch["K"][:, 0, 2].tolist() == [11, 11]
    assert mirrored["depth_scale_m"] is batch["depth_scale_m"]


def test_padding_at_the_right_stays_there():
    batch = {"image": torch.arange(8.0).expand(1, 3, 4, 8), "content_size": torch.tensor([[4, 6]])}
    mirrored = mirrored_batch(batch)
    assert mirrored["image"][0, 0, 0].tolist() == [5, 4, 3, 2, 1, 0, 6, 7]
    depth = blended_with_mirror_image(lambda b: b["image"][:, :1] + 1, batch, quantity="depth")
    assert depth[0, 0, 0].tolist() == pytest.approx([1, 2, 3, 4, 5, 6, 7, 8])


@pytest.mark.parametrize("quantity", ["depth", "disparity"])
def test_the_quantity_is_what_is_blended(quantity):
    batch = some_batch()
    one, other = (1 + 4 * torch.rand(2, 1, 6, 40, generator=torch.Generator().manual_seed(k)) for k in (1, 2))
    said = iter([one, other])
    found = blended_with_mirror_image(lambda _: next(said), batch, quantity=quantity)
    expected = blend_mirrored(one, other) if quantity == "depth" else 1 / blend_mirrored(1 / one, 1 / other)
    torch.testing.assert_close(found, expected)


def test_disparity_papers_blend_the_output_of_their_network():
    # Disparity is affine in the network's output, so that blending either is the same.
    network = Slanted()
    module, batch = Monodepth2(network, pose_network=None, poses="exact"), some_batch()
    turn_on(module)
    with torch.no_grad():
        expected = module.to_depth(blend_mirrored(network(batch["image"]), network(batch["image"].flip(-1))))
        torch.testing.assert_close(module.evaluated_depth(batch), expected)
        torch.testing.assert_close(module.predict_step(batch, 0), expected)


def test_a_supervised_network_blends_depth_for_its_canonical_camera():
    network = Slanted()
    module, batch = SupervisedDepth(network, canonical_focal_px=60.0), some_batch()
    plain = module.predict_step(batch, 0)
    turn_on(module)
    with torch.no_grad():
        expected = 10 * 30 / 60 * blend_mirrored(network(batch["image"]), network(batch["image"].flip(-1)))
        torch.testing.assert_close(module.predict_step(batch, 0), expected)
        torch.testing.assert_close(module.evaluated_depth(batch), expected)
        assert not torch.allclose(plain, expected, rtol=1e-2)


def trainer(tmp_path, *callbacks):
    return quiet_trainer(default_root_dir=tmp_path, max_steps=1, callbacks=list(callbacks))


def test_the_names_of_a_test_tell_of_it_and_validation_goes_without(tmp_path):
    module, data = SupervisedDepth(Slanted()), RandomDepthModule()
    (plain,) = trainer(tmp_path).test(module, datamodule=data, verbose=False)
    (blended,) = trainer(tmp_path, FlipPostprocessing()).test(module, datamodule=data, verbose=False)
    assert set(blended) == {name if name == "test/score" else f"{name}_pp" for name in plain}
    assert blended["test/score"] == blended["test/abs_rel_img_pp"]
    assert blended["test/abs_rel_img_pp"] != pytest.approx(plain["test/abs_rel_img"], rel=0.01)
    assert module.flip_postprocessing is False
    (before,) = trainer(tmp_path).validate(module, datamodule=data, verbose=False)
    (after,) = trainer(tmp_path, FlipPostprocessing()).validate(module, datamodule=data, verbose=False)
    assert json.dumps(before) == json.dumps(after)


def test_a_module_without_depth_is_refused(tmp_path):
    with pytest.raises(ValueError, match="LightningModule is no depth module of this project: leave it out"):
        FlipPostprocessing().setup(trainer(tmp_path), LightningModule(), "test")
