"""Pose networks: that of Monodepth2, and GAM-Depth's with a second decoder for residual poses."""

from typing import cast

import torch
from torch import Tensor, nn

from networks.encoders import Encoder, check_image
from networks.pose_encoder import PlainPairEncoder, keep_variance

PLAIN = "plain"
"""Name of the small encoder without pretrained weights; all others are timm's names."""


def make_pair_encoder(name: str, *, weights: str | None) -> Encoder | PlainPairEncoder:
    """An encoder for pairs of images, concatenated along the channels.

    In timm's encoders the weights of the first convolution are repeated for the second image and halved, so that two
    equal images give the features of one. Both images are normalised.

    Args:
        name: see `networks.encoders.Encoder`; or ``"plain"``, a `networks.pose_encoder.PlainPairEncoder`.
        weights: see `networks.encoders.Encoder`; they are those of an encoder for single images. ``"plain"`` has none.

    Returns:
        An encoder for (P, 6, H, W).

    Raises:
        ValueError: ``"plain"`` with weights, or what `networks.encoders.Encoder` refuses.
    """
    if name == PLAIN:
        if weights is not None:
            raise ValueError(f"The encoder 'plain' is not pretrained: encoder_weights must be null, not {weights!r}.")
        return PlainPairEncoder()
    encoder = Encoder(name, weights=weights)
    first = next(layer for layer in encoder.body.modules() if isinstance(layer, nn.Conv2d))
    first.weight = nn.Parameter(first.weight.detach().repeat(1, 2, 1, 1) / 2)
    first.in_channels *= 2
    encoder.mean = encoder.mean.repeat(1, 2, 1, 1)
    encoder.std = encoder.std.repeat(1, 2, 1, 1)
    return encoder


def make_pose_decoder(in_channels: int, width: int) -> nn.Sequential:
    """1x1 convolution, two 3x3 convolutions, each with ReLU, and a 1x1 convolution to six numbers per position."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, kernel_size=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 6, kernel_size=1),
    )


class PoseNet(nn.Module):
    """Rotation and translation between the cameras of two images.

    Godard et al. 2019, https://arxiv.org/abs/1806.01260. The direction of the transform is determined by how the output
    is used in training.

    Parameters with the defaults: 12,498,950 (encoder 11,185,920, decoder 1,313,030).

    Deviations: the paper's decoder predicts two motions, of which only the first is used (12 outputs, 1,314,572
    parameters); this one predicts one. Images are normalised by the encoder's own mean and deviation, in place of
    (x - 0.45) / 0.225.

    Args:
        encoder: timm's name of the encoder, see `networks.encoders.Encoder`; or ``"plain"``, a small one that is
            trained from scratch (`networks.pose_encoder.PlainPairEncoder`).
        encoder_weights: ``"imagenet"``, ``"bundled"`` (``tf_efficientnet_lite0`` to ``_lite2``), None or the path of a
            state-dict file.
        decoder_width: channels inside the decoder.
        motion_scale: factor on the decoder's output; the paper's keeps first motions near zero.
        antisymmetric: whether the output is half the difference of the outputs for both orders of a pair: the reverse
            motion is then exactly opposite, and equal images give exactly no motion. Takes twice the time.

    Attributes:
        stride: the height and width of an image must be multiples of it.

    Raises:
        ValueError: the width or the factor is not positive.
    """

    def __init__(
        self,
        encoder: str = "resnet18",
        *,
        encoder_weights: str | None = "imagenet",
        decoder_width: int = 256,
        motion_scale: float = 0.01,
        antisymmetric: bool = False,
    ) -> None:
        super().__init__()
        if decoder_width < 1:
            raise ValueError(f"decoder_width must be positive, got {decoder_width}.")
        if not motion_scale > 0:
            raise ValueError(f"motion_scale must be positive, got {motion_scale}.")
        self.stride = 32
        self.motion_scale = motion_scale
        self.antisymmetric = antisymmetric
        self.encoder = make_pair_encoder(encoder, weights=encoder_weights)
        self._add_decoders(decoder_width)

    def _add_decoders(self, width: int) -> None:
        """Make what turns features into motions."""
        self.decoder = self._make_decoder(width)

    def encode(self, first: Tensor, second: Tensor) -> Tensor:
        """The coarsest features (P, C, H / 32, W / 32) of pairs of images, each (P, 3, H, W) RGB in [0, 1].

        Raises:
            ValueError: another shape, or two different ones.
        """
        check_image(first, self.stride)
        if first.shape != second.shape:
            raise ValueError(
                f"Both images of a pair need one shape, got {tuple(first.shape)} and {tuple(second.shape)}."
            )
        features: list[Tensor] = self.encoder(torch.cat((first, second), dim=1))
        return features[-1]

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Motions of pairs of images.

        Args:
            first: (P, 3, H, W) RGB in [0, 1], H and W multiples of 32.
            second: (P, 3, H, W), likewise.

        Returns:
            Axis-angle (P, 3) in radians and translation (P, 3) in the units of depth, in at least float32.

        Raises:
            ValueError: another shape, or two different ones.
        """
        return self._motion(self.decoder, first, second)

    def _make_decoder(self, width: int) -> nn.Sequential:
        """A pose decoder for the features of the encoder."""
        decoder = make_pose_decoder(self.encoder.channels[-1], width)
        if isinstance(self.encoder, PlainPairEncoder):
            keep_variance(decoder)
        return decoder

    def _motion(self, decoder: nn.Module, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Rotation and translation: mean of a decoder's output over all positions, scaled and split."""
        if self.antisymmetric and first.shape == second.shape:  # encode() refuses other shapes
            first, second = torch.cat((first, second)), torch.cat((second, first))
        motions = cast(Tensor, decoder(self.encode(first, second)))
        # In half precision, the quantisation of small angles would move distant pixels in visible steps.
        dtype = torch.promote_types(motions.dtype, torch.float32)
        motion = self.motion_scale * motions.mean(dim=(2, 3), dtype=dtype)
        if self.antisymmetric:
            there, back = motion.chunk(2)
            motion = (there - back) / 2
        return motion[:, :3], motion[:, 3:]


class ResidualPoseNet(PoseNet):
    """A `PoseNet` with a second decoder, for the residual motion after warping by the first.

    Residual pose as in GAM-Depth, https://arxiv.org/abs/2402.14354: both decoders share the encoder.

    Parameters with the defaults: 13,811,980. The arguments are those of `PoseNet` and apply to both decoders.
    """

    def _add_decoders(self, width: int) -> None:
        super()._add_decoders(width)
        self.residual_decoder = self._make_decoder(width)

    def residual(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Residual motions; arguments and result as for `forward`."""
        return self._motion(self.residual_decoder, first, second)
