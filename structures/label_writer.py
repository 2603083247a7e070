"""Writes a label file, in several runs if need be; ``structures/label_store.py`` documents its format."""

import errno
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

import h5py
import numpy as np

from structures.label_log import LabelLog, Record, check_provenance
from structures.label_store import DTYPES, FORMAT, VERSION, Array, Kind, LabelStore
from structures.output_paths import check_output_file

_GZIP_LEVEL = 4
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BYTES_OF_INDEX = 256
"""Upper bound of what the finished file adds for each image: its name and the address of its chunk."""
_PACKED = ("semantic",)
"""Kinds that are compressed; depth and directions hardly shrink."""


def _encoded(kind: Kind, name: str, array: Array) -> Array:
    """Check an array and convert it to its stored type.

    Raises:
        ValueError: If shape, type or a value does not belong to the kind.
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
    """Writes a label file, in several runs if need be.

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
        teacher: Source of the arrays, e.g. the name of a model.
        settings: What else they depend on, of plain JSON types.
        flush_every: Images between two flushes to the disk.

    Raises:
        ValueError: If the kind is unknown, the settings are no JSON, or a finished or unfinished file is there that is
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
        self._log: LabelLog | None = None
        self._finished: LabelStore | None = None
        self._names: LabelStore | dict[str, Record]  # of the images that are done
        check_output_file(self.path)
        provenance = {"kind": self.kind, "teacher": self.teacher, "settings": self.settings}
        if self.path.exists():
            found = LabelStore(self.path)
            self._finished, self._names = found, found
            made_with = {"kind": found.kind, "teacher": found.teacher, "settings": found.settings}
            check_provenance(self.path, made_with, provenance)
        else:
            self._log = LabelLog(self.partial, provenance)
            self._names = self._log.records

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except OSError:
            if error is None:  # otherwise the full disk has raised already
                raise

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __len__(self) -> int:
        """Return the number of images that are done."""
        return len(self._names)

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
        if name in self._log.records:
            raise ValueError(f"'{name}' is already in '{self.partial}'")
        stored = _encoded(self.kind, name, np.asarray(array))
        shape = self._log.shape
        if shape is not None and stored.shape != shape:
            raise ValueError(
                f"the array of '{name}' has the shape {stored.shape}, but the others in '{self.partial}' have "
                f"{shape}; all images of a file need one size"
            )
        content = zlib.compress(stored.tobytes(), _GZIP_LEVEL) if self.kind in _PACKED else stored.tobytes()
        try:
            self._log.append(name, stored.shape, content)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._unflushed += 1
        if self._unflushed >= self.flush_every:
            self._flush(self._log)

    def finish(self) -> None:
        """Make the finished file out of the log, atomically, and remove the log.

        Raises:
            ValueError: If nothing was written, or the log is damaged.
            OSError: If the disk is full; the log is kept.
        """
        if self._finished is not None:
            return
        log = self._log
        if log is None or log.shape is None:
            raise ValueError(f"nothing was written to '{self.path}', so there is nothing to finish")
        self._flush(log)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            self._reserve(temporary, log)
            self._write_hdf5(temporary, log, log.shape)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self.partial.unlink()
        self.close()
        self._finished = self._names = LabelStore(self.path)

    def close(self) -> None:
        """Write what is done to the disk and close the log; also done at the end of the block."""
        if self._log is not None:
            log, self._log = self._log, None
            log.close()

    def _flush(self, log: LabelLog) -> None:
        try:
            log.flush()
        except OSError as error:
            raise self._cannot_write(error) from error
        self._unflushed = 0

    def _reserve(self, path: Path, log: LabelLog) -> None:
        """Reserve the disk space before HDF5 opens the file: HDF5 may crash on a full disk."""
        space = log.size + _BYTES_OF_INDEX * (len(log.records) + 100)
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

    def _write_hdf5(self, path: Path, log: LabelLog, shape: tuple[int, ...]) -> None:
        with h5py.File(path, "w") as file:
            file.attrs.update(
                format=FORMAT,
                version=VERSION,
                kind=self.kind,
                teacher=self.teacher,
                settings=json.dumps(self.settings, sort_keys=True),
            )
            file.create_dataset("names", data=list(log.records), dtype=h5py.string_dtype())
            packed = {"compression": "gzip", "compression_opts": _GZIP_LEVEL} if self.kind in _PACKED else {}
            values = file.create_dataset(
                "values", (len(log.records), *shape), DTYPES[self.kind], chunks=(1, *shape), **packed
            )
            for row, name in enumerate(log.records):
                # The log holds the bytes of the chunk, already compressed where the kind is.
                values.id.write_direct_chunk((row, *(0 for _ in shape)), log.content(name))
