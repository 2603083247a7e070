"""Size and EXIF orientation of image files from their headers, without decoding pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, PngImagePlugin

from datamodules.files.reading import FORMATS, turn

SWAPPED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

TURNED_BY_PILLOW = ("TIFF",)
"""Formats whose pixels Pillow rotates while decoding."""


@dataclass(frozen=True)
class Head:
    """Size and orientation of an image file.

    Attributes:
        stored: Height and width of the stored pixels.
        orientation: EXIF orientation, 1 to 8.
        turned_by_reader: Whether Pillow always returns upright pixels.
    """

    stored: tuple[int, int]
    orientation: int
    turned_by_reader: bool = False

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width of the upright image."""
        return self.stored[::-1] if self.orientation in SWAPPED else self.stored


def read_head(path: Path) -> Head:
    """Return size and orientation of an image file, without decoding its pixels.

    Raises:
        ValueError: If the file is no image; the message has no full stop.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            if isinstance(file, PngImagePlugin.PngImageFile) and not _notes_after_pixels(path):
                exif = Image.Image.getexif(file)  # the PNG class decodes all pixels to find EXIF data
            else:
                exif = file.getexif()
            orientation = exif.get(ExifTags.Base.Orientation, 1)
            orientation = orientation if orientation in range(1, 9) else 1
            size = (file.height, file.width)
            by_reader = file.format in TURNED_BY_PILLOW
    except Exception as error:  # Pillow raises SyntaxError, struct.error, ... on broken files
        raise ValueError(f"cannot read '{path}' as an image: {error or type(error).__name__}") from error
    if by_reader and orientation in SWAPPED:
        size = size[::-1]
    return Head(size, orientation, by_reader)


def _notes_after_pixels(path: Path) -> bool:
    """Return whether a PNG has text or EXIF chunks after its pixels, which is valid but rare."""
    pixels_seen = False
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            kind = head[4:]
            if pixels_seen and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            pixels_seen = pixels_seen or kind == b"IDAT"
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False


def as_stored(pixels: npt.NDArray[np.uint8], head: Head) -> npt.NDArray[np.uint8]:
    """Return pixels in the stored orientation, undoing a rotation by the reader."""
    turned: npt.NDArray[np.uint8] = turn(pixels, head.orientation, back=True) if head.turned_by_reader else pixels
    return turned
