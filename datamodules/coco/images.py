"""Find the image files of a COCO data set, read their sizes and resolve their EXIF orientation, before training.

A camera stores pixels in the orientation of its sensor, with an EXIF entry for the rotation (1 to 8; 1: none). Some
tools draw boxes on the stored image, others on the upright one, but one tool always does the same: the convention is
one per JSON file. Where the entry swaps the sides of an image that is not square (5 to 8), the size in the JSON shows
the convention; entries 2 to 4 and square images are ambiguous and follow the others. If all are ambiguous, ``upright``
is assumed, as in browsers, phones and OpenCV; tools that read pixels with Pillow use the stored orientation. Files
whose images contradict each other are refused.
"""

import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from datamodules.coco.findings import shown
from datamodules.coco.image import CocoImage
from datamodules.files.image_heads import Head, as_stored, read_head
from datamodules.files.reading import read_rgb

Exif = Literal["auto", "upright", "stored"]
"""How images with an EXIF orientation are read: as the file's images tell, or as said."""

_READERS = 8
"""Threads that open files; on the disks of a cluster most of the time is waiting."""

_MAX_NAMED = 3


@dataclass
class ImageReport:
    """What is known of the image files of a COCO-format file.

    Attributes:
        problems: What is wrong with an image, by its position in the file.
        turned: Positions of images with an EXIF orientation.
        tells_upright: Those of them whose size in the JSON is that of the upright picture alone.
        tells_stored: Those whose size in the JSON is that of the stored one alone.
    """

    problems: dict[int, str] = field(default_factory=dict)
    turned: list[int] = field(default_factory=list)
    tells_upright: list[int] = field(default_factory=list)
    tells_stored: list[int] = field(default_factory=list)

    @property
    def convention(self) -> Exif | None:
        """What the images tell; None if none does."""
        if self.tells_stored:
            return "stored"
        return "upright" if self.tells_upright else None


def image_path(image: CocoImage, folder: Path) -> Path | None:
    """Where an image is, whichever way its accents are encoded; None if it is nowhere."""
    for name in (image.file_name, *(unicodedata.normalize(form, image.file_name) for form in ("NFC", "NFD"))):
        path = folder / name
        if path.is_file():
            return path
    return None


def inspect_images(images: Sequence[CocoImage], folder: Path) -> ImageReport:
    """Look for every image file and hold its size against the JSON.

    Args:
        images: Images of one COCO-format file.
        folder: Where their ``file_name`` starts from.
    """
    report = ImageReport()
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(lambda image: _find(image, folder), images)
        for position, (image, head) in enumerate(zip(images, found, strict=True)):
            if isinstance(head, str):
                report.problems[position] = head
                continue
            size = (image.height, image.width)
            if head.orientation != 1:
                report.turned.append(position)
            if size not in (head.stored, head.upright):
                report.problems[position] = _wrong_size(folder / image.file_name, head.stored, size)
            elif head.stored != head.upright:
                (report.tells_upright if size == head.upright else report.tells_stored).append(position)
    return report


def _find(image: CocoImage, folder: Path) -> Head | str:
    """The head of an image file, or what is wrong with it."""
    try:
        path = image_path(image, folder)
    except OSError as error:  # too long a name, a folder that may not be entered
        return f"The image {shown(image.file_name)} cannot be looked for in {folder}: {error.strerror}."
    if path is None:
        return f"There is no image {folder / image.file_name}: file_name starts from the folder of the images."
    try:
        return read_head(path)
    except ValueError as error:
        return f"An image is broken, {error}."


def _wrong_size(path: Path, found: tuple[int, int], said: tuple[int, int]) -> str:
    swapped = " (width and height swapped?)" if found == said[::-1] else ""
    return (
        f"The image {path} has {found[1]}x{found[0]} pixels (width x height), but the JSON says {said[1]}x{said[0]}"
        f"{swapped}, so its boxes do not fit."
    )


