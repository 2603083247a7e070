"""Segmentation network: count, shapes, errors; its decoder has tests of its own."""

import pytest
import torch

from networks.segmenter import SegmentationNet


def test_parameter_count_is_the_documented_one():
    network = SegmentationNet(22, encoder_weights=None)
    assert f"{sum(parameter.numel() for parameter in network.parameters()):,}" in SegmentationNet.__doc__


def test_there_is_a_channel_for_each_class_and_one_for_none():
    network = SegmentationNet(7, encoder_weights="bundled", decoder_widths=(4, 4, 4, 4, 4)).eval()
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        logits = network(image)
        torch.testing.assert_close(logits, network.decoder(network.encoder(image)))
    assert logits.shape == (2, 8, 64, 96)
    assert logits.min() < 0


def test_wrong_shapes_and_arguments_are_named():
    network = SegmentationNet(2, encoder_weights=None, decoder_widths=(4, 4, 4, 4, 4))
    with pytest.raises(ValueError, match="multiples of 32, got 72x64"):
        network(torch.zeros(1, 3, 72, 64))
    with pytest.raises(ValueError, match="n_classes must be at least 1, got 0"):
        SegmentationNet(0, encoder_weights=None)
