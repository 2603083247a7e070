"""Masked statistics against numpy loops; nothing outside a mask reaches a value or a gradient."""

import numpy as np
import pytest
import torch

from geometry.stencils import (
    at_least_float32,
    fill_outside,
    forward_differences,
    masked_mean,
    masked_mean_per_image,
    masked_median_per_image,
    neighbour_masks,
    strided_pyramid,
    sums_per_image,
)


def random_field(seed: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    return values, torch.rand(shape, generator=generator) > 0.4


def test_masked_means_equal_numpy():
    values, mask = random_field(0, (4, 1, 5, 7))
    mask[2] = False
    expected = [values[i].numpy()[mask[i].numpy()].sum() / max(mask[i].sum().item(), 1) for i in range(4)]
    np.testing.assert_allclose(masked_mean_per_image(values, mask).numpy(), expected, rtol=1e-12)
    assert masked_mean(values, mask).item() == pytest.approx(values.numpy()[mask.numpy()].mean(), rel=1e-12)


@pytest.mark.parametrize("width", [6, 7])
def test_masked_median_has_numpys_convention(width):
    values, mask = random_field(1, (6, 1, 3, width))
    mask[0], mask[1], mask[2] = False, True, False
    mask[2, 0, 1, 1] = True
    values = values.masked_fill(~mask, float("nan"))
    expected = [np.median(values[i][mask[i]].numpy()) if mask[i].any() else 0.0 for i in range(6)]
    np.testing.assert_array_equal(masked_median_per_image(values, mask).numpy(), expected)


def test_empty_mask_is_a_zero_in_the_graph():
    values = torch.full((2, 1, 3, 3), float("nan"), requires_grad=True)
    mask = torch.zeros(2, 1, 3, 3, dtype=torch.bool)
    for result in (masked_mean(values, mask), masked_mean_per_image(values, mask).sum()):
        assert result.item() == 0
        (gradient,) = torch.autograd.grad(result, values)
        assert torch.equal(gradient, torch.zeros_like(values))


def test_fill_outside_stops_nan_gradients():
    values = torch.tensor([4.0, -1.0], requires_grad=True)
    root = fill_outside(values, values > 0, 1.0).sqrt()
    (gradient,) = torch.autograd.grad(root.sum(), values)
    assert torch.equal(gradient, torch.tensor([0.25, 0.0]))


def test_half_precision_sums_do_not_overflow():
    values = torch.full((1, 1, 300, 300), 4.0, dtype=torch.float16)
    assert masked_mean(values, torch.ones_like(values, dtype=torch.bool)).item() == 4.0
    assert at_least_float32(values).dtype is torch.float32
    assert at_least_float32(values.double()).dtype is torch.float64


def test_differences_and_masks_equal_numpy():
    values, mask = random_field(2, (2, 1, 5, 6))
    dx, dy = forward_differences(values)
    np.testing.assert_array_equal(dx.numpy(), np.diff(values.numpy(), axis=-1))
    np.testing.assert_array_equal(dy.numpy(), np.diff(values.numpy(), axis=-2))
    mask_x, mask_y = neighbour_masks(mask)
    m = mask.numpy()
    for y in range(5):
        for x in range(6):
            if x < 5:
                assert mask_x[0, 0, y, x] == (m[0, 0, y, x] and m[0, 0, y, x + 1])
            if y < 4:
                assert mask_y[0, 0, y, x] == (m[0, 0, y, x] and m[0, 0, y + 1, x])


def test_pyramid_keeps_every_second_pixel():
    values = torch.arange(35.0).view(1, 1, 5, 7)
    shapes = [tuple(level.shape[-2:]) for level in strided_pyramid(values, 3)]
    assert shapes == [(5, 7), (3, 4), (2, 2)]
    assert strided_pyramid(values, 3)[2].flatten().tolist() == [0.0, 4.0, 28.0, 32.0]
    with pytest.raises(ValueError, match="levels is 0"):
        strided_pyramid(values, 0)


def test_sums_per_image_count_and_add_in_double():
    values, mask = random_field(3, (2, 1, 4, 4))
    large = torch.full((2, 1, 4, 4), 2.0**24 + 2)
    large[..., 0, 0] = 1.0
    expected = [[mask[i].sum(), values[i].sum(), 15 * (2.0**24 + 2) + 1] for i in range(2)]
    torch.testing.assert_close(sums_per_image([mask, values, large]), torch.tensor(expected).double(), rtol=0, atol=0)
