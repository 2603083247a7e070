"""A small fully convolutional encoder-decoder for depth, trained from scratch."""

from torch import Tensor, nn
from torch.nn import functional as F

from networks.blocks import conv3x3
from networks.encoders import check_image

_COARSEST = 16
"""Stride of the coarsest map; images are padded to a multiple of it."""


class FCN(nn.Module):
    """About half a million parameters, Xavier initialisation, no pretraining, no batch norm, any image size.

    Encoder: four times [3x3 conv of stride 2, ReLU, 3x3 conv, ReLU]. Decoder: four times [Up, 3x3 conv, ReLU, 3x3 conv,
    ReLU]. Head: 3x3 conv. No skips.

    Parameters with the defaults: 501,313.

    Decisions: the source gives size and initialisation only. Widths, depth and the absence of skips and of batch norm
    are ours; without batch norm a sample's result does not depend on the rest of its batch. Xavier initialisation
    (Glorot & Bengio 2010, uniform) is used with the gain of ReLU, without which activations vanish over 17 layers.
    Biases are zero except for the head's. Images whose size is not a multiple of 16 are padded at the right and bottom
    by replication, and the result is cropped.

    Args:
        widths: channels of the four encoder stages, finest first; the decoder mirrors them.
        head_bias: scaled depth that the head predicts before training, where features are zero.

    Attributes:
        stride: 1, every size is allowed.
    """

    def __init__(self, *, widths: tuple[int, int, int, int] = (16, 32, 64, 144), head_bias: float = 0.3) -> None:
        super().__init__()
        if len(widths) != 4 or min(widths) < 1:
            raise ValueError(f"widths must be four positive numbers, got {tuple(widths)}.")
        self.stride = 1
        down: list[nn.Module] = []
        channels = 3
        for width in widths:
            first = nn.Conv2d(channels, width, kernel_size=3, stride=2, padding=1)
            down += [first, nn.ReLU(inplace=True), conv3x3(width, width), nn.ReLU(inplace=True)]
            channels = width
        self.encoder = nn.Sequential(*down)
        up: list[nn.Module] = []
        for width in (*widths[-2::-1], widths[0]):
            up += [nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)]
            up += [conv3x3(channels, width), nn.ReLU(inplace=True), conv3x3(width, width), nn.ReLU(inplace=True)]
            channels = width
        self.decoder = nn.Sequential(*up)
        self.head = conv3x3(channels, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                gain = nn.init.calculate_gain("linear" if layer is self.head else "relu")
                nn.init.xavier_uniform_(layer.weight, gain=gain)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if self.head.bias is not None:
            nn.init.constant_(self.head.bias, head_bias)

    def forward(self, image: Tensor) -> Tensor:
        """Scaled depth of images.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], any size.

        Returns:
            (B, 1, H, W) scaled depth, unbounded.

        Raises:
            ValueError: not (B, 3, H, W).
        """
        check_image(image, self.stride)
        height, width = image.shape[-2:]
        # [0, 1] to [-1, 1]: without normalisation layers, inputs should be centred
        padded = F.pad(2.0 * image - 1.0, (0, -width % _COARSEST, 0, -height % _COARSEST), mode="replicate")
        depth: Tensor = self.head(self.decoder(self.encoder(padded)))
        return depth[..., :height, :width]
