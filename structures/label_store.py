"""Reads a label file: per-image arrays of a teacher, such as proxy labels, pseudo depth or vanishing directions.

Commands write it (``structures/label_writer.py``), data modules read it by the names of the frames. The finished file
is HDF5::

    /names    string  (N,)
    /values   (N, *shape)   one chunk an image; uint8 class ids (gzip), float32 metres, or float64 directions
    attributes: format, version, kind, teacher, settings (JSON)

While it is written, the arrays that are done are in a log, ``<path>.partial`` (``structures/label_log.py``). A log
survives a killed process, which an HDF5 file may not: its torn end is cut off and writing continues after the rest.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import numpy.typing as npt

from structures.safe_hdf5 import check_dataset

Kind = Literal["semantic", "depth", "vanishing"]
Array = npt.NDArray[Any]

FORMAT = "plumbline-labels"
VERSION = 1

DTYPES: dict[str, npt.DTypeLike] = {"semantic": np.uint8, "depth": np.float32, "vanishing": np.float64}
"""Stored type of an array by its kind: class ids from 1 with 0 for none, metres, unit vectors as rows."""


class LabelStore:
    """Reads a finished label file. It may be pickled and forked: each process opens the file again.

    Args:
        path: The file.
        kind: The kind of arrays that is needed, or None for any.

    Attributes:
        kind: Kind of the arrays.
        teacher: Source of the arrays, e.g. the name of a model.
        settings: Everything else that the arrays depend on.
        shape: Of each array.
        names: Of the images, in the order in which they were written.

    Raises:
        FileNotFoundError: If there is no such file, or only an unfinished one.
        IsADirectoryError: If it is a folder.
        ValueError: If it is truncated, no label file, or of another kind.
    """

    def __init__(self, path: str | os.PathLike[str], *, kind: Kind | None = None) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._owner = 0
        partial = self.path.with_name(self.path.name + ".partial")
        if self.path.is_dir():
            raise IsADirectoryError(
                f"'{self.path}' is a folder, but a label file is needed; make pseudo-labels and make pseudo-depth "
                "write one, also out of a folder of depth maps"
            )
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
                    raise ValueError(
                        f"'{self.path}' is no label file of this version; name another file, or make it again"
                    )
                self.kind: str = str(file.attrs["kind"])
                self.teacher: str = str(file.attrs["teacher"])
                self.settings: dict[str, Any] = json.loads(file.attrs["settings"])
                self.names: list[str] = list(check_dataset(file, "names", whole=True).asstr()[...])
                count, *shape = check_dataset(file, "values").shape
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
            shape: The shape that is needed, or None for any.

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
        return (
            f"'{self.path}' is truncated, damaged or no label file; name another file, or move this one away and make "
            "it again"
        )
