"""Structural similarity (Wang et al. 2004) and the loss based on it, over masked images."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.stencils import at_least_float32, masked_mean
from losses.inputs import prepare

K1 = 0.01
"""Constant of the luminance term, Wang et al. 2004, section III-B."""
K2 = 0.03
"""Constant of the contrast term, Wang et al. 2004, section III-B."""


def _window_weights(size: int, window: str, sigma: float) -> list[float]:
    if window == "box":
        return [1.0 / size] * size
    offsets = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = torch.exp(-offsets.square() / (2 * sigma**2))
    return (weights / weights.sum()).tolist()


def _filter(image: Tensor, weights: list[float]) -> Tensor:
    """Separable weighted mean without padding, as sums of shifted views, since autocast would round a convolution."""
    size = len(weights)
    height, width = image.shape[-2] - size + 1, image.shape[-1] - size + 1
    rows = sum(
        (weights[k] * image[..., k : k + height, :] for k in range(1, size)), weights[0] * image[..., :height, :]
    )
    return sum((weights[k] * rows[..., k : k + width] for k in range(1, size)), weights[0] * rows[..., :width])


def ssim_map(
    first: Tensor,
    second: Tensor,
    *,
    window_size: int = 11,
    window: Literal["gaussian", "box"] = "gaussian",
    sigma: float = 1.5,
    data_range: float = 1.0,
    padding: Literal["valid", "reflect"] = "valid",
) -> Tensor:
    """SSIM of every window (Wang et al. 2004, eq. 13), with biased window statistics.

    The defaults are the paper's: an 11x11 Gaussian of sigma 1.5. Self-supervised depth uses a 3x3 box with reflection.

    Args:
        first: ``(B, C, H, W)``.
        second: ``(B, C, H, W)``.
        window_size: odd side of the window in pixels.
        window: shape of the weights.
        sigma: standard deviation of the Gaussian in pixels; not used by the box.
        data_range: largest minus smallest possible value, on which the two stabilising constants depend.
        padding: ``valid`` keeps only windows inside the image, ``reflect`` mirrors the border (without repeating the
            border pixel) and keeps the size.

    Returns:
        ``(B, C, H - window_size + 1, W - window_size + 1)`` for ``valid``, ``(B, C, H, W)`` for ``reflect``, in at
        least float32, between -1 and 1.

    Raises:
        ValueError: if shapes differ, the window is even or larger than the image, or a choice is unknown.
    """
    if first.shape != second.shape or first.ndim != 4:
        raise ValueError(
            f"The images have the shapes {tuple(first.shape)} and {tuple(second.shape)}, but both must be the same "
            "(B, C, H, W)."
        )
    if window not in ("gaussian", "box"):
        raise ValueError(f"window is {window!r}, but it must be 'gaussian' or 'box'.")
    if padding not in ("valid", "reflect"):
        raise ValueError(f"padding is {padding!r}, but it must be 'valid' or 'reflect'.")
    if window_size < 1 or window_size % 2 == 0:
        raise ValueError(f"window_size is {window_size}, but it must be odd and positive.")
    if min(first.shape[-2:]) < window_size:
        raise ValueError(
            f"The SSIM window of {window_size} pixels does not fit into an image of {tuple(first.shape[-2:])}; "
            "use a smaller window_size or larger images."
        )
    if data_range <= 0 or sigma <= 0:
        raise ValueError(f"data_range is {data_range} and sigma {sigma}, but both must be positive.")
    first, second = at_least_float32(first), at_least_float32(second)
    if padding == "reflect":
        first, second = (F.pad(image, [window_size // 2] * 4, mode="reflect") for image in (first, second))
    weights = _window_weights(window_size, window, sigma)
    moments = _filter(torch.cat([first, second, first.square(), second.square(), first * second], dim=1), weights)
    mean_1, mean_2, square_1, square_2, product = moments.chunk(5, dim=1)
    variance_1 = square_1 - mean_1.square()
    variance_2 = square_2 - mean_2.square()
    covariance = product - mean_1 * mean_2
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    numerator = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    return numerator / ((mean_1.square() + mean_2.square() + c1) * (variance_1 + variance_2 + c2))


def ssim_loss(
    prediction: Tensor,
    *,
    target: Tensor,
    mask: Tensor,
    window_size: int = 11,
    window: Literal["gaussian", "box"] = "gaussian",
    sigma: float = 1.5,
    data_range: float = 1.0,
) -> Tensor:
    """Mean of ``(1 - SSIM) / 2`` over the windows that lie entirely inside the image and the mask.

    A window with an unmeasured pixel is left out, so that no fill value enters. A hole therefore removes a margin of
    half a window around it, and sparse measurements (lidar) leave no window at all, which gives a loss of zero.

    Args:
        prediction: ``(B, 1, H, W)``.
        target: ``(B, 1, H, W)``, the unit of ``prediction``.
        mask: bool ``(B, 1, H, W)``.
        window_size: odd side of the window in pixels.
        window: shape of the weights.
        sigma: standard deviation of the Gaussian in pixels.
        data_range: range of the target; 1 for scaled depth.

    Returns:
        Scalar between 0 and 1.

    Raises:
        ValueError: if shapes differ, the mask is not bool, or the window does not fit into the image.
    """
    prediction, target = prepare(prediction, target, mask)
    similarity = ssim_map(
        prediction, target, window_size=window_size, window=window, sigma=sigma, data_range=data_range
    )
    # A window is valid where the largest "hole" indicator inside it is still zero.
    whole = F.max_pool2d((~mask).to(torch.float32), window_size, stride=1) == 0
    return masked_mean((1 - similarity) / 2, whole)
