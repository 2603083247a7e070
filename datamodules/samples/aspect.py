"""Images whose proportions are not those of the samples: how far they are stretched, and saying so."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from PIL import Image

from datamodules.loading.notices import say_once

Aspect = Literal["stretch", "crop"]
"""What is done with images of other proportions than ``image_size``: each axis is resized by a factor of its own, or
what is too wide or too high is cut off evenly at both ends before. K follows exactly either way."""

MOST_UNSAID = 1.25
"""Images that are stretched more than this in one axis are named: 1 is none, 640x480 to a square 1.33."""

LOOKED_AT = 500
"""Most images whose heads are read, evenly over a data set: a head is opened in about a tenth of a millisecond."""

TURNED = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


def check_aspect(aspect: str) -> None:
    """Raise ValueError with one sentence if the setting is unknown."""
    if aspect not in get_args(Aspect):
        raise ValueError(f"aspect '{aspect}' is not known; choose {' or '.join(get_args(Aspect))}.")


def stretching(size: tuple[int, int], image_size: tuple[int, int]) -> float:
    """Factor between the two axes when an image is resized.

    Args:
        size: Height and width of the image.
        image_size: Height and width of the samples.

    Returns:
        1 where the proportions are equal, else above 1.

    >>> round(stretching((1920, 1080), (96, 128)), 2)
    2.37
    """
    ratio = (size[1] * image_size[0]) / (size[0] * image_size[1])
    return max(ratio, 1 / ratio)


def say_stretched(data: str, sizes: Mapping[tuple[int, int], int], image_size: tuple[int, int]) -> str | None:
    """Say once how many images are stretched visibly and by how much.

    Args:
        data: The data set.
        sizes: How many images there are, or were looked at, of each height and width.
        image_size: Height and width of the samples.

    Returns:
        The sentence, or None where there is nothing to say.
    """
    stretched = Counter({size: n for size, n in sizes.items() if stretching(size, image_size) > MOST_UNSAID})
    if not stretched:
        return None
    height, width = max(stretched, key=lambda size: stretching(size, image_size))
    message = (
        f"{data}: {stretched.total()} of {sum(sizes.values())} images that were looked at have other proportions than "
        f"image_size and are stretched up to {stretching((height, width), image_size):.2f} times in one axis "
        f"({width}x{height} becomes {image_size[1]}x{image_size[0]}, width x height): give an image_size of their "
        "proportions, or data.init_args.aspect=crop, which cuts off what is too long."
    )
    say_once(data, "aspect", message)
    return message


def header_size(path: Path, *, upright: bool) -> tuple[int, int] | None:
    """Height and width of an image from the head of its file.

    Args:
        path: The file.
        upright: Whether its EXIF entry turns it.

    Returns:
        None if the file has no readable head, which reading it will say.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            turned = upright and file.getexif().get(0x0112) in TURNED
    except Exception:  # what Pillow's decoders raise on broken files is no single type
        return None
    return (width, height) if turned else (height, width)
