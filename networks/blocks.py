"""Building blocks of depth decoders."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_WEIGHT_STD = 0.01
"""Standard deviation of a depth head's initial weights: the initial prediction is close to the bias everywhere."""


def upsample(features: Tensor) -> Tensor:
    """Bilinear upsampling by two (``align_corners=False``)."""
    return F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


def conv3x3(in_channels: int, out_channels: int, *, bias: bool = True) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=bias)


def conv_bn_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution (no bias, the norm has one), batch norm, ReLU."""
    return nn.Sequential(
        conv3x3(in_channels, out_channels, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
    )


def init_decoder(module: nn.Module) -> None:
    """Initialise every convolution inside for ReLUs (He et al. 2015, normal, fan in), biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.ConvTranspose2d):
            # stride 2: each output pixel depends on a quarter of the kernel, so that `fan_out` would be wrong as well
            taps = layer.kernel_size[0] * layer.kernel_size[1] / (layer.stride[0] * layer.stride[1])
            nn.init.normal_(layer.weight, std=(2.0 / (layer.in_channels * taps)) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def init_head(conv: nn.Conv2d, bias: float) -> None:
    """Initialise the convolution that predicts depth: small weights, and a bias that is the initial prediction."""
    nn.init.normal_(conv.weight, std=HEAD_WEIGHT_STD)
    if conv.bias is not None:
        nn.init.constant_(conv.bias, bias)


class UNetBlock(nn.Module):
    """Upsample by two, concatenate the encoder's map, then twice convolution, batch norm and ReLU.

    Args:
        in_channels: channels of the coarser map.
        skip_channels: channels of the encoder's map; 0 for none.
        out_channels: channels of the result.
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            conv_bn_relu(in_channels + skip_channels, out_channels), conv_bn_relu(out_channels, out_channels)
        )

    def forward(self, features: Tensor, skip: Tensor | None = None) -> Tensor:
        """Upsample and merge.

        Args:
            features: (B, in_channels, h, w).
            skip: (B, skip_channels, 2h, 2w), or None when the block has no skip.

        Returns:
            (B, out_channels, 2h, 2w).
        """
        features = upsample(features)
        if skip is not None:
            features = torch.cat((features, skip), dim=1)
        merged: Tensor = self.convs(features)
        return merged
