"""The pose network: its encoder against that for single images, its decoder against plain arithmetic."""

import pytest
import torch
from torch import nn

from networks.encoders import Encoder
from networks.pose import PoseNet, ResidualPoseNet, make_pair_encoder, make_pose_decoder
from networks.pose_encoder import PlainPairEncoder, keep_variance


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def make_pairs(number: int = 3, height: int = 64, width: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.rand(number, 3, height, width, generator=generator) for _ in range(2))


@pytest.fixture
def network():
    return ResidualPoseNet(encoder_weights=None, decoder_width=8).eval()


def test_parameter_counts_are_the_documented_ones():
    network = ResidualPoseNet(encoder_weights=None)
    assert f"{count(network):,}" in ResidualPoseNet.__doc__
    assert f"{count(network.encoder) + count(network.decoder):,}" in PoseNet.__doc__
    # The paper's decoder has two motions of six numbers, ours has one.
    assert count(network.decoder) == count(network.residual_decoder) == 1_314_572 - 6 * (256 + 1)
    assert count(network.encoder) == 11_176_512 + 64 * 3 * 7 * 7


@pytest.mark.parametrize(("name", "weights"), [("tf_efficientnet_lite0", "bundled"), ("resnet18", "file")])
def test_a_pair_is_encoded_like_the_mean_of_its_images(name, weights, tmp_path):
    # The first convolution is linear and both halves of its weights are equal, so only the mean image counts.
    if weights == "file":
        weights = str(tmp_path / "weights.pth")
        torch.save(Encoder(name, weights=None).body.state_dict(), weights)
    single = Encoder(name, weights=weights).eval()
    pair = make_pair_encoder(name, weights=weights).eval()
    first, second = make_pairs()
    with torch.no_grad():
        for feature, expected in zip(
            pair(torch.cat((first, second), dim=1)), single((first + second) / 2), strict=True
        ):
            torch.testing.assert_close(feature, expected, rtol=1e-3, atol=1e-4)


