"""A small encoder for pairs of images, trained from scratch together with the depth that needs its motion."""

import itertools

import torch
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128, 128)
"""Channels after each convolution."""
KERNELS = (7, 5, 3, 3, 3)
MEAN, DEVIATION = 0.45, 0.225
"""Approximate standard deviation of the channels of an image."""


def keep_variance(layers: nn.Sequential) -> None:
    """Initialise convolutions so that the variance of activations is preserved across layers (He et al. 2015).

    PyTorch's default more than halves it at each layer. After nine layers the biases dominate the output: they are a
    thousand times the difference between two inputs, and training stalls for hundreds of steps.

    Args:
        layers: Convolutions with biases, with ReLU between them. The weights of one at the end without a ReLU stay.
    """
    for layer, following in itertools.pairwise([*layers, None]):
        if isinstance(layer, nn.Conv2d):
            if isinstance(following, nn.ReLU):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class PlainPairEncoder(nn.Module):
    """Five convolutions of stride 2 with ReLU over the first image and its difference to the second.

    After the pose network of SfMLearner (Zhou et al. 2017, https://arxiv.org/abs/1704.07813), which has seven
    convolutions over all images of a clip. It has no normalisation layers, whose batch statistics would mix the motions
    of a batch. A pretrained encoder with repeated kernels initially ignores the difference of the images, which
    contains the motion.

    Parameters: 257,488.

    Attributes:
        channels: channels of the returned map, a tuple of one as in `networks.encoders.Encoder`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.channels = WIDTHS[-1:]
        layers: list[nn.Module] = []
        for (n_in, n_out), size in zip(itertools.pairwise((6, *WIDTHS)), KERNELS, strict=True):
            layers += [nn.Conv2d(n_in, n_out, size, stride=2, padding=size // 2), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        keep_variance(self.body)

    def forward(self, pair: Tensor) -> list[Tensor]:
        """Features of pairs of images.

        Args:
            pair: (P, 6, H, W), two RGB images in [0, 1], H and W multiples of 32.

        Returns:
            One map (P, 128, H / 32, W / 32).
        """
        first, second = ((pair - MEAN) / DEVIATION).chunk(2, dim=1)
        return [self.body(torch.cat((first, second - first), dim=1))]
