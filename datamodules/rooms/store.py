"""Layout, writer and reader of the HDF5 file of the rooms data set.

Layout, frames in the order of ``plan(settings)``::

    /image            uint8   (N, H, W, 3)  RGB, uncompressed (noise does not compress)
    /depth            uint16  (N, H, W)     1/5000 m, so steps of 0.2 mm up to 13.1 m; 0 = unknown
    /semantic         uint8   (N, H, W)     category id, 0 = none
    /instance         uint16  (N, H, W)     0 = background
    /plane            uint16  (N, H, W)     0 = not planar
    /flags            uint8   (N, H, W)     bits, see FLAG_BITS
    /K                float64 (N, 3, 3)     pixels, corner convention
    /T_world_camera   float64 (N, 4, 4)     metres
    /sequences/...                          name, part, split, scene_seed, n_frames of every sequence
    attributes: format, version, fingerprint, settings (JSON)

Every chunk is one frame. Maps are compressed with LZF, whose decompression is faster than the processing of a frame.
"""

import dataclasses
import json
from collections.abc import Sequence as Sequenced
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from datamodules.files.hdf5 import LazyFile
from datamodules.rooms.settings import RoomsSettings, Sequence
from structures.files import write_atomically
from structures.safe_hdf5 import check_dataset

FORMAT = "plumbline-rooms"
VERSION = 1
DEPTH_UNITS_PER_METRE = 5000

FLAG_BITS = {"plain": 1, "thin": 2, "glossy": 4, "camouflaged": 8}
"""Bits of the stored flags by sample field."""

MAPS = {"depth": np.uint16, "semantic": np.uint8, "instance": np.uint16, "plane": np.uint16, "flags": np.uint8}
MATRICES = {"K": (3, 3), "T_world_camera": (4, 4)}
FRAME_DATASETS = ("image", *MAPS, *MATRICES)

Arrays = dict[str, npt.NDArray[Any]]


def encode(rendered: Arrays, name: str) -> Arrays:
    """Return the validated arrays of a rendered sequence in the stored types.

    Args:
        rendered: Arrays of ``render_sequence``, depth in metres.
        name: Name of the sequence, for messages.

    Returns:
        The arrays of all frame data sets, depth in units of 1/5000 m.

    Raises:
        ValueError: If an array is missing, or depth is not finite, negative, all zero or too large to be stored.
    """
    missing = sorted(set(FRAME_DATASETS) - set(rendered))
    if missing:
        raise ValueError(f"The renderer returned no {', '.join(missing)} for sequence {name}.")
    depth = rendered["depth"]
    limit = np.iinfo(np.uint16).max / DEPTH_UNITS_PER_METRE
    if not np.isfinite(depth).all() or depth.min() < 0 or depth.max() > limit or not depth.any(axis=(1, 2)).all():
        raise ValueError(
            f"The renderer returned depth outside of what can be stored for sequence {name}: all of it has to lie in "
            f"[0, {limit:.1f}] m with something above 0 in every frame."
        )
    units = np.rint(depth.astype(np.float64) * DEPTH_UNITS_PER_METRE)
    units[(depth > 0) & (units == 0)] = 1
    stored: Arrays = {"image": rendered["image"].astype(np.uint8), "depth": units.astype(np.uint16)}
    for key, dtype in MAPS.items():
        if key != "depth":
            stored[key] = rendered[key].astype(dtype)
    for key in MATRICES:
        stored[key] = rendered[key].astype(np.float64)
    return stored


def create_datasets(file: h5py.File, *, frames: int, height: int, width: int) -> None:
    """Create the empty frame data sets in an open file."""
    file.create_dataset("image", (frames, height, width, 3), np.uint8, chunks=(1, height, width, 3))
    for name, dtype in MAPS.items():
        file.create_dataset(
            name, (frames, height, width), dtype, chunks=(1, height, width), compression="lzf", shuffle=True
        )
    for name, shape in MATRICES.items():
        file.create_dataset(name, (frames, *shape), np.float64)


def write_shard(path: Path, arrays: Arrays) -> None:
    """Write the encoded frames of some sequences to a shard file, atomically."""
    frames, height, width = arrays["image"].shape[:3]
    # Written to memory first, because an open HDF5 file cannot be closed cleanly on a full disk.
    with h5py.File(path.name, "w", driver="core", backing_store=False) as file:
        create_datasets(file, frames=frames, height=height, width=width)
        for name in FRAME_DATASETS:
            file[name][...] = arrays[name]
        file.flush()
        content = file.id.get_file_image()
    write_atomically(path, [content])


