"""HDF5 file that can be pickled and forked: each process opens its own handle at the first read."""

import os
from pathlib import Path
from typing import Any

import h5py


class LazyFile:
    """File opened on first use in each process, because HDF5 handles support neither fork nor pickling.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: h5py.File | None = None
        self._owner = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def open(self) -> h5py.File:
        """Return the open file of this process.

        Raises:
            OSError: If the file is missing, truncated or no HDF5 file.
        """
        if self._file is None or self._owner != os.getpid():
            self._file = h5py.File(self.path, "r")
            self._owner = os.getpid()
        return self._file
