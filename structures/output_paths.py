"""Checks that output paths can be written to, with error messages that name the obstacle."""

import os
from pathlib import Path


def check_folder(path: str | os.PathLike[str]) -> None:
    """Raise an error if a path cannot be an output folder, before any work is done; nothing is created.

    Args:
        path: The folder, which need not exist.

    Raises:
        NotADirectoryError: If it, or a folder that it lies in, is a file or a link to nothing.
    """
    for place in (Path(path), *Path(path).parents):
        if place.is_dir():
            return
        if place.exists() or place.is_symlink():
            what = "is a file" if place.exists() else "is a link to nothing"
            raise NotADirectoryError(f"'{place}' {what}, but a folder is needed: choose another path.")


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, with those above it, where it is missing.

    Args:
        path: The folder.

    Returns:
        The folder.

    Raises:
        NotADirectoryError: If the path or one above it is a file.
        OSError: If the folder cannot be made.
    """
    folder = Path(path)
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise type(error)(f"the folder '{folder}' cannot be made: {error.strerror}") from error
    return folder


def check_output_folder(path: str | os.PathLike[str]) -> Path:
    """Make an output folder as :func:`make_folder` does, and check that it is writable.

    Raises:
        PermissionError: If it is not writable; besides the errors of :func:`make_folder`.
    """
    folder = make_folder(path)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"nothing may be written into the folder '{folder}'; name another folder")
    return folder


def check_output_file(path: str | os.PathLike[str]) -> Path:
    """Check that an output file can be written, before any work is done.

    Args:
        path: The file; missing folders are made, and it may exist.

    Returns:
        The file.

    Raises:
        IsADirectoryError: If the path is a folder.
        NotADirectoryError: If a path above it is a file.
        PermissionError: If nothing may be written there.
        OSError: If its folder cannot be made.
    """
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(f"'{file}' is a folder, but a file is to be written; name a file, in it or elsewhere")
    if file.is_symlink() and not file.exists():
        raise FileNotFoundError(f"'{file}' is a link to nothing; name another file")
    check_output_folder(file.parent)
    return file
