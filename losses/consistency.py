"""Consistency of predicted depth and images with renderings from another view, and the sign of the disagreement.

These are the terms of render consistency (arXiv 2309.09724). The paper gives no formulas: the relative difference is
SC-Depth's, which is bounded, and the signed estimator is this project's. Inputs are to be aligned by one *scale* per
image, not by a shift, because the shift is the error that the terms measure.
"""

import torch
from torch import Tensor

from geometry.alignment import scale_and_shift
from geometry.processes import mean_over_processes, n_processes
from geometry.stencils import (
    at_least_float32,
    fill_outside,
    masked_deviation_per_image,
    masked_mean,
    masked_mean_per_image,
    masked_median_per_image,
)
from losses.inputs import prepare
from losses.ssim import ssim_loss


def relative_difference(a: Tensor, b: Tensor, *, mask: Tensor) -> Tensor:
    """Mean of ``|a - b| / (a + b)`` over the masked pixels of the batch (SC-Depth, Bian et al. 2021, eq. 3).

    Bounded and symmetric. It decreases when a constant is added to both arguments, so that it has no minimum at the
    correct shift if the two differ for other reasons as well.

    Args:
        a: ``(B, 1, H, W)``, positive inside the mask.
        b: ``(B, 1, H, W)``, positive inside the mask, the unit of ``a``.
        mask: bool ``(B, 1, H, W)``.

    Returns:
        Scalar between 0 and 1. An empty mask gives a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ or the mask is not bool.
    """
    a, b = prepare(a, b, mask, fill=1.0)
    return masked_mean((a - b).abs() / (a + b), mask)


def spread_difference(a: Tensor, b: Tensor, *, mask: Tensor) -> Tensor:
    """Mean ``|a - b|`` divided by the spread of ``b``, which does not change when a constant is added to both.

    The spread is the mean absolute deviation from the median; it and the error of each image are in units of the median
    of ``b``. Sums over the batch are divided, not those of each image, since an image of a single wall has almost no
    spread. Gradients flow through median and spread: otherwise predicting a smaller depth everywhere would reduce the
    loss.

    Args:
        a: ``(B, 1, H, W)``.
        b: ``(B, 1, H, W)``, the unit of ``a``; an image whose median is not positive does not count.
        mask: bool ``(B, 1, H, W)``.

    Returns:
        Scalar. An empty mask gives a zero that stays in the graph.

    Raises:
        ValueError: if the shapes differ or the mask is not bool.
    """
    a, b = prepare(a, b, mask)
    median = masked_median_per_image(b, mask)
    usable = ~(median <= 0)  # a NaN has to stay visible
    median = fill_outside(median, usable, 1.0)
    error = fill_outside(masked_mean_per_image((a - b).abs(), mask) / median, usable).sum()
    spread = fill_outside(masked_deviation_per_image(b, mask) / median, usable).sum()
    if n_processes() > 1:
        error, spread = mean_over_processes(torch.stack([error, spread])).unbind()
    return error / fill_outside(spread, ~(spread <= 0), 1.0)


def image_consistency(
    rendered: Tensor, *, image: Tensor, mask: Tensor, ssim_weight: float = 0.85, window_size: int = 3
) -> Tensor:
    """``w (1 - SSIM) / 2 + (1 - w) |x - y|`` between a rendered image with holes and the photo.

    The absolute difference is the mean over the mask. SSIM is the mean over the windows that lie entirely inside it.

    Args:
        rendered: ``(B, C, H, W)``, values in [0, 1]; anything in holes.
        image: ``(B, C, H, W)``, values in [0, 1].
        mask: bool ``(B, 1, H, W)``, False in holes.
        ssim_weight: ``w``, 0.85 as in self-supervised depth (Godard et al. 2017); 0 leaves SSIM out.
        window_size: odd side of the box window in pixels.

    Returns:
        Scalar between 0 and 1. An empty mask gives a zero that stays in the graph.

    Raises:
        ValueError: if shapes do not fit, the mask is not bool, the weight lies outside of [0, 1], or the window does
            not fit into the image.
    """
    if not 0 <= ssim_weight <= 1:
        raise ValueError(f"ssim_weight is {ssim_weight}, but it must lie in [0, 1].")
    if rendered.ndim != 4 or mask.shape != rendered[:, :1].shape:
        raise ValueError(
            f"rendered and mask have the shapes {tuple(rendered.shape)} and {tuple(mask.shape)}, but they must be "
            "(B, C, H, W) and (B, 1, H, W)."
        )
    mask = mask.expand_as(rendered)
    rendered, image = prepare(rendered, image, mask)
    loss = (1 - ssim_weight) * masked_mean((rendered - image).abs(), mask)
    if ssim_weight > 0:
        loss = loss + ssim_weight * ssim_loss(rendered, target=image, mask=mask, window_size=window_size, window="box")
    return loss


