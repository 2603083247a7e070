"""Weights of the photometric error of each pixel: uniform, at key points, or by the image gradient (GAM-Depth).

The three are modules without parameters, so that a YAML file can select one by its class path. All take the same
arguments and return a scalar; each uses those it needs.

>>> round(GradientAwareMask().curve(torch.tensor(400.0)).item(), 3)  # half-way at gamma2 / gamma1
0.55
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geometry.stencils import at_least_float32, masked_mean

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey value (ITU-R BT.601), as OpenCV's RGB to grey."""
BLUR = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""OpenCV's 5-tap Gaussian without a given sigma; its nominal sigma is 1.1 pixels."""
SOBEL_SMOOTHING = (1.0, 2.0, 1.0)
SOBEL_DIFFERENCE = (-1.0, 0.0, 1.0)
GREY_LEVELS = 255.0
"""Grey levels of an 8-bit image, the unit of the thresholds in the paper."""


def _filter(image: Tensor, rows: tuple[float, ...], columns: tuple[float, ...]) -> Tensor:
    """Correlate with a separable filter over a border reflected without its last pixel (OpenCV's REFLECT_101)."""
    height, width = image.shape[-2:]
    padded = F.pad(image, [len(columns) // 2] * 2 + [len(rows) // 2] * 2, mode="reflect")
    # Sums of shifted views: a convolution would be rounded to half precision by autocast.
    vertical = sum((w * padded[..., k : k + height, :] for k, w in enumerate(rows) if w != 0), padded.new_zeros(()))
    return sum((w * vertical[..., k : k + width] for k, w in enumerate(columns) if w != 0), padded.new_zeros(()))


@torch.no_grad()
def gradient_magnitude(image: Tensor) -> Tensor:
    """Length of the Sobel gradient of the blurred grey image, the input of GAM-Depth's mask.

    Grey values of ITU-R BT.601 in 8-bit levels, a 5x5 Gaussian, then the 3x3 Sobel filters without normalisation: a
    ramp of one grey level per pixel gives 8, the largest possible value is 1442. Nothing is rounded to 8 bits. The
    image must be the clean one, without colour jitter.

    Args:
        image: ``(B, 3, H, W)``, RGB in [0, 1], at least 3x3 pixels.

    Returns:
        ``(B, 1, H, W)`` in at least float32, grey levels times 8 per pixel. No gradient flows through it.

    Raises:
        ValueError: if the shape is wrong.
    """
    if image.ndim != 4 or image.shape[1] != 3 or min(image.shape[-2:]) < 3:
        raise ValueError(
            f"image has the shape {tuple(image.shape)}, but it must be (B, 3, H, W) with at least 3x3 pixels."
        )
    red, green, blue = (GREY_LEVELS * at_least_float32(image)).split(1, dim=1)
    grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    blurred = _filter(grey, BLUR, BLUR)
    return torch.hypot(
        _filter(blurred, SOBEL_SMOOTHING, SOBEL_DIFFERENCE), _filter(blurred, SOBEL_DIFFERENCE, SOBEL_SMOOTHING)
    )


class PhotometricWeighting(nn.Module, ABC):
    """Interface of the weightings of the photometric error."""

    @abstractmethod
    def weights(self, image: Tensor, keypoints: Tensor | None = None) -> Tensor:
        """Weight of each pixel; used for pictures, too.

        Args:
            image: ``(B, 3, H, W)``, the clean target, RGB in [0, 1].
            keypoints: bool ``(B, 1, H, W)``, or None where there are none.

        Returns:
            ``(B, H, W)`` between 0 and 1, without gradient.
        """

    @abstractmethod
    def forward(
        self, error: Tensor, *, image: Tensor, keypoints: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Weighted mean of the photometric error.

        Args:
            error: ``(B, H, W)``, the photometric error.
            image: ``(B, 3, H, W)``, the clean target, RGB in [0, 1].
            keypoints: bool ``(B, 1, H, W)``, or None where there are none.
            mask: bool ``(B, H, W)``, pixels with an error; None takes all.

        Returns:
            Scalar in at least float32.

        Raises:
            ValueError: if a shape is wrong, or a needed argument is None.
        """


def _check(error: Tensor, image: Tensor, mask: Tensor | None) -> Tensor:
    """Check the shapes, and return the mask; all True if it is None."""
    if error.ndim != 3 or image.ndim != 4 or (image.shape[0], *image.shape[2:]) != tuple(error.shape):
        raise ValueError(
            f"error has the shape {tuple(error.shape)} and image {tuple(image.shape)}, but they must be (B, H, W) and "
            "(B, 3, H, W)."
        )
    if mask is None:
        return torch.ones_like(error, dtype=torch.bool)
    if mask.shape != error.shape or mask.dtype is not torch.bool:
        raise ValueError(f"mask is {mask.dtype} of shape {tuple(mask.shape)}, but bool {tuple(error.shape)} is needed.")
    return mask


class Averaging(PhotometricWeighting):
    """The plain mean over all pixels, as Monodepth2."""

    def weights(self, image: Tensor, keypoints: Tensor | None = None) -> Tensor:
        """Ones."""
        return torch.ones_like(image[:, 0])

    def forward(
        self, error: Tensor, *, image: Tensor, keypoints: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Mean of the error."""
        return masked_mean(error, _check(error, image, mask))


class KeypointWeighting(PhotometricWeighting):
    """The mean over the key points of the batch, as P2Net; without any, a zero that stays in the graph."""

    def weights(self, image: Tensor, keypoints: Tensor | None = None) -> Tensor:
        """1 at the key points, 0 elsewhere."""
        return self._mask(keypoints, image).to(at_least_float32(image).dtype)

    def forward(
        self, error: Tensor, *, image: Tensor, keypoints: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Mean of the error over the key points."""
        mask = _check(error, image, mask)
        return masked_mean(error, mask & self._mask(keypoints, image))

    def _mask(self, keypoints: Tensor | None, image: Tensor) -> Tensor:
        if keypoints is None:
            raise ValueError(
                "keypoints is None, but KeypointWeighting needs a batch with them; let the data module make them."
            )
        expected = (image.shape[0], 1, *image.shape[2:])
        if keypoints.dtype is not torch.bool or tuple(keypoints.shape) != expected:
            raise ValueError(
                f"keypoints are {keypoints.dtype} of shape {tuple(keypoints.shape)}, but they must be bool {expected}."
            )
        return keypoints[:, 0]


class GradientAwareMask(PhotometricWeighting):
    """GAM-Depth's mask: errors are weighted by a sigmoid of the image gradient (arXiv 2402.14354, eq. 5).

    ``M(m) = beta + (1 - beta) / (1 + exp(-gamma1 m + gamma2))`` with :func:`gradient_magnitude` ``m``; the loss is the
    mean of ``factor e M`` over pixels and images, each image under its own mask.

    The defaults are the paper's for 288x384 pixels: half-way at ``gamma2 / gamma1 = 400`` and 0.1 in plain regions.
    Other image sizes: ``m`` is a difference per *pixel*. An edge that is sharper than the blur has the same magnitude
    at any size. Shading and soft edges are k times steeper per pixel in an image k times smaller, so that more of them
    exceed the threshold. To select the same soft structures, keep ``gamma2`` (which determines ``M(0)`` and the
    relative width of the sigmoid) and multiply ``gamma1`` by the ratio of the widths, new to old. For images with sharp
    edges keep the paper's numbers.

    Args:
        beta: weight of textureless regions, in [0, 1].
        gamma1: steepness of the sigmoid, per unit of ``m``; positive.
        gamma2: the sigmoid's threshold times ``gamma1``.
        factor: factor of the loss, the released code's 10.

    Raises:
        ValueError: if a constant lies outside its range.
    """

    def __init__(self, beta: float = 0.1, gamma1: float = 0.1, gamma2: float = 40.0, factor: float = 10.0) -> None:
        super().__init__()
        if not 0 <= beta <= 1:
            raise ValueError(f"beta is {beta}, but it must lie in [0, 1].")
        if not gamma1 > 0:
            raise ValueError(f"gamma1 is {gamma1}, but it must be positive.")
        if not gamma2 >= 0:
            raise ValueError(f"gamma2 is {gamma2}, but it must not be negative.")
        if not factor > 0:
            raise ValueError(f"factor is {factor}, but it must be positive.")
        self.beta, self.gamma1, self.gamma2, self.factor = beta, gamma1, gamma2, factor

    def curve(self, magnitude: Tensor) -> Tensor:
        """The mask as a function of the gradient's length, any shape, in grey levels times 8 per pixel."""
        return self.beta + (1 - self.beta) * torch.sigmoid(self.gamma1 * magnitude - self.gamma2)

    def weights(self, image: Tensor, keypoints: Tensor | None = None) -> Tensor:
        """The mask ``M`` of each image, from ``beta`` to 1, without ``factor``."""
        return self.curve(gradient_magnitude(image))[:, 0]

    def forward(
        self, error: Tensor, *, image: Tensor, keypoints: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Mean of ``factor e M``."""
        mask = _check(error, image, mask)
        return self.factor * masked_mean(at_least_float32(error) * self.weights(image), mask)

    def extra_repr(self) -> str:
        """The constants, for ``print(module)``."""
        return f"beta={self.beta}, gamma1={self.gamma1}, gamma2={self.gamma2}, factor={self.factor}"
