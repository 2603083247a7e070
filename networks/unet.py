"""UNet for depth on any pyramid encoder: ResNet UNet, DenseNet UNet, and a light one on EfficientNet-Lite0."""

from torch import Tensor, nn

from networks.blocks import UNetBlock, conv3x3, conv_bn_relu, init_decoder, init_head, upsample
from networks.depth_network import DepthNetwork, check_widths
from networks.encoders import Encoder


class UNetDepth(DepthNetwork):
    """Encoder, one bridge convolution, four [Up, concatenate, (conv, BN, ReLU) x 2], a head and a last x2.

    After Ronneberger et al. 2015, "U-Net", https://arxiv.org/abs/1505.04597, on a pretrained encoder.

    Parameters with the default decoder: resnet18 14,911,713; resnet34 25,019,873; resnet50 33,104,609;
    densenet121 14,191,137; tf_efficientnet_lite0 5,781,665.

    Decisions: the source gives no widths (the default (256, 128, 64, 32) is ours) and does not specify whether the
        bridge is followed by batch norm and ReLU (here it is, as every other convolution), nor how four upsamplings
        from 1/32 reach the input's size: here the head predicts at 1/2 and a bilinear x2 follows, unless `final_width`
        is given. The initial weights of the head are small and its bias is near the mean of scaled depth, so that
        training starts from an almost constant, plausible map.

    Args:
        encoder: timm's name of the encoder, see `networks.encoders.Encoder`.
        encoder_weights: ``"imagenet"``, ``"bundled"``, None or the path of a state-dict file.
        decoder_widths: channels of the four decoder blocks, coarsest first; the bridge has as many as the first.
        final_width: None for a bilinear last x2; otherwise a fifth block [Up, (conv, BN, ReLU) x 2] with this number of
            channels, and a head at full resolution.
        head_bias: scaled depth that the head predicts before training.
    """

    def __init__(
        self,
        encoder: str = "resnet50",
        *,
        encoder_weights: str | None = "imagenet",
        decoder_widths: tuple[int, int, int, int] = (256, 128, 64, 32),
        final_width: int | None = None,
        head_bias: float = 0.3,
    ) -> None:
        super().__init__()
        check_widths(decoder_widths)
        if final_width is not None and final_width < 1:
            raise ValueError(f"final_width must be positive or null, got {final_width}.")
        self.encoder = Encoder(encoder, weights=encoder_weights)
        *skips, deepest = self.encoder.channels
        inputs = (decoder_widths[0], *decoder_widths[:-1])
        self.bridge = conv_bn_relu(deepest, decoder_widths[0])
        self.blocks = nn.ModuleList(
            UNetBlock(width_in, skip, width)
            for width_in, skip, width in zip(inputs, reversed(skips), decoder_widths, strict=True)
        )
        last_width = decoder_widths[-1] if final_width is None else final_width
        self.final = None if final_width is None else UNetBlock(decoder_widths[-1], 0, final_width)
        self.head = conv3x3(last_width, 1)
        init_decoder(self.bridge)
        init_decoder(self.blocks)
        if self.final is not None:
            init_decoder(self.final)
        init_head(self.head, head_bias)

    def decode(self, features: list[Tensor]) -> Tensor:
        """Scaled depth from the encoder's feature maps.

        Args:
            features: five maps at strides 2 to 32, finest first.

        Returns:
            (B, 1, H, W) scaled depth, unbounded.
        """
        *skips, deepest = features
        merged = self.bridge(deepest)
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            merged = block(merged, skip)
        if self.final is not None:
            depth: Tensor = self.head(self.final(merged))
            return depth
        return upsample(self.head(merged))
