"""The decoder of Monodepth2: from a feature pyramid to maps of the input's size, with skips, without batch norm."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIN_IMAGE_SIDE = 64
"""Smallest height and width of an image: reflection at the border needs two pixels at stride 32."""


def conv_elu(in_channels: int, out_channels: int) -> nn.Sequential:
    """3x3 convolution with reflection padding, then ELU."""
    return nn.Sequential(reflecting_conv3x3(in_channels, out_channels), nn.ELU(inplace=True))


def reflecting_conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution with bias and reflection padding that keeps the size."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, padding_mode="reflect")


class SkipDecoder(nn.Module):
    """For each level, coarsest first: convolution, nearest x2, concatenation of the next map, convolution; then a head.

    After Godard et al. 2019, "Digging Into Self-Supervised Monocular Depth Estimation",
    https://arxiv.org/abs/1806.01260, as GAM-Depth (https://arxiv.org/abs/2402.14354) uses it for disparity and for its
    40 classes. Convolutions are 3x3 with reflection at the border, followed by ELU. The last level has no skip, and the
    head predicts at full resolution; the four coarser heads (the scales of Monodepth2) are omitted, as in GAM-Depth.

    Parameters on a ResNet-18 with the default widths: 3,150,705 for one output channel, 3,156,360 for 40.

    Args:
        channels: channels of the pyramid's maps at strides 2, 4, 8, 16 and 32, finest first.
        out_channels: channels of the result.
        widths: channels of the decoder's five levels, finest first.

    Raises:
        ValueError: not five channels and five widths, or one that is not positive.
    """

    def __init__(
        self,
        channels: Sequence[int],
        out_channels: int,
        *,
        widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 256),
    ) -> None:
        super().__init__()
        for name, values in (("channels", channels), ("widths", widths)):
            if len(values) != 5 or min(values) < 1:
                raise ValueError(f"{name} must be five positive numbers, got {tuple(values)}.")
        if out_channels < 1:
            raise ValueError(f"out_channels must be positive, got {out_channels}.")
        below = (*widths[1:], channels[-1])
        skips = (0, *channels[:-1])
        self.before = nn.ModuleList(conv_elu(inputs, width) for inputs, width in zip(below, widths, strict=True))
        self.after = nn.ModuleList(conv_elu(width + skip, width) for width, skip in zip(widths, skips, strict=True))
        self.head = reflecting_conv3x3(widths[0], out_channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Maps of the input's size from the feature pyramid.

        Args:
            features: five maps (B, channels[i], H / 2^(i+1), W / 2^(i+1)), finest first; H and W at least 64.

        Returns:
            (B, out_channels, H, W) raw values, without sigmoid or softmax.

        Raises:
            ValueError: another number of maps, or maps too small to be mirrored at their border.
        """
        if len(features) != len(self.before):
            raise ValueError(f"The decoder takes {len(self.before)} maps, got {len(features)}.")
        merged = features[-1]
        if min(merged.shape[-2:]) < 2:
            raise ValueError(
                f"The coarsest map is {merged.shape[-2]}x{merged.shape[-1]}, but mirroring its border needs 2x2: "
                f"height and width of the image must be at least {MIN_IMAGE_SIDE}."
            )
        for level in reversed(range(len(self.before))):
            merged = F.interpolate(self.before[level](merged), scale_factor=2.0, mode="nearest")
            if level > 0:
                merged = torch.cat((merged, features[level - 1]), dim=1)
            merged = self.after[level](merged)
        raw: Tensor = self.head(merged)
        return raw
