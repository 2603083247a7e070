"""Checks of HDF5 data sets before they are read: where their values lie and how much memory they take.

An HDF5 file can declare that values of a data set lie in any other file of the machine: bytes at an offset (external
storage), a data set of another file (external link), or parts of many files (virtual data set). None of the formats of
this project uses that, so all three are refused. A declared shape costs no bytes in the file, but memory when it is
read.
"""

import math
from typing import Any

import h5py

MAX_BYTES = 2**31
"""Largest array that is read at once: an image of 400 megapixels takes 1.2 GB."""


def check_dataset(file: h5py.File, name: str, *, whole: bool = False) -> h5py.Dataset:
    """A data set of an open file, after checking that its values lie in this file and fit into memory.

    Args:
        file: The file.
        name: Path of the data set.
        whole: Whether all of it will be read at once, rather than one position of the first axis at a time.

    Returns:
        The data set.

    Raises:
        KeyError: If there is no such data set.
        ValueError: If its values lie in another file, or are too large.
    """
    group: Any = file
    for part in name.strip("/").split("/"):
        link = group.get(part, getlink=True)
        if link is not None and not isinstance(link, h5py.HardLink):
            raise ValueError(_elsewhere(file, name, f"is a link to {_target(link)}"))
        group = group[part]
    if not isinstance(group, h5py.Dataset):
        raise KeyError(f"'{name}' is no data set")
    if group.external:
        raise ValueError(_elsewhere(file, name, f"has its values in the file '{group.external[0][0]}'"))
    if group.is_virtual:
        raise ValueError(_elsewhere(file, name, f"has its values in the file '{group.virtual_sources()[0].file_name}'"))
    shape = group.shape or ()
    item = max(group.dtype.itemsize, 1)
    for extent in (shape if whole else shape[1:], group.chunks or ()):
        size = math.prod(extent) * item
        if size > MAX_BYTES:
            raise ValueError(
                f"'{file.filename}' declares {size / 1e9:.1f} GB for '{name}' (shape {shape}, {group.dtype}), but at "
                f"most {MAX_BYTES / 1e9:.1f} GB are read at once: the file is damaged or was made to fill the memory"
            )
    return group


def _elsewhere(file: h5py.File, name: str, how: str) -> str:
    return (
        f"'{file.filename}' is refused, because its data set '{name}' {how}: only values inside of the file itself are "
        "read; make a copy that holds them, with `h5repack`"
    )


def _target(link: Any) -> str:
    other = getattr(link, "filename", None)
    return f"'{link.path}'" if other is None else f"'{link.path}' in the file '{other}'"
