"""Grain against least squares in every window, closed forms for noise, planes, edges and holes, and uneven batches."""

from math import gamma, sqrt

import numpy as np
import pytest
import torch

from metrics.grain import Grain, flat_windows, grain, roughness

H, W = 24, 32


def planes(count: int = 2) -> torch.Tensor:
    """Depth of slanted planes, metres, ``(count, 1, H, W)``."""
    x, y = torch.arange(W).view(1, W), torch.arange(H).view(H, 1)
    inverse = [0.3 + 0.01 * (i + 1) * x / W * 10 + 0.004 * i * y for i in range(count)]
    return (1 / torch.stack([i.expand(H, W) for i in inverse])).unsqueeze(1).double()


def noisy(depth: torch.Tensor, level: float, seed: int = 0) -> torch.Tensor:
    """Depth whose inverse has white noise of a relative standard deviation."""
    noise = torch.randn(depth.shape, generator=torch.Generator().manual_seed(seed), dtype=depth.dtype)
    return depth / (1 + level * noise)


def everywhere(depth: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(depth, dtype=torch.bool)


def test_roughness_equals_least_squares_in_every_window():
    depth = noisy(planes(1), 0.05)
    mask = everywhere(depth)
    mask[0, 0, 11, 17] = False
    depth[0, 0, 11, 17] = torch.nan
    rough, defined = roughness(depth, mask, window=5)
    inverse = 1 / depth[0, 0].numpy()
    rows, columns = np.mgrid[-2:3, -2:3]
    design = np.stack([np.ones(25), columns.ravel(), rows.ravel()], axis=1)
    for row in range(H):
        for column in range(W):
            inside = 2 <= row < H - 2 and 2 <= column < W - 2
            whole = inside and not (abs(row - 11) <= 2 and abs(column - 17) <= 2)
            assert bool(defined[0, 0, row, column]) == whole
            if not whole:
                assert rough[0, 0, row, column] == 0
                continue
            values = inverse[row - 2 : row + 3, column - 2 : column + 3].ravel()
            residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
            expected = np.sqrt((residual**2).mean()) / values.mean()
            assert float(rough[0, 0, row, column]) == pytest.approx(expected, rel=1e-6)


def test_a_plane_at_any_slant_and_scale_has_no_grain():
    depth = planes()
    for prediction in (depth, 3.7 * depth):
        for value in grain(prediction, target_m=depth, mask=everywhere(depth)).values():
            assert (value < 1e-7).all()


@pytest.mark.parametrize("window", [3, 5])
def test_white_noise_has_the_mean_of_a_chi_distribution(window):
    depth = planes(1).expand(40, 1, H, W)
    value = grain(noisy(depth, 0.02), target_m=depth, mask=everywhere(depth), windows=[window])[f"grain_{window}"]
    free = window**2 - 3  # an affine fit has three unknowns
    chi = sqrt(2) * gamma((free + 1) / 2) / gamma(free / 2)
    assert float(value.mean()) == pytest.approx(0.02 * chi / window, rel=0.02)


def test_small_windows_do_not_see_long_waves_and_the_scale_does_not_count():
    depth = planes(1)
    wave = torch.sin(2 * torch.pi * torch.arange(W, dtype=torch.float64) / 16).view(1, 1, 1, W)
    values = grain(depth / (1 + 0.1 * wave), target_m=depth, mask=everywhere(depth))
    assert float(values["grain_3"]) < 0.15 * float(values["grain_9"])
    scaled = grain(2 * depth / (1 + 0.1 * wave), target_m=depth, mask=everywhere(depth))
    for name, value in values.items():
        torch.testing.assert_close(scaled[name], value)


def test_edges_and_holes_of_the_true_depth_do_not_count():
    depth, mask = planes(1), everywhere(planes(1))
    depth[..., :, 16:] *= 1.5
    mask[..., :4, :4] = False
    flat = flat_windows(depth, mask, window=5)
    assert not flat[..., :, 14:18].any()
    assert not flat[..., :6, :6].any()
    assert flat[..., 8:-2, 2:14].all()
    prediction = depth.clone()
    prediction[..., :4, :4] = noisy(depth, 0.5)[..., :4, :4]
    assert float(grain(prediction, target_m=depth, mask=mask, windows=[5])["grain_5"]) < 1e-7
    assert float(grain(prediction, target_m=depth, mask=everywhere(depth), windows=[5])["grain_5"]) > 1e-3


def test_the_noise_of_a_sensor_counts_as_flat_and_a_rough_surface_does_not():
    depth = planes(1)
    assert flat_windows(noisy(depth, 0.003), everywhere(depth), window=9).sum() == (H - 8) * (W - 8)
    rough = noisy(depth, 0.05)
    assert not flat_windows(rough, everywhere(depth), window=9).any()
    assert grain(depth, target_m=rough, mask=everywhere(depth))["grain_3"].isnan().all()


def test_uneven_batches_give_the_mean_over_images_that_have_a_flat_window():
    depth = planes(5)
    prediction, mask = noisy(depth, 0.03), everywhere(depth)
    mask[2] = False
    values = grain(prediction, target_m=depth, mask=mask)
    metric = Grain()
    for part in (slice(0, 1), slice(1, 5)):
        metric.update(prediction[part], target_m=depth[part], mask=mask[part])
    result = metric.compute()
    assert list(result) == ["grain_3", "grain_5", "grain_9"]
    for name, value in values.items():
        assert value[2].isnan()
        torch.testing.assert_close(result[name], value[[0, 1, 3, 4]].mean())


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"windows are \[4\], but they must be odd numbers of pixels from 3 on"):
        Grain(windows=[4])
    with pytest.raises(ValueError, match="flatness is 0, but it must be positive"):
        Grain(flatness=0)
    depth = planes(1)
    with pytest.raises(ValueError, match="all three must be the same"):
        grain(depth, target_m=depth, mask=everywhere(depth)[0])
