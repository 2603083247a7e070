"""Size and EXIF orientation of image files, from their heads: no pixel is decoded."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, PngImagePlugin

from datamodules.files.reading import turn

SWAPPED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

TURNED_BY_PILLOW = ("TIFF",)
"""Formats whose pixels Pillow turns while it decodes them."""


@dataclass(frozen=True)
class Head:
    """What the first bytes of an image file say.

    Attributes:
        stored: Height and width of the stored pixels.
        orientation: EXIF orientation, 1 to 8.
        turned_by_reader: Whether Pillow gives the pixels upright in any case.
    """

    stored: tuple[int, int]
    orientation: int
    turned_by_reader: bool = False

    @property
    def upright(self) -> tuple[int, int]:
        """Height and width of the upright picture."""
        return self.stored[::-1] if self.orientation in SWAPPED else self.stored


def read_head(path: Path) -> Head:
    """Read size and orientation of an image file, not its pixels.

    Raises:
        ValueError: If the file is no image; the message has no full stop.
    """
    try:
        with Image.open(path) as file:
            if isinstance(file, PngImagePlugin.PngImageFile) and not _notes_after_pixels(path):
                exif = Image.Image.getexif(file)  # PNG's own would decode all pixels in search of it
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
    """Whether a PNG has text or EXIF behind its pixels, which is allowed and rare."""
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
    """Upright pixels as their file stores them, where the reader has turned them by itself."""
    turned: npt.NDArray[np.uint8] = turn(pixels, head.orientation, back=True) if head.turned_by_reader else pixels
    return turned