def signed_slope(residual: Tensor, *, regressor: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Slope of the linear least-squares fit of a residual to a regressor, with intercept, in each image.

    If depth is too large by ``s`` everywhere, the predictions for two views that differ by a yaw of ``phi`` differ by
    about ``s sin(phi) x / f`` once the scale is aligned. With the regressor ``sin(phi) x / f`` the slope is an estimate
    of ``s`` with its sign, for either direction of the rotation. Gradients flow through the solution.

    Args:
        residual: ``(B, 1, H, W)``, for instance aligned prediction minus rendered depth.
        regressor: ``(B, 1, H, W)``, for instance ``sin(phi) (x - cx) / f``.
        mask: bool ``(B, 1, H, W)``.
        weight: ``(B, 1, H, W)``, not negative, weight of each pixel; None gives all the same weight.

    Returns:
        ``(B,)``, unit of the residual per unit of the regressor, in at least float32; 0 (in the graph) where the mask
        is empty or the regressor constant over it.

    Raises:
        ValueError: if the shapes differ or the mask is not bool.
    """
    regressor, residual = prepare(regressor, residual, mask)
    if weight is None:
        return scale_and_shift(regressor, target=residual, mask=mask)[0]
    if weight.shape != mask.shape:
        raise ValueError(f"weight has the shape {tuple(weight.shape)}, but it must be {tuple(mask.shape)}.")
    weight = fill_outside(at_least_float32(weight), mask)
    total = masked_mean_per_image(weight, mask)
    total = fill_outside(total, total > 0, 1.0)

    def mean(values: Tensor) -> Tensor:
        return masked_mean_per_image(weight * values, mask) / total

    centred_regressor = regressor - mean(regressor).view(-1, 1, 1, 1)
    centred_residual = residual - mean(residual).view(-1, 1, 1, 1)
    variance = mean(centred_regressor.square())
    # The variance of a constant regressor due to rounding, as in scale_and_shift.
    rounding = (100 * torch.finfo(regressor.dtype).eps) ** 2 * mean(regressor.detach().square())
    constant = variance <= rounding
    return fill_outside(mean(centred_regressor * centred_residual) / fill_outside(variance, ~constant, 1.0), ~constant)


def signed_inconsistency(slopes: Tensor, *, limit: float = 2.0) -> Tensor:
    """Unbiased estimate of the squared mean slope over images; zero if the shift is correct.

    An error that a network makes in every view (regression to the mean on rendered images, for instance) gives the
    residual the same slope for ``+phi`` and ``-phi``. The regressor contains the sign of the rotation, so that this
    part of the slope changes its sign between the two views and cancels in their mean.

    The square of the mean of n noisy slopes is too large by their variance / n, and a network can reduce that variance
    by flattening its depth, which is an error too. The mean product of slopes of *different* images,
    ``(sum(s)^2 - sum(s^2)) / (n (n - 1))``, is an unbiased estimate of the same square; it may be negative.

    Args:
        slopes: ``(V, N)``, of V views of N images, both directions in equal number, each regressed on
            ``sin(phi) x / f`` (or multiplied by the sign of ``phi`` afterwards).
        limit: slopes are bounded by ``limit tanh(s / limit)``, since the slope of an image of a single wall is
            arbitrary.

    Returns:
        Scalar, in the squared unit of the slopes; differentiable. The plain square for a single image.

    Raises:
        ValueError: if there is no slope or the limit is not positive.
    """
    if slopes.ndim != 2 or slopes.numel() == 0:
        raise ValueError(f"slopes has shape {tuple(slopes.shape)}, but (V, N) with at least one of each is needed.")
    if not limit > 0:
        raise ValueError(f"limit is {limit}, but it must be positive.")
    slope = (limit * (at_least_float32(slopes) / limit).tanh()).mean(dim=0)
    total, squares, count = slope.sum(), slope.square().sum(), len(slope)
    if n_processes() > 1:
        means = mean_over_processes(torch.stack([total, squares, total.new_tensor(float(count))]))
        total, squares, number = (n_processes() * means).unbind()
        return (total.square() - squares) / (number * (number - 1))
    return squares if count == 1 else (total.square() - squares) / (count * (count - 1))
