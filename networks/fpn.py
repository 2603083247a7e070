"""Feature pyramid with additional coarser levels."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock


class CoarserLevels(ExtraFPNBlock):
    """3x3 convolutions of stride 2: the first on the coarsest level, each further one on the ReLU of the one before.

    Args:
        channels: channels of every level.
        count: number of levels to add.
    """

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_make_strided(channels) for _ in range(count))

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Append the coarser levels.

        Args:
            results: levels of the pyramid, finest first, each (B, channels, h, w).
            x: maps of the backbone; not used.
            names: one name a level.

        Returns:
            The longer lists of levels and names.
        """
        levels, names = list(results), list(names)
        for i, conv in enumerate(self.convs):
            levels.append(conv(levels[-1] if i == 0 else F.relu(levels[-1])))
            names.append(f"extra{i}")
        return levels, names


def _make_strided(channels: int) -> nn.Conv2d:
    """3x3 convolution of stride 2, initialised as torchvision's pyramid is."""
    conv = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class FeaturePyramid(nn.Module):
    """torchvision's feature pyramid with the extra levels of RetinaNet and FCOS.

    Lin et al. 2017, https://arxiv.org/abs/1612.03144: lateral 1x1 convolutions, nearest top-down addition, 3x3 output
    convolutions, no norm. P6 is a strided convolution on P5 (not on the backbone), P7 one on ReLU(P6).

    Args:
        in_channels: channels of the backbone's maps, finest first.
        channels: channels of every level.
        extra_levels: number of additional levels, each of half the size; the default are P6 and P7.

    Raises:
        ValueError: no map, or a negative number of levels.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 256, *, extra_levels: int = 2) -> None:
        super().__init__()
        if not in_channels:
            raise ValueError("A feature pyramid needs at least one map of the backbone, got none.")
        if extra_levels < 0:
            raise ValueError(f"extra_levels must not be negative, got {extra_levels}.")
        extra = CoarserLevels(channels, extra_levels) if extra_levels else None
        self.pyramid = FeaturePyramidNetwork(list(in_channels), channels, extra_blocks=extra)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Pyramid levels from the maps of a backbone.

        Args:
            features: (B, in_channels[i], h_i, w_i), finest first, each of half the size of the one before.

        Returns:
            Levels (B, channels, h, w), finest first: one for each map, then the extra ones, whose sizes round up.
        """
        levels: dict[str, Tensor] = self.pyramid(OrderedDict((str(i), x) for i, x in enumerate(features)))
        return list(levels.values())
