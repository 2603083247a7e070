"""DE NoSkip: a ResNet-50 encoder and a decoder without any encoder skip."""

from itertools import pairwise

from torch import Tensor, nn

from networks.blocks import conv3x3, init_decoder, init_head, upsample
from networks.depth_network import DepthNetwork, check_widths
from networks.encoders import Encoder


class DENoSkip(DepthNetwork):
    """ResNet without its last stage, a bridge, four [Up, 3x3 conv, ReLU], three residuals inside the decoder.

    The residual connections add each block's result to the next block's: 1x1 convolution, Up, sum, batch norm. Without
    encoder skips all details have to be encoded at 1/16; the source reports good scores and blurred maps.

    Parameters with the defaults: resnet50 14,873,857.

    Decisions: the source gives no widths (the bridge has twice the first, (256, 128, 64, 32) is ours) and no kernel
    size for the residual connections (1x1). The three residuals join blocks 1-2, 2-3 and 3-4. The head's ReLU is the
    source's, so that the output is never negative; its initial bias is positive, so that the ReLU has a gradient at the
    start.

    Args:
        encoder: timm's name of the encoder, cut after stride 16.
        encoder_weights: ``"imagenet"``, ``"bundled"``, None or the path of a state-dict file.
        decoder_widths: channels of the four decoder blocks, coarsest first; the bridge has twice the first.
        head_bias: scaled depth that the head predicts before training.
    """

    stride = 16

    def __init__(
        self,
        encoder: str = "resnet50",
        *,
        encoder_weights: str | None = "imagenet",
        decoder_widths: tuple[int, int, int, int] = (256, 128, 64, 32),
        head_bias: float = 0.3,
    ) -> None:
        super().__init__()
        check_widths(decoder_widths)
        self.encoder = Encoder(encoder, weights=encoder_weights, levels=4)
        bridge_width = 2 * decoder_widths[0]
        self.bridge = nn.Sequential(
            conv3x3(self.encoder.channels[-1], bridge_width, bias=False), nn.BatchNorm2d(bridge_width)
        )
        inputs = (bridge_width, *decoder_widths[:-1])
        self.convs = nn.ModuleList(conv3x3(a, b) for a, b in zip(inputs, decoder_widths, strict=True))
        pairs = list(pairwise(decoder_widths))
        self.residuals = nn.ModuleList(nn.Conv2d(a, b, kernel_size=1, bias=False) for a, b in pairs)
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for _, b in pairs)
        self.head = conv3x3(decoder_widths[-1], 1)
        for part in (self.bridge, self.convs, self.residuals):
            init_decoder(part)
        init_head(self.head, head_bias)

    def encode(self, image: Tensor) -> Tensor:
        """Compute the encoder's last map (B, C, H / 16, W / 16) from an image (B, 3, H, W)."""
        deepest: Tensor = self.encoder(image)[-1]
        return deepest

    def decode(self, deepest: Tensor) -> Tensor:
        """Scaled depth from the encoder's last map.

        Args:
            deepest: (B, C, H / 16, W / 16).

        Returns:
            (B, 1, H, W) scaled depth, not negative.
        """
        features = self.convs[0](upsample(self.bridge(deepest))).relu()
        for conv, residual, norm in zip(list(self.convs)[1:], self.residuals, self.norms, strict=True):
            features = norm(conv(upsample(features)).relu() + upsample(residual(features)))
        depth: Tensor = self.head(features).relu()
        return depth
