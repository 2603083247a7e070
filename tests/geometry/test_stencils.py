"""Masked statistics against numpy loops; nothing outside a mask reaches a value or a gradient."""

import numpy as np
import pytest
import torch

from geometry.stencils import (
    at_least_float32,
    fill_outside,
    forward_differences,
    masked_deviation_per_image,
    masked_mean,
    masked_mean_per_image,
    masked_median_per_image,
    neighbour_masks,
    smallest_sum_per_image,
    strided_pyramid,
    sums_per_image,
    trimmed_moments_per_image,
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


def test_mean_absolute_deviation_equals_numpy():
    values, mask = random_field(4, (4, 1, 5, 7))
    mask[3] = False
    values = values.masked_fill(~mask, float("nan"))
    expected = [
        np.abs(v - np.median(v)).mean() if len(v) else 0 for v in (values[i][mask[i]].numpy() for i in range(4))
    ]
    np.testing.assert_allclose(masked_deviation_per_image(values, mask).numpy(), expected, rtol=1e-12)


def test_sum_without_the_largest_equals_numpy():
    values, mask = random_field(5, (4, 1, 5, 7))
    mask[3] = False
    values = values.masked_fill(~mask, float("nan")).requires_grad_(True)
    total, kept = smallest_sum_per_image(values, mask, drop=0.2)
    for i in range(4):
        ordered = np.sort(values[i][mask[i]].detach().numpy())
        count = int(0.8 * len(ordered) + 1e-9)
        assert kept[i] == count
        assert total[i].item() == pytest.approx(ordered[:count].sum(), rel=1e-12)
        (gradient,) = torch.autograd.grad(total[i], values, retain_graph=True)
        limit = ordered[count] if count else -np.inf
        assert torch.equal(gradient[i], (mask[i] & (values[i] < limit)).double())
    assert smallest_sum_per_image(values[:1], mask[:1], drop=0)[1] == mask[0].sum()
    with pytest.raises(ValueError, match="share to drop is 1"):
        smallest_sum_per_image(values, mask, drop=1)


def test_shares_of_a_count_are_not_lost_to_rounding():
    # 1 - 0.9 is a little below 0.1 and its tenfold below 1.
    ten = torch.arange(10.0).view(1, 10)
    assert smallest_sum_per_image(ten, torch.ones(1, 10, dtype=torch.bool), drop=0.9)[1] == 1


@pytest.mark.parametrize("trim", [0.0, 0.1, 0.3])
def test_trimmed_moments_equal_numpy(trim):
    values, mask = random_field(6, (4, 1, 6, 7))
    mask[3] = False
    values = values.masked_fill(~mask, float("nan"))
    mean, deviation = trimmed_moments_per_image(values, mask, trim=trim)
    for i in range(3):
        ordered = np.sort(values[i][mask[i]].numpy())
        low = int(trim * len(ordered))
        kept = ordered[low : len(ordered) - low]
        assert mean[i].item() == pytest.approx(kept.mean(), rel=1e-12)
        assert deviation[i].item() == pytest.approx(kept.std(ddof=1), rel=1e-12)
    assert mean[3] == deviation[3] == 0
    with pytest.raises(ValueError, match=r"share to trim is 0\.5"):
        trimmed_moments_per_image(values, mask, trim=0.5)


def test_a_deviation_of_zero_has_a_zero_gradient():
    values = torch.full((1, 1, 3, 3), 2.0, requires_grad=True)
    mean, deviation = trimmed_moments_per_image(values, torch.ones(1, 1, 3, 3, dtype=torch.bool), trim=0.1)
    assert mean == 2
    assert deviation == 0
    (gradient,) = torch.autograd.grad(deviation.sum(), values)
    assert torch.equal(gradient, torch.zeros_like(values))
