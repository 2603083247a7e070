"""The small network: its size, its initialisation, any image size, no norm."""

import math

import pytest
import torch
from torch import nn

from networks.fcn import FCN


def test_size_is_half_a_million_within_ten_percent():
    assert 450_000 <= sum(parameter.numel() for parameter in FCN().parameters()) <= 550_000


def test_weights_are_xavier_uniform():
    torch.manual_seed(0)
    network = FCN()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            gain = 1.0 if layer is network.head else math.sqrt(2.0)
            bound = gain * math.sqrt(6.0 / (9 * layer.in_channels + 9 * layer.out_channels))
            largest = layer.weight.abs().max().item()
            assert 0.9 * bound < largest <= bound
            if layer.weight.numel() > 1000:
                assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3.0), rel=0.05)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (1, 50)])
def test_any_size_is_the_padded_result_cropped(height, width):
    torch.manual_seed(0)
    network, image = FCN().eval(), torch.rand(1, 3, height, width)
    rows, columns = [min(i, height - 1) for i in range(-(-height // 16) * 16)], -(-width // 16) * 16
    padded = image[:, :, rows][..., [min(i, width - 1) for i in range(columns)]]
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(padded)[..., :height, :width], rtol=0, atol=1e-6)


def test_training_mode_treats_samples_one_by_one():
    torch.manual_seed(0)
    network, image = FCN().train(), torch.rand(3, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(network(image)[2:], network(image[2:]), rtol=0, atol=1e-6)


def test_bad_widths_are_named():
    with pytest.raises(ValueError, match=r"four positive numbers, got \(16, 32\)"):
        FCN(widths=(16, 32))
