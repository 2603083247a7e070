"""A check of the sizes that a checkpoint declares, before it is read."""

import zipfile
from pathlib import Path

_LARGEST_RATIO = 4
"""PyTorch stores tensors without compression, and only the small list of their names could be compressed."""
_SMALL = 2**20


def check_archive(path: Path) -> None:
    """Make sure that the content of an archive of PyTorch is not much larger than the file.

    Args:
        path: A file; one that is no archive is left to its reader.

    Raises:
        ValueError: If its records unpack to a multiple of its size; the message has no full stop.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            declared = sum(record.file_size for record in archive.infolist())
    except (OSError, zipfile.BadZipFile, NotImplementedError):
        return
    size = path.stat().st_size
    if declared > max(_LARGEST_RATIO * size, _SMALL):
        raise ValueError(
            f"'{path}' has {size / 1e6:.1f} MB, but declares {declared / 1e6:.1f} MB, so it is not read: PyTorch "
            "does not compress tensors, and the file was made to fill the memory"
        )
