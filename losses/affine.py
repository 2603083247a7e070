"""Losses of MiDaS (Ranftl et al. 2020, https://arxiv.org/abs/1907.01341), invariant to scale and shift of each image.

The paper applies them to inverse depth; nothing here depends on that. The squared and the gradient loss reduce over
the batch, as the authors' training code does: sums over all images are divided by the number of masked pixels of all
images, so that an image with few measurements weighs little. The trimmed loss averages images.
"""

import torch
from torch import Tensor

from geometry.alignment import scale_and_shift
from geometry.stencils import (
    fill_outside,
    masked_deviation_per_image,
    masked_mean,
    masked_mean_per_image,
    masked_median_per_image,
    smallest_sum_per_image,
)
from losses.gradient_matching import gradient_matching
from losses.inputs import prepare

TRIM = 0.2
"""Fraction of the largest residuals that the trimmed loss drops."""


def rounding_spread(values: Tensor, mask: Tensor) -> Tensor:
    """Spread ``(B,)`` up to which an image counts as constant: that of the rounding of its values."""
    return 100 * torch.finfo(values.dtype).eps * masked_mean_per_image(values.detach().abs(), mask)


def robust_scale_and_shift(prediction: Tensor, *, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift that give each prediction the median and the mean absolute deviation of its target.

    Outliers, which the trimmed loss is to drop, have little influence on either.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``.

    Returns:
        ``scale``, not negative, and ``shift``, each ``(B,)``; a scale of 0 for a constant prediction.
    """
    deviation = masked_deviation_per_image(prediction, mask)
    varies = deviation > rounding_spread(prediction, mask)
    scale = masked_deviation_per_image(target, mask) / fill_outside(deviation, varies, 1.0)
    scale = fill_outside(scale, varies)
    return scale, masked_median_per_image(target, mask) - scale * masked_median_per_image(prediction, mask)


def trimmed_mean_per_image(residual: Tensor, mask: Tensor, *, trim: float = TRIM) -> Tensor:
    """Mean of the smallest ``1 - trim`` of the masked residuals of each image, ``(B,)``."""
    total, kept = smallest_sum_per_image(residual, mask, drop=trim)
    return total / kept.clamp(min=1)


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
    """Values minus the median, divided by the mean absolute deviation of each image (MiDaS, eq. 5 and 6).

    Returns the normalised values ``(B, 1, H, W)``, in constant images only minus the median, and bool ``(B,)``, whether
    an image is not constant.
    """
    deviation = masked_deviation_per_image(values, mask)
    constant = deviation <= rounding_spread(values, mask)  # False for a NaN, which has to stay visible
    median = masked_median_per_image(values, mask).view(-1, 1, 1, 1)
    divisor = fill_outside(deviation, ~constant, 1.0).view(-1, 1, 1, 1)
    return fill_outside((values - median) / divisor, mask), ~constant


def trimmed_scale_and_shift_invariant(
    prediction: Tensor, *, target: Tensor, mask: Tensor, trim: float = TRIM
) -> Tensor:
    """MiDaS's trimmed loss (eq. 7): both sides are normalised robustly, and the largest residuals are dropped.

    ``sum |p - g| / (2 n)`` over the smallest ``1 - trim`` of the residuals, ``n`` the number of masked pixels; ``p``
    and ``g`` are the prediction and the target minus their median, divided by their mean absolute deviation from it.
    Averaged over images. Unlike the least-squares loss it never aligns with a negative scale, so a reversed prediction
    has a large error.

    Args:
        prediction: ``(B, 1, H, W)``, up to an unknown positive scale and a shift of each image.
        target: ``(B, 1, H, W)``; images in which it is constant do not count.
        mask: bool ``(B, 1, H, W)``.
        trim: fraction of the residuals that is dropped, the paper's 0.2; at least 0 and below 1.

    Returns:
        Scalar, without unit. An empty mask gives a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ, the mask is not bool, or ``trim`` is out of range.
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

    The sum of each scale is divided by the number of its masked pixels (not of pairs), as in the authors' training
    loss; see :func:`losses.gradient_matching.gradient_matching_per_image`.

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
    return gradient_matching(residual, mask, scales=scales)
