"""Strict reading of image files: a truncated file is an error, never a partly grey image.

OpenCV silently fills the missing part of a truncated file with grey; Pillow raises an error.

Every reader rotates an image upright according to its EXIF entry, in training and in prediction. Pixel-aligned maps
such as depth are rotated with it if they have the stored orientation (``datamodules/files/orientation.py``). Only files
in COCO format may be annotated in the stored orientation.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP", "PPM")
"""Formats of images. Pillow recognises dozens by content, whatever the file is called; EPS starts Ghostscript."""

DEPTH_FORMATS = ("PNG", "TIFF")
"""Formats whose values Pillow returns unchanged; it rescales those of a PGM, for example."""

MAX_MEGAPIXELS = 400
"""Largest image that is read: its pixels take 1.2 GB. Pillow's own limit is 179, a protection against crafted files."""

Image.MAX_IMAGE_PIXELS = None  # replaced by the limit above

ORIENTATION_TAG = 0x0112

CONVERSION = {
    "heic": "HEIC, as phones write it, cannot be read: convert it, e.g. with `heif-convert photo.heic photo.jpg`",
    "raw": "a camera's raw format cannot be read: develop it into a JPEG or PNG",
}
RAW_SUFFIXES = frozenset({".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"})


@dataclass(frozen=True)
class StoredImage:
    """An image in the stored orientation.

    Attributes:
        pixels: uint8 ``(H, W, 3)`` RGB, not rotated.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
    """

    pixels: npt.NDArray[np.uint8]
    orientation: int


def read_rgb(path: Path, *, upright: bool) -> npt.NDArray[np.uint8]:
    """Return an image as uint8 ``(H, W, 3)`` RGB; 16-bit grey is scaled to 8 bits, transparency is dropped.

    Args:
        path: The file.
        upright: Whether to rotate the image according to its EXIF entry.

    Raises:
        ValueError: If the file is no image, truncated, too large or of floating-point pixels; the message has no full
            stop.
    """
    image = read_stored(path)
    return turn(image.pixels, image.orientation) if upright else image.pixels


def read_stored(path: Path) -> StoredImage:
    """Return an image in the stored orientation, with its EXIF orientation.

    Raises:
        ValueError: See :func:`read_rgb`.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            check_size(file.size)
            return StoredImage(_pixels(file), _orientation(file))
    # Pillow's decoders raise SyntaxError, struct.error, EOFError ... on broken files, besides OSError.
    except Exception as error:
        raise ValueError(f"cannot read '{path}' as an image: {reason(error, path)}") from error


def read_orientation(path: Path) -> tuple[int, tuple[int, int]]:
    """Return the EXIF orientation of an image and its stored height and width, from its header.

    Raises:
        ValueError: If the file is no image; the message has no full stop.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            return _orientation(file), (file.height, file.width)
    except Exception as error:
        raise ValueError(f"cannot read '{path}' as an image: {reason(error, path)}") from error


def turn(values: npt.NDArray[Any], orientation: int, *, back: bool = False) -> npt.NDArray[Any]:
    """Return an array rotated upright according to the EXIF orientation of its image.

    Args:
        values: ``(H, W)`` or ``(H, W, C)``, in the stored orientation.
        orientation: EXIF orientation, 1 to 8.
        back: Rotate an upright array into the stored orientation instead.

    Returns:
        ``(H, W, ...)``, or ``(W, H, ...)`` for the orientations 5 to 8; a copy, except for orientation 1.
    """
    if back:
        orientation = {6: 8, 8: 6}.get(orientation, orientation)
    turned = {
        2: lambda: values[:, ::-1],
        3: lambda: values[::-1, ::-1],
        4: lambda: values[::-1],
        5: lambda: values.swapaxes(0, 1),
        6: lambda: np.rot90(values, -1),
        7: lambda: values[::-1, ::-1].swapaxes(0, 1),
        8: lambda: np.rot90(values),
    }
    return np.ascontiguousarray(turned[orientation]()) if orientation in turned else values


def read_values(path: Path) -> npt.NDArray[Any]:
    """Return the values of a grey PNG or TIFF with more than 8 bits, unchanged.

    Returns:
        ``(H, W)``, of an integer or floating type.

    Raises:
        ValueError: If the file is no PNG or TIFF, truncated, has colours or only 8 bits; the message has no full stop.
    """
    try:
        with Image.open(path, formats=DEPTH_FORMATS) as file:
            check_size(file.size)
            if not is_deep_grey(file):
                raise ValueError(
                    f"it has colours or only 8 bits (Pillow's mode {file.mode}: a picture of depth?), but 16 bits of "
                    "grey are needed"
                )
            return np.array(file)
    except Exception as error:
        raise ValueError(f"cannot read '{path}' as a 16-bit PNG or TIFF: {reason(error, path)}") from error


def is_deep_grey(file: Image.Image) -> bool:
    """Return whether an open image has one channel of more than 8 bits, as depth files have."""
    return file.mode == "F" or file.mode.startswith("I")


def check_size(size: tuple[int, int]) -> None:
    """Raise ValueError if an image of this width and height is too large to be read."""
    if size[0] * size[1] > MAX_MEGAPIXELS * 10**6:
        raise ValueError(
            f"it has {size[0]}x{size[1]} pixels, {size[0] * size[1] / 1e6:.0f} megapixels, and at most "
            f"{MAX_MEGAPIXELS} are read; make it smaller, e.g. with `vipsthumbnail --size 8000`"
        )


def reason(error: Exception, path: Path) -> str:
    """Return the cause of a reading error, without the path that Pillow repeats and without a full stop."""
    if path.is_dir():
        return "it is a folder, but a file is needed"
    if isinstance(error, UnidentifiedImageError):
        return _unknown_format(path)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _pixels(file: Image.Image) -> npt.NDArray[np.uint8]:
    if file.mode == "F":
        raise ValueError("it holds floating-point pixels, but 8 or 16 bits are needed")
    if file.mode.startswith("I"):
        grey = np.asarray(file).astype(np.float64) / 257
        return np.repeat(grey.clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=2)
    return np.array(file if file.mode == "RGB" else file.convert("RGB"))  # a writable copy


def _orientation(file: Image.Image) -> int:
    orientation = file.getexif().get(ORIENTATION_TAG, 1)
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _unknown_format(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(32)
    if head[4:8] == b"ftyp" and head[8:11] in (b"hei", b"hev", b"mif"):
        return CONVERSION["heic"]
    if not head:
        return "the file is empty"
    if path.suffix.lower() in RAW_SUFFIXES:
        return CONVERSION["raw"]
    return "it is of no known format, or its head is damaged"