def shard_is_complete(path: Path, frames: int) -> bool:
    """Return whether a shard can be opened and holds the given number of frames."""
    try:
        with h5py.File(path, "r") as file:
            return all(name in file and file[name].shape[0] == frames for name in FRAME_DATASETS)
    except OSError:
        return False


def merge_shards(
    path: Path, shards: Sequenced[Path], settings: RoomsSettings, sequences: Sequenced[Sequence], fingerprint: str
) -> None:
    """Join shards into the finished file, copying compressed chunks unchanged.

    Args:
        path: File to write; the caller renames it.
        shards: Shards in the order of their frames.
        settings: Stored as JSON.
        sequences: Every sequence, in order.
        fingerprint: Key of the settings.
    """
    frames = sum(sequence.n_frames for sequence in sequences)
    with h5py.File(path, "w") as file:
        file.attrs.update(
            format=FORMAT,
            version=VERSION,
            fingerprint=fingerprint,
            settings=json.dumps(dataclasses.asdict(settings), sort_keys=True),
            depth_units_per_metre=DEPTH_UNITS_PER_METRE,
        )
        create_datasets(file, frames=frames, height=settings.height, width=settings.width)
        table = file.create_group("sequences")
        for key in ("name", "part", "split"):
            table.create_dataset(key, data=[getattr(s, key) for s in sequences], dtype=h5py.string_dtype())
        for key in ("scene_seed", "n_frames"):
            table.create_dataset(key, data=np.array([getattr(s, key) for s in sequences], dtype=np.int64))
        start = 0
        for shard in shards:
            with h5py.File(shard, "r") as part:
                count = part["image"].shape[0]
                for name in ("image", *MAPS):
                    offset = (0,) * (part[name].ndim - 1)
                    for frame in range(count):
                        mask, chunk = part[name].id.read_direct_chunk((frame, *offset))
                        file[name].id.write_direct_chunk((start + frame, *offset), chunk, mask)
                for name in MATRICES:
                    file[name][start : start + count] = part[name][...]
                start += count


class RoomsStore:
    """Reader of the frames of a finished file; it can be pickled and forked, each process opens its own handle.

    Args:
        path: The finished file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is truncated or no rooms file of this version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = LazyFile(path)
        if not path.exists():
            raise FileNotFoundError(f"There is no rooms data at {path}: run `make data` to make it.")
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT or file.attrs.get("version") != VERSION:
                    raise ValueError(f"{path} is no rooms file of this version: move it away and run `make data`.")
                self.fingerprint = str(file.attrs["fingerprint"])
                self.settings: dict[str, Any] = json.loads(file.attrs["settings"])
                table = {key: check_dataset(file, f"sequences/{key}", whole=True)[...] for key in file["sequences"]}
                self.sequences = [
                    Sequence(
                        part=table["part"][i].decode(),
                        split=table["split"][i].decode(),
                        scene_seed=int(table["scene_seed"][i]),
                        n_frames=int(table["n_frames"][i]),
                        name=table["name"][i].decode(),
                    )
                    for i in range(len(table["name"]))
                ]
                lengths = {check_dataset(file, name).shape[0] for name in FRAME_DATASETS}
        except (OSError, KeyError) as error:
            raise ValueError(self._broken()) from error
        self.starts = np.cumsum([0, *(sequence.n_frames for sequence in self.sequences)])[:-1].tolist()
        if lengths != {sum(sequence.n_frames for sequence in self.sequences)}:
            raise ValueError(self._broken())

    def _broken(self) -> str:
        if self.path.is_dir():
            return f"{self.path} is a folder, but has to be the file of rooms: choose another root."
        return f"{self.path} is truncated, damaged or no rooms file: move it away and run `make data` to make it again."

    def read(self, frame: int, names: Sequenced[str]) -> Arrays:
        """Return arrays of one frame.

        Args:
            frame: Position in the file.
            names: Names from ``FRAME_DATASETS``.

        Returns:
            The stored arrays by name, depth in units of 1/5000 m.

        Raises:
            ValueError: If the frame cannot be decompressed.
        """
        try:
            file = self._file.open()
            return {name: file[name][frame] for name in names}
        except OSError as error:
            raise ValueError(self._broken()) from error
