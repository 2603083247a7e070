"""Mask features, shared by the mask heads of all instances of an image."""

from collections.abc import Sequence

from torch import Tensor, nn

from geometry.resampling import aligned_bilinear
from networks.blocks import conv_bn_relu, init_decoder


class MaskBranch(nn.Module):
    """The finest levels of a pyramid, upsampled to the size of the finest one, summed and convolved.

    CondInst, https://arxiv.org/abs/2003.05664: each level through a 3x3 convolution, batch norm and ReLU, coarser ones
    then upsampled (`geometry.resampling.aligned_bilinear`) and added to the finest; a tower of further such
    convolutions; a 1x1 convolution.

    Args:
        in_channels: channels of every level.
        mask_channels: channels of the result; CondInst has 8, BoxInst 16.
        levels: number of levels used, finest first.
        channels: channels of the hidden layers.
        convs: convolutions of the tower.

    Raises:
        ValueError: an argument is not positive.
    """

    def __init__(
        self, in_channels: int = 256, mask_channels: int = 16, *, levels: int = 3, channels: int = 128, convs: int = 4
    ) -> None:
        super().__init__()
        if min(in_channels, mask_channels, levels, channels, convs) < 1:
            raise ValueError(
                "in_channels, mask_channels, levels, channels and convs must be positive, got "
                f"{in_channels}, {mask_channels}, {levels}, {channels} and {convs}."
            )
        self.levels = levels
        self.refine = nn.ModuleList(conv_bn_relu(in_channels, channels) for _ in range(levels))
        self.tower = nn.Sequential(
            *(conv_bn_relu(channels, channels) for _ in range(convs)), nn.Conv2d(channels, mask_channels, kernel_size=1)
        )
        init_decoder(self)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Mask features from the first levels of a pyramid.

        Args:
            levels: (B, in_channels, h / 2^i, w / 2^i), finest first; those beyond `levels` are not used.

        Returns:
            (B, mask_channels, h, w).
        """
        merged: Tensor = self.refine[0](levels[0])
        for i in range(1, self.levels):
            merged = merged + aligned_bilinear(self.refine[i](levels[i]), 2**i)
        features: Tensor = self.tower(merged)
        return features
