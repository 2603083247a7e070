"""The base of encoder-decoder networks: what it checks, and the order of encoding and decoding."""

import pytest
import torch

from networks.depth_network import DepthNetwork, check_widths


class Brightness(DepthNetwork):
    """Encodes an image as its brightness and decodes it as one more."""

    stride = 8

    def __init__(self):
        super().__init__()
        self.encoder = lambda image: [image.mean(dim=1, keepdim=True)]

    def decode(self, features):
        return features[0] + 1


def test_depth_is_the_decoded_code():
    image = torch.rand(2, 3, 16, 24)
    torch.testing.assert_close(Brightness()(image), image.mean(dim=1, keepdim=True) + 1)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 16, 20), "multiples of 8, got 16x20; resize or pad to 16x24"),
        ((1, 3, 12, 16), "multiples of 8, got 12x16; resize or pad to 16x16"),
        ((1, 1, 16, 16), r"must be \(B, 3, H, W\), got \(1, 1, 16, 16\)"),
        ((3, 16, 16), r"must be \(B, 3, H, W\), got \(3, 16, 16\)"),
    ],
)
def test_an_image_of_another_shape_is_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        Brightness()(torch.zeros(shape))


@pytest.mark.parametrize("widths", [(1, 2, 3), (4, 3, 2, 0), ()])
def test_widths_that_are_not_four_positive_numbers_are_refused(widths):
    with pytest.raises(ValueError, match="four positive numbers"):
        check_widths(widths)
    check_widths((4, 3, 2, 1))
