"""ResNetE Decoder v1, v2 and v3: a full ResNet-34 and transposed-convolution decoders with encoder skips.

Decisions for all three, where the source is silent: the decoder's widths mirror the encoder's maps (a sum needs that;
v3 keeps them); a transposed convolution has kernel 4 (divisible by its stride 2, so that no chequerboard is built in);
other kernels are 3x3, the decoder-internal connections 1x1; the fifth block, "a sequence of convs", has three of them
and stays at 1/2. "The last" decoder-internal connection that v2 keeps is read as the one that leaves the last
up-sampling block; "encoder skips after every stage" as the stem and stages 1 to 3 (stage 4 is the decoder's input).
"""

from abc import abstractmethod
from itertools import pairwise

import torch
from torch import Tensor, nn

from networks.blocks import conv3x3, init_decoder, init_head, upsample
from networks.depth_network import DepthNetwork
from networks.encoders import Encoder

_LINK_WIDTH = 32
"""Channels of v2's decoder connection that is concatenated at full resolution."""


def _up_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Transposed convolution that doubles the size, and ReLU."""
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1), nn.ReLU(inplace=True)
    )


def _up_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Transposed convolution x2, ReLU, convolution, ReLU: the decoder block of v1 and v2."""
    return nn.Sequential(
        *_up_conv(in_channels, out_channels), conv3x3(out_channels, out_channels), nn.ReLU(inplace=True)
    )


def _last_block(in_channels: int, widths: tuple[int, int, int]) -> nn.Sequential:
    """Three convolutions with ReLUs at the size of their input."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [conv3x3(in_channels, width), nn.ReLU(inplace=True)]
        in_channels = width
    return nn.Sequential(*layers)


class _ResNetDecoder(DepthNetwork):
    """Base of the three networks: the encoder, the image beside its maps, and the order in which the parts are made.

    Args:
        encoder: timm's name of the encoder.
        encoder_weights: ``"imagenet"``, ``"bundled"``, None or the path of a state-dict file.
        head_bias: scaled depth that the head predicts before training.
    """

    head: nn.Conv2d

    def __init__(
        self, encoder: str = "resnet34", *, encoder_weights: str | None = "imagenet", head_bias: float = 0.3
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder, weights=encoder_weights)
        for part in self.add_decoder(self.encoder.channels):
            init_decoder(part)
        init_head(self.head, head_bias)

    @abstractmethod
    def add_decoder(self, channels: tuple[int, ...]) -> list[nn.Module]:
        """Make the decoder and its `head` for an encoder's channels, finest first; return the parts to initialise."""

    def encode(self, image: Tensor) -> list[Tensor]:
        """The image (B, 3, H, W) itself and the encoder's pyramid, finest first."""
        return [image, *self.encoder(image)]


class _SumDecoder(_ResNetDecoder):
    """The blocks of v1 and v2, whose encoder skips are summed, so that their widths are those of the encoder's maps."""

    def add_sums(self, channels: tuple[int, ...]) -> list[int]:
        """Make the blocks and their norms; return their widths, coarsest first."""
        *skips, deepest = channels
        widths = skips[::-1]
        inputs = [deepest, *widths[:-1]]
        self.blocks = nn.ModuleList(_up_block(a, b) for a, b in zip(inputs, widths, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        return widths


class ResNetDecoderV1(_SumDecoder):
    """Skips by sum and batch norm; three residual connections inside the decoder; head, then Up.

    Block i = [transposed conv x2, ReLU, conv, ReLU]; after it comes ``BN(block + encoder map [+ residual])``, the
    residual being (1x1 conv, Up, ReLU) of the previous block's result, for blocks 2, 3 and 4.

    Parameters with the defaults: resnet34 25,026,017.
    """

    def add_decoder(self, channels: tuple[int, ...]) -> list[nn.Module]:
        """Make the decoder; see the base class."""
        widths = self.add_sums(channels)
        self.residuals = nn.ModuleList(nn.Conv2d(a, b, kernel_size=1) for a, b in pairwise(widths))
        self.last = _last_block(widths[-1], (64, 32, 32))
        self.head = conv3x3(32, 1)
        return [self.blocks, self.residuals, self.last]

    def decode(self, features: list[Tensor]) -> Tensor:
        """Scaled depth (B, 1, H, W) from the maps of `encode`; the image itself is not used."""
        _, *skips, merged = features
        for index, (block, norm, skip) in enumerate(zip(self.blocks, self.norms, skips[::-1], strict=True)):
            total = block(merged) + skip
            if index > 0:
                total = total + upsample(self.residuals[index - 1](merged)).relu()
            merged = norm(total)
        return upsample(self.head(self.last(merged)))


class ResNetDecoderV2(_SumDecoder):
    """As v1 with only the last decoder connection; it, the image and the output are concatenated before the last conv.

    Parameters with the defaults: resnet34 24,983,100.
    """

    def add_decoder(self, channels: tuple[int, ...]) -> list[nn.Module]:
        """Make the decoder; see the base class."""
        widths = self.add_sums(channels)
        self.residual = nn.Conv2d(widths[-1], _LINK_WIDTH, kernel_size=1)
        self.last = _last_block(widths[-1], (64, 32, 32))
        self.head = conv3x3(32 + _LINK_WIDTH + 3, 1)
        return [self.blocks, self.residual, self.last]

    def decode(self, features: list[Tensor]) -> Tensor:
        """Scaled depth (B, 1, H, W) from the maps of `encode`."""
        image, *skips, merged = features
        for block, norm, skip in zip(self.blocks, self.norms, skips[::-1], strict=True):
            merged = norm(block(merged) + skip)
        link = upsample(self.residual(merged)).relu()
        depth: Tensor = self.head(torch.cat((upsample(self.last(merged)), link, image), dim=1))
        return depth


class ResNetDecoderV3(_ResNetDecoder):
    """Skips by concatenation; a block is one transposed convolution and ReLU; the input skip stays.

    Parameters with the defaults: resnet34 24,925,948.
    """

    def add_decoder(self, channels: tuple[int, ...]) -> list[nn.Module]:
        """Make the decoder; see the base class."""
        *skips, deepest = channels
        widths = skips[::-1]
        inputs = [deepest, *(2 * width for width in widths[:-1])]
        self.blocks = nn.ModuleList(_up_conv(a, b) for a, b in zip(inputs, widths, strict=True))
        self.last = _last_block(2 * widths[-1], (64, 32, 32))
        self.head = conv3x3(32 + 3, 1)
        return [self.blocks, self.last]

    def decode(self, features: list[Tensor]) -> Tensor:
        """Scaled depth (B, 1, H, W) from the maps of `encode`."""
        image, *skips, merged = features
        for block, skip in zip(self.blocks, skips[::-1], strict=True):
            merged = torch.cat((block(merged), skip), dim=1)
        depth: Tensor = self.head(torch.cat((upsample(self.last(merged)), image), dim=1))
        return depth
