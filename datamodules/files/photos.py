"""Telling photographs from the depth maps and masks that lie among them."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from datamodules.files.name_matching import OTHER_ROLES, plain_name, words_of
from datamodules.files.natural_order import stem_of
from datamodules.files.reading import is_deep_grey

DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".pgm"})
"""Endings of formats that may have one channel of 16 bits."""


def split_photos(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Tell photographs from depth maps and masks that lie among them.

    A file is no photograph if it has one channel of more than 8 bits and others of them have not, or if its name says
    what it is beside (``0001.depth.png`` beside ``0001.color.jpg``). 16-bit grey photographs by themselves are frames.

    Args:
        files: Image files of one folder.

    Returns:
        The photographs and the rest, both in the given order.
    """
    deep = {path for path in files if _is_deep(path)}
    if len(deep) == len(files):
        deep = set()
    plain = {path: plain_name(stem_of(path)) for path in files}
    beside = {path for path in files if words_of(stem_of(path)) & OTHER_ROLES}
    photos = {plain[path] for path in files if path not in beside and path not in deep}
    left_out = deep | {path for path in beside if plain[path] in photos}
    return [path for path in files if path not in left_out], [path for path in files if path in left_out]


def _is_deep(path: Path) -> bool:
    """Whether the head of a file says that it has one channel of more than 8 bits; reading it says if it is broken."""
    if path.suffix.lower() not in DEEP_SUFFIXES:
        return False
    try:
        with Image.open(path) as file:
            return is_deep_grey(file)
    except Exception:  # Pillow's decoders raise many types
        return False
