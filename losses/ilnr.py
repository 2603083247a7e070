"""Image-level normalised regression and its multi-scale gradients (LeReS, Yin et al. 2021, arXiv 2012.09365, eq. 3).

The truth of each image is normalised by statistics that outliers do not reach; the *prediction is taken as it is*, so
the network learns the normalised depth itself and its output must be free to be negative. For a network that predicts
positive depth see ``losses/by_kind.py``. Constants as in the released training code.
"""

import torch
from torch import Tensor

from geometry.stencils import (
    fill_outside,
    masked_mean,
    masked_mean_per_image,
    strided_pyramid,
    trimmed_moments_per_image,
)
from losses.inputs import prepare

TRIM = 0.1
"""Share of the truth that is left out at each end before its mean and deviation are taken."""
SQUASH = 0.01
"""Factor inside the hyperbolic tangent of the second term, in which far outliers count less."""
MIN_PIXELS = 100
"""An image needs more measured pixels than this."""
_EPS = 1e-8
"""Added to the deviation."""


def normalise_truth(target: Tensor, mask: Tensor, *, trim: float = TRIM) -> Tensor:
    """Truth of each image less its trimmed mean, over its trimmed unbiased standard deviation.

    The statistics are those of the *positive* truth in the mask, so that a sky of disparity 0 does not count in them.

    Args:
        target: ``(B, 1, H, W)``, depth or disparity in any unit.
        mask: bool ``(B, 1, H, W)``.
        trim: share left out at each end.

    Returns:
        ``(B, 1, H, W)`` in at least float32, 0 outside the mask. Where all that is left is equal, the truth is only
        centred (the released code divides by 1e-8).

    Raises:
        ValueError: if ``trim`` is not at least 0 and below 0.5.
    """
    target = fill_outside(target, mask)
    # A NaN is not positive, but has to stay visible.
    mean, deviation = trimmed_moments_per_image(target, mask & ~(target <= 0), trim=trim)
    divisor = torch.where(deviation == 0, 1.0, deviation + _EPS)
    return fill_outside((target - mean.view(-1, 1, 1, 1)) / divisor.view(-1, 1, 1, 1), mask)


def ilnr(
    prediction: Tensor,
    *,
    target: Tensor,
    mask: Tensor,
    trim: float = TRIM,
    squash: float = SQUASH,
    min_pixels: int = MIN_PIXELS,
) -> Tensor:
    """``mean |g - p| + mean |tanh(c g) - tanh(c p)|`` with the normalised truth ``g``, averaged over images.

    Args:
        prediction: ``(B, 1, H, W)``, any real values.
        target: ``(B, 1, H, W)``, depth or disparity in any unit.
        mask: bool ``(B, 1, H, W)``.
        trim: share of the truth left out of its statistics at each end, LeReS's 0.1.
        squash: ``c``, LeReS's 0.01.
        min_pixels: images with this many measured pixels or fewer do not count, LeReS's 100.

    Returns:
        Scalar, without unit. If no image counts, a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ, the mask is not bool, or ``trim`` is outside of its range.
    """
    prediction, target = prepare(prediction, target, mask)
    target = normalise_truth(target, mask, trim=trim)
    squashed = ((squash * target).tanh() - (squash * prediction).tanh()).abs()
    per_image = masked_mean_per_image((target - prediction).abs() + squashed, mask)
    return masked_mean(per_image, mask.flatten(1).sum(dim=1) > min_pixels)


def multi_scale_gradient_ilnr(
    prediction: Tensor, *, target: Tensor, mask: Tensor, scales: int = 4, trim: float = TRIM
) -> Tensor:
    """Differences over two pixels of the residual to the normalised truth, at several scales, summed over the scales.

    At scale ``k`` every ``2^k``-th pixel is kept. A difference counts where both its ends are masked; the sum of both
    directions is divided by the number of such differences in the whole batch.

    Args:
        prediction: ``(B, 1, H, W)``, any real values.
        target: ``(B, 1, H, W)``, depth or disparity in any unit.
        mask: bool ``(B, 1, H, W)``.
        scales: number of scales, LeReS's 4.
        trim: share of the truth left out of its statistics at each end, LeReS's 0.1.

    Returns:
        Scalar, without unit; LeReS weighs it by 0.5. An empty mask gives a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ, the mask is not bool, ``scales`` is below 1 or ``trim`` outside of its range.
    """
    prediction, target = prepare(prediction, target, mask)
    residual = prediction - normalise_truth(target, mask, trim=trim)
    loss = residual.new_zeros(())
    for level, both in zip(strided_pyramid(residual, scales), strided_pyramid(mask, scales), strict=True):
        mask_x, mask_y = both[..., 2:] & both[..., :-2], both[..., 2:, :] & both[..., :-2, :]
        total_x = fill_outside((level[..., 2:] - level[..., :-2]).abs(), mask_x).sum()
        total_y = fill_outside((level[..., 2:, :] - level[..., :-2, :]).abs(), mask_y).sum()
        loss = loss + (total_x + total_y) / (mask_x.sum() + mask_y.sum()).clamp(min=1)
    return loss
