"""Backbones of detection: strides, frozen norms and stages, transformers, errors."""

import pytest
import torch
from torch import nn

from networks.detection_backbone import DetectionBackbone, PatchEncoder
from networks.encoders import Encoder


def make_image(batch=2, height=64, width=96):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_maps_are_those_of_the_encoder_at_the_wanted_strides():
    torch.manual_seed(0)
    backbone = DetectionBackbone("resnet18", encoder_weights=None, strides=(4, 8), frozen_norm=False).eval()
    image = make_image()
    with torch.no_grad():
        maps = backbone(image)
        expected = backbone.encoder(image)
    assert [tuple(x.shape) for x in maps] == [(2, 64, 16, 24), (2, 128, 8, 12)]
    assert backbone.channels == (64, 128)
    assert all(torch.equal(a, b) for a, b in zip(maps, expected[1:], strict=True))
    assert len(expected) == 3  # stages beyond the coarsest stride are not built


@pytest.mark.parametrize("encoder", ["tf_efficientnet_lite0", "resnet18"])
def test_frozen_norms_are_constants_and_equal_to_norms_in_eval_mode(encoder):
    weights = "bundled" if encoder == "tf_efficientnet_lite0" else None
    torch.manual_seed(0)
    reference = Encoder(encoder, weights=weights).eval()
    torch.manual_seed(0)
    frozen = DetectionBackbone(encoder, encoder_weights=weights).train()
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in frozen.modules())
    image = make_image()
    with torch.no_grad():
        before = {name: value.clone() for name, value in frozen.state_dict().items()}
        for ours, theirs in zip(frozen(image), reference(image)[2:], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        assert ours.std() > 0
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())


@pytest.mark.parametrize(
    ("encoder", "frozen", "trained"),
    [
        ("resnet18", "encoder.body.layer1.1.bn2.bias", "encoder.body.layer2.0.conv1.weight"),
        ("tf_efficientnet_lite0", "encoder.body.blocks.1.1.bn3.bias", "encoder.body.blocks.2.0.conv_pw.weight"),
        (
            "swin_tiny_patch4_window7_224",
            "encoder.body.layers_0.blocks.1.mlp.fc2.bias",
            "encoder.body.layers_1.downsample.norm.weight",
        ),
    ],
)
def test_stages_up_to_a_stride_are_frozen_and_no_further(encoder, frozen, trained):
    backbone = DetectionBackbone(encoder, encoder_weights=None, frozen_norm=False)
    order = [name for name, _ in backbone.named_parameters()]
    requires = {name: p.requires_grad for name, p in backbone.named_parameters()}
    assert not any(requires[name] for name in order[: order.index(frozen) + 1])
    assert order[order.index(frozen) + 1] == trained
    assert requires[trained]
    everything = DetectionBackbone(encoder, encoder_weights=None, frozen_to_stride=None)
    assert all(p.requires_grad for p in everything.parameters())


@pytest.mark.parametrize("encoder", ["swin_tiny_patch4_window7_224", "convnext_tiny"])
def test_patch_encoders_take_any_size_and_give_channels_first(encoder):
    torch.manual_seed(0)
    backbone = DetectionBackbone(encoder, encoder_weights=None).eval()
    image = make_image(2, 96, 160)
    with torch.no_grad():
        maps = backbone(image)
        alone = backbone(image[1:])
    assert [tuple(x.shape) for x in maps] == [(2, 192, 12, 20), (2, 384, 6, 10), (2, 768, 3, 5)]
    for x, y in zip(maps, alone, strict=True):
        torch.testing.assert_close(x[1:], y, rtol=1e-3, atol=1e-4)


def test_every_second_block_of_a_swin_shifts_its_windows_also_where_it_was_trained_on_a_single_one():
    body = PatchEncoder("swin_tiny_patch4_window7_224", weights=None).body
    assert [tuple(block.shift_size) for block in body.layers_3.blocks] == [(0, 0), (3, 3)]
    assert all(tuple(block.window_size) == (7, 7) for block in body.layers_3.blocks)


def test_swin_maps_are_normed_over_channels_and_every_norm_is_used():
    torch.manual_seed(0)
    encoder = PatchEncoder("swin_tiny_patch4_window7_224", weights=None, strides=(8, 16, 32)).eval()
    maps = encoder(make_image(1))
    for x in maps:
        torch.testing.assert_close(x.mean(dim=1), torch.zeros_like(x[:, 0]), rtol=0, atol=1e-5)
        torch.testing.assert_close(x.var(dim=1, unbiased=False), torch.ones_like(x[:, 0]), rtol=0, atol=1e-2)
    sum((x * torch.rand_like(x)).sum() for x in maps).backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="'no_such_net' is not known to timm"):
        DetectionBackbone("no_such_net", encoder_weights=None)
    with pytest.raises(ValueError, match=r"strides \(8, 32\) have to be neighbours of"):
        DetectionBackbone("resnet18", encoder_weights=None, strides=(8, 32))
    with pytest.raises(ValueError, match=r"strides \(\) have to be neighbours of"):
        DetectionBackbone("resnet18", encoder_weights=None, strides=())
    with pytest.raises(ValueError, match="frozen_to_stride is 3, but"):
        DetectionBackbone("resnet18", encoder_weights=None, frozen_to_stride=3)
    with pytest.raises(ValueError, match="'bundled' does not exist for 'convnext_tiny'"):
        DetectionBackbone("convnext_tiny", encoder_weights="bundled")
    with pytest.raises(ValueError, match=r"strides are \(2, 4\), but 'convnext_tiny' has maps at \(4, 8, 16, 32\)"):
        DetectionBackbone("convnext_tiny", encoder_weights=None, strides=(2, 4))
    with pytest.raises(FileNotFoundError, match="no file"):
        DetectionBackbone("convnext_tiny", encoder_weights="/nowhere.pt")
