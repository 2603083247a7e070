"""What every depth network owes: shape, gradients, parameter count, clear size errors, independence of the batch."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from networks.de_noskip import DENoSkip
from networks.densedepth import DenseDepth
from networks.fcn import FCN
from networks.resnet_decoder import ResNetDecoderV1, ResNetDecoderV2, ResNetDecoderV3
from networks.smp import SMPDepth
from networks.unet import UNetDepth

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "unet-resnet18": (lambda: UNetDepth("resnet18", encoder_weights=None), 14_911_713),
    "unet-resnet34": (lambda: UNetDepth("resnet34", encoder_weights=None), 25_019_873),
    "unet-resnet50": (lambda: UNetDepth("resnet50", encoder_weights=None), 33_104_609),
    "unet-densenet121": (lambda: UNetDepth("densenet121", encoder_weights=None), 14_191_137),
    "unet-lite0": (lambda: UNetDepth("tf_efficientnet_lite0", encoder_weights=None), 5_781_665),
    "de_noskip": (lambda: DENoSkip(encoder_weights=None), 14_873_857),
    "decoder_v1": (lambda: ResNetDecoderV1(encoder_weights=None), 25_026_017),
    "decoder_v2": (lambda: ResNetDecoderV2(encoder_weights=None), 24_983_100),
    "decoder_v3": (lambda: ResNetDecoderV3(encoder_weights=None), 24_925_948),
    "fcn": (FCN, 501_313),
    "densedepth": (lambda: DenseDepth(encoder_weights=None), 42_657_689),
    "smp-unet-resnet34": (lambda: SMPDepth("unet", "resnet34", encoder_weights=None), 24_436_369),
    "smp-unet-lite0": (lambda: SMPDepth("unet", "tu-tf_efficientnet_lite0", encoder_weights=None), 5_198_161),
}


@pytest.fixture(scope="module", params=list(NETWORKS))
def case(request: pytest.FixtureRequest):
    """A fresh network and its parameter count, built once for the tests of this file."""
    build, parameters = NETWORKS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build()
    return network, parameters


def make_image(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_parameter_count_is_the_documented_one(case):
    network, parameters = case
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert f"{parameters:,}" in type(network).__doc__


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 96)])
def test_output_has_the_input_size(case, height, width):
    network, _ = case
    with torch.no_grad():
        depth = network.eval()(make_image(2, height, width))
    assert depth.shape == (2, 1, height, width)
    assert depth.dtype == torch.float32
    assert depth.isfinite().all()


def test_a_sample_does_not_depend_on_its_batch_in_eval_mode(case):
    network, _ = case
    image = make_image(3, 64, 64)
    with torch.no_grad():
        together, alone = network.eval()(image)[1:2], network(image[1:2])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_wrong_shapes_are_named(case):
    network, _ = case
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\), got \(1, 1, 64, 64\)"):
        network(torch.zeros(1, 1, 64, 64))
    if network.stride == 1:
        assert network(torch.zeros(1, 3, 33, 65)).shape == (1, 1, 33, 65)
    else:
        with pytest.raises(
            ValueError, match=rf"multiples of {network.stride}, got 72x64; .* 96x64|got 72x64; .* 80x64"
        ):
            network(torch.zeros(1, 3, 72, 64))


def test_training_reaches_every_weight(case):
    network, _ = case
    network.train()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            # residual encoders start with a zero scale in each block's last norm, which hides the block's own gradients
            nn.init.ones_(layer.weight)
    network.zero_grad()
    target = make_image(2, 64, 64).mean(dim=1, keepdim=True)
    (network(make_image(2, 64, 64)) - target).square().mean().backward()
    without = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert without == []
    convs = (nn.Conv2d, nn.ConvTranspose2d)
    silent = [
        name for name, layer in network.named_modules() if isinstance(layer, convs) and not layer.weight.grad.any()
    ]
    assert silent == []


def test_channels_last_gives_the_same_depth(case):
    network, _ = case
    image = make_image(1, 64, 64)
    with torch.no_grad():
        contiguous = network.eval()(image)
        last = network.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, contiguous, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "build",
    [
        lambda bias: UNetDepth("resnet18", encoder_weights=None, head_bias=bias),
        lambda bias: UNetDepth("resnet18", encoder_weights=None, final_width=8, head_bias=bias),
        lambda bias: DENoSkip("resnet18", encoder_weights=None, head_bias=bias),
        lambda bias: ResNetDecoderV1("resnet18", encoder_weights=None, head_bias=bias),
        lambda bias: ResNetDecoderV2("resnet18", encoder_weights=None, head_bias=bias),
        lambda bias: ResNetDecoderV3("resnet18", encoder_weights=None, head_bias=bias),
        lambda bias: DenseDepth(encoder_weights=None, head_bias=bias),
        lambda bias: FCN(head_bias=bias),
        lambda bias: SMPDepth("fpn", "resnet18", encoder_weights=None, head_bias=bias),
    ],
)
def test_head_bias_shifts_the_first_prediction_and_nothing_clips_it(build):
    image = make_image(2, 64, 64)
    depths = []
    for bias in (5.0, 7.0):
        torch.manual_seed(0)
        with torch.no_grad():
            depths.append(build(bias).train()(image))
    assert (depths[0] - 5.0).abs().mean() < 1.0
    torch.testing.assert_close(depths[1] - depths[0], torch.full_like(depths[0], 2.0), rtol=0, atol=1e-4)


@pytest.mark.parametrize("network", [UNetDepth, ResNetDecoderV1, ResNetDecoderV2, ResNetDecoderV3])
def test_depth_may_be_negative(network):
    torch.manual_seed(0)
    with torch.no_grad():
        assert network("resnet18", encoder_weights=None, head_bias=-5.0).train()(make_image(2, 64, 64)).mean() < -3.0


def test_de_noskip_is_never_negative():
    torch.manual_seed(0)
    with torch.no_grad():
        depth = DENoSkip("resnet18", encoder_weights=None, head_bias=0.0).train()(make_image(2, 64, 64))
    assert depth.min() == 0.0
    assert depth.max() > 0.0
