"""Pixels of image files, read strictly: a file that is cut off is an error, never a picture that is half grey.

OpenCV fills the missing part of a truncated file with grey and says nothing; Pillow refuses it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

DEPTH_FORMATS = ("PNG", "TIFF")
"""Formats whose values Pillow gives as they are written; it stretches those of a PGM, for one."""


def read_rgb(path: Path, *, upright: bool) -> npt.NDArray[np.uint8]:
    """Read an image as uint8 ``(H, W, 3)`` RGB; 16-bit grey is scaled down, transparency is dropped.

    Args:
        path: The file.
        upright: Turn the image as its EXIF entry says. Leave it as it is stored where something else, as its depth,
            lies beside it pixel by pixel.

    Raises:
        ValueError: If the file is no image, truncated, or of floating-point pixels; the message has no full stop.
    """
    try:
        with Image.open(path) as file:
            image: Image.Image = ImageOps.exif_transpose(file) if upright else file
            if image.mode == "F":
                raise ValueError("it holds floating-point pixels, but 8 or 16 bits are needed")
            if image.mode.startswith("I"):
                grey = np.asarray(image).astype(np.float64) / 257
                return np.repeat(grey.clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=2)
            return np.array(image if image.mode == "RGB" else image.convert("RGB"))  # a copy that may be written to
    # Pillow's decoders raise SyntaxError, struct.error, EOFError ... on broken files, besides OSError.
    except Exception as error:
        raise ValueError(f"cannot read '{path}' as an image: {_reason(error)}") from error


def read_values(path: Path) -> npt.NDArray[Any]:
    """Read the numbers of a grey PNG or TIFF with more than 8 bits, exactly as they are written.

    Returns:
        ``(H, W)``, of an integer or floating type.

    Raises:
        ValueError: If the file is no PNG or TIFF, truncated, has colours or only 8 bits; the message has no full stop.
    """
    try:
        with Image.open(path, formats=DEPTH_FORMATS) as file:
            if not (file.mode == "F" or file.mode.startswith("I")):
                raise ValueError(
                    f"it has colours or only 8 bits (Pillow's mode {file.mode}: a picture of depth?), but 16 bits of "
                    "grey are needed"
                )
            return np.array(file)
    except Exception as error:
        raise ValueError(f"cannot read '{path}' as a 16-bit PNG or TIFF: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What went wrong, without the path that Pillow repeats."""
    if isinstance(error, UnidentifiedImageError):
        return "it is of no known format, or its head is damaged"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
