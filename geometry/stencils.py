"""Masked averages, finite differences and strided pyramids, used by losses and metrics.

Values outside a mask never affect a result or a gradient, not even if they are NaN.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from geometry.processes import denominator


def at_least_float32(values: Tensor) -> Tensor:
    """Half-precision values converted to float32; float32 and float64 are returned unchanged.

    Sums over an image overflow in float16 (65504) and stagnate in bfloat16 (8 bits).

    Args:
        values: any shape, floating point.

    Returns:
        The same shape in float32 or float64.
    """
    return values.to(torch.promote_types(values.dtype, torch.float32))


def fill_outside(values: Tensor, mask: Tensor, fill: float = 0.0) -> Tensor:
    """Values with a constant outside the mask, so that a NaN there enters no arithmetic (0 * NaN is NaN).

    Args:
        values: any shape.
        mask: bool, broadcastable to ``values``.
        fill: the constant.

    Returns:
        The shape of ``values``; the gradient with respect to a replaced value is exactly zero.
    """
    return torch.where(mask, values, torch.full((), fill, dtype=values.dtype, device=values.device))


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over all masked elements of the batch, in a training on several processes that of all of them.

    Each process divides its own sum by the count of the global batch over the number of processes, see
    :mod:`geometry.processes`.

    Args:
        values: any shape; arbitrary, also NaN, outside the mask.
        mask: bool, the shape of ``values``.

    Returns:
        Scalar in at least float32. An empty mask gives a zero that stays in the graph (its gradient is zero).
    """
    total = at_least_float32(fill_outside(values, mask)).sum()
    return total / denominator(mask.sum())


