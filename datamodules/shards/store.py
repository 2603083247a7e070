"""Samples of one split of a folder of shards, as bytes by position."""

import os
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from datamodules.shards.encoding import DamagedSampleError
from datamodules.shards.index import INDEX, SAMPLES, Shard, read_index, read_json
from datamodules.shards.storage import Storage

Value = TypeVar("Value")

LENGTH = struct.Struct("<I")
"""litdata puts its length before each value of a sample; here a sample is one value."""

OPEN_FILES = 64
"""Largest number of shards that a process keeps open."""


class ShardStore:
    """Samples of a split by position.

    The samples of shard 0 come first. Reading is safe in loader processes and never reads more than one sample.

    Args:
        storage: The folder of the shards.
        split: Folder of the split in it.
        version: Identity of the data, see :class:`datamodules.shards.index.Description`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If an index is invalid, or does not fit the list of samples.
    """

    def __init__(self, storage: Storage, split: str, *, version: str) -> None:
        self.storage = storage
        self.split = split
        self.version = version
        self.shards: list[Shard] = read_index(self._path(INDEX), self.where(INDEX))
        self.samples: dict[str, Any] = read_json(self._path(SAMPLES), self.where(SAMPLES))
        self.starts: npt.NDArray[np.int64] = np.cumsum([0, *(shard.samples for shard in self.shards)])
        names = self.samples.get("names")
        if not (isinstance(names, list) and len(names) == len(self) and all(isinstance(name, str) for name in names)):
            raise ValueError(
                f"{self.where(SAMPLES)} does not name the {len(self)} samples of the index: copy both again."
            )
        self.names: list[str] = names
        self._open: OrderedDict[int, tuple[int, npt.NDArray[np.uint32]]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of stored samples."""
        return int(self.starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for another process, which opens the files anew."""
        return {**self.__dict__, "_open": OrderedDict()}

    def where(self, name: str) -> str:
        """Return the address of a file of the split, for messages."""
        return self.storage.where(f"{self.split}/{name}")

    def shard_of(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the shard of each position."""
        return (np.searchsorted(self.starts, positions, side="right") - 1).astype(np.int64)

    def read(self, position: int, decode: Callable[[bytes], Value]) -> Value:
        """Return the decoded sample at a position.

        Args:
            position: Position in the split.
            decode: Function of the bytes of the sample.

        Raises:
            IndexError: If there is no such position.
            ValueError: If the shard is torn or the sample damaged.
            OSError: If the shard cannot be fetched or read.
        """
        if not 0 <= position < len(self):
            raise IndexError(f"The position {position} is not among the {len(self)} samples of {self.where('')}.")
        number = int(np.searchsorted(self.starts, position, side="right")) - 1
        shard = self.shards[number]
        try:
            return decode(self._bytes(number, position - int(self.starts[number])))
        except DamagedSampleError as error:
            raise ValueError(
                f"{self.where(shard.name)}: sample {position} ({self.names[position]}) {error}; copy the shard again, "
                "or write it again (make shards)."
            ) from error

    def _bytes(self, number: int, row: int) -> bytes:
        shard = self.shards[number]
        file, offsets = self._opened(number)
        start, end = int(offsets[row]), int(offsets[row + 1])
        if not 4 * (shard.samples + 2) <= start <= end <= shard.size:
            raise DamagedSampleError("is damaged: its place in the shard is invalid")
        data = os.pread(file, end - start, start)
        if len(data) != end - start or data[: LENGTH.size] != LENGTH.pack(max(0, len(data) - LENGTH.size)):
            raise DamagedSampleError("is torn or damaged: its length differs")
        return data[LENGTH.size :]

    def _opened(self, number: int) -> tuple[int, npt.NDArray[np.uint32]]:
        """Return the descriptor of a shard and the offsets of its samples, in bytes from the start of the file."""
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        shard = self.shards[number]
        file = self._open_file(shard)
        header = os.pread(file, 4 * (shard.samples + 2), 0)
        values = np.frombuffer(header, dtype="<u4")
        if len(values) != shard.samples + 2 or values[0] != shard.samples:
            os.close(file)
            raise DamagedSampleError("is in a shard whose list of samples is damaged")
        if len(self._open) >= OPEN_FILES:
            _, (oldest, _) = self._open.popitem(last=False)
            os.close(oldest)
        self._open[number] = file, values[1:]
        return self._open[number]

    def _open_file(self, shard: Shard) -> int:
        name = f"{self.split}/{shard.name}"
        while True:
            path = self.storage.path(name, size=shard.size, version=self.version)
            try:
                return os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                if not self.storage.remote:
                    raise
                # Another process evicted the copy between the look-up and the opening: fetch it again.

    def _path(self, name: str) -> Any:
        return self.storage.path(f"{self.split}/{name}", version=self.version)
