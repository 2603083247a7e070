"""Semantic segmentation: an encoder and the decoder of Monodepth2 with one channel per class."""

from torch import Tensor, nn

from networks.disparity_decoder import SkipDecoder
from networks.encoders import Encoder, check_image


class SegmentationNet(nn.Module):
    """Semantic segmentation network; small enough for a CPU with the default encoder.

    Parameters with the default encoder and widths, and 22 classes: 5,200,359.

    Args:
        n_classes: highest class id; ids count from 1, and channel 0 stands for "none".
        encoder: timm's name of the encoder, see `networks.encoders.Encoder`.
        encoder_weights: ``"imagenet"``, ``"bundled"`` (``tf_efficientnet_lite0`` to ``_lite2``), None or the path of a
            state-dict file.
        decoder_widths: channels of the decoder's five levels, finest first.

    Attributes:
        n_classes: as given.
        stride: the height and width of an image must be multiples of it (and at least twice as large).

    Raises:
        ValueError: no class at all.
    """

    def __init__(
        self,
        n_classes: int,
        encoder: str = "tf_efficientnet_lite0",
        *,
        encoder_weights: str | None = "bundled",
        decoder_widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 256),
    ) -> None:
        super().__init__()
        if n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, got {n_classes}.")
        self.n_classes = n_classes
        self.stride = 32
        self.encoder = Encoder(encoder, weights=encoder_weights)
        self.decoder = SkipDecoder(self.encoder.channels, n_classes + 1, widths=decoder_widths)

    def forward(self, image: Tensor) -> Tensor:
        """Class logits of all pixels.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], H and W multiples of 32, at least 64.

        Returns:
            (B, n_classes + 1, H, W) logits whose channel c belongs to class id c.

        Raises:
            ValueError: another shape.
        """
        check_image(image, self.stride)
        logits: Tensor = self.decoder(self.encoder(image))
        return logits