def masked_mean_per_image(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked elements of each image.

    Args:
        values: ``(B, ...)``; arbitrary, also NaN, outside the mask.
        mask: bool, the shape of ``values``.

    Returns:
        ``(B,)`` in at least float32; zero (in the graph) where an image has no masked element.
    """
    total = at_least_float32(fill_outside(values, mask)).flatten(1).sum(dim=1)
    return total / mask.flatten(1).sum(dim=1).clamp(min=1)


def sums_per_image(columns: Sequence[Tensor]) -> Tensor:
    """Sums of several maps over each image, in double precision.

    Args:
        columns: maps of shape ``(B, ...)``, floating point or bool (counted).

    Returns:
        float64 ``(B, len(columns))``.
    """
    # Counting in integers is exact and three times as fast as converting a bool map to float64.
    sums = [
        c.flatten(1).sum(dim=1) if c.dtype is torch.bool else c.flatten(1).sum(dim=1, dtype=torch.float64)
        for c in columns
    ]
    return torch.stack([total.to(torch.float64) for total in sums], dim=1)


def masked_median_per_image(values: Tensor, mask: Tensor) -> Tensor:
    """Median over the masked elements of each image, with numpy's convention for even counts.

    ``torch.median`` returns the lower of the two middle values; this function averages them, as ``numpy.median`` and
    published evaluation scripts do.

    Args:
        values: ``(B, ...)``; arbitrary, also NaN, outside the mask.
        mask: bool, the shape of ``values``.

    Returns:
        ``(B,)`` in at least float32; zero where an image has no masked element.
    """
    count = mask.flatten(1).sum(dim=1, keepdim=True)
    # Infinity is sorted last, so that the first `count` entries of a row are the masked ones.
    ordered = at_least_float32(fill_outside(values, mask, float("inf"))).flatten(1).sort(dim=1).values
    lower = ordered.gather(1, ((count - 1) // 2).clamp(min=0))
    upper = ordered.gather(1, (count // 2).clamp(max=ordered.shape[1] - 1))
    return fill_outside((lower + upper) / 2, count > 0).squeeze(1)


def forward_differences(image: Tensor, *, spacing: int = 1) -> tuple[Tensor, Tensor]:
    """Differences to the neighbour on the right and to the one below.

    Args:
        image: ``(..., H, W)``.
        spacing: ``s``, distance of the neighbour in pixels.

    Returns:
        ``image[..., x + s] - image[..., x]`` of shape ``(..., H, W - s)`` and
        ``image[..., y + s, :] - image[..., y, :]`` of shape ``(..., H - s, W)``.
    """
    return (
        image[..., :, spacing:] - image[..., :, :-spacing],
        image[..., spacing:, :] - image[..., :-spacing, :],
    )


def neighbour_masks(mask: Tensor, *, spacing: int = 1) -> tuple[Tensor, Tensor]:
    """Masks of the pixels whose forward differences have both ends inside the mask.

    Args:
        mask: bool ``(..., H, W)``.
        spacing: ``s``, distance of the neighbour in pixels.

    Returns:
        Bool ``(..., H, W - s)`` and ``(..., H - s, W)``, matching :func:`forward_differences`.
    """
    return mask[..., :, spacing:] & mask[..., :, :-spacing], mask[..., spacing:, :] & mask[..., :-spacing, :]


def strided_pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """Every ``2^k``-th row and column for ``k = 0 .. levels - 1``, without blur (so that masks stay exact).

    Args:
        image: ``(..., H, W)`` of any type.
        levels: number of levels, at least 1.

    Returns:
        Views of the input; level ``k`` has shape ``(..., ceil(H / 2^k), ceil(W / 2^k))``.

    Raises:
        ValueError: if ``levels`` is below 1.
    """
    if levels < 1:
        raise ValueError(f"levels is {levels}, but a pyramid needs at least 1.")
    return [image[..., :: 2**level, :: 2**level] for level in range(levels)]


def masked_deviation_per_image(values: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute deviation from the median of the masked elements of each image, a spread robust to outliers.

    Args:
        values: ``(B, ...)``; arbitrary, also NaN, outside the mask.
        mask: bool, the shape of ``values``.

    Returns:
        ``(B,)`` in at least float32; zero where an image has no masked element.
    """
    median = masked_median_per_image(values, mask).view(-1, *(1,) * (values.ndim - 1))
    return masked_mean_per_image((fill_outside(at_least_float32(values), mask) - median).abs(), mask)


def smallest_sum_per_image(values: Tensor, mask: Tensor, *, drop: float) -> tuple[Tensor, Tensor]:
    """Sum of the masked elements of each image without the largest ones.

    Args:
        values: ``(B, ...)``; arbitrary, also NaN, outside the mask.
        mask: bool, the shape of ``values``.
        drop: fraction of the ``n`` masked elements to drop, at least 0 and below 1; ``floor((1 - drop) n)`` are kept.

    Returns:
        The sum, ``(B,)`` in at least float32, and the number of its elements, int64 ``(B,)``. Only these elements
        receive a gradient; which of equal values at the limit are kept is arbitrary.

    Raises:
        ValueError: if ``drop`` is out of range.
    """
    if not 0 <= drop < 1:
        raise ValueError(f"The share to drop is {drop}, but it must be at least 0 and below 1.")
    kept = _share_of(mask.flatten(1).sum(dim=1), 1 - drop)
    ordered = at_least_float32(fill_outside(values, mask, float("inf"))).flatten(1).sort(dim=1).values
    rank = torch.arange(ordered.shape[1], device=ordered.device)
    return fill_outside(ordered, rank < kept.unsqueeze(1)).sum(dim=1), kept


def trimmed_moments_per_image(values: Tensor, mask: Tensor, *, trim: float) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation of each image's masked elements without the smallest and largest ones.

    Args:
        values: ``(B, ...)``; arbitrary, also NaN, outside the mask.
        mask: bool, the shape of ``values``.
        trim: fraction of the ``n`` masked elements to leave out *at each end*, at least 0 and below one half;
            ``floor(trim n)`` elements are left out at each.

    Returns:
        ``(B,)`` mean and ``(B,)`` unbiased standard deviation in at least float32; zeros where no element remains, and
        a deviation of zero (with zero gradient) where all remaining elements are equal.

    Raises:
        ValueError: if ``trim`` is out of range.
    """
    if not 0 <= trim < 0.5:
        raise ValueError(f"The share to trim is {trim}, but it must be at least 0 and below 0.5.")
    count = mask.flatten(1).sum(dim=1)
    low = _share_of(count, trim)
    ordered = at_least_float32(fill_outside(values, mask, float("inf"))).flatten(1).sort(dim=1).values
    rank = torch.arange(ordered.shape[1], device=ordered.device)
    kept = (rank >= low.unsqueeze(1)) & (rank < (count - low).unsqueeze(1))
    mean = masked_mean_per_image(ordered, kept)
    squares = (fill_outside(ordered, kept) - fill_outside(mean.unsqueeze(1), kept)).square().sum(dim=1)
    variance = squares / (count - 2 * low - 1).clamp(min=1)
    spread = variance > 0
    return mean, fill_outside(fill_outside(variance, spread, 1.0).sqrt(), spread | variance.isnan())


def _share_of(count: Tensor, share: float) -> Tensor:
    """``floor(share * count)``; the rounding of the product, far below 1e-6, must not turn 0.3 * 10 into 2."""
    return (count.to(torch.float64) * share + 1e-6).floor().to(torch.int64)
