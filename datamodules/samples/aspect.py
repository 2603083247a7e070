"""Aspect ratio of images compared with that of the samples, and a warning about stretched images."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from PIL import Image

from datamodules.files.reading import FORMATS
from datamodules.loading.notices import warn_once

Aspect = Literal["stretch", "crop"]
"""Fit of images with another aspect ratio than ``image_size``: ``stretch`` resizes each axis by its own factor,
``crop`` first crops the longer axis evenly at both ends. K follows exactly in both cases."""

MAX_SILENT_STRETCH = 1.25
"""Largest stretch factor without a warning: 1 is no stretch, 640x480 to a square is 1.33."""

MAX_HEADERS = 500
"""Maximum number of image headers read, evenly spaced over a data set; one takes about 0.1 ms."""

TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


def check_aspect(aspect: str) -> None:
    """Raise ValueError if the setting is unknown."""
    if aspect not in get_args(Aspect):
        raise ValueError(f"aspect '{aspect}' is not known; choose {' or '.join(get_args(Aspect))}.")


def stretching(size: tuple[int, int], image_size: tuple[int, int]) -> float:
    """Return the ratio of the two resize factors of an image.

    Args:
        size: Height and width of the image.
        image_size: Height and width of the samples.

    Returns:
        1 for equal aspect ratios, else above 1.

    >>> round(stretching((1920, 1080), (96, 128)), 2)
    2.37
    """
    ratio = (size[1] * image_size[0]) / (size[0] * image_size[1])
    return max(ratio, 1 / ratio)


def warn_stretched(data: str, sizes: Mapping[tuple[int, int], int], image_size: tuple[int, int]) -> str | None:
    """Log once how many images are visibly stretched, and return the sentence, or None if there are none.

    Args:
        data: The data set.
        sizes: Number of images, or of sampled images, by height and width.
        image_size: Height and width of the samples.
    """
    stretched = Counter({size: n for size, n in sizes.items() if stretching(size, image_size) > MAX_SILENT_STRETCH})
    if not stretched:
        return None
    height, width = max(stretched, key=lambda size: stretching(size, image_size))
    message = (
        f"{data}: {stretched.total()} of {sum(sizes.values())} checked images have other proportions than "
        f"image_size and are stretched up to {stretching((height, width), image_size):.2f} times in one axis "
        f"({width}x{height} becomes {image_size[1]}x{image_size[0]}, width x height): give an image_size of their "
        "proportions, or data.init_args.aspect=crop, which cuts off what is too long."
    )
    warn_once(data, "aspect", message)
    return message


def header_size(path: Path, *, upright: bool) -> tuple[int, int] | None:
    """Return height and width of an image from the header of its file.

    Args:
        path: The file.
        upright: Whether to apply the EXIF orientation.

    Returns:
        None if the header is damaged, which is reported on reading.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            width, height = file.size
            turned = upright and file.getexif().get(0x0112) in TURNED
    except Exception:  # Pillow's decoders raise many types
        return None
    return (width, height) if turned else (height, width)