def check_problems(report: ImageReport, images: Sequence[CocoImage], used: Sequence[CocoImage]) -> None:
    """Stop if an image that will be used is missing or unfit.

    Args:
        report: That of all images.
        images: All images of the file.
        used: Those that will be read.

    Raises:
        ValueError: With the first problem and the number of all.
    """
    names = {image.name for image in used}
    problems = [report.problems[position] for position in report.problems if images[position].name in names]
    if problems:
        more = f" ({len(problems)} of {len(used)} images cannot be used; make coco-check lists them)"
        raise ValueError(problems[0].removesuffix(".") + (more if len(problems) > 1 else "") + ".")


def settle_exif(
    report: ImageReport, images: Sequence[CocoImage], *, exif: Exif, json_path: Path, others: Exif | None = None
) -> tuple[bool, str | None]:
    """Say how the images of a file are read.

    Args:
        report: What its images tell.
        images: The images.
        exif: What the user says.
        json_path: The file, for messages.
        others: What the other files of the data set tell, for one whose own images tell nothing.

    Returns:
        Whether images are turned upright, and a sentence about it; None where no image has an orientation.

    Raises:
        ValueError: If images contradict each other or the user.
    """
    upright, stored = ([images[k].file_name for k in row] for row in (report.tells_upright, report.tells_stored))
    mend = "turn the pixels of the image files by their EXIF entry and write sizes and boxes of these"
    if upright and stored:
        raise ValueError(
            f"{json_path} mixes two conventions of orientation: {_named(upright)} are given as upright pictures, "
            f"{_named(stored)} as stored ones (the sizes in the JSON say so), but boxes of images with an EXIF "
            f"orientation are read in one way only; {mend}, or split the file in two."
        )
    if (exif == "upright" and stored) or (exif == "stored" and upright):
        raise ValueError(
            f"exif is {exif!r}, but the sizes in {json_path} say the other for {_named(upright or stored)}; set it to "
            "'auto'."
        )
    if not report.turned:
        return exif != "stored", None
    told = report.convention
    choice = exif if exif != "auto" else told or others or "upright"
    count = len(report.turned)
    ambiguous = count - len(upright) - len(stored)
    of_them = f"{json_path}: {count} of {len(images)} images have an EXIF orientation and are read"
    how = "upright" if choice == "upright" else "as they are stored, lying on their side or head"
    if exif != "auto":
        return choice == "upright", f"{of_them} {how}, as exif: {exif} says."
    if told is not None:
        return choice == "upright", f"{of_them} {how}, as the sizes of {count - ambiguous} of them in the JSON tell."
    if others is not None:
        return choice == "upright", f"{of_them} {how}, as the other files of the data set tell."
    return True, (
        f"{of_them} upright, but no size tells whether their boxes were drawn so, as for "
        f"{images[report.turned[0]].file_name}: look at the picture of make coco-check, and set exif: stored if boxes "
        "are misplaced."
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def read_image(image: CocoImage, folder: Path, *, upright: bool) -> npt.NDArray[np.uint8]:
    """Read an image of a COCO-format file, in the orientation that its boxes were drawn in.

    Args:
        image: The image.
        folder: Where its ``file_name`` starts from.
        upright: Whether it is turned as its EXIF entry says.

    Returns:
        uint8 ``(H, W, 3)``, RGB.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is broken, or of another size than the JSON says.
    """
    path = image_path(image, folder)
    if path is None:
        raise FileNotFoundError(
            f"There is no image {folder / image.file_name}: give the folder that the file_name of the JSON starts from."
        )
    try:
        pixels = read_rgb(path, upright=upright)
        if not upright and path.suffix.lower() in (".tif", ".tiff"):
            pixels = as_stored(pixels, read_head(path))
    except ValueError as error:
        raise ValueError(f"An image is broken, {error}; make coco-check lists all of them.") from error
    if pixels.shape[:2] != (image.height, image.width):
        raise ValueError(_wrong_size(path, (pixels.shape[0], pixels.shape[1]), (image.height, image.width)))
    return pixels
