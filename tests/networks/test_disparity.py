"""Disparity, alone and with classes: sizes, counts, what is shared, errors."""

import pytest
import torch
from torch import nn

from networks.disparity import DisparityNet, DisparitySegmentationNet

SMALL = (4, 4, 4, 4, 4)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def make_image(batch: int = 2, height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def network():
    return DisparitySegmentationNet(5, encoder_weights=None, decoder_widths=SMALL).eval()


def test_parameter_counts_are_the_documented_ones():
    both = DisparitySegmentationNet(encoder_weights=None)
    assert f"{count(both):,}" in DisparitySegmentationNet.__doc__
    assert f"{count(both.encoder) + count(both.decoder):,}" in DisparityNet.__doc__
    assert count(both.encoder) == 11_176_512  # torchvision's resnet18 without its classifier
    assert count(both.decoder) == 3_150_705
    assert count(DisparitySegmentationNet(39, encoder_weights=None).segmentation_decoder) == 3_156_360


def test_disparity_is_the_sigmoid_of_the_decoder(network):
    image = make_image()
    with torch.no_grad():
        raw = network.decoder(network.encoder(image))
        disparity = network(image)
        torch.testing.assert_close(network.decode(network.encoder(image)), disparity)
    assert disparity.shape == (2, 1, 64, 96)
    torch.testing.assert_close(disparity, 1 / (1 + torch.exp(-raw)))


def test_both_tasks_read_the_same_features(network):
    image = make_image()
    calls = []
    network.encoder.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        disparity, logits = network.with_segmentation(image)
        assert len(calls) == 1
        torch.testing.assert_close(disparity, network(image))
        torch.testing.assert_close(logits, network.segmentation_decoder(network.encoder(image)))
    assert logits.shape == (2, 6, 64, 96)
    assert network.n_classes == 5


def test_classes_teach_the_encoder_but_not_the_disparity_decoder(network):
    network.train()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)  # residual blocks start with a zero scale, which hides their gradients
    network.with_segmentation(make_image())[1].square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.encoder.body.conv1.parameters())
    assert all(p.grad is not None for p in network.segmentation_decoder.parameters())
    assert all(p.grad is None for p in network.decoder.parameters())


def test_runs_offline_on_the_bundled_encoder():
    network = DisparityNet("tf_efficientnet_lite0", encoder_weights="bundled", decoder_widths=SMALL).eval()
    with torch.no_grad():
        disparity = network(make_image())
    assert disparity.shape == (2, 1, 64, 96)
    assert disparity.std() > 0


def test_half_precision_features_give_disparity_in_full(network):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(make_image()).dtype == torch.float32
    with torch.no_grad():
        assert network.double()(make_image().double()).dtype == torch.float64


def test_wrong_shapes_and_arguments_are_named(network):
    for call in (network, network.with_segmentation):
        with pytest.raises(ValueError, match=r"multiples of 32, got 72x64; .* 96x64"):
            call(torch.zeros(1, 3, 72, 64))
        with pytest.raises(ValueError, match="at least 64"):
            call(torch.zeros(1, 3, 32, 64))
    with pytest.raises(ValueError, match="n_classes must be at least 1, got 0"):
        DisparitySegmentationNet(0, encoder_weights=None)
