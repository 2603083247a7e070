"""The log of an unfinished label file: the arrays that are done, appended so that a killed process loses few.

The first line is JSON with format, version, kind, teacher and settings. Then follow, for every image, a line of JSON
with its name, shape, number of bytes and checksum, and the bytes as they will stand in the chunk of the finished file.
"""

import fcntl
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from structures.label_store import FORMAT, VERSION
from structures.output_paths import check_output_file

_ABSENT = object()


class Record(NamedTuple):
    """Where the bytes of one image are in the log."""

    start: int
    """First byte."""
    length: int
    """Number of bytes."""
    checksum: int
    """CRC-32 of the bytes."""


def check_provenance(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Make sure that a label file was made with the same kind, teacher and settings as those of this run.

    Args:
        path: The file, for the message.
        found: ``kind``, ``teacher`` and ``settings`` of the file.
        wanted: The same of this run.

    Raises:
        ValueError: If they differ.
    """
    theirs, ours = ({"kind": made.get("kind"), "teacher": made.get("teacher")} for made in (found, wanted))
    theirs |= found["settings"] if isinstance(found.get("settings"), dict) else {}
    ours |= wanted["settings"]
    other = [key for key in {**ours, **theirs} if theirs.get(key, _ABSENT) != ours.get(key, _ABSENT)]
    if other:
        there, here = (
            ", ".join(f"{key}={made[key]!r}" if key in made else f"no {key}" for key in other)
            for made in (theirs, ours)
        )
        raise ValueError(f"'{path}' was made with {there}, not {here}; write to another file, or move this one away")


class LabelLog:
    """Opens or continues the log of an unfinished label file. The file is locked against other processes.

    A torn end, left by a killed process, is cut off.

    Args:
        path: The log.
        provenance: ``kind``, ``teacher`` and ``settings`` of this run, of plain JSON types.

    Attributes:
        records: Where the bytes of each image are, by its name, in the order of writing.
        shape: Shape of the arrays, None without any.

    Raises:
        ValueError: If the file is no log of this version, or was made with another kind, teacher or settings.
        BlockingIOError: If another process is writing it.
        OSError: If it cannot be made or written.
    """

    def __init__(self, path: Path, provenance: Mapping[str, Any]) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        self.shape: tuple[int, ...] | None = None
        check_output_file(path)
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            self._lock()
            self._read(provenance)
        except BaseException:
            self._file.close()
            raise

    @property
    def size(self) -> int:
        """Bytes of the file that are written so far."""
        return os.fstat(self._file.fileno()).st_size

    def append(self, name: str, shape: tuple[int, ...], content: bytes) -> None:
        """Add the bytes of one image; they are on the disk after :meth:`flush`."""
        checksum = zlib.crc32(content)
        head = {"name": name, "shape": shape, "bytes": len(content), "crc": checksum}
        self._file.write(json.dumps(head).encode() + b"\n")
        start = self._file.tell()
        self._file.write(content)
        self.records[name] = Record(start, len(content), checksum)
        self.shape = shape

    def content(self, name: str) -> bytes:
        """The bytes of one image.

        Raises:
            ValueError: If they are damaged.
        """
        record = self.records[name]
        self._file.seek(record.start)
        content = self._file.read(record.length)
        if zlib.crc32(content) != record.checksum:
            raise ValueError(
                f"'{self.path}' is damaged at '{name}'; move it away and start again, or write to another file"
            )
        return content

    def flush(self) -> None:
        """Write what was appended to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file and release the lock."""
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"another process is writing '{self.path}'; wait until it is done") from error
        except OSError:  # a file system without locks
            pass

    def _read(self, provenance: Mapping[str, Any]) -> None:
        log = self._file
        head = log.readline()
        if not head.endswith(b"\n"):  # new, or killed while the first line was written
            log.seek(0)
            log.truncate()
            log.write(json.dumps({"format": FORMAT, "version": VERSION} | dict(provenance)).encode() + b"\n")
            log.flush()
            return
        found = _parsed(head)
        if found.get("format") != FORMAT or found.get("version") != VERSION:
            raise ValueError(
                f"'{self.path}' is no unfinished label file of this version; write to another file, or move it away"
            )
        check_provenance(self.path, found, provenance)
        size, end = self.size, log.tell()
        while line := log.readline():
            record = _parsed(line)
            if not line.endswith(b"\n") or not {"name", "shape", "bytes", "crc"} <= record.keys():
                break
            start, length = log.tell(), int(record["bytes"])
            if start + length > size:
                break
            self.records[str(record["name"])] = Record(start, length, int(record["crc"]))
            self.shape = tuple(record["shape"])
            end = log.seek(start + length)
        log.truncate(end)
        log.seek(end)


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of JSON as a dict; empty if it is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
