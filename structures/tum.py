"""Camera trajectories in the TUM format, lines of ``timestamp tx ty tz qx qy qz qw``."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from structures.files import write_atomically

_HEADER = "# timestamp tx ty tz qx qy qz qw"
_ORTHONORMAL = 1e-3
"""Largest allowed deviation of R^T R from the identity; chains of some thousand float32 poses stay below it."""


def write_tum(
    path: str | os.PathLike[str], timestamps: npt.NDArray[np.floating], T_world_camera: npt.NDArray[np.floating]
) -> None:
    """Write a camera trajectory atomically, with all digits.

    Args:
        path: Target; missing folders are made, an existing file is replaced.
        timestamps: ``(N,)``, seconds, strictly increasing.
        T_world_camera: ``(N, 4, 4)``, maps points of the camera into the world; metres.

    Raises:
        ValueError: If shapes, the order of the timestamps or a pose are wrong.
        OSError: If the file cannot be written; no partial file is left.
    """
    times = np.asarray(timestamps, dtype=np.float64)
    poses = np.asarray(T_world_camera, dtype=np.float64)
    if times.ndim != 1 or poses.shape != (len(times), 4, 4):
        raise ValueError(
            f"timestamps have shape {times.shape} and poses {poses.shape}, but (N,) and (N, 4, 4) are needed"
        )
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise ValueError("timestamps are not finite and strictly increasing, but a path needs them so")
    R = poses[:, :3, :3]
    rigid = np.isfinite(poses).all(axis=(1, 2)) & (poses[:, 3] == (0, 0, 0, 1)).all(axis=1)
    rigid &= (np.abs(R.transpose(0, 2, 1) @ R - np.eye(3)) < _ORTHONORMAL).all(axis=(1, 2)) & (np.linalg.det(R) > 0)
    if not rigid.all():
        raise ValueError(f"pose {int(np.argmin(rigid))} of {len(poses)} is no finite rigid transform")
    quaternions = Rotation.from_matrix(R).as_quat(canonical=True) if len(poses) else np.empty((0, 4))
    rows = np.column_stack([times, poses[:, :3, 3], quaternions])
    lines = [_HEADER, *(" ".join(repr(float(value)) for value in row) for row in rows), ""]
    write_atomically(path, ["\n".join(lines).encode("ascii")])


def _rows(path: Path) -> Iterator[list[float]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            row = [float(word) for word in text.split()]
        except ValueError:
            row = []
        if len(row) != 8 or not np.isfinite(row).all() or not any(row[4:]):
            raise ValueError(
                f"line {number} of {path} is {text!r}, but 8 numbers with a quaternion that is not 0 are needed"
            )
        yield row


def read_tum(path: str | os.PathLike[str]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Read a camera trajectory.

    Args:
        path: A text file of lines ``timestamp tx ty tz qx qy qz qw``; empty lines and comments (``#``) are skipped.

    Returns:
        float64 timestamps ``(N,)`` in seconds, and float64 ``T_world_camera`` ``(N, 4, 4)`` in metres. Quaternions are
        normalised.

    Raises:
        ValueError: If a line does not hold eight finite numbers with a quaternion that is not zero.
        OSError: If the file cannot be read.
    """
    rows = np.array(list(_rows(Path(path))), dtype=np.float64).reshape(-1, 8)
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    if len(rows):
        poses[:, :3, :3] = Rotation.from_quat(rows[:, 4:]).as_matrix()
    poses[:, :3, 3] = rows[:, 1:4]
    return rows[:, 0], poses
