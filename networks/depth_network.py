"""What the encoder-decoder networks of scaled depth share: the check of the image, and encoding before decoding."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from networks.encoders import Encoder, check_image


class DepthNetwork(nn.Module, ABC):
    """Base of networks that predict scaled depth from an image; a subclass sets `encoder` and writes `decode`.

    Attributes:
        stride: the height and width of an image must be multiples of it.
        encoder: image in, pyramid of maps out, finest first.
    """

    stride = 32
    encoder: Encoder

    def encode(self, image: Tensor) -> Any:
        """Features of an image (B, 3, H, W), which `decode` takes."""
        return self.encoder(image)

    @abstractmethod
    def decode(self, features: Any) -> Tensor:
        """Scaled depth (B, 1, H, W) from the result of `encode`."""

    def forward(self, image: Tensor) -> Tensor:
        """Scaled depth of images.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], H and W multiples of `stride`.

        Returns:
            (B, 1, H, W) scaled depth, unbounded unless the network says otherwise.

        Raises:
            ValueError: another shape.
        """
        check_image(image, self.stride)
        return self.decode(self.encode(image))


def check_widths(decoder_widths: tuple[int, int, int, int]) -> None:
    """Refuse widths that are not four positive numbers.

    Raises:
        ValueError: if they are not.
    """
    if len(decoder_widths) != 4 or min(decoder_widths) < 1:
        raise ValueError(f"decoder_widths must be four positive numbers, got {tuple(decoder_widths)}.")
