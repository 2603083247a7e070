"""Image-level normalised regression and its multi-scale gradients (LeReS, Yin et al. 2021, arXiv 2012.09365, eq. 3).

The ground truth of each image is normalised by trimmed statistics, which ignore outliers. The *prediction is compared
as it is*: the network learns the normalised depth itself, so its output must be allowed to be negative. For a network
that predicts positive depth see ``losses/by_kind.py``. The constants are those of the released training code.
"""

import torch
from torch import Tensor

from geometry.stencils import fill_outside, masked_mean, masked_mean_per_image, trimmed_moments_per_image
from losses.gradient_matching import gradient_matching
from losses.inputs import prepare

TRIM = 0.1
"""Fraction of the ground truth that is left out at each end before its mean and deviation are taken."""
SQUASH = 0.01
"""Factor inside the hyperbolic tangent of the second term, which limits the influence of outliers."""
MIN_PIXELS = 100
"""An image needs more measured pixels than this."""
_EPS = 1e-8
"""Added to the deviation."""


def normalise_truth(target: Tensor, mask: Tensor, *, trim: float = TRIM) -> Tensor:
    """Ground truth minus the trimmed mean of its image, divided by its trimmed unbiased standard deviation.

    The statistics are those of the *positive* values in the mask, so that a sky of disparity 0 does not enter them.

    Args:
        target: ``(B, 1, H, W)``, depth or disparity in any unit.
        mask: bool ``(B, 1, H, W)``.
        trim: fraction left out at each end.

    Returns:
        ``(B, 1, H, W)`` in at least float32, 0 outside the mask. Where all remaining values are equal, they are
        only centred (the released code divides by 1e-8).

    Raises:
        ValueError: if ``trim`` is not at least 0 and below 0.5.
    """
    target = fill_outside(target, mask)
    # A NaN is not positive, but has to stay visible.
    mean, deviation = trimmed_moments_per_image(target, mask & ~(target <= 0), trim=trim)
    divisor = torch.where(deviation == 0, 1.0, deviation + _EPS)
    return fill_outside((target - mean.view(-1, 1, 1, 1)) / divisor.view(-1, 1, 1, 1), mask)


def ilnr_per_image(prediction: Tensor, normalised: Tensor, mask: Tensor, *, squash: float = SQUASH) -> Tensor:
    """``mean |g - p| + mean |tanh(c g) - tanh(c p)|`` of each image, with ground truth that is already normalised.

    Args:
        prediction: ``(B, 1, H, W)``.
        normalised: ``(B, 1, H, W)``, ``g``.
        mask: bool ``(B, 1, H, W)``.
        squash: ``c``.

    Returns:
        ``(B,)``, without unit; 0 where the mask is empty.
    """
    squashed = ((squash * normalised).tanh() - (squash * prediction).tanh()).abs()
    return masked_mean_per_image((normalised - prediction).abs() + squashed, mask)


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
        trim: fraction of the ground truth left out of its statistics at each end, LeReS's 0.1.
        squash: ``c``, LeReS's 0.01.
        min_pixels: images with this many measured pixels or fewer do not count, LeReS's 100.

    Returns:
        Scalar, without unit. If no image counts, a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ, the mask is not bool, or ``trim`` is out of range.
    """
    prediction, target = prepare(prediction, target, mask)
    per_image = ilnr_per_image(prediction, normalise_truth(target, mask, trim=trim), mask, squash=squash)
    return masked_mean(per_image, mask.flatten(1).sum(dim=1) > min_pixels)


def multi_scale_gradient_ilnr(
    prediction: Tensor, *, target: Tensor, mask: Tensor, scales: int = 4, trim: float = TRIM
) -> Tensor:
    """Absolute differences, over two pixels, of the residual to the normalised truth, summed over several scales.

    The sum of each scale is divided by the number of its differences in the whole batch; see
    :func:`losses.gradient_matching.gradient_matching_per_image`.

    Args:
        prediction: ``(B, 1, H, W)``, any real values.
        target: ``(B, 1, H, W)``, depth or disparity in any unit.
        mask: bool ``(B, 1, H, W)``.
        scales: number of scales, LeReS's 4.
        trim: fraction of the ground truth left out of its statistics at each end, LeReS's 0.1.

    Returns:
        Scalar, without unit; LeReS weighs it by 0.5. An empty mask gives a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ, the mask is not bool, ``scales`` is below 1 or ``trim`` is out of range.
    """
    prediction, target = prepare(prediction, target, mask)
    residual = prediction - normalise_truth(target, mask, trim=trim)
    return gradient_matching(residual, mask, scales=scales, spacing=2, per_pair=True)
