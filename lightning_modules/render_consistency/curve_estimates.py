"""Estimates from sampled curves: zero crossing, minimum, and bootstrap intervals over images."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Estimate(NamedTuple):
    """An estimate with a 95 % bootstrap interval over images."""

    value: float
    low: float
    high: float
    found: bool
    """False where the curve has no zero (or no minimum) inside the range; the value is then the nearest end."""


def zero_crossing(grid: Tensor, curve: Tensor) -> tuple[float, bool]:
    """Place of the steepest zero crossing of a sampled curve from positive to negative, by linear interpolation.

    A depth that is too large has a negative slope, so the right constant is where the curve changes from positive to
    negative. Without such a place the end of the grid with the smaller absolute value is returned.

    Args:
        grid: ``(G,)``, ascending.
        curve: ``(G,)``.

    Returns:
        The place, and whether there is one.
    """
    falls = (curve[:-1] > 0) & (curve[1:] <= 0)
    if not bool(falls.any()):
        return float(grid[0] if curve[0].abs() < curve[-1].abs() else grid[-1]), False
    # A flat stretch along zero may cross it many times by noise.
    candidates = falls.nonzero().flatten()
    steepest = candidates[(curve[candidates] - curve[candidates + 1]).argmax()]
    left, right = curve[steepest], curve[steepest + 1]
    part = left / (left - right)
    return float(grid[steepest] + part * (grid[steepest + 1] - grid[steepest])), True


def lowest_point(grid: Tensor, curve: Tensor) -> tuple[float, bool]:
    """Place of the minimum of a sampled curve, refined by a parabola through three samples.

    Args:
        grid: ``(G,)``, ascending.
        curve: ``(G,)``.

    Returns:
        The place, and whether it is inside the range.
    """
    index = int(curve.argmin())
    if index in (0, len(grid) - 1):
        return float(grid[index]), False
    x0, x1, x2 = (float(grid[index + k]) for k in (-1, 0, 1))
    y0, y1, y2 = (float(curve[index + k]) for k in (-1, 0, 1))
    left, right = (x1 - x0) * (y1 - y2), (x1 - x2) * (y1 - y0)
    if left == right:
        return x1, True
    return x1 - 0.5 * ((x1 - x0) * left - (x1 - x2) * right) / (left - right), True


def trimmed_mean(values: Tensor, *, trim: float = 0.1) -> Tensor:
    """Mean over the last dimension without the given shares of the smallest and of the largest values."""
    drop = int(trim * values.shape[-1])
    ordered = values.sort(dim=-1).values
    return ordered[..., drop : values.shape[-1] - drop].mean(dim=-1)


def bootstrap(
    grid: Tensor,
    curves: Tensor,
    *,
    place: Callable[[Tensor, Tensor], tuple[float, bool]],
    resamples: int = 200,
    seed: int = 0,
) -> Estimate:
    """Zero crossing or minimum of the trimmed mean of curves, with a bootstrap interval; both are taken over images.

    Args:
        grid: ``(G,)``, ascending.
        curves: ``(G, N)``, a curve for each image.
        place: :func:`zero_crossing` or :func:`lowest_point`.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling.

    Raises:
        ValueError: If a value is not finite or there is no image.
    """
    if curves.shape[-1] == 0 or not bool(curves.isfinite().all()):
        raise ValueError(
            f"there are curves of {curves.shape[-1]} images, but at least one is needed and all must be finite"
        )
    value, found = place(grid, trimmed_mean(curves))
    generator = torch.Generator().manual_seed(seed)
    places = []
    for _ in range(resamples):
        chosen = torch.randint(curves.shape[-1], (curves.shape[-1],), generator=generator)
        places.append(place(grid, trimmed_mean(curves[:, chosen]))[0])
    low, high = torch.tensor(places, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return Estimate(value, min(low, value), max(high, value), found)
