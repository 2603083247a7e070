"""What lies beside an image (depth, a mask, K), turned upright together with it.

An image is turned as its EXIF entry says (``datamodules/files/reading.py``). What lies beside it has no such entry,
and tools differ: most write depth as the sensor has it, in the *stored* orientation, some *upright*. The size tells
the two apart for a quarter turn. For half a turn, a mirrored or a square image it does not; then the whole data set
is taken to be as its first image whose size tells, and as *stored* where there is none, which a warning says.
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

from datamodules.files.reading import StoredImage, read_orientation, turn
from geometry.camera import turn_intrinsics

logger = logging.getLogger(__name__)

CLEAR = 0.05
"""Least difference between two fits, in proportions or in where the principal point lies, that decides for one."""

Size = tuple[int, int]
"""Height and width."""


def swaps_sides(orientation: int) -> bool:
    """Whether an image of that EXIF orientation changes its height for its width when it is turned."""
    return orientation >= 5


def lies_stored(size: Size, image: Size, orientation: int) -> bool | None:
    """Whether something of a size lies as its image is stored (True) or upright (False); None where sizes do not tell.

    Args:
        size: Height and width of depth, a mask or calibrated frames, of any scale.
        image: Those of the stored image.
        orientation: Its EXIF orientation.

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
    """Whether K belongs to the stored image (True) or to the upright one, by its principal point; None if unclear."""
    if not swaps_sides(orientation) or image[0] == image[1]:
        return None
    cx, cy = float(K[0, 2]), float(K[1, 2])
    stored, upright = (
        abs(cx / width - 0.5) + abs(cy / height - 0.5) for height, width in (image, (image[1], image[0]))
    )
    return stored < upright if abs(stored - upright) > CLEAR else None


def turn_k(K: npt.NDArray[np.float64], image: StoredImage) -> npt.NDArray[np.float64]:
    """K of the stored image as that of the upright one; float64 ``(3, 3)``, pixels, corner convention.

    Raises:
        ValueError: If K has a skew.
    """
    height, width = image.pixels.shape[:2]
    turned = turn_intrinsics(torch.from_numpy(K.copy()), image.orientation, height=height, width=width)
    return np.asarray(turned.numpy(), dtype=np.float64)


class Companions:
    """What lies beside the images of one data set.

    Args:
        where: The data set, for messages.
        images: All images; their heads are read only if the size of a file does not tell how it lies.
        others: What lies beside each of them, or None.
    """

    def __init__(self, where: str, images: Sequence[Path], others: Sequence[Path | None]) -> None:
        self.where = where
        self.images = images
        self.others = others
        self._stored: bool | None = None

    def upright(self, values: npt.NDArray[Any], image: StoredImage) -> npt.NDArray[Any]:
        """Turn depth or a mask ``(H, W)`` of any scale with its image, unless it lies upright already."""
        if image.orientation == 1:
            return values
        stored = lies_stored(values.shape[:2], image.pixels.shape[:2], image.orientation)
        return turn(values, image.orientation) if self._decide(stored) else values

    def upright_k(self, K: npt.NDArray[np.float64], image: StoredImage) -> npt.NDArray[np.float64]:
        """Turn K with its image, unless it belongs to the upright image already.

        Raises:
            ValueError: If K has a skew.
        """
        return turn_k(K, image) if self.k_is_stored(K, image) else K

    def k_is_stored(self, K: npt.NDArray[np.float64], image: StoredImage, size: Size | None = None) -> bool:
        """Whether K belongs to an image as it is stored.

        Args:
            K: float64 ``(3, 3)``, pixels.
            image: The image.
            size: Height and width of what K was calibrated for; None judges by the principal point.
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
            self._stored = self._told()
        return self._stored

    def _told(self) -> bool:
        """The orientation of the first file whose size tells it."""
        for image, other in zip(self.images, self.others, strict=True):
            orientation, size = read_orientation(image)
            if not swaps_sides(orientation) or other is None:
                continue
            stored = lies_stored(_size(other), size, orientation)
            if stored is not None:
                return stored
        logger.warning(
            "%s: images have an EXIF orientation, and no size tells whether depth and K lie as the images are stored "
            "or upright: they are taken to lie as stored, and are turned with the images. Write the images upright "
            "(`exiftran -ai *.jpg`) if depth is upright.",
            self.where,
        )
        return True


def _size(path: Path) -> Size:
    """Height and width of an image or ``.npy`` array from its head; (0, 0) if it cannot be read, which reading says."""
    try:
        if path.suffix == ".npy":
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
            return (shape[0], shape[1]) if len(shape) > 1 else (0, 0)
        with Image.open(path) as file:
            return file.height, file.width
    except Exception:  # Pillow's decoders raise many types
        return 0, 0
