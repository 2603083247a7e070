"""The file of per-image arrays that a teacher made once: proxy labels, pseudo depth, vanishing directions.

Written by commands, read by data modules, keyed by the names of the frames. The finished file is HDF5::

    /names    string  (N,)
    /values   (N, *shape)   one chunk an image; uint8 class ids (gzip), float32 metres, or float64 directions
    attributes: format, version, kind, teacher, settings (JSON)

While it is written, what is done stands in a log, ``<path>.partial``: a line of JSON, then for every image a line of
JSON and its bytes as they will stand in the chunk. A log survives a killed process, of which HDF5 files make no
promise: its torn end is cut off and the rest is taken up again.
"""

import errno
import fcntl
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, get_args

import h5py
import numpy as np
import numpy.typing as npt

Kind = Literal["semantic", "depth", "vanishing"]
Array = npt.NDArray[Any]

FORMAT = "plumbline-labels"
VERSION = 1

DTYPES: dict[str, npt.DTypeLike] = {"semantic": np.uint8, "depth": np.float32, "vanishing": np.float64}
"""What an array is stored as, by kind: class ids from 1 with 0 for none, metres, unit vectors as rows."""

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
                f"'{self.path}' is finished and lacks '{name}'; move it away to make it anew with all images"
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
            raise ValueError(f"'{path}' was made with {there}, not {here}; move it away or write to another file")

    def _open_log(self) -> None:
        self.partial.parent.mkdir(parents=True, exist_ok=True)
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
            raise ValueError(f"'{self.partial}' is no unfinished label file of this version; move it away")
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
                    raise ValueError(f"'{self.partial}' is damaged at '{name}'; move it away and start again")
                # The log holds the bytes of the chunk already, packed where they are to be packed.
                values.id.write_direct_chunk((row, *(0 for _ in self._shape)), content)


def _parsed(line: bytes) -> dict[str, Any]:
    """A line of JSON as a dict; empty if it is none."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class LabelStore:
    """Reads a finished label file. It may be pickled and forked: each process opens the file for itself.

    Args:
        path: The file.
        kind: What has to be in it, or None for anything.

    Attributes:
        kind: What the arrays are.
        teacher: Who made them.
        settings: What else they depend on.
        shape: Of each array.
        names: Of the images, in the order in which they were written.

    Raises:
        FileNotFoundError: If there is no such file, or only an unfinished one.
        ValueError: If it is truncated, no label file, or of another kind.
    """

    def __init__(self, path: str | os.PathLike[str], *, kind: Kind | None = None) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._owner = 0
        partial = self.path.with_name(self.path.name + ".partial")
        if self.path.suffix == ".partial" or (not self.path.exists() and partial.exists()):
            raise FileNotFoundError(
                f"the label file '{self.path}' is not finished; run the command that makes it again, it goes on where "
                "it was stopped"
            )
        if not self.path.exists():
            raise FileNotFoundError(
                f"there is no label file '{self.path}'; make pseudo-labels or make vanishing writes it "
                "(for rooms: python -m tools.prepare_inputs --config EXPERIMENT)"
            )
        try:
            with h5py.File(self.path, "r") as file:
                if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                    raise ValueError(f"'{self.path}' is no label file of this version; move it away and make it again")
                self.kind: str = str(file.attrs["kind"])
                self.teacher: str = str(file.attrs["teacher"])
                self.settings: dict[str, Any] = json.loads(file.attrs["settings"])
                self.names: list[str] = list(file["names"].asstr()[...])
                count, *shape = file["values"].shape
        except (OSError, KeyError, TypeError) as error:
            raise ValueError(self._broken()) from error
        self.shape: tuple[int, ...] = tuple(shape)
        if count != len(self.names):
            raise ValueError(self._broken())
        if kind is not None and kind != self.kind:
            raise ValueError(f"'{self.path}' holds {self.kind} arrays, but {kind} is needed; give another file")
        self._rows = {name: row for row, name in enumerate(self.names)}

    def __getstate__(self) -> dict[str, Any]:
        # HDF5 handles survive neither a fork nor pickling.
        return {**self.__dict__, "_file": None}

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def missing(self, names: Iterable[str]) -> list[str]:
        """The names that are not in the file, in the given order."""
        return [name for name in names if name not in self._rows]

    def read(self, name: str, *, shape: tuple[int, ...] | None = None) -> Array:
        """Return the array of one image, which the caller may write to.

        Args:
            name: The frame's name.
            shape: What the array has to have, or None for any.

        Returns:
            uint8 ``(H, W)`` class ids from 1 with 0 for none, float32 ``(H, W)`` metres with 0 for unknown, or float64
            ``(3, 3)`` with unit vectors as rows, zeros for none.

        Raises:
            ValueError: If the name is not in the file, the arrays have another shape, or the file is damaged.
        """
        if name not in self._rows:
            raise ValueError(
                f"'{self.path}' has nothing for '{name}' ({len(self)} images from '{self.names[0]}' on); make it again "
                "for this data"
            )
        if shape is not None and tuple(shape) != self.shape:
            raise ValueError(
                f"the arrays in '{self.path}' have the shape {self.shape}, but {tuple(shape)} is needed; make the file "
                "again at this size"
            )
        try:
            array: Array = self._open()["values"][self._rows[name]]
        except OSError as error:
            raise ValueError(self._broken()) from error
        return array

    def _open(self) -> h5py.File:
        if self._file is None or self._owner != os.getpid():
            self._file = h5py.File(self.path, "r")
            self._owner = os.getpid()
        return self._file

    def _broken(self) -> str:
        if self.path.is_dir():
            return f"'{self.path}' is a folder, but a label file is needed; give the file"
        return f"'{self.path}' is truncated, damaged or no label file; move it away and make it again"
