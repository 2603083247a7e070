"""Which maps a decoder really reads: each one is zeroed in turn and the depth must change, or must not."""

import pytest
import torch

from networks.de_noskip import DENoSkip
from networks.densedepth import DenseDepth
from networks.resnet_decoder import ResNetDecoderV1, ResNetDecoderV2, ResNetDecoderV3
from networks.unet import UNetDepth


def pyramid(channels: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [
        torch.rand(1, c, 64 >> level, 64 >> level, generator=generator) for level, c in enumerate(channels, start=1)
    ]


def change_when_zeroed(decode, features: list[torch.Tensor]) -> list[float]:
    """Largest change of the depth when each map in turn is set to zero."""
    with torch.no_grad():
        depth = decode(features)
        return [
            (decode([torch.zeros_like(f) if i == zeroed else f for i, f in enumerate(features)]) - depth)
            .abs()
            .max()
            .item()
            for zeroed in range(len(features))
        ]


@pytest.mark.parametrize("final_width", [None, 8])
def test_unet_reads_every_level(final_width):
    torch.manual_seed(0)
    network = UNetDepth("resnet18", encoder_weights=None, final_width=final_width).eval()
    assert min(change_when_zeroed(network.decode, pyramid(network.encoder.channels))) > 1e-3


def test_densedepth_reads_every_level():
    torch.manual_seed(0)
    network = DenseDepth(encoder_weights=None).eval()
    assert min(change_when_zeroed(network.decode, pyramid((64, 64, 128, 256, 1664)))) > 1e-3


@pytest.mark.parametrize("build", [ResNetDecoderV1, ResNetDecoderV2, ResNetDecoderV3])
def test_resnet_decoders_read_every_level(build):
    torch.manual_seed(0)
    network = build("resnet18", encoder_weights=None).eval()
    image = torch.rand(1, 3, 64, 64)
    changes = change_when_zeroed(lambda f: network.decode([image, *f]), pyramid(network.encoder.channels))
    assert min(changes) > 1e-3


@pytest.mark.parametrize(
    ("build", "reads"), [(ResNetDecoderV1, False), (ResNetDecoderV2, True), (ResNetDecoderV3, True)]
)
def test_only_v2_and_v3_have_the_input_skip(build, reads):
    torch.manual_seed(0)
    network = build("resnet18", encoder_weights=None).eval()
    features = pyramid(network.encoder.channels)
    with torch.no_grad():
        black, white = (network.decode([fill(1, 3, 64, 64), *features]) for fill in (torch.zeros, torch.ones))
        change = white - black
    assert bool(change.abs().max() > 1e-3) is reads


def test_v1_sums_with_three_residuals_v2_has_one_and_v3_none():
    v1, v2, v3 = (
        build("resnet18", encoder_weights=None) for build in (ResNetDecoderV1, ResNetDecoderV2, ResNetDecoderV3)
    )
    assert len(v1.residuals) == 3
    assert hasattr(v2, "residual")
    assert not hasattr(v2, "residuals")
    assert not hasattr(v3, "residual")
    assert not hasattr(v3, "residuals")
    # concatenation doubles what the next transposed convolution of v3 takes in; a sum leaves it
    assert [block[0].in_channels for block in v1.blocks] == [512, 256, 128, 64]
    assert [block[0].in_channels for block in v3.blocks] == [512, 512, 256, 128]


def test_every_residual_of_v1_and_v2_matters():
    image = torch.rand(1, 3, 64, 64)
    for build in (ResNetDecoderV1, ResNetDecoderV2):
        torch.manual_seed(0)
        network = build("resnet18", encoder_weights=None).eval()
        features = pyramid(network.encoder.channels)
        residuals = list(network.residuals) if build is ResNetDecoderV1 else [network.residual]
        with torch.no_grad():
            for residual in residuals:
                before = network.decode([image, *features])
                residual.weight.zero_()
                assert (network.decode([image, *features]) - before).abs().max() > 1e-4


def test_de_noskip_reads_the_deepest_map_only():
    torch.manual_seed(0)
    network = DENoSkip("resnet18", encoder_weights=None).eval()
    image, deepest = torch.rand(1, 3, 64, 64), torch.rand(1, 256, 4, 4)
    network.encoder.body.register_forward_hook(lambda _module, _inputs, maps: [*maps[:-1], deepest])
    with torch.no_grad():
        depth = network(image)
        torch.testing.assert_close(network(1.0 - image), depth, rtol=0, atol=0)
        torch.testing.assert_close(network.decode(deepest), depth, rtol=0, atol=0)
        assert (network.decode(torch.zeros_like(deepest)) - depth).abs().max() > 1e-3
    assert not any(name.startswith("layer4") for name, _ in network.encoder.body.named_children())


def test_every_residual_of_de_noskip_matters():
    torch.manual_seed(0)
    network = DENoSkip("resnet18", encoder_weights=None).eval()
    deepest = torch.rand(1, 256, 4, 4)
    assert len(network.residuals) == 3
    with torch.no_grad():
        for residual in network.residuals:
            before = network.decode(deepest)
            residual.weight.zero_()
            assert (network.decode(deepest) - before).abs().max() > 1e-4
