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
