"""Losses of MiDaS (Ranftl et al. 2020, https://arxiv.org/abs/1907.01341): blind to scale and shift of each image.

The paper applies them to inverse depth; nothing here depends on that. The two of the authors' training code reduce over
the batch: sums over all images are divided by the number of masked pixels of all images, so that an image with few
measurements weighs little. The trimmed loss averages images.
"""

import torch
from torch import Tensor

from geometry.alignment import scale_and_shift
from geometry.stencils import (
    fill_outside,
    forward_differences,
    masked_deviation_per_image,
    masked_mean,
    masked_mean_per_image,
    masked_median_per_image,
    neighbour_masks,
    smallest_sum_per_image,
    strided_pyramid,
)
from losses.inputs import prepare


def _aligned_residual(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """``s * prediction + t - target`` with the least-squares s and t of each image, zero outside the mask."""
    prediction, target = prepare(prediction, target, mask)
    scale, shift = scale_and_shift(prediction, target=target, mask=mask)
    return fill_outside(scale.view(-1, 1, 1, 1) * prediction + shift.view(-1, 1, 1, 1) - target, mask)


def scale_and_shift_invariant(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """``sum r^2 / (2 * number of masked pixels)`` of the aligned residual ``r`` (MiDaS, eq. 3 with the MSE of eq. 4).

    Gradients flow through the alignment.

    Args:
        prediction: ``(B, 1, H, W)``, up to an unknown scale and shift of each image.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``.

    Returns:
        Scalar, in half the squared unit of the target. An empty mask gives a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ or the mask is not bool.
    """
    return masked_mean(_aligned_residual(prediction, target, mask).square(), mask) / 2


def _normalised(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Values less the median over the mean absolute deviation of each image (MiDaS, eq. 5 and 6); where there is any.

    Constant images have a deviation of nothing but rounding and stay as they are less their median.
    """
    deviation = masked_deviation_per_image(values, mask)
    rounding = 100 * torch.finfo(values.dtype).eps * masked_mean_per_image(values.detach().abs(), mask)
    constant = deviation <= rounding  # False for a NaN, which has to stay visible
    median = masked_median_per_image(values, mask).view(-1, 1, 1, 1)
    divisor = fill_outside(deviation, ~constant, 1.0).view(-1, 1, 1, 1)
    return fill_outside((values - median) / divisor, mask), ~constant


def trimmed_scale_and_shift_invariant(prediction: Tensor, *, target: Tensor, mask: Tensor, trim: float = 0.2) -> Tensor:
    """MiDaS's trimmed loss (eq. 7): both normalised robustly, the largest residuals of each image dropped.

    ``sum |p - g| / (2 n)`` of the smallest ``1 - trim`` of the residuals, ``n`` the number of masked pixels, of values
    less their median and divided by their mean absolute deviation from it. Averaged over images. Unlike the
    least-squares loss it never aligns with a negative scale, so a reversed prediction is a large error.

    Args:
        prediction: ``(B, 1, H, W)``, up to an unknown positive scale and a shift of each image.
        target: ``(B, 1, H, W)``; images in which it is constant say nothing and do not count.
        mask: bool ``(B, 1, H, W)``.
        trim: share of the residuals that is dropped, the paper's 0.2; at least 0 and below 1.

    Returns:
        Scalar, without unit. An empty mask gives a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ, the mask is not bool, or ``trim`` is outside of its range.
    """
    prediction, target = prepare(prediction, target, mask)
    normalised_target, usable = _normalised(target, mask)
    residual = (_normalised(prediction, mask)[0] - normalised_target).abs()
    total, _ = smallest_sum_per_image(residual, mask, drop=trim)
    return masked_mean(total / (2 * mask.flatten(1).sum(dim=1).clamp(min=1)), usable)


def multi_scale_gradient_matching(
    prediction: Tensor, *, target: Tensor, mask: Tensor, scales: int = 4, align: bool = True
) -> Tensor:
    """Absolute gradients of the aligned residual at several scales (MiDaS, eq. 11), summed over the scales.

    At scale ``k`` every ``2^k``-th pixel is kept; forward differences count where both ends are masked; their sum is
    divided by the number of masked pixels (not of pairs) of that scale, as in the authors' training loss.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``.
        scales: number of scales, the paper's 4.
        align: whether the prediction is first aligned by least-squares scale and shift; False compares it as it is.

    Returns:
        Scalar, unit of the target per pixel. An empty mask gives a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ, the mask is not bool, or ``scales`` is below 1.
    """
    if align:
        residual = _aligned_residual(prediction, target, mask)
    else:
        prediction, target = prepare(prediction, target, mask)
        residual = prediction - target
    loss = residual.new_zeros(())
    for level, level_mask in zip(strided_pyramid(residual, scales), strided_pyramid(mask, scales), strict=True):
        differences_x, differences_y = forward_differences(level)
        mask_x, mask_y = neighbour_masks(level_mask)
        total = fill_outside(differences_x.abs(), mask_x).sum() + fill_outside(differences_y.abs(), mask_y).sum()
        loss = loss + total / level_mask.sum().clamp(min=1)
    return loss
