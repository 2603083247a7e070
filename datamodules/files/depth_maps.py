"""Matching and reading of depth map files that other tools wrote for a set of images."""

import os
import struct
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.files.arrays import map_npy, read_npy

SUFFIXES = (".png", ".npy")
_SHOWN = 3
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class DepthMaps:
    """Depth map files of a set of images.

    Attributes:
        folder: Folder of the maps.
        paths: Path of the map by image name, in the order of the images.
        n_unused: Number of files in the folder that match no image.
    """

    folder: Path
    paths: dict[str, Path]
    n_unused: int


def match_maps(folder: Path, names: Sequence[str], *, suffix: str = "") -> DepthMaps:
    """Return the map of every image: the file of the same relative path, else the only file of the same stem.

    Names are compared in Unicode's composed form (NFC), because macOS writes decomposed names.

    Args:
        folder: Folder of the maps, searched recursively without hidden files.
        names: Image names: relative paths with slashes, without extension.
        suffix: Suffix of the map names, such as ``_depth``; ``_depth.npy`` also selects the file type.

    Raises:
        FileNotFoundError: If the folder does not exist, or images have no map.
        ValueError: If an image has two maps.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder '{folder}' of depth maps")
    wanted = unicodedata.normalize("NFC", suffix)
    by_path: dict[str, list[Path]] = defaultdict(list)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    files = _files(folder)
    for path in files:
        inner = unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
        key = inner if wanted.lower().endswith(SUFFIXES) else inner[: -len(path.suffix)]
        if key.endswith(wanted) and len(key) > len(wanted):
            key = key.removesuffix(wanted)
            by_path[key].append(path)
            by_stem[key.rpartition("/")[2]].append(path)
    stems: dict[str, int] = defaultdict(int)
    for name in names:
        stems[_stem(name)] += 1
    found: dict[str, Path] = {}
    missing = []
    for name in names:
        candidates = by_path.get(unicodedata.normalize("NFC", name), [])
        if not candidates and stems[_stem(name)] == 1:
            candidates = by_stem.get(_stem(name), [])
        if len(candidates) > 1:
            shown = " and ".join(f"'{path}'" for path in candidates[:2])
            raise ValueError(
                f"the image '{name}' has {len(candidates)} depth maps, {shown}: select one with --map-suffix, for "
                "instance --map-suffix .npy, or leave one out of the folder"
            )
        if candidates:
            found[name] = candidates[0]
        else:
            missing.append(name)
    if missing:
        raise FileNotFoundError(_what_is_missing(folder, missing, len(names), files, suffix))
    return DepthMaps(folder, found, len(files) - len(set(found.values())))


def _stem(name: str) -> str:
    return unicodedata.normalize("NFC", name).rpartition("/")[2]


def _files(folder: Path) -> list[Path]:
    found = []
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(where) / name
            for name in sorted(names)
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    return found


def _what_is_missing(folder: Path, missing: list[str], count: int, files: list[Path], suffix: str) -> str:
    names = ", ".join(f"'{name}'" for name in missing[:_SHOWN])
    held = ", ".join(f"'{path.relative_to(folder).as_posix()}'" for path in files[:_SHOWN])
    return (
        f"'{folder}' has no depth map for {len(missing)} of {count} images, such as {names}"
        f"{f' with {suffix!r} behind' if suffix else ''}; it holds {len(files)} .png and .npy files, such as {held}. "
        "A map has the name of its image; --map-suffix _depth allows for what else its name may end in"
    )


def map_shape(path: Path) -> tuple[int, int]:
    """Return height and width of a depth map from the header of its file.

    Raises:
        ValueError: See :func:`read_map`.
    """
    if path.suffix.lower() == ".npy":
        return _read_npy(path, mmap_mode="r").shape
    try:
        with path.open("rb") as file:
            head = file.read(24)
    except OSError as error:
        raise ValueError(f"cannot read the depth map '{path}': {error.strerror}") from error
    if len(head) < 24 or not head.startswith(_PNG):
        raise ValueError(f"the depth map '{path}' is no PNG, or it is damaged or truncated")
    width, height = struct.unpack(">II", head[16:])
    return height, width


def read_map(path: Path) -> npt.NDArray[np.generic]:
    """Return the values of a depth map as stored in its file.

    Args:
        path: A grey ``.png`` of 8 or 16 bits, or a ``.npy`` array ``(H, W)``, possibly with axes of length one.

    Returns:
        ``(H, W)``, uint8 or uint16 for a PNG, else the type of the array.

    Raises:
        ValueError: If the file is damaged or no depth map.
    """
    return _read_npy(path) if path.suffix.lower() == ".npy" else _read_png(path)


def _read_png(path: Path) -> npt.NDArray[np.generic]:
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ValueError(f"cannot read the depth map '{path}': {error.strerror}") from error
    whole = content[:8].tobytes() == _PNG and b"IEND" in content[-16:].tobytes()
    pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if whole else None
    if pixels is None:
        raise ValueError(f"the depth map '{path}' is no PNG, or it is damaged or truncated")
    if pixels.ndim == 3:
        grey = pixels[..., :3]
        if (grey != grey[..., :1]).any():
            raise ValueError(
                f"'{path}' is a picture in colours, not a depth map: a grey PNG of 8 or 16 bits or a .npy is needed"
            )
        pixels = grey[..., 0]
    values: npt.NDArray[np.generic] = pixels
    return values


def _read_npy(path: Path, *, mmap_mode: Literal["r"] | None = None) -> npt.NDArray[np.generic]:
    try:
        values = read_npy(path) if mmap_mode is None else map_npy(path)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"the depth map '{path}' is no array of numbers, or it is damaged or truncated") from error
    if not isinstance(values, np.ndarray) or not (
        np.issubdtype(values.dtype, np.floating) or np.issubdtype(values.dtype, np.integer)
    ):
        raise ValueError(f"the depth map '{path}' holds {getattr(values, 'dtype', 'no array')}, but numbers are needed")
    sides = [side for side in values.shape if side != 1]
    if values.ndim > 2 and len(sides) <= 2 and values.size > 0:
        values = values.reshape(_without_ones(values.shape))
    if values.ndim != 2 or values.size == 0:
        raise ValueError(
            f"the depth map '{path}' has the shape {values.shape}, but (H, W), (1, H, W) or (H, W, 1) is needed"
        )
    return values


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Remove leading axes of length one until two axes are left."""
    left = list(shape)
    while len(left) > 2:
        left.pop(left.index(1))
    return tuple(left)
