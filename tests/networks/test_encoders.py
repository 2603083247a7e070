"""Pyramids against torchvision's own networks, normalisation against literals, argument errors."""

import pytest
import torch
import torchvision

from networks.densedepth import DenseDepth
from networks.encoders import Encoder, check_image

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def save_randomised(network: torch.nn.Module, path) -> None:
    """Give the norms statistics that are not trivial, then save."""
    generator = torch.Generator().manual_seed(5)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1, generator=generator)
            layer.running_var.uniform_(0.5, 1.5, generator=generator)
            layer.weight.data.uniform_(0.5, 1.5, generator=generator)
    torch.save(network.state_dict(), path)


def encoder_like(reference, name, folder):
    """An encoder with the weights of a torchvision network, whose norms are randomised."""
    save_randomised(reference, folder / "weights.pth")
    return Encoder(name, weights=str(folder / "weights.pth")).eval()


def assert_same_maps(features, expected):
    for feature, wanted in zip(features, expected, strict=True):
        torch.testing.assert_close(feature, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_pyramid_equals_torchvision(name, tmp_path):
    torch.manual_seed(0)
    reference = getattr(torchvision.models, name)(weights=None).eval()
    encoder = encoder_like(reference, name, tmp_path)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        x = reference.relu(reference.bn1(reference.conv1((image - MEAN) / STD)))
        expected = [x]
        x = reference.maxpool(x)
        for stage in (reference.layer1, reference.layer2, reference.layer3, reference.layer4):
            x = stage(x)
            expected.append(x)
        features = encoder(image)
    assert [feature.shape[1] for feature in features] == list(encoder.channels)
    assert [64 // feature.shape[2] for feature in features] == [2, 4, 8, 16, 32]
    assert_same_maps(features, expected)


def test_densenet_pyramid_equals_torchvision(tmp_path):
    torch.manual_seed(0)
    reference = torchvision.models.densenet121(weights=None).eval()
    encoder = encoder_like(reference, "densenet121", tmp_path)
    image = torch.rand(1, 3, 64, 64)
    layers = reference.features
    with torch.no_grad():
        x = torch.relu(layers.norm0(layers.conv0((image - MEAN) / STD)))
        expected = [x]
        x = layers.pool0(x)
        for number in (1, 2, 3):
            x = getattr(layers, f"denseblock{number}")(x)
            expected.append(x)
            x = getattr(layers, f"transition{number}")(x)
        expected.append(torch.relu(layers.norm5(layers.denseblock4(x))))
        features = encoder(image)
    assert_same_maps(features, expected)


def test_densedepth_concatenates_the_maps_after_pooling(tmp_path):
    torch.manual_seed(0)
    reference = torchvision.models.densenet169(weights=None).eval()
    save_randomised(reference, tmp_path / "weights.pth")
    network = DenseDepth(encoder_weights=str(tmp_path / "weights.pth")).eval()
    image = torch.rand(1, 3, 64, 64)
    layers = reference.features
    with torch.no_grad():
        x = torch.relu(layers.norm0(layers.conv0((image - MEAN) / STD)))
        expected = [x, layers.pool0(x)]
        for number in (1, 2, 3):
            x = getattr(layers, f"denseblock{number}")(expected[-1])
            expected.append(getattr(layers, f"transition{number}")(x))
        expected[-1] = torch.relu(layers.norm5(layers.denseblock4(expected[-1])))
        features = network.encode(image)
    assert [feature.shape[1] for feature in features] == [64, 64, 128, 256, 1664]
    assert_same_maps(features, expected)


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet34", (64, 64, 128, 256, 512)),
        ("densenet169", (64, 256, 512, 1280, 1664)),
        ("tf_efficientnet_lite0", (16, 24, 40, 112, 320)),
    ],
)
def test_channels_are_those_of_the_maps(name, channels):
    encoder = Encoder(name, weights=None).eval()
    with torch.no_grad():
        features = encoder(torch.zeros(1, 3, 64, 64))
    assert encoder.channels == tuple(feature.shape[1] for feature in features) == channels
    assert encoder.strides == (2, 4, 8, 16, 32)


@pytest.mark.parametrize(
    ("name", "mean", "std"), [("resnet18", MEAN, STD), ("tf_efficientnet_lite0", 0.5 + 0 * MEAN, 0.5 + 0 * STD)]
)
def test_image_is_normalised_inside(name, mean, std):
    encoder = Encoder(name, weights=None).eval()
    seen = []
    encoder.body.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        encoder((mean + 2.0 * std).expand(1, 3, 32, 32))
    torch.testing.assert_close(seen[0], torch.full((1, 3, 32, 32), 2.0), rtol=0, atol=1e-5)
    assert "mean" not in encoder.state_dict()


def test_fewer_levels_leave_stages_out():
    encoder = Encoder("resnet18", weights=None, levels=3)
    assert encoder.channels == (64, 64, 128)
    assert not any(name.startswith(("layer3", "layer4")) for name, _ in encoder.body.named_parameters())


@pytest.mark.parametrize(
    ("name", "levels", "message"),
    [
        ("resnet999", 5, "'resnet999' is not known"),
        ("resnet18", 6, "levels must be from 1 to 5, got 6"),
        ("convnext_atto", 5, "'convnext_atto' has no pyramid of 5 levels"),
        ("convnext_atto", 3, r"maps at strides \(4, 8, 16\)"),
    ],
)
def test_bad_encoders_are_named(name, levels, message):
    with pytest.raises(ValueError, match=message):
        Encoder(name, weights=None, levels=levels)


def test_size_errors_name_the_next_size_that_fits():
    check_image(torch.zeros(1, 3, 64, 96), 32)
    with pytest.raises(ValueError, match="multiples of 32, got 65x100; resize or pad to 96x128"):
        check_image(torch.zeros(1, 3, 65, 100), 32)
    with pytest.raises(ValueError, match=r"got \(3, 64, 64\)"):
        check_image(torch.zeros(3, 64, 64), 32)
