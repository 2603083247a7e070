"""The decoder of Monodepth2 against scipy, and against the published numbers of parameters."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from networks.disparity_decoder import SkipDecoder

RESNET18 = (64, 64, 128, 256, 512)


def conv_reference(maps, conv):
    """A 3x3 convolution of ``(C, H, W)`` maps mirrored at the border, in float64, one pair of channels at a time."""
    weight, bias = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
    return np.stack(
        [
            sum(correlate(plane, kernel, mode="mirror") for plane, kernel in zip(maps, kernels, strict=True)) + shift
            for kernels, shift in zip(weight, bias, strict=True)
        ]
    )


def elu(maps):
    return np.where(maps > 0, maps, np.exp(np.minimum(maps, 0)) - 1)


def decoder_reference(features, decoder):
    """Papers' description, read from the coarsest level on."""
    x = features[4]
    for level in (4, 3, 2, 1, 0):
        x = elu(conv_reference(x, decoder.before[level][0]))
        x = x.repeat(2, axis=1).repeat(2, axis=2)
        if level > 0:
            x = np.concatenate([x, features[level - 1]])
        x = elu(conv_reference(x, decoder.after[level][0]))
    return conv_reference(x, decoder.head)


def make_features(channels, height=64, width=96, batch=2):
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(batch, count, height >> (i + 1), width >> (i + 1), generator=generator)
        for i, count in enumerate(channels)
    ]


def test_equals_a_numpy_reference():
    decoder = SkipDecoder((2, 3, 4, 5, 6), 3, widths=(2, 3, 2, 3, 4))
    features = make_features((2, 3, 4, 5, 6))
    with torch.no_grad():
        result = decoder(features)
    assert result.shape == (2, 3, 64, 96)
    for sample in range(2):
        expected = decoder_reference([f[sample].double().numpy() for f in features], decoder)
        np.testing.assert_allclose(result[sample].numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("out_channels", "parameters"), [(1, 3_150_705), (40, 3_156_360)])
def test_has_as_many_parameters_as_the_paper_says(out_channels, parameters):
    decoder = SkipDecoder(RESNET18, out_channels)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == parameters
    assert f"{parameters:,}" in SkipDecoder.__doc__


def test_result_is_raw_and_unbounded():
    decoder = SkipDecoder((1, 1, 1, 1, 1), 2, widths=(1, 1, 1, 1, 1))
    with torch.no_grad():
        decoder.head.bias.copy_(torch.tensor([-7.0, 9.0]))
        decoder.head.weight.zero_()
        result = decoder(make_features((1, 1, 1, 1, 1)))
    assert (result[:, 0] == -7).all()
    assert (result[:, 1] == 9).all()


def test_training_reaches_every_weight():
    decoder = SkipDecoder((2, 3, 4, 5, 6), 2, widths=(2, 3, 2, 3, 4))
    decoder(make_features((2, 3, 4, 5, 6))).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in decoder.parameters())


def test_an_image_too_small_to_mirror_is_named():
    decoder = SkipDecoder((1, 1, 1, 1, 1), 1, widths=(1, 1, 1, 1, 1))
    with pytest.raises(ValueError, match=r"coarsest map is 1x3, .* at least 64"):
        decoder(make_features((1, 1, 1, 1, 1), 32, 96))
    with pytest.raises(ValueError, match="takes 5 maps, got 4"):
        decoder(make_features((1, 1, 1, 1)))


@pytest.mark.parametrize(
    ("channels", "out_channels", "widths", "message"),
    [
        ((1, 1, 1, 1), 1, (1, 1, 1, 1, 1), r"channels must be five positive numbers, got \(1, 1, 1, 1\)"),
        ((1, 1, 1, 1, 1), 1, (1, 1, 0, 1, 1), r"widths must be five positive numbers, got \(1, 1, 0, 1, 1\)"),
        ((1, 1, 1, 1, 1), 0, (1, 1, 1, 1, 1), "out_channels must be positive, got 0"),
    ],
)
def test_bad_arguments_are_named(channels, out_channels, widths, message):
    with pytest.raises(ValueError, match=message):
        SkipDecoder(channels, out_channels, widths=widths)
