"""Coloured point clouds as binary PLY files, which every 3-D viewer opens."""

import os

import numpy as np
import numpy.typing as npt

from structures.files import write_atomically

_VERTEX = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
_PROPERTIES = (
    *(f"property float {axis}" for axis in "xyz"),
    *(f"property uchar {channel}" for channel in ("red", "green", "blue")),
)


def write_ply(path: str | os.PathLike[str], points: npt.NDArray[np.floating], colours: npt.NDArray[np.uint8]) -> None:
    """Write a point cloud atomically as binary little-endian PLY.

    Args:
        path: Target; missing folders are made, an existing file is replaced.
        points: float ``(N, 3)``, metres, camera frame (x right, y down, z forward); N = 0 is a valid, empty cloud.
        colours: uint8 ``(N, 3)``, RGB.

    Raises:
        ValueError: If shapes or the colours' type are wrong or a coordinate is not finite.
        OSError: If the file cannot be written; no partial file is left.
    """
    if points.ndim != 2 or points.shape[1] != 3 or colours.shape != points.shape:
        raise ValueError(f"points have shape {points.shape} and colours {colours.shape}, but both must be (N, 3)")
    if colours.dtype != np.uint8:
        raise ValueError(f"colours are {colours.dtype}, but must be uint8")
    if not np.isfinite(points).all():
        raise ValueError(f"{int((~np.isfinite(points)).any(axis=1).sum())} of {len(points)} points are not finite")
    vertices = np.empty(len(points), dtype=_VERTEX)
    vertices["xyz"] = points
    vertices["rgb"] = colours
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *_PROPERTIES, "end_header"]
    write_atomically(path, ["\n".join([*header, ""]).encode("ascii"), vertices.tobytes()])
