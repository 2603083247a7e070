"""Location of the image files of a COCO data set, their sizes and their EXIF orientation, checked before training.

A camera stores pixels in the orientation of its sensor, with an EXIF entry for the rotation (1 to 8; 1: none). Some
annotation tools draw boxes on the stored image, others on the upright one, but a tool is consistent, so there is one
convention per JSON file. If the entry swaps the sides of an image that is not square (5 to 8), the size in the JSON
shows the convention. Entries 2 to 4 and square images are ambiguous and follow the other images. If all are ambiguous,
``upright`` is assumed, as in browsers, phones and OpenCV; tools that read pixels with Pillow use the stored
orientation. Files with contradicting images are refused.
"""

import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from datamodules.coco.findings import format_value
from datamodules.coco.image import CocoImage
from datamodules.files.image_heads import Head, as_stored, read_head
from datamodules.files.reading import read_rgb

Exif = Literal["auto", "upright", "stored"]
"""Orientation in which images with an EXIF orientation are read; ``auto`` derives it from the sizes in the JSON."""

_READERS = 8
"""Threads that open files. On network file systems most of the time is latency."""

_MAX_NAMED = 3


@dataclass
class ImageReport:
    """Result of inspecting the image files of a COCO-format file.

    Attributes:
        problems: Error sentence of each unusable image, by its position in the file.
        turned: Positions of images with an EXIF orientation.
        upright_by_size: Positions of images whose size in the JSON matches only the upright image.
        stored_by_size: Positions of images whose size in the JSON matches only the stored image.
    """

    problems: dict[int, str] = field(default_factory=dict)
    turned: list[int] = field(default_factory=list)
    upright_by_size: list[int] = field(default_factory=list)
    stored_by_size: list[int] = field(default_factory=list)

    @property
    def convention(self) -> Exif | None:
        """Convention that the sizes in the JSON show; None if they are ambiguous."""
        if self.stored_by_size:
            return "stored"
        return "upright" if self.upright_by_size else None


def image_path(image: CocoImage, folder: Path) -> Path | None:
    """Return the path of an image, with its name in either Unicode normal form; None if it does not exist."""
    for name in (image.file_name, *(unicodedata.normalize(form, image.file_name) for form in ("NFC", "NFD"))):
        path = folder / name
        if path.is_file():
            return path
    return None


def inspect_images(images: Sequence[CocoImage], folder: Path) -> ImageReport:
    """Return a report on every image file: existence, size compared with the JSON, and EXIF orientation.

    Args:
        images: Images of one COCO-format file.
        folder: Folder that ``file_name`` is relative to.
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
                (report.upright_by_size if size == head.upright else report.stored_by_size).append(position)
    return report


def _find(image: CocoImage, folder: Path) -> Head | str:
    """Return the header of an image file, or a sentence on its fault."""
    try:
        path = image_path(image, folder)
    except OSError as error:  # the name is too long, or a folder is not accessible
        return f"The image {format_value(image.file_name)} cannot be looked for in {folder}: {error.strerror}."
    if path is None:
        return f"There is no image {folder / image.file_name}: file_name starts from the folder of the images."
    try:
        return read_head(path)
    except ValueError as error:
        return f"An image is broken, {error}."


def _wrong_size(path: Path, found: tuple[int, int], stated: tuple[int, int]) -> str:
    swapped = " (width and height swapped?)" if found == stated[::-1] else ""
    return (
        f"The image {path} has {found[1]}x{found[0]} pixels (width x height), but the JSON states "
        f"{stated[1]}x{stated[0]}{swapped}, so its boxes do not fit."
    )


def check_problems(report: ImageReport, images: Sequence[CocoImage], used: Sequence[CocoImage]) -> None:
    """Raise an error if an image that will be read is missing or invalid.

    Args:
        report: Report on all images.
        images: All images of the file.
        used: Images that will be read.

    Raises:
        ValueError: With the first problem and the number of problems.
    """
    names = {image.name for image in used}
    problems = [report.problems[position] for position in report.problems if images[position].name in names]
    if problems:
        more = f" ({len(problems)} of {len(used)} images cannot be used; make coco-check lists them)"
        raise ValueError(problems[0].removesuffix(".") + (more if len(problems) > 1 else "") + ".")


def resolve_exif(
    report: ImageReport, images: Sequence[CocoImage], *, exif: Exif, json_path: Path, others: Exif | None = None
) -> tuple[bool, str | None]:
    """Return whether the images of a file are read upright, and why.

    Args:
        report: Report on the images of the file.
        images: The images.
        exif: The user's setting.
        json_path: The file, for messages.
        others: Convention of the other files of the data set, used if the images of this file are ambiguous.

    Returns:
        Whether images are rotated upright, and a sentence on the decision; None if no image has an orientation.

    Raises:
        ValueError: If images contradict each other or the setting.
    """
    upright, stored = ([images[k].file_name for k in row] for row in (report.upright_by_size, report.stored_by_size))
    mend = "turn the pixels of the image files by their EXIF entry and write sizes and boxes of these"
    if upright and stored:
        raise ValueError(
            f"{json_path} mixes two conventions of orientation: {_named(upright)} are given as upright pictures, "
            f"{_named(stored)} as stored ones (by the sizes in the JSON), but boxes of images with an EXIF "
            f"orientation are read in one way only; {mend}, or split the file in two."
        )
    if (exif == "upright" and stored) or (exif == "stored" and upright):
        raise ValueError(
            f"exif is {exif!r}, but the sizes in {json_path} show the other for {_named(upright or stored)}; set it to "
            "'auto'."
        )
    if not report.turned:
        return exif != "stored", None
    convention = report.convention
    choice = exif if exif != "auto" else convention or others or "upright"
    count = len(report.turned)
    ambiguous = count - len(upright) - len(stored)
    of_them = f"{json_path}: {count} of {len(images)} images have an EXIF orientation and are read"
    how = "upright" if choice == "upright" else "as they are stored, lying on their side or head"
    if exif != "auto":
        return choice == "upright", f"{of_them} {how}, as set by exif: {exif}."
    if convention is not None:
        return choice == "upright", f"{of_them} {how}, as the sizes of {count - ambiguous} of them in the JSON show."
    if others is not None:
        return choice == "upright", f"{of_them} {how}, as in the other files of the data set."
    return True, (
        f"{of_them} upright, but no size shows whether their boxes were drawn so, e.g. "
        f"{images[report.turned[0]].file_name}: look at the picture of make coco-check, and set exif: stored if boxes "
        "are misplaced."
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def read_image(image: CocoImage, folder: Path, *, upright: bool) -> npt.NDArray[np.uint8]:
    """Return the pixels of an image, in the orientation in which its boxes were drawn.

    Args:
        image: The image.
        folder: Folder that ``file_name`` is relative to.
        upright: Whether the image is rotated according to its EXIF entry.

    Returns:
        uint8 ``(H, W, 3)``, RGB.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is damaged, or its size differs from that in the JSON.
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
