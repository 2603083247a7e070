"""Images and batches that a network cannot take: one sentence with the settings, not PyTorch's own text."""

import pytest
import torch
from torch import nn

from lightning_modules.supervised_depth import SupervisedDepth
from lightning_modules.tasks.size_errors import explain_size_errors, size_reason
from networks.unet import UNetDepth


def batch(count: int, height: int, width: int) -> dict[str, torch.Tensor]:
    depth = torch.rand(count, 1, height, width) + 1
    return {
        "image": torch.rand(count, 3, height, width),
        "depth": depth,
        "depth_mask": depth > 0,
        "depth_scale_m": torch.full((count,), 10.0),
        "K": torch.eye(3).expand(count, 3, 3),
    }


@pytest.fixture(scope="module")
def module():
    return SupervisedDepth(UNetDepth(encoder="resnet18", encoder_weights=None)).train()


def test_a_batch_of_one_small_image_has_one_value_a_channel(module):
    with pytest.raises(ValueError, match=r"a batch of 1 image of 32x32 .*data.init_args.batch_size to at least 2 or"):
        module.training_step(batch(1, 32, 32), 0)
    for count, side in ((2, 32), (1, 64)):  # what is advised helps
        assert module.training_step(batch(count, side, side), 0).isfinite()


def test_a_size_that_does_not_divide_names_the_setting(module):
    expected = r"multiples of 32, got 40x64; .* 64x64 \(data.init_args.image_size is \[40, 64\]\)"
    with pytest.raises(ValueError, match=expected):
        module.training_step(batch(2, 40, 64), 0)
    with pytest.raises(ValueError, match=expected):
        module.eval().validation_step(batch(2, 40, 64), 0)
    module.train()


def test_errors_of_torch_are_told_apart():
    small = batch(2, 8, 8)
    sentence = r"images of 8x8 are too small .* raise data.init_args.image_size"
    with pytest.raises(ValueError, match=sentence), explain_size_errors(small):
        nn.functional.pad(small["image"], (9, 9, 9, 9), mode="reflect")
    with pytest.raises(ValueError, match=r"images of 8x8 are too small"), explain_size_errors(small):
        nn.functional.conv2d(small["image"], torch.ones(1, 3, 9, 9))
    odd = batch(1, 50, 64)
    with (
        pytest.raises(ValueError, match=r"images of 50x64 do not divide .* such as \[64, 64\]"),
        explain_size_errors(odd),
    ):
        torch.cat([torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 4)], dim=1)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="out of memory"), explain_size_errors(batch(1, 64, 64)):
        raise RuntimeError("CUDA out of memory")
    # Maps of a size that divides do not fit for another reason, which must not be hidden.
    assert size_reason("Sizes of tensors must match except in dimension 1", batch(1, 64, 64)) is None
    assert size_reason("Expected more than 1 value per channel when training", {}) is None
