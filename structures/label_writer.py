"""Writes a label file in as many runs as it takes; its format stands in ``structures/label_store.py``."""

import errno
import fcntl
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, get_args

import h5py
import numpy as np

from structures.label_store import DTYPES, FORMAT, VERSION, Array, Kind, LabelStore
from structures.output_paths import check_output_file

_GZIP_LEVEL = 4
_ABSENT = object()
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BYTES_OF_INDEX = 256
"""Of the finished file for each image, generously: its name and where its chunk stands."""
_PACKED = ("semantic",)
"""Kinds that are packed; depth and directions hardly shrink."""


def _encoded(kind: Kind, name: str, array: Array) -> Array:
    """Check an array and convert it to its stored type.

    Raises:
        ValueError: If shape, type or a value is none of the kind.
    """
    if kind == "vanishing" and array.shape != (3, 3):
        raise ValueError(f"the directions of '{name}' have the shape {array.shape}, but (3, 3) is needed")
    if kind != "vanishing" and (array.ndim != 2 or array.size == 0):
        raise ValueError(f"the {kind} array of '{name}' has the shape {array.shape}, but (H, W) is needed")
    if kind == "semantic":
        if not np.issubdtype(array.dtype, np.integer) or array.min() < 0 or array.max() > np.iinfo(np.uint8).max:
            raise ValueError(
                f"the labels of '{name}' are {array.dtype} from {array.min()} to {array.max()}, but integers from 0 to "
                f"255 are needed"
            )
    elif not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
        raise ValueError(f"the {kind} array of '{name}' is no array of finite floating-point numbers")
    elif kind == "depth" and array.min() < 0:
        raise ValueError(f"the depth of '{name}' goes down to {array.min():g} m, but 0 is the least (unknown)")
    return np.ascontiguousarray(array, dtype=DTYPES[kind])


