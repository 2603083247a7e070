"""DenseDepth: a DenseNet-169 encoder with a plain upsampling decoder."""

import torch
from torch import Tensor, nn

from networks.blocks import conv3x3, init_decoder, init_head, upsample
from networks.depth_network import DepthNetwork
from networks.encoders import Encoder

_SKIP_LAYERS = ("features_norm0", "features_pool0", "features_transition1", "features_transition2")
"""Layers of timm's DenseNet whose outputs are concatenated, at 1/2, 1/4, 1/8 and 1/16."""


class _UpBlock(nn.Module):
    """Bilinear x2, concatenation, two 3x3 convolutions, leaky ReLU after the second."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, slope: float) -> None:
        super().__init__()
        first, second = conv3x3(in_channels + skip_channels, out_channels), conv3x3(out_channels, out_channels)
        self.convs = nn.Sequential(first, second, nn.LeakyReLU(slope, inplace=True))
        init_decoder(self.convs)
        # there is no ReLU between the two, so the second is initialised without its gain
        nn.init.kaiming_normal_(second.weight, nonlinearity="linear")

    def forward(self, features: Tensor, skip: Tensor) -> Tensor:
        merged: Tensor = self.convs(torch.cat((upsample(features), skip), dim=1))
        return merged


class DenseDepth(DepthNetwork):
    """Alhashim & Wonka 2018, "High Quality Monocular Depth Estimation via Transfer Learning", table 5.

    https://arxiv.org/abs/1812.11941. A 1x1 convolution on the encoder's last map, then four times [bilinear x2,
    concatenate, 3x3 conv A, 3x3 conv B, leaky ReLU 0.2] of which each halves the channels, and a 3x3 head at 1/2.

    Parameters with the defaults: 42,657,689 (the paper: about 42.6 M).

    Decisions: the paper stops at half the image's size; a bilinear x2 follows here, so that the output has the input's
    size. The concatenated maps are the stem, its pooling and the first two transitions (64, 64, 128 and 256 channels),
    as in the paper. The target here is scaled depth, where the paper regresses its reciprocal.

    Args:
        encoder_weights: ``"imagenet"``, None or the path of a state-dict file.
        leaky_slope: slope of the leaky ReLU for negative inputs (paper: 0.2).
        head_bias: scaled depth that the head predicts before training.
    """

    def __init__(
        self, *, encoder_weights: str | None = "imagenet", leaky_slope: float = 0.2, head_bias: float = 0.3
    ) -> None:
        super().__init__()
        self.encoder = Encoder("densenet169", weights=encoder_weights)
        deepest = self.encoder.channels[-1]
        skips = (256, 128, 64, 64)
        widths = tuple(deepest // 2**halvings for halvings in range(1, 5))
        inputs = (deepest, *widths[:-1])
        self.bridge = nn.Conv2d(deepest, deepest, kernel_size=1)
        self.blocks = nn.ModuleList(
            _UpBlock(a, skip, b, leaky_slope) for a, skip, b in zip(inputs, skips, widths, strict=True)
        )
        self.head = conv3x3(widths[-1], 1)
        init_decoder(self.bridge)
        init_head(self.head, head_bias)

    def encode(self, image: Tensor) -> list[Tensor]:
        """The encoder's maps that the paper concatenates, which are not those of timm's extractor.

        Args:
            image: (B, 3, H, W) RGB in [0, 1].

        Returns:
            Maps at strides 2, 4, 8, 16 (64, 64, 128, 256 channels) and 32 (1664 channels).
        """
        features = (image - self.encoder.mean) / self.encoder.std
        skips = []
        for name, layer in self.encoder.body.items():
            features = layer(features)
            if name in _SKIP_LAYERS:
                skips.append(features)
        return [*skips, features]

    def decode(self, features: list[Tensor]) -> Tensor:
        """Scaled depth (B, 1, H, W) from the maps of `encode`."""
        *skips, deepest = features
        merged = self.bridge(deepest)
        for block, skip in zip(self.blocks, skips[::-1], strict=True):
            merged = block(merged, skip)
        return upsample(self.head(merged))
