"""Losses of MiDaS (Ranftl et al. 2020, https://arxiv.org/abs/1907.01341): blind to scale and shift of each image.

The paper applies them to inverse depth; nothing here depends on that. Both reduce over the batch: sums over all images
are divided by the number of masked pixels of all images, so that an image with few measurements weighs little.
"""

from torch import Tensor

from geometry.alignment import scale_and_shift
from geometry.stencils import fill_outside, forward_differences, masked_mean, neighbour_masks, strided_pyramid
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