class LabelWriter:
    """Writes a label file in as many runs as it takes.

    ::

        with LabelWriter(path, kind="depth", teacher="name", settings={"size": [384, 512]}) as writer:
            for name in writer.missing(names):
                writer.write(name, predict(name))
            writer.finish()

    Leaving the block before ``finish`` keeps what is done in ``<path>.partial``; so does a kill, up to the last few
    images. Where the file is already finished, everything in it counts as done and ``finish`` does nothing.

    Args:
        path: The file to make; missing folders are made.
        kind: What the arrays are.
        teacher: Who made them, e.g. the model's name.
        settings: What else they depend on, of plain JSON types.
        flush_every: Images after which what is written is brought to the disk.

    Raises:
        ValueError: If the kind is unknown, the settings are no JSON, or what is there already, finished or not, is
            damaged or was made with another kind, teacher or settings.
        BlockingIOError: If another process is writing the file.
        OSError: If the file or its folder cannot be made, a folder lying in its place for one.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        kind: Kind,
        teacher: str,
        settings: Mapping[str, Any],
        flush_every: int = 32,
    ) -> None:
        if kind not in get_args(Kind):
            raise ValueError(f"kind '{kind}' is not known; choose {', '.join(get_args(Kind))}")
        if flush_every < 1:
            raise ValueError(f"flush_every is {flush_every}, but at least 1 is needed")
        self.path = Path(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.kind: Kind = kind
        self.teacher = teacher
        try:
            self.settings: dict[str, Any] = json.loads(json.dumps(dict(settings), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"the settings of '{self.path}' are no plain JSON values: {error}") from error
        self.flush_every = flush_every
        self._unflushed = 0
        self._log: IO[bytes] | None = None
        self._records: dict[str, tuple[int, int, int]] = {}  # first byte, number of bytes, checksum
        self._shape: tuple[int, ...] | None = None
        self._finished: LabelStore | None = None
        check_output_file(self.path)
        if self.path.exists():
            self._finished = LabelStore(self.path)
            found = self._finished
            self._check_provenance(self.path, found.kind, found.teacher, found.settings)
        else:
            self._open_log()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OSError:
            if error is None:  # else it is the same full disk, already on its way up
                raise

    def __contains__(self, name: str) -> bool:
        return name in (self._records if self._finished is None else self._finished)

    def __len__(self) -> int:
        """Return the number of images that are done."""
        return len(self._records if self._finished is None else self._finished)

    def missing(self, names: Iterable[str]) -> list[str]:
        """The names that are not done yet, in the given order."""
        return [name for name in names if name not in self]

    def write(self, name: str, array: Array) -> None:
        """Add the array of one image.

        Args:
            name: The frame's name.
            array: Integer class ids ``(H, W)`` from 0 (none) to 255, metres ``(H, W)`` with 0 for unknown, or
                directions ``(3, 3)`` with zeros for none; all arrays of a file have one shape.

        Raises:
            ValueError: If the name is already there, the array does not fit the kind or the shape of the others, or
                the file is finished.
            OSError: If the disk is full; what was written before is kept.
        """
        if self._finished is not None:
            raise ValueError(
                f"'{self.path}' is finished and lacks '{name}', so it was made for other images; write to another "
                "file, or move this one away to make it anew"
            )
        if self._log is None:
            raise ValueError(f"the writer of '{self.path}' is closed")
        if name in self._records:
            raise ValueError(f"'{name}' is already in '{self.partial}'")
        stored = _encoded(self.kind, name, np.asarray(array))
        if self._shape is None:
            self._shape = stored.shape
        if stored.shape != self._shape:
            raise ValueError(
                f"the array of '{name}' has the shape {stored.shape}, but the others in '{self.partial}' have "
                f"{self._shape}; all images of a file need one size"
            )
        content = zlib.compress(stored.tobytes(), _GZIP_LEVEL) if self.kind in _PACKED else stored.tobytes()
        checksum = zlib.crc32(content)
        head = {"name": name, "shape": stored.shape, "bytes": len(content), "crc": checksum}
        try:
            self._log.write(json.dumps(head).encode() + b"\n")
            start = self._log.tell()
            self._log.write(content)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._records[name] = (start, len(content), checksum)
        self._unflushed += 1
        if self._unflushed >= self.flush_every:
            self._flush()

    def finish(self) -> None:
        """Make the finished file out of the log, atomically, and remove the log.

        Raises:
            ValueError: If nothing was written, or the log is damaged.
            OSError: If the disk is full; the log is kept.
        """
        if self._finished is not None:
            return
        if self._log is None or self._shape is None:
            raise ValueError(f"nothing was written to '{self.path}', so there is nothing to finish")
        self._flush()
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self._reserve(temporary)
            self._write_hdf5(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self.partial.unlink()
        self.close()
        self._finished = LabelStore(self.path)

    def close(self) -> None:
        """Bring what is written to the disk and let go of the file; also done at the end of the block."""
        if self._log is not None:
            log, self._log = self._log, None
            log.close()

    def _flush(self) -> None:
        assert self._log is not None
        try:
            self._log.flush()
            os.fsync(self._log.fileno())
        except OSError as error:
            raise self._cannot_write(error) from error
        self._unflushed = 0

    def _reserve(self, path: Path) -> None:
        """Let a full disk show before HDF5, which it can crash, has a file open."""
        assert self._log is not None
        space = os.fstat(self._log.fileno()).st_size + _BYTES_OF_INDEX * (len(self._records) + 100)
        with path.open("wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, space)
            except OSError as error:
                if error.errno in _DISK_FULL:  # some file systems cannot reserve space at all
                    raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> OSError:
        return OSError(
            error.errno, f"cannot write '{self.path}', what is done is kept in '{self.partial}': {error.strerror}"
        )

    def _check_provenance(self, path: Path, kind: object, teacher: object, settings: object) -> None:
        theirs = {"kind": kind, "teacher": teacher} | (settings if isinstance(settings, dict) else {})
        ours = {"kind": self.kind, "teacher": self.teacher} | self.settings
        other = [key for key in {**ours, **theirs} if theirs.get(key, _ABSENT) != ours.get(key, _ABSENT)]
        if other:
            there, here = (
                ", ".join(f"{key}={made[key]!r}" if key in made else f"no {key}" for key in other)
                for made in (theirs, ours)
            )
            raise ValueError(
                f"'{path}' was made with {there}, not {here}; write to another file, or move this one away"
            )

    def _open_log(self) -> None:
        check_output_file(self.partial)
        log = os.fdopen(os.open(self.partial, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        try:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BlockingIOError(f"another process is writing '{self.partial}'; wait until it is done") from error
            except OSError:  # a file system without locks
                pass
            self._read_log(log)
        except BaseException:
            log.close()
            raise
        self._log = log

    def _read_log(self, log: IO[bytes]) -> None:
        head = log.readline()
        if not head.endswith(b"\n"):  # new, or killed before the first line was out
            log.seek(0)
            log.truncate()
            first = {"format": FORMAT, "version": VERSION, "kind": self.kind, "teacher": self.teacher}
            log.write(json.dumps(first | {"settings": self.settings}).encode() + b"\n")
            log.flush()
            return
        found = _parsed(head)
        if found.get("format") != FORMAT or found.get("version") != VERSION:
            raise ValueError(
                f"'{self.partial}' is no unfinished label file of this version; write to another file, or move it away"
            )
        self._check_provenance(self.partial, found.get("kind"), found.get("teacher"), found.get("settings"))
        size = os.fstat(log.fileno()).st_size
        end = log.tell()
        while line := log.readline():
            record = _parsed(line)
            if not line.endswith(b"\n") or not {"name", "shape", "bytes", "crc"} <= record.keys():
                break
            start, length = log.tell(), int(record["bytes"])
            if start + length > size:
                break
            self._records[str(record["name"])] = (start, length, int(record["crc"]))
            self._shape = tuple(record["shape"])
            end = log.seek(start + length)
        log.truncate(end)
        log.seek(end)

    def _write_hdf5(self, path: Path) -> None:
        assert self._log is not None
        assert self._shape is not None
        with h5py.File(path, "w") as file:
            file.attrs.update(
                format=FORMAT,
                version=VERSION,
                kind=self.kind,
                teacher=self.teacher,
                settings=json.dumps(self.settings, sort_keys=True),
            )
            file.create_dataset("names", data=list(self._records), dtype=h5py.string_dtype())
            packed = {"compression": "gzip", "compression_opts": _GZIP_LEVEL} if self.kind in _PACKED else {}
            values = file.create_dataset(
                "values", (len(self._records), *self._shape), DTYPES[self.kind], chunks=(1, *self._shape), **packed
            )
            for row, (name, (start, length, checksum)) in enumerate(self._records.items()):
                self._log.seek(start)
                content = self._log.read(length)
                if zlib.crc32(content) != checksum:
                    raise ValueError(
                        f"'{self.partial}' is damaged at '{name}'; move it away and start again, or write to another "
                        "file"
                    )
                # The log holds the bytes of the chunk already, packed where they are to be packed.
                values.id.write_direct_chunk((row, *(0 for _ in self._shape)), content)


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of JSON as a dict; empty if it is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
