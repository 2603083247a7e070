"""Separation of photographs from depth maps and masks in the same folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from datamodules.files.name_matching import MAP_WORDS, plain_name, words_of
from datamodules.files.natural_order import stem_of
from datamodules.files.reading import FORMATS, is_deep_grey

DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".pgm"})
"""Extensions of formats that support one channel of 16 bits."""


MAP_FOLDER_WORDS = MAP_WORDS - {"valid", "proj"}
"""Names of folders without photographs. ``valid`` is excluded because it often means the validation split."""


def split_photos(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the photographs of a folder, and its depth maps and masks.

    A file is no photograph if it has one channel of more than 8 bits and other files do not, or if its name marks it as
    another map of an image (``0001.depth.png`` beside ``0001.color.jpg``). A folder of only 16-bit grey images holds
    photographs.

    Args:
        files: Image files of one folder.

    Returns:
        The photographs and the other files, both in the given order.
    """
    deep = {path for path in files if _is_deep(path)}
    if len(deep) == len(files):
        deep = set()
    plain = {path: plain_name(stem_of(path)) for path in files}
    beside = {path for path in files if words_of(stem_of(path)) & MAP_WORDS}
    photos = {plain[path] for path in files if path not in beside and path not in deep}
    left_out = deep | {path for path in beside if plain[path] in photos}
    return [path for path in files if path not in left_out], [path for path in files if path in left_out]


def auxiliary_folders(folders: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return the names of folders with depth, masks or similar maps beside folders of photographs.

    Their name marks them (``masks`` beside ``color``), or all of their files have one channel of more than 8 bits and
    files of other folders do not.

    Args:
        folders: Image files by folder name.

    Returns:
        Folder names in the given order; empty if no folder of photographs would be left.
    """
    deep = [name for name, files in folders.items() if files and all(_is_deep(path) for path in files)]
    found = [name for name in folders if is_auxiliary_name(name) or name in deep]
    return found if len(found) < len(folders) else []


def is_auxiliary_name(folder: str) -> bool:
    """Return whether a folder name indicates depth, masks or similar maps.

    >>> [is_auxiliary_name(name) for name in ("Depth_raw", "masks", "valid", "kitchen")]
    [True, True, False, False]
    """
    return "depth" in folder.casefold() or bool(words_of(folder) & MAP_FOLDER_WORDS)


def _is_deep(path: Path) -> bool:
    """Return whether a file has one channel of more than 8 bits; False if damaged, which is reported on reading."""
    if path.suffix.lower() not in DEEP_SUFFIXES:
        return False
    try:
        with Image.open(path, formats=FORMATS) as file:
            return is_deep_grey(file)
    except Exception:  # Pillow's decoders raise many types
        return False
