"""The UNet decoder: closed-form parameter count, the block against plain numpy, argument errors."""

import numpy as np
import pytest
import torch

from networks.blocks import UNetBlock, upsample
from networks.unet import UNetDepth

RESNET18 = (64, 64, 128, 256, 512)
RESNET18_PARAMETERS = 11_176_512  # torchvision's resnet18 (11,689,512) without its classifier (512 * 1000 + 1000)


def conv_bn(inputs: int, outputs: int) -> int:
    """Weights of a 3x3 convolution without bias, and scale and shift of its norm."""
    return 9 * inputs * outputs + 2 * outputs


@pytest.mark.parametrize(("widths", "final_width"), [((256, 128, 64, 32), None), ((128, 64, 48, 32), 16)])
def test_parameters_follow_from_the_widths(widths, final_width):
    expected, below = RESNET18_PARAMETERS + conv_bn(512, widths[0]), widths[0]
    for width, skip in zip(widths, RESNET18[3::-1], strict=True):
        expected += conv_bn(below + skip, width) + conv_bn(width, width)
        below = width
    if final_width is not None:
        expected += conv_bn(below, final_width) + conv_bn(final_width, final_width)
        below = final_width
    expected += 9 * below + 1
    network = UNetDepth("resnet18", encoder_weights=None, decoder_widths=widths, final_width=final_width)
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_upsample_keeps_pixel_corners():
    # bilinear weights at +-1/4 pixel about each centre, borders repeated
    row = upsample(torch.tensor([[[[0.0, 4.0, 8.0]]]]))
    assert row.shape == (1, 1, 2, 6)
    np.testing.assert_allclose(row[0, 0, 0].numpy(), [0.0, 1.0, 3.0, 5.0, 7.0, 8.0])


def test_block_concatenates_below_first_and_the_skip_second():
    block = UNetBlock(1, 1, 1).eval()
    with torch.no_grad():
        for (conv, _, _), weights in zip(block.convs, ([2.0, 10.0], [1.0]), strict=True):
            conv.weight.zero_()
            conv.weight[0, :, 1, 1] = torch.tensor(weights)
        below, skip = torch.full((1, 1, 2, 2), 3.0), torch.arange(16.0).view(1, 1, 4, 4)
        out = block(below, skip)
    # 2 * below + 10 * skip, twice through a norm with running mean 0 and variance 1 (eps 1e-5)
    np.testing.assert_allclose(out.numpy(), (6.0 + 10.0 * np.arange(16.0).reshape(1, 1, 4, 4)) / (1 + 1e-5), rtol=1e-6)


def test_full_resolution_head_can_draw_what_the_plain_one_cannot():
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        plain = UNetDepth("resnet18", encoder_weights=None).train()(image)
        full = UNetDepth("resnet18", encoder_weights=None, final_width=8).train()(image)

    # between two half-size centres a bilinear x2 is a straight line, so second differences inside come in equal pairs
    def paired(depth: torch.Tensor) -> float:
        second = depth[..., 2:] - 2 * depth[..., 1:-1] + depth[..., :-2]
        return ((second[..., 1:-2:2] - second[..., 2:-1:2]).abs().mean() / second.abs().mean()).item()

    assert paired(plain) < 1e-3
    assert paired(full) > 0.1


@pytest.mark.parametrize("widths", [(64, 32), (64, 32, 16, 0)])
def test_bad_widths_are_named(widths):
    with pytest.raises(ValueError, match="four positive numbers, got"):
        UNetDepth("resnet18", encoder_weights=None, decoder_widths=widths)
    with pytest.raises(ValueError, match="final_width must be positive or null, got 0"):
        UNetDepth("resnet18", encoder_weights=None, final_width=0)
