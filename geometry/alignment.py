"""Per-image alignment of a prediction to a target: by a scale (ratio of medians, least squares) or by scale and shift.

Losses differentiate through the least-squares solutions; metrics use them to compare depth up to scale, or scale and
shift.
"""

import torch
from torch import Tensor

from geometry.stencils import at_least_float32, fill_outside, masked_mean_per_image, masked_median_per_image


def median_scale(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """Ratio of the medians of each target and its prediction (Zhou et al. 2017).

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``; the medians are those of the masked pixels, with numpy's convention for even
            counts.

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

    Computed from centred moments, ``s = cov(p, g) / var(p)`` and ``t = mean(g) - s * mean(p)``, which is equivalent to
    the normal equations of the paper but avoids their cancellation in float32. Gradients flow through the solution.

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
    # Due to rounding, a constant prediction has a variance of (eps * value)^2; below 100 eps it counts as constant.
    rounding = (100 * torch.finfo(prediction.dtype).eps) ** 2 * masked_mean_per_image(
        prediction.detach().square(), mask
    )
    constant = variance <= rounding
    scale = fill_outside(covariance / fill_outside(variance, ~constant, 1.0), ~constant)
    return scale, mean_target - scale * mean_prediction


def mean_scale(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """Ratio of the means of each target and its prediction.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``, the pixels of both means.

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
    """Least-squares scale and shift of each image, or the ratio of means where that scale is not positive.

    This is the alignment of evaluations (LeReS): with a negative scale a reversed prediction would be flipped and
    scored as a good one. If the ratio of means is negative too, the scale is 1 (see :func:`mean_scale`); the released
    code takes the negative ratio. Losses use :func:`scale_and_shift`, the unconstrained minimum.

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
        ``(B,)`` in at least float32; 1 where the mask is empty or the prediction is zero everywhere in it. Positive for
        positive depths, negative where prediction and target have opposite signs.
    """
    prediction = fill_outside(at_least_float32(prediction), mask)
    target = fill_outside(at_least_float32(target), mask)
    # Means instead of sums: the sum of squared disparities in pixels over a large image would be large.
    square = masked_mean_per_image(prediction.square(), mask)
    product = masked_mean_per_image(prediction * target, mask)
    empty = square == 0
    return fill_outside(product / fill_outside(square, ~empty, 1.0), ~empty, 1.0)


@torch.no_grad()
def least_absolute_scale(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """Exact ``argmin_(a > 0) sum_mask |a * prediction - target|`` for each image.

    The sum is ``sum |p| |a - g / p|``, whose minimum is the median of ``g / p`` with the weights ``|p|``; if the
    minimum is an interval, its lower end is taken. The weights are summed as integers (40 bits each), so that the
    result does not depend on the order of summation.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``.
        mask: bool ``(B, 1, H, W)``, at most 2^22 pixels in each image.

    Returns:
        ``(B,)`` in at least float32, without gradient; 1 where the mask is empty, the prediction is zero everywhere in
        it, or the best factor is not positive.
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
    # Sorting and integers cannot represent a NaN, which has to stay visible in the result.
    unknown = (prediction + target).isnan().any(dim=1)
    scale = fill_outside(scale, (scale > 0) & present.any(dim=1) & scale.isfinite(), 1.0)
    return fill_outside(scale, ~unknown, float("nan"))
