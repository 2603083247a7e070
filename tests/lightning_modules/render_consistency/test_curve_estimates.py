"""Zero crossings and minima of closed forms, and bootstrap intervals of known width."""

import math

import pytest
import torch

from lightning_modules.render_consistency.curve_estimates import bootstrap, lowest_point, trimmed_mean, zero_crossing


def test_zero_crossings_and_lowest_points_of_closed_forms():
    grid = torch.linspace(-1, 2, 31)
    assert zero_crossing(grid, 0.55 - grid) == (pytest.approx(0.55), True)
    assert zero_crossing(grid, 5 - grid) == (2.0, False)
    assert zero_crossing(grid, -5 - grid) == (-1.0, False)
    assert lowest_point(grid, (grid - 0.37).square()) == (pytest.approx(0.37, abs=1e-4), True)
    assert lowest_point(grid, grid) == (-1.0, False)


def test_the_bootstrap_interval_holds_the_value_and_shrinks_with_more_images():
    generator = torch.Generator().manual_seed(0)
    grid = torch.linspace(-1, 2, 31)
    widths = []
    for count in (20, 320):
        curves = 0.5 - grid[:, None] + 0.4 * torch.randn(count, generator=generator)
        estimate = bootstrap(grid, curves, place=zero_crossing)
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.low < 0.5 < estimate.high
        widths.append(estimate.high - estimate.low)
    # The standard error of a mean falls with the square root of the number.
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)


def test_the_trimmed_mean_is_scipys():
    from scipy.stats import trim_mean

    values = torch.rand(7, 43, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(trimmed_mean(values), torch.from_numpy(trim_mean(values.numpy(), 0.1, axis=1)))


def test_a_bootstrap_without_images_or_of_nan_is_refused():
    grid = torch.linspace(0, 1, 3)
    with pytest.raises(ValueError, match=r"at least one is needed"):
        bootstrap(grid, torch.zeros(3, 0), place=zero_crossing)
    with pytest.raises(ValueError, match=r"must be finite"):
        bootstrap(grid, torch.full((3, 2), math.nan), place=zero_crossing)
