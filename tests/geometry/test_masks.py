import pytest
import torch
from scipy import ndimage

from geometry.masks import erode


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_shrinking_is_scipys_erosion_with_a_square_and_no_outside_beyond_the_border(margin):
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(2, 1, 20, 30, generator=generator) > 0.02
    square = torch.ones(2 * margin + 1, 2 * margin + 1).bool().numpy()
    for result, image in zip(erode(mask, margin), mask, strict=True):
        expected = ndimage.binary_erosion(image[0].numpy(), square, border_value=1)
        assert (result[0].numpy() == expected).all()