def test_both_images_are_normalised_by_the_encoders_own_numbers():
    encoder = make_pair_encoder("resnet18", weights=None)
    seen = []
    encoder.body.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    first, second = ((mean + factor * std).view(1, 3, 1, 1).expand(1, 3, 64, 64) for factor in (2.0, -1.0))
    with torch.no_grad():
        encoder(torch.cat((first, second), dim=1))
    torch.testing.assert_close(seen[0][:, :3], torch.full((1, 3, 64, 64), 2.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(seen[0][:, 3:], torch.full((1, 3, 64, 64), -1.0), rtol=0, atol=1e-5)
    assert not {"mean", "std"} & encoder.state_dict().keys()
    encoder.double()
    assert encoder.mean.dtype == encoder.std.dtype == torch.float64


def test_motion_is_a_hundredth_of_the_mean_over_positions(network):
    first, second = make_pairs()
    with torch.no_grad():
        features = network.encode(first, second)
        assert features.shape == (3, 512, 2, 3)
        for decoder, call in ((network.decoder, network), (network.residual_decoder, network.residual)):
            x = features
            for layer in decoder:
                if isinstance(layer, nn.Conv2d):
                    x = nn.functional.conv2d(x, layer.weight, layer.bias, padding=layer.kernel_size[0] // 2)
                    x = x.relu() if layer.out_channels != 6 else x
            expected = 0.01 * x.flatten(2).sum(dim=2) / 6
            axis_angle, translation = call(first, second)
            torch.testing.assert_close(axis_angle, expected[:, :3], rtol=1e-5, atol=1e-8)
            torch.testing.assert_close(translation, expected[:, 3:], rtol=1e-5, atol=1e-8)


def test_decoder_is_the_papers(network):
    shapes = [tuple(layer.weight.shape) for layer in PoseNet(encoder_weights=None).decoder if hasattr(layer, "weight")]
    assert shapes == [(256, 512, 1, 1), (256, 256, 3, 3), (256, 256, 3, 3), (6, 256, 1, 1)]
    assert network.decoder is not network.residual_decoder


def test_pairs_do_not_depend_on_each_other_in_eval_mode(network):
    first, second = make_pairs(5)
    with torch.no_grad():
        together = torch.cat(network(first, second), dim=1)
        alone = torch.cat([torch.cat(network(first[i : i + 1], second[i : i + 1]), dim=1) for i in range(5)])
        swapped = torch.cat(network(second, first), dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-7)
    assert together.shape == (5, 6)
    # With halved copies of one kernel the order of a pair cannot be seen; training breaks that.
    torch.testing.assert_close(together, swapped, rtol=1e-4, atol=1e-7)


def test_training_learns_the_order_of_a_pair(network):
    network.train()
    first, second = make_pairs()
    network(first, second)[1].sum().backward()
    gradient = network.encoder.body.conv1.weight.grad
    assert gradient.shape == (64, 6, 7, 7)
    assert not torch.allclose(gradient[:, :3], gradient[:, 3:])
    assert all(p.grad is None for p in network.residual_decoder.parameters())


def test_factor_scales_the_motion():
    torch.manual_seed(0)
    small = PoseNet(encoder_weights=None, decoder_width=4).eval()
    large = PoseNet(encoder_weights=None, decoder_width=4, motion_scale=1.0).eval()
    large.load_state_dict(small.state_dict())
    with torch.no_grad():
        for a, b in zip(small(*make_pairs()), large(*make_pairs()), strict=True):
            torch.testing.assert_close(100 * a, b)


def test_half_precision_features_give_a_motion_in_full(network):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert [part.dtype for part in network(*make_pairs())] == [torch.float32] * 2


def test_wrong_shapes_and_arguments_are_named(network):
    first, second = make_pairs()
    with pytest.raises(ValueError, match=r"\(3, 3, 64, 96\) and \(2, 3, 64, 96\)"):
        network(first, second[:2])
    with pytest.raises(ValueError, match="multiples of 32, got 65x64"):
        network.residual(torch.zeros(1, 3, 65, 64), torch.zeros(1, 3, 65, 64))
    with pytest.raises(ValueError, match="decoder_width must be positive, got 0"):
        PoseNet(encoder_weights=None, decoder_width=0)
    with pytest.raises(ValueError, match=r"motion_scale must be positive, got 0\.0"):
        PoseNet(encoder_weights=None, motion_scale=0.0)


def test_plain_encoder_is_five_convolutions_of_an_image_and_a_difference():
    encoder = PlainPairEncoder()
    assert f"{count(encoder):,}" in PlainPairEncoder.__doc__
    first, second = make_pairs()
    x = torch.cat(((first - 0.45) / 0.225, (second - first) / 0.225), dim=1)
    convolutions = [layer for layer in encoder.body if isinstance(layer, nn.Conv2d)]
    assert [layer.kernel_size for layer in convolutions] == [(7, 7), (5, 5), (3, 3), (3, 3), (3, 3)]
    with torch.no_grad():
        for layer in convolutions:
            x = nn.functional.conv2d(x, layer.weight, layer.bias, stride=2, padding=layer.kernel_size[0] // 2).relu()
        (found,) = encoder(torch.cat((first, second), dim=1))
    assert found.shape == (3, 128, 2, 3)
    assert encoder.channels == (128,)
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("antisymmetric", [False, True])
def test_plain_network_tells_pairs_and_their_orders_apart_before_any_training(antisymmetric):
    torch.manual_seed(0)
    network = ResidualPoseNet("plain", encoder_weights=None, decoder_width=64, antisymmetric=antisymmetric)
    first, second = make_pairs()
    with torch.no_grad():
        for call in (network, network.residual):
            forward, backward = torch.cat(call(first, second), dim=1), torch.cat(call(second, first), dim=1)
            assert forward.shape == (3, 6)
            size = forward.abs().max()
            assert 1e-4 < size < 0.02  # a picture moves by a few pixels at most
            assert (forward - backward).abs().max() > 0.02 * size
            assert forward.std(dim=0).max() > 0.02 * size


def test_convolutions_keep_the_variance_of_what_they_see():
    torch.manual_seed(0)
    layers = make_pose_decoder(128, 128)
    keep_variance(layers)
    x = torch.randn(2, 128, 16, 16).relu()
    size = x.square().mean()
    with torch.no_grad():
        for layer in layers[:-1]:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                assert not layer.bias.any()
        assert 0.3 < x.square().mean() / size < 3
        assert not layers[-1].bias.any()
    assert layers[-1].weight.abs().max() <= 128**-0.5  # as PyTorch draws them


def test_antisymmetric_motion_is_half_the_difference_of_both_orders(network):
    network.load_state_dict(
        {k: v + 0.01 * torch.randn_like(v) for k, v in network.state_dict().items() if v.ndim}
        | {k: v for k, v in network.state_dict().items() if not v.ndim}
    )  # so that both orders differ
    both = ResidualPoseNet(encoder_weights=None, decoder_width=8, antisymmetric=True).eval()
    both.load_state_dict(network.state_dict())
    first, second = make_pairs()
    with torch.no_grad():
        for call, expected in ((both, network), (both.residual, network.residual)):
            found, opposite, none = (
                torch.cat(call(*pair), dim=1) for pair in ((first, second), (second, first), (first, first))
            )
            there, back = (torch.cat(expected(*pair), dim=1) for pair in ((first, second), (second, first)))
            assert (there - back).abs().max() > 1e-6
            torch.testing.assert_close(found, (there - back) / 2, rtol=1e-4, atol=1e-8)
            assert torch.equal(found, -opposite)
            assert not none.any()
    with pytest.raises(ValueError, match=r"\(3, 3, 64, 96\) and \(2, 3, 64, 96\)"):
        both(first, second[:2])


def test_plain_encoder_has_no_weights_to_load():
    with pytest.raises(ValueError, match=r"'plain' is not pretrained: encoder_weights must be null, not 'imagenet'\."):
        PoseNet("plain")
