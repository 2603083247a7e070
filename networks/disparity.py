"""Networks for disparity, alone or with a semantic segmentation from the same features."""

import torch
from torch import Tensor, nn

from networks.disparity_decoder import SkipDecoder
from networks.encoders import Encoder, check_image


class DisparityNet(nn.Module):
    """An encoder and the decoder of Monodepth2, for disparity in [0, 1].

    Godard et al. 2019, https://arxiv.org/abs/1806.01260, with one scale, as in GAM-Depth,
    https://arxiv.org/abs/2402.14354.

    Parameters with the defaults: 14,327,217.

    Deviations: the papers normalise images by (x - 0.45) / 0.225 in every channel; the encoder here normalises by the
    mean and deviation that belong to its weights.

    Args:
        encoder: timm's name of the encoder, see `networks.encoders.Encoder`.
        encoder_weights: ``"imagenet"``, ``"bundled"`` (``tf_efficientnet_lite0`` to ``_lite2``), None or the path of a
            state-dict file.
        decoder_widths: channels of the decoder's five levels, finest first.
        first_disparity: disparity in (0, 1) that is predicted before training. The papers' head starts at 0.5, which is
            0.2 m: far from the depth of rooms if poses are in metres.

    Attributes:
        stride: the height and width of an image must be multiples of it (and at least twice as large).
        encoder: the encoder, whose features may be shared.
    """

    shift: Tensor

    @property
    def auxiliary_decoder(self) -> nn.Module | None:
        """Decoder of a second task, which `forward` does not run; None here."""
        return None

    def __init__(
        self,
        encoder: str = "resnet18",
        *,
        encoder_weights: str | None = "imagenet",
        decoder_widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 256),
        first_disparity: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 < first_disparity < 1:
            raise ValueError(f"first_disparity must lie between 0 and 1, got {first_disparity}.")
        self.stride = 32
        self.encoder = Encoder(encoder, weights=encoder_weights)
        self.decoder = SkipDecoder(self.encoder.channels, 1, widths=decoder_widths)
        self.register_buffer("shift", torch.tensor(first_disparity).logit(), persistent=False)

    def decode(self, features: list[Tensor]) -> Tensor:
        """Disparity from the encoder's feature maps.

        Args:
            features: five maps at strides 2 to 32, finest first.

        Returns:
            (B, 1, H, W) in [0, 1], in at least float32: 0 is the farthest depth, 1 the nearest.
        """
        logits = self.decoder(features)
        # In half precision, depth would be quantised in steps of half a percent.
        return torch.sigmoid(logits.to(torch.promote_types(logits.dtype, torch.float32)) + self.shift)

    def forward(self, image: Tensor) -> Tensor:
        """Disparity of images.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], H and W multiples of 32, at least 64.

        Returns:
            (B, 1, H, W) in [0, 1].

        Raises:
            ValueError: another shape.
        """
        check_image(image, self.stride)
        return self.decode(self.encoder(image))


class DisparitySegmentationNet(DisparityNet):
    """A `DisparityNet` with a second decoder for semantic segmentation from the same features.

    Multi-task learning of GAM-Depth: the two tasks share the encoder only, and the second decoder is used in training
    only. Parameters with the defaults: 17,483,722; with 39 classes the second decoder has the paper's 3,156,360.

    Deviations: logits are raw, while the published code puts a softmax into the decoder and another into the loss;
        class ids count from 1, so that there is one more channel than classes.

    Args:
        n_classes: highest class id; ids count from 1, and channel 0 stands for "none".
        encoder: see `DisparityNet`.
        encoder_weights: see `DisparityNet`.
        decoder_widths: channels of both decoders' five levels, finest first.
        first_disparity: see `DisparityNet`.

    Raises:
        ValueError: there is no class.
    """

    def __init__(
        self,
        n_classes: int = 40,
        encoder: str = "resnet18",
        *,
        encoder_weights: str | None = "imagenet",
        decoder_widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 256),
        first_disparity: float = 0.5,
    ) -> None:
        super().__init__(
            encoder,
            encoder_weights=encoder_weights,
            decoder_widths=decoder_widths,
            first_disparity=first_disparity,
        )
        if n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, got {n_classes}.")
        self.n_classes = n_classes
        self.segmentation_decoder = SkipDecoder(self.encoder.channels, n_classes + 1, widths=decoder_widths)

    @property
    def auxiliary_decoder(self) -> nn.Module:
        """Decoder of the classes."""
        return self.segmentation_decoder

    def with_segmentation(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Disparity and class logits of images.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], H and W multiples of 32, at least 64.

        Returns:
            Disparity (B, 1, H, W) in [0, 1], and logits (B, n_classes + 1, H, W) whose channel c belongs to class id c.

        Raises:
            ValueError: another shape.
        """
        check_image(image, self.stride)
        features = self.encoder(image)
        return self.decode(features), self.segmentation_decoder(features)
