"""Checksum of a checkpoint, kept inside its file: a zip archive whose comment is the SHA-256 of all bytes before it.

torch and every zip tool read such a file like any other, and the checksum moves with it when it is copied. torch itself
does not compare the checksums of a zip archive, so that a flipped bit would be loaded as another weight.
"""

import hashlib
import os
import zipfile
from pathlib import Path
from typing import BinaryIO

_MARK = b"plumbline-sha256:"
_HEX_DIGITS = 64
_COMMENT_BYTES = len(_MARK) + _HEX_DIGITS
_LENGTH_BYTES = 2
"""A zip archive without a comment ends with the length of its comment, in two bytes."""
_BLOCK = 1 << 22


class SealingWriter:
    """A file that is written in one pass, whose checksum is computed on the way.

    Args:
        file: A file opened for writing, empty.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._tail = b""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write bytes; the last two are not hashed yet, because :meth:`seal` replaces them."""
        view = memoryview(data).cast("B")
        self._file.write(view)
        if len(view) < _LENGTH_BYTES:
            view = memoryview(self._tail + bytes(view))
        else:
            self._hash.update(self._tail)
        self._hash.update(view[:-_LENGTH_BYTES])
        self._tail = bytes(view[-_LENGTH_BYTES:])
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Pass what is buffered to the operating system."""
        self._file.flush()

    def seal(self) -> None:
        """Append the checksum as the comment of the archive, and flush the file to the disk."""
        length = _COMMENT_BYTES.to_bytes(_LENGTH_BYTES, "little")
        self._hash.update(length)
        self._file.seek(-_LENGTH_BYTES, os.SEEK_END)
        self._file.write(length + _MARK + self._hash.hexdigest().encode())
        self._file.flush()
        os.fsync(self._file.fileno())


def is_whole(path: Path) -> bool:
    """Whether a file holds what was written to it.

    A file without a checksum, e.g. of an earlier version, is compared with those of the parts of the archive.

    Args:
        path: A checkpoint.

    Returns:
        False if it is truncated, altered or no archive.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _COMMENT_BYTES, 0))
        comment = file.read()
        if not comment.startswith(_MARK):
            file.seek(0)
            return _parts_are_whole(file)
        computed = hashlib.sha256()
        file.seek(0)
        left = size - _COMMENT_BYTES
        while left > 0:
            block = file.read(min(left, _BLOCK))
            if not block:  # another process truncates it
                return False
            computed.update(block)
            left -= len(block)
    return comment[len(_MARK) :] == computed.hexdigest().encode()


def _parts_are_whole(file: BinaryIO) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return not archive.comment and archive.testzip() is None  # a comment is a checksum that was altered
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError):
        return False
