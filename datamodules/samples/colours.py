"""Random changes of brightness, contrast, saturation and hue of images."""

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read at import: no look-up for newer versions

from albumentations.augmentations.pixel import functional as pixel


def float_image(image: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Return an image, uint8 or float in [0, 1], as float32 in [0, 1]; always a copy."""
    values: npt.NDArray[np.float32] = image.astype(np.float32)
    return values / np.float32(255) if image.dtype == np.uint8 else values


@dataclass(frozen=True)
class ColourChange:
    """A colour change with fixed parameters, applicable to several images.

    Attributes:
        brightness: Factor on all colours, or None.
        contrast: Factor on the difference from the mean grey value, or None.
        saturation: Factor on the difference from the grey value of the pixel, or None.
        hue: Shift as a fraction of the colour circle, or None.
    """

    brightness: float | None
    contrast: float | None
    saturation: float | None
    hue: float | None

    def __call__(self, image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return a float32 image ``(H, W, 3)`` in [0, 1] with changed colours; values may slightly exceed the range."""
        if self.brightness is not None:
            image = pixel.adjust_brightness_torchvision(image, np.float32(self.brightness))
        if self.contrast is not None:
            image = pixel.adjust_contrast_torchvision(image, self.contrast)
        if self.saturation is not None:
            image = pixel.adjust_saturation_torchvision(image, self.saturation)
        if self.hue is not None:
            image = pixel.adjust_hue_torchvision(image, self.hue)
        return image


class ColourJitter:
    """Random changes of brightness, contrast, saturation and hue; a range of (1, 1) or a hue of 0 is no change.

    Args:
        brightness: Range of the brightness factor.
        contrast: Range of the contrast factor (1: unchanged).
        saturation: Range of the saturation factor (1: unchanged).
        hue: Largest hue shift as a fraction of the colour circle, inside [0, 0.5].

    Raises:
        ValueError: If a range is reversed or out of bounds.
    """

    def __init__(
        self,
        *,
        brightness: tuple[float, float] = (0.8, 1.2),
        contrast: tuple[float, float] = (0.8, 1.2),
        saturation: tuple[float, float] = (0.8, 1.2),
        hue: float = 0.1,
    ) -> None:
        for name, bounds in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            if not 0 <= bounds[0] <= bounds[1]:
                raise ValueError(f"{name} is a range of factors, not negative and lower end first, got {bounds}.")
        if not 0 <= hue <= 0.5:
            raise ValueError(f"hue is a fraction of the colour circle inside [0, 0.5], got {hue}.")
        self.brightness = (brightness[0], brightness[1])
        self.contrast = (contrast[0], contrast[1])
        self.saturation = (saturation[0], saturation[1])
        self.hue = hue

    def draw(self, generator: np.random.Generator) -> ColourChange:
        """Return a colour change with random parameters."""
        brightness, contrast, saturation = (
            None if bounds == (1.0, 1.0) else generator.uniform(*bounds)
            for bounds in (self.brightness, self.contrast, self.saturation)
        )
        hue = generator.uniform(-self.hue, self.hue) if self.hue > 0 else None
        return ColourChange(brightness, contrast, saturation, hue)
