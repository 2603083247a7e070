"""Fine ripple ("grain") of predicted depth where the true surface is flat: what shreds a point cloud.

The inverse depth of a plane is an affine function of the pixel. The roughness of depth z at a pixel is the root mean
square residual of the least-squares affine fit to 1 / z in a square window around the pixel, divided by the mean of
1 / z there: a fraction of depth. A window is flat if the true depth is measured in all of it and its roughness in the
largest window is below ``flatness``; sensor noise stays below it, edges and corners do not. The grain of an image is
the mean roughness of the prediction over the flat windows:

    grain_3, grain_5, ...   in windows of 3x3, 5x5, ... pixels, all at the same centres

It does not depend on the scale of a prediction and hardly on a smooth error: only on ripple whose wavelength is below
about twice the window. The small window contains the finest ripple alone, the larger ones coarser ripple as well.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from geometry.stencils import fill_outside, masked_mean_per_image
from metrics.image_means import ImageValues, MeanOverImages
from metrics.protocol import check_maps

WINDOWS = (3, 5, 9)
"""Default window sizes, pixels."""
FLATNESS = 0.01
"""Default limit of the true roughness; a Kinect has 0.3 % at 2 m and 0.6 % at 4 m."""
_MIN_DEPTH_M = 1e-2


def roughness(depth: Tensor, mask: Tensor, *, window: int) -> tuple[Tensor, Tensor]:
    """Relative residual of the affine fit to inverse depth in the window around each pixel.

    Args:
        depth: ``(B, 1, H, W)`` of any scale; arbitrary outside the mask. Inside it 1 cm is the smallest value.
        mask: bool ``(B, 1, H, W)``.
        window: odd size of the window, at least 3 pixels.

    Returns:
        float64 ``(B, 1, H, W)``, 0 where undefined; and bool ``(B, 1, H, W)``, where it is defined: the whole window is
        inside of the image and of the mask.
    """
    half = window // 2
    inverse = 1 / fill_outside(depth.double(), mask, 1.0).clamp(min=_MIN_DEPTH_M)
    steps = torch.arange(-half, half + 1, dtype=torch.float64, device=depth.device)
    ones = torch.ones_like(steps)
    # Along symmetric coordinates the three functions of the fit are orthogonal.
    kernels = torch.stack([torch.outer(ones, ones), torch.outer(ones, steps), torch.outer(steps, ones)]) / window**2
    # A constant far from 0 would cost digits in the difference of squares.
    centre = masked_mean_per_image(inverse, mask).view(-1, 1, 1, 1)
    mean, right, down = F.conv2d(inverse - centre, kernels.unsqueeze(1), padding=half).unbind(dim=1)
    square = F.conv2d((inverse - centre).square(), kernels[None, :1], padding=half).squeeze(1)
    spread = steps.square().mean()
    variance = square - mean.square() - (right.square() + down.square()) / spread
    relative = variance.clamp(min=0).sqrt() / (mean + centre.squeeze(1)).abs().clamp(min=1e-12)
    n_inside = F.conv2d(mask.double(), torch.ones_like(kernels[None, :1]), padding=half)
    defined = n_inside > window**2 - 0.5
    return fill_outside(relative.unsqueeze(1), defined), defined


def flat_windows(target_m: Tensor, mask: Tensor, *, window: int, flatness: float = FLATNESS) -> Tensor:
    """Bool ``(B, 1, H, W)``: centres of the windows in which the true surface is flat.

    Args:
        target_m: true depth ``(B, 1, H, W)``, metres.
        mask: bool ``(B, 1, H, W)``, where it is measured.
        window: odd size of the window, pixels.
        flatness: limit of the true roughness.
    """
    rough, defined = roughness(target_m, mask, window=window)
    return defined & (rough < flatness)


def _check(windows: Sequence[int], flatness: float) -> None:
    wrong = [window for window in windows if window < 3 or window % 2 == 0]
    if not windows or wrong:
        raise ValueError(f"windows are {list(windows)}, but they must be odd numbers of pixels from 3 on.")
    if not flatness > 0:
        raise ValueError(f"flatness is {flatness}, but it must be positive.")


def grain_values(
    prediction: Tensor, target_m: Tensor, mask: Tensor, *, windows: Sequence[int], flatness: float
) -> dict[str, ImageValues]:
    """Grain of each image by name, see :func:`grain`."""
    check_maps(prediction, target_m, mask)
    flat = flat_windows(target_m, mask, window=max(windows), flatness=flatness)
    counted = flat.flatten(1).any(dim=1)
    everywhere = torch.ones_like(mask)
    values = {}
    for window in windows:
        rough, _ = roughness(prediction.detach(), everywhere, window=window)
        values[f"grain_{window}"] = ImageValues(masked_mean_per_image(rough, flat), counted)
    return values


def grain(
    prediction: Tensor,
    *,
    target_m: Tensor,
    mask: Tensor,
    windows: Sequence[int] = WINDOWS,
    flatness: float = FLATNESS,
) -> dict[str, Tensor]:
    """Grain of each image; :class:`Grain` averages it over many.

    Args:
        prediction: depth of any scale, ``(B, 1, H, W)``.
        target_m: true depth ``(B, 1, H, W)``, metres.
        mask: bool ``(B, 1, H, W)``, where it is measured.
        windows: odd sizes of the windows, pixels.
        flatness: limit of the true roughness in the largest window.

    Returns:
        ``grain_3``, ... by name, float64 ``(B,)``, fractions of depth, lower is better; NaN for an image without a flat
        window.

    Raises:
        ValueError: if an argument is out of range, or a shape or type is wrong.
    """
    _check(windows, flatness)
    values = grain_values(prediction, target_m, mask, windows=windows, flatness=flatness)
    return {name: value.or_nan() for name, value in values.items()}


class Grain(MeanOverImages):
    """Mean grain over images, accumulated over batches and ranks.

    Args:
        windows: odd sizes of the windows, pixels.
        flatness: limit of the true roughness in the largest window.

    Raises:
        ValueError: if an argument is out of range.
    """

    higher_is_better = False

    def __init__(self, windows: Sequence[int] = WINDOWS, flatness: float = FLATNESS) -> None:
        _check(windows, flatness)
        super().__init__([f"grain_{window}" for window in windows])
        self.windows, self.flatness = tuple(windows), flatness

    def update(self, prediction: Tensor, *, target_m: Tensor, mask: Tensor) -> None:
        """Add a batch; the arguments are those of :func:`grain`."""
        self.add(grain_values(prediction, target_m, mask, windows=self.windows, flatness=self.flatness))
