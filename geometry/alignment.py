"""Per-image alignment of a prediction to a target: by the ratio of medians, or by least-squares scale and shift.

Losses differentiate through the least-squares solution; metrics use both to compare depth up to scale or affinity.
"""

import torch
from torch import Tensor

from geometry.stencils import at_least_float32, fill_outside, masked_mean_per_image, masked_median_per_image


def median_scale(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """The factor that brings the median of each prediction to the median of its target (Zhou et al. 2017).

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``; both medians are taken over it, with numpy's convention for even counts.

    Returns:
        ``(B,)``, ``median(target) / median(prediction)``; 1 where the mask is empty or the median of the prediction
        is not positive, since no positive factor aligns it then.
    """
    median_target = masked_median_per_image(target, mask)
    median_prediction = masked_median_per_image(prediction, mask)
    # A NaN median is not degenerate: it has to stay visible in the result.
    degenerate = (median_prediction <= 0) | ~mask.flatten(1).any(dim=1)
    ratio = median_target / fill_outside(median_prediction, ~degenerate, 1.0)
    return fill_outside(ratio, ~degenerate, 1.0)


def scale_and_shift(prediction: Tensor, *, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Closed-form ``argmin_(s, t) sum_mask (s * prediction + t - target)^2`` for each image (MiDaS, eq. 4).

    Written with centred moments, ``s = cov(p, g) / var(p)`` and ``t = mean(g) - s * mean(p)``: the normal equations of
    the paper in exact arithmetic, without their cancellation in float32. Gradients flow through the solution.

    Degenerate masks: an empty one gives ``s = t = 0`` as in MiDaS. A prediction that is constant over the mask (a
    single pixel included) gives ``s = 0, t = mean(target)``, which does minimise the sum; MiDaS gives zeros there.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``.

    Returns:
        ``scale`` and ``shift``, each ``(B,)``, in at least float32. The scale may be negative.
    """
    prediction = fill_outside(at_least_float32(prediction), mask)
    target = fill_outside(at_least_float32(target), mask)
    mean_prediction = masked_mean_per_image(prediction, mask)
    mean_target = masked_mean_per_image(target, mask)
    centred_prediction = prediction - mean_prediction.view(-1, 1, 1, 1)
    centred_target = target - mean_target.view(-1, 1, 1, 1)
    variance = masked_mean_per_image(centred_prediction.square(), mask)
    covariance = masked_mean_per_image(centred_prediction * centred_target, mask)
    # Rounding leaves a constant prediction with a variance of (eps * value)^2; what is below 100 eps is no contrast.
    rounding = (100 * torch.finfo(prediction.dtype).eps) ** 2 * masked_mean_per_image(
        prediction.detach().square(), mask
    )
    constant = variance <= rounding
    scale = fill_outside(covariance / fill_outside(variance, ~constant, 1.0), ~constant)
    return scale, mean_target - scale * mean_prediction


def mean_scale(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """The factor that brings the mean of each prediction to the mean of its target.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``, over which both means are taken.

    Returns:
        ``(B,)`` in at least float32, ``mean(target) / mean(prediction)``; 1 where the mask is empty or the mean of the
        prediction is not positive, since no positive factor aligns it then.
    """
    mean_target = masked_mean_per_image(target, mask)
    mean_prediction = masked_mean_per_image(prediction, mask)
    # A NaN mean is not degenerate: it has to stay visible in the result.
    degenerate = mean_prediction <= 0
    return fill_outside(mean_target / fill_outside(mean_prediction, ~degenerate, 1.0), ~degenerate, 1.0)


def increasing_scale_and_shift(prediction: Tensor, *, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares scale and shift of each image, or the ratio of means alone where that scale is not positive.

    The alignment of evaluations (LeReS): a fit with a negative scale would turn a reversed prediction around and score
    it as a good one. Where the released code takes the ratio of means even if it is negative, this one takes 1, see
    :func:`mean_scale`. Losses take :func:`scale_and_shift`, the plain minimum.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``.

    Returns:
        ``scale``, positive, and ``shift``, each ``(B,)``, in at least float32; the shift is 0 where the ratio is taken.
    """
    scale, shift = scale_and_shift(prediction, target=target, mask=mask)
    # A NaN scale is not reversed: it has to stay visible in the result.
    reversed_order = scale <= 0
    ratio = mean_scale(prediction, target=target, mask=mask).to(scale.dtype)
    return torch.where(reversed_order, ratio, scale), fill_outside(shift, ~reversed_order)


def least_squares_scale(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """Closed-form ``argmin_a sum_mask (a * prediction - target)^2`` for each image: ``sum(p g) / sum(p^2)``.

    Gradients flow through the solution.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``.

    Returns:
        ``(B,)`` in at least float32; 1 where the mask is empty or the prediction zero all over it. Positive for
        positive depths, but negative where the prediction runs against the target.
    """
    prediction = fill_outside(at_least_float32(prediction), mask)
    target = fill_outside(at_least_float32(target), mask)
    # The mean instead of the sum: squares of disparities in pixels over a large image stay small numbers.
    square = masked_mean_per_image(prediction.square(), mask)
    product = masked_mean_per_image(prediction * target, mask)
    empty = square == 0
    return fill_outside(product / fill_outside(square, ~empty, 1.0), ~empty, 1.0)


@torch.no_grad()
def least_absolute_scale(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """Exact ``argmin_(a > 0) sum_mask |a * prediction - target|`` for each image.

    The sum is ``sum |p| |a - g / p|``, which the median of ``g / p`` with the weights ``|p|`` makes smallest; where a
    whole interval does, its lower end is taken. The weights are added as integers (40 bits each), so that the result
    does not depend on the order of the sum.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``, at most 2^22 pixels an image.

    Returns:
        ``(B,)`` in at least float32, without gradient; 1 where the mask is empty, the prediction zero all over it, or
        the best factor not positive.
    """
    prediction = fill_outside(at_least_float32(prediction), mask).flatten(1)
    target = fill_outside(at_least_float32(target), mask).flatten(1)
    weight = prediction.abs()
    present = weight > 0
    ratio = fill_outside(target / fill_outside(prediction, present, 1.0), present, float("inf"))
    ratio, order = ratio.sort(dim=1)
    largest = weight.amax(dim=1, keepdim=True)
    share = weight.to(torch.float64) / fill_outside(largest, largest > 0, 1.0)
    cumulative = (share * 2**40).round().to(torch.int64).gather(1, order).cumsum(dim=1)
    total = cumulative[:, -1:]
    middle = (2 * cumulative < total).sum(dim=1, keepdim=True).clamp(max=ratio.shape[1] - 1)
    scale = ratio.gather(1, middle).squeeze(1)
    # A NaN has no place in an order and no integer: it has to stay visible in the result.
    unknown = (prediction + target).isnan().any(dim=1)
    scale = fill_outside(scale, (scale > 0) & present.any(dim=1) & scale.isfinite(), 1.0)
    return fill_outside(scale, ~unknown, float("nan"))
