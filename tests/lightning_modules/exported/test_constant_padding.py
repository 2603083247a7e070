"""Constant padding equals timm's for sides that the stride divides, bit for bit, and leaves the network as it is."""

import pytest
import timm
import torch
from timm.layers import Conv2dSame

from lightning_modules.exported.constant_padding import ConstantSame, with_constant_padding


@pytest.mark.parametrize("kernel", [1, 3, 5, (3, 5)])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_layer_equals_that_of_timm(kernel, stride, dilation):
    torch.manual_seed(0)
    layer = Conv2dSame(4, 6, kernel, stride=stride, dilation=dilation, groups=2)
    image = torch.rand(2, 4, 16, 24)
    assert torch.equal(with_constant_padding(layer)(image), layer(image))


def test_sides_that_the_stride_does_not_divide_differ():
    layer = Conv2dSame(1, 1, 3, stride=2)
    image = torch.rand(1, 1, 15, 16)
    # Networks refuse such images: networks/encoders.py.
    assert with_constant_padding(layer)(image).shape != layer(image).shape


def test_a_network_keeps_its_layers_and_its_copy_its_outputs():
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, features_only=True).eval()
    copied = with_constant_padding(network)
    kinds = [sum(type(module) is kind for module in copied.modules()) for kind in (Conv2dSame, ConstantSame)]
    assert kinds == [0, 5]
    assert sum(type(module) is Conv2dSame for module in network.modules()) == 5
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        for found, wanted in zip(copied(image), network(image), strict=True):
            assert torch.equal(found, wanted)
