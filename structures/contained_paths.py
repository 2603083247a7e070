"""Paths below a folder, for names that come from a file of data: a name must not lead out of its folder."""

import os
import re
from pathlib import Path

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


def leaves(name: str) -> bool:
    """Whether a name leads out of the folder that it is joined to: it is absolute, or goes up by ``..``.

    Links are not followed.

    >>> [leaves(name) for name in ("a/b.png", "a/../b.png", "a/../../b.png", "/b.png")]
    [False, False, True, True]
    """
    if _ABSOLUTE.match(name) or "\0" in name:
        return True
    return os.path.normpath(name.replace("\\", "/")).split("/")[0] == ".."


def input_path(folder: Path, name: str, *, where: str, what: str, hint: str) -> Path:
    """Path of a file that a list names, below the folder of the list.

    Links in the folder are followed: a link is placed by whoever fills the folder, and large data sets are assembled
    from links.

    Args:
        folder: The folder.
        name: Path relative to it.
        where: List and line, for the message.
        what: What the path is, such as ``image``.
        hint: What to do, for the message.

    Raises:
        ValueError: If the name leads out of the folder.
    """
    if leaves(name):
        raise ValueError(f"{where}: the {what} {name!r} is not below the folder {folder}, so it is not read: {hint}.")
    return folder / name


def output_path(folder: Path, name: str) -> Path:
    """Path of a result that is named by its data, below the folder of the results.

    Links in the folder of the results must not lead out of it.

    Args:
        folder: The folder; it may be a link itself.
        name: Name of the result.

    Raises:
        ValueError: If the result would not be written into the folder.
    """
    path = folder / name
    inside = not leaves(name) and os.path.normpath(name) != "."
    if not inside or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"the result of {name!r} would be written outside of the folder {folder}, so it is not written: names of "
            "images, and links in that folder, must not lead out of it"
        )
    return path
