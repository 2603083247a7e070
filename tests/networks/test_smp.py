"""Networks of segmentation_models_pytorch by name."""

import pytest
import torch

from networks.smp import SMPDepth


@pytest.mark.parametrize(
    ("arch", "stride"), [("fpn", 32), ("linknet", 32), ("deeplabv3plus", 16), ("unetplusplus", 32)]
)
def test_architectures_by_name_give_depth_at_the_input_size(arch, stride):
    network = SMPDepth(arch, "resnet18", encoder_weights=None).eval()
    assert network.stride == stride
    with torch.no_grad():
        assert network(torch.rand(1, 3, 64, 96)).shape == (1, 1, 64, 96)


@pytest.mark.parametrize(
    ("encoder", "mean", "std"),
    [("resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ("tu-tf_efficientnet_lite0", (0.5,) * 3, (0.5,) * 3)],
)
def test_image_is_normalised_inside(encoder, mean, std):
    network = SMPDepth("fpn", encoder, encoder_weights=None).eval()
    seen = []
    network.model.encoder.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    colour = torch.tensor(mean) - 3.0 * torch.tensor(std)
    with torch.no_grad():
        network(colour.view(1, 3, 1, 1).expand(1, 3, 64, 64))
    torch.testing.assert_close(seen[0], torch.full((1, 3, 64, 64), -3.0), rtol=0, atol=1e-5)


def test_unknown_names_are_said():
    with pytest.raises(ValueError, match=r"Architecture 'nonet' is unknown; allowed are .*unet"):
        SMPDepth("nonet", encoder_weights=None)
    for name in ("resnet999", "tu-resnet999"):
        with pytest.raises(ValueError, match=f"Encoder '{name}' is unknown"):
            SMPDepth("unet", name, encoder_weights=None)
