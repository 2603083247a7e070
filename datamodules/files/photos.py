"""Telling photographs from the depth maps and masks that lie among them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from datamodules.files.name_matching import OTHER_ROLES, plain_name, words_of
from datamodules.files.natural_order import stem_of
from datamodules.files.reading import is_deep_grey

DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".pgm"})
"""Endings of formats that may have one channel of 16 bits."""


FOLDER_ROLES = OTHER_ROLES - {"valid", "proj"}
"""Words of folders that hold no photographs; ``valid`` as often is the part of a data set to validate on."""


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


def folders_beside(folders: Mapping[str, Sequence[Path]]) -> list[str]:
    """Names of folders that hold depth, masks or the like beside the folders of photographs.

    They are named for it (``masks`` beside ``color``), or all of their files have one channel of more than 8 bits and
    those of others have not.

    Args:
        folders: Image files by the name of their folder.

    Returns:
        Such names in the given order; none where no folder of photographs is left.
    """
    deep = [name for name, files in folders.items() if files and all(_is_deep(path) for path in files)]
    found = [name for name in folders if names_role(name) or name in deep]
    return found if len(found) < len(folders) else []


def names_role(folder: str) -> bool:
    """Whether the name of a folder says that depth, masks or the like lie in it.

    >>> names_role("Depth_raw"), names_role("masks"), names_role("valid"), names_role("kitchen")
    (True, True, False, False)
    """
    return "depth" in folder.casefold() or bool(words_of(folder) & FOLDER_ROLES)


def _is_deep(path: Path) -> bool:
    """Whether the head of a file says that it has one channel of more than 8 bits; reading it says if it is broken."""
    if path.suffix.lower() not in DEEP_SUFFIXES:
        return False
    try:
        with Image.open(path) as file:
            return is_deep_grey(file)
    except Exception:  # Pillow's decoders raise many types
        return False
