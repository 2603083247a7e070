"""Multi-scale gradient matching of MiDaS and LeReS: absolute differences of a residual to its neighbours.

The sums are taken for each image. ``losses/affine.py`` and ``losses/ilnr.py`` normalise by the number of pixels of the
whole batch, as the released codes do; ``losses/by_kind.py`` normalises each image by its own.
"""

import torch
from torch import Tensor

from geometry.processes import denominator
from geometry.stencils import fill_outside, forward_differences, neighbour_masks, strided_pyramid


def gradient_matching_per_image(
    residual: Tensor, mask: Tensor, *, scales: int, spacing: int = 1, per_pair: bool = False
) -> Tensor:
    """Sum over scales of the mean absolute difference of a residual to its right and lower neighbours.

    Scale ``k`` keeps every ``2^k``-th row and column, without blur. A difference counts where both its ends are masked.

    Args:
        residual: ``(B, C, H, W)``.
        mask: bool ``(B, C, H, W)``.
        scales: number of scales, at least 1.
        spacing: distance of the neighbours, in pixels of the scale.
        per_pair: whether the sum of a scale is divided by the number of differences that count (LeReS), instead of by
            the number of masked pixels (MiDaS).

    Returns:
        ``(B,)``, unit of the residual; an empty mask gives a zero that stays in the graph.

    Raises:
        ValueError: if ``scales`` is below 1.
    """
    loss = residual.new_zeros(len(residual))
    for total, count in _sums(residual, mask, scales=scales, spacing=spacing, per_pair=per_pair):
        loss = loss + total / count.clamp(min=1)
    return loss


def _sums(residual: Tensor, mask: Tensor, *, scales: int, spacing: int, per_pair: bool) -> list[tuple[Tensor, Tensor]]:
    """Sum of the absolute differences ``(B,)`` and what it is divided by ``(B,)``, for every scale."""
    sums = []
    for level, level_mask in zip(strided_pyramid(residual, scales), strided_pyramid(mask, scales), strict=True):
        pair_masks = neighbour_masks(level_mask, spacing=spacing)
        total = residual.new_zeros(len(residual))
        for difference, both in zip(forward_differences(level, spacing=spacing), pair_masks, strict=True):
            total = total + fill_outside(difference.abs(), both).flatten(1).sum(dim=1)
        counted = pair_masks if per_pair else (level_mask,)
        sums.append((total, torch.stack([part.flatten(1).sum(dim=1) for part in counted]).sum(dim=0)))
    return sums


def gradient_matching(
    residual: Tensor, mask: Tensor, *, scales: int, spacing: int = 1, per_pair: bool = False
) -> Tensor:
    """:func:`gradient_matching_per_image` with the sums and counts of the whole batch, over all processes; a scalar."""
    # The images become the channels of a single one.
    whole, whole_mask = residual.flatten(0, 1).unsqueeze(0), mask.flatten(0, 1).unsqueeze(0)
    sums = _sums(whole, whole_mask, scales=scales, spacing=spacing, per_pair=per_pair)
    counts = denominator(torch.cat([count for _, count in sums]))
    loss = residual.new_zeros(())
    for (total, _), count in zip(sums, counts, strict=True):
        loss = loss + total.squeeze(0) / count
    return loss
