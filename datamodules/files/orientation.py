"""Rotation of depth, masks and K together with an image that has an EXIF orientation.

An image is rotated according to its EXIF entry (``datamodules/files/reading.py``). Depth, masks and K have no such
entry, and tools differ: most write depth in the orientation of the sensor (*stored*), some *upright*. For a rotation
by 90 degrees the size distinguishes the two. It is ambiguous for 180 degrees, mirrored and square images: then the
first image of the data set with an unambiguous size decides, and *stored* is assumed, with a warning, if there is none.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from datamodules.files.arrays import map_npy
from datamodules.files.reading import FORMATS, StoredImage, read_orientation, turn
from geometry.camera import turn_intrinsics

logger = logging.getLogger(__name__)

CLEAR = 0.05
"""Least difference between two hypotheses, in log aspect ratio or principal point, that decides for one."""

Size = tuple[int, int]
"""Height and width."""


def swaps_sides(orientation: int) -> bool:
    """Return whether the EXIF orientation exchanges height and width."""
    return orientation >= 5


def lies_stored(size: Size, image: Size, orientation: int) -> bool | None:
    """Return whether an array has the orientation of the stored image (True) or is upright (False), by its size.

    Args:
        size: Height and width of depth, a mask or calibrated frames, at any scale.
        image: Height and width of the stored image.
        orientation: EXIF orientation of the image.

    Returns:
        None if the size is ambiguous.

    >>> lies_stored((48, 64), (480, 640), 6), lies_stored((64, 48), (480, 640), 6), lies_stored((9, 9), (9, 9), 6)
    (True, False, None)
    """
    if not swaps_sides(orientation) or image[0] == image[1]:
        return None
    if size in (image, image[::-1]):
        return size == image
    if min(size) < 1:
        return None
    stored, own = math.log(image[0] / image[1]), math.log(size[0] / size[1])
    difference = abs(own + stored) - abs(own - stored)
    return difference > 0 if abs(difference) > CLEAR else None


def k_lies_stored(K: npt.NDArray[np.float64], image: Size, orientation: int) -> bool | None:
    """Return whether K belongs to the stored (True) or upright image, by its principal point; None if ambiguous."""
    if not swaps_sides(orientation) or image[0] == image[1]:
        return None
    cx, cy = float(K[0, 2]), float(K[1, 2])
    stored, upright = (
        abs(cx / width - 0.5) + abs(cy / height - 0.5) for height, width in (image, (image[1], image[0]))
    )
    return stored < upright if abs(stored - upright) > CLEAR else None


def turn_k(K: npt.NDArray[np.float64], image: StoredImage) -> npt.NDArray[np.float64]:
    """Return K of the upright image, given K of the stored one; float64 ``(3, 3)``, pixels, corner convention.

    Raises:
        ValueError: If K has a skew.
    """
    height, width = image.pixels.shape[:2]
    turned = turn_intrinsics(torch.from_numpy(K.copy()), image.orientation, height=height, width=width)
    return np.asarray(turned.numpy(), dtype=np.float64)


class Companions:
    """Depth, masks and K that accompany the images of one data set.

    Args:
        where: The data set, for messages.
        images: All images; their headers are read only if the size of a file is ambiguous.
        others: Depth or mask file of each image, or None.
    """

    def __init__(self, where: str, images: Sequence[Path], others: Sequence[Path | None]) -> None:
        self.where = where
        self.images = images
        self.others = others
        self._stored: bool | None = None

    def upright(self, values: npt.NDArray[Any], image: StoredImage) -> npt.NDArray[Any]:
        """Return depth or a mask ``(H, W)`` of any scale, rotated with its image unless it is upright already."""
        if image.orientation == 1:
            return values
        stored = lies_stored(values.shape[:2], image.pixels.shape[:2], image.orientation)
        return turn(values, image.orientation) if self._decide(stored) else values

    def upright_k(self, K: npt.NDArray[np.float64], image: StoredImage) -> npt.NDArray[np.float64]:
        """Return K of the upright image, rotated unless it belongs to the upright image already.

        Raises:
            ValueError: If K has a skew.
        """
        return turn_k(K, image) if self.k_is_stored(K, image) else K

    def k_is_stored(self, K: npt.NDArray[np.float64], image: StoredImage, size: Size | None = None) -> bool:
        """Return whether K belongs to the stored image.

        Args:
            K: float64 ``(3, 3)``, pixels.
            image: The image.
            size: Height and width that K was calibrated for; None decides by the principal point.
        """
        if image.orientation == 1:
            return False
        shape = image.pixels.shape[:2]
        if size is None:
            return self._decide(k_lies_stored(K, shape, image.orientation))
        return self._decide(lies_stored(size, shape, image.orientation))

    def _decide(self, stored: bool | None) -> bool:
        if stored is not None:
            return stored
        if self._stored is None:
            self._stored = self._orientation_of_data_set()
        return self._stored

    def _orientation_of_data_set(self) -> bool:
        """Return whether files have the stored orientation, decided by the first file with an unambiguous size."""
        for image, other in zip(self.images, self.others, strict=True):
            orientation, size = read_orientation(image)
            if not swaps_sides(orientation) or other is None:
                continue
            stored = lies_stored(_size(other), size, orientation)
            if stored is not None:
                return stored
        logger.warning(
            "%s: images have an EXIF orientation, and no size shows whether depth and K lie as the images are stored "
            "or upright: they are taken to lie as stored, and are turned with the images. Write the images upright "
            "(`exiftran -ai *.jpg`) if depth is upright.",
            self.where,
        )
        return True


def _size(path: Path) -> Size:
    """Return height and width of an image or ``.npy`` array; (0, 0) if unreadable, which is reported on reading."""
    try:
        if path.suffix == ".npy":
            shape = map_npy(path).shape
            return (shape[0], shape[1]) if len(shape) > 1 else (0, 0)
        with Image.open(path, formats=FORMATS) as file:
            return file.height, file.width
    except Exception:  # Pillow's decoders raise many types
        return 0, 0
