"""Pixel-wise losses of supervised depth: L1, MSE, RMSE, BerHu, gradient L1 and the scale-invariant log error.

All take a prediction and a target ``(B, 1, H, W)`` in the same unit and a bool mask of that shape, and give a scalar in
at least float32. Means run over the masked pixels of the whole batch unless a docstring says otherwise. An empty mask
gives a zero that stays in the graph. Shapes that differ and a mask that is not bool raise a ValueError.
"""

import torch
from torch import Tensor

from geometry.processes import max_over_processes, mean_over_processes
from geometry.stencils import (
    fill_outside,
    forward_differences,
    masked_mean,
    masked_mean_per_image,
    neighbour_masks,
)
from losses.inputs import prepare


def l1(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error, in the unit of the inputs."""
    prediction, target = prepare(prediction, target, mask)
    return masked_mean((prediction - target).abs(), mask)


def mse(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error, in the squared unit of the inputs."""
    prediction, target = prepare(prediction, target, mask)
    return masked_mean((prediction - target).square(), mask)


def rmse(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """Root of the mean squared error over the batch, in the unit of the inputs.

    At an error of exactly zero, where the root has no derivative, the gradient is zero.
    """
    squared = mean_over_processes(mse(prediction, target=target, mask=mask))
    exact = squared == 0
    return torch.where(exact, squared, fill_outside(squared, ~exact, 1.0).sqrt())


def berhu(prediction: Tensor, *, target: Tensor, mask: Tensor, threshold_fraction: float = 0.2) -> Tensor:
    """Reverse Huber loss (Laina et al. 2016, eq. 2): ``|x|`` up to ``c`` and ``(x^2 + c^2) / (2 c)`` above.

    ``x`` is the residual and ``c = threshold_fraction * max |x|`` over the masked pixels of the batch. ``c`` counts as
    a constant of the step: no gradient flows through it.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``, the unit of ``prediction``.
        mask: bool ``(B, 1, H, W)``.
        threshold_fraction: the paper's 1/5.

    Returns:
        Scalar, in the unit of the inputs.

    Raises:
        ValueError: if the shapes differ, the mask is not bool, or the fraction is not positive.
    """
    if threshold_fraction <= 0:
        raise ValueError(f"threshold_fraction is {threshold_fraction}, but it must be positive.")
    prediction, target = prepare(prediction, target, mask)
    residual = (prediction - target).abs()
    largest = residual.detach().max() if residual.numel() else residual.new_zeros(())
    threshold = threshold_fraction * max_over_processes(largest)
    # With c = 0 every residual is 0 and in the linear branch; a divisor of 0 would still make its gradient NaN.
    divisor = 2 * fill_outside(threshold, threshold > 0, 1.0)
    quadratic = (residual.square() + threshold.square()) / divisor
    return masked_mean(torch.where(residual <= threshold, residual, quadratic), mask)


def gradient_l1(prediction: Tensor, *, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error of the depth gradient, as in DenseDepth (Alhashim & Wonka 2018, eq. 3).

    Forward differences to the right and to the lower neighbour count where both pixels are masked; the two directions
    are averaged separately and added.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``, the unit of ``prediction``.
        mask: bool ``(B, 1, H, W)``.

    Returns:
        Scalar, unit of the inputs per pixel.

    Raises:
        ValueError: if the shapes differ or the mask is not bool.
    """
    prediction, target = prepare(prediction, target, mask)
    differences_x, differences_y = forward_differences(prediction - target)
    mask_x, mask_y = neighbour_masks(mask)
    return masked_mean(differences_x.abs(), mask_x) + masked_mean(differences_y.abs(), mask_y)


def _log_extended(values: Tensor, eps: float) -> Tensor:
    """``log`` above ``eps``, and its tangent at ``eps`` below: differentiable on all reals, with a positive slope."""
    above = values >= eps
    tangent = torch.log(values.new_tensor(eps)) + (values - eps) / eps
    return torch.where(above, fill_outside(values, above, eps).log(), tangent)


def scale_invariant_log(
    prediction: Tensor, *, target: Tensor, mask: Tensor, variance_focus: float = 0.5, eps: float = 1e-2
) -> Tensor:
    """Scale-invariant log error (Eigen et al. 2014, eq. 4): ``mean(d^2) - lambda * mean(d)^2``, ``d = log p - log g``.

    Both means run over the masked pixels of one image; the result is the average over the images that have any.

    The output of a network may be zero or negative, where the logarithm is undefined. Clamping it would make the
    gradient zero there. Instead the logarithm of the *prediction* is continued below ``eps`` by its tangent,
    ``log(eps) + (p - eps) / eps``: above ``eps`` the loss is Eigen's, below it has a non-zero gradient. Target pixels
    that are not positive are left out.

    Args:
        prediction: ``(B, 1, H, W)``, any real values.
        target: ``(B, 1, H, W)``, the unit of ``prediction``.
        mask: bool ``(B, 1, H, W)``.
        variance_focus: lambda; 0 is the plain log MSE, 1 ignores the scale of each image, 0.5 is the paper's.
        eps: below this prediction the logarithm is continued linearly, in the unit of the inputs; 0.01 is 10 cm for
            depth scaled by 10 m.

    Returns:
        Scalar, without unit.

    Raises:
        ValueError: if the shapes differ, the mask is not bool, or ``eps`` is not positive.
    """
    if eps <= 0:
        raise ValueError(f"eps is {eps}, but it must be positive.")
    mask_positive = mask & (target > 0) if mask.shape == target.shape and mask.dtype is torch.bool else mask
    prediction, target = prepare(prediction, target, mask_positive, fill=1.0)
    difference = _log_extended(prediction, eps) - target.log()
    mean = masked_mean_per_image(difference, mask_positive)
    mean_of_squares = masked_mean_per_image(difference.square(), mask_positive)
    per_image = mean_of_squares - variance_focus * mean.square()
    return masked_mean(per_image, mask_positive.flatten(1).any(dim=1))
