"""Versions of data that are files of a user: keys that change when the files do."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_BLOCK = 1 << 20
_DIGITS = 12


def files_version(prefix: str, paths: Iterable[Path]) -> str | None:
    """Key of the content of some files, ``<prefix>-<12 hexadecimal digits>``; None if one cannot be read.

    Args:
        prefix: Kind of the data, such as ``manifest``.
        paths: The files, in a fixed order; a file that is named twice counts once. Their names do not count.
    """
    digest = hashlib.sha256()
    try:
        for path in dict.fromkeys(paths):
            inner = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    inner.update(block)
            digest.update(inner.digest())
    except OSError:
        return None
    return f"{prefix}-{digest.hexdigest()[:_DIGITS]}"


def joined_version(versions: Iterable[str | None]) -> str | None:
    """Version of data that consist of several parts, each named once; None if that of a part is unknown.

    >>> joined_version(["rooms-1", "manifest-2", "rooms-1"])
    'rooms-1+manifest-2'
    """
    parts = list(dict.fromkeys(versions))
    return None if None in parts or not parts else "+".join(str(part) for part in parts)
