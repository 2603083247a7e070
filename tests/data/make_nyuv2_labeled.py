"""Writes a tiny NYU Depth v2 labelled set in its original layout: reversed axes, and splits counted from 1."""

from pathlib import Path

import h5py
import numpy as np
import scipy.io

FRAMES, WIDTH, HEIGHT = 1449, 640, 480


def true_depth(frame: int) -> np.ndarray:
    """Depth ``(480, 640)`` in metres of a written frame: a ramp, so that swapped axes are seen."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (1.0 + 0.1 * frame + 2.0 * x / WIDTH + 4.0 * y / HEIGHT).astype(np.float32)


def true_image(frame: int) -> np.ndarray:
    """Image ``(480, 640, 3)`` of a written frame: x in red, y in green, the frame in blue."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, np.full_like(x, 10 + frame)], axis=2).astype(np.uint8)


def make_nyuv2_labeled(root: Path, *, frames: int = FRAMES, written: int = 3) -> Path:
    """Write ``nyu_depth_v2_labeled.mat`` and ``splits.mat``.

    The arrays have their real shapes; frames that are not written read as grey images with 3 m depth and take no space.

    Args:
        root: Folder to write into.
        frames: Length of the arrays.
        written: Number of leading frames with content of their own.

    Returns:
        Path of the data file.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "w", userblock_size=512) as file:  # MATLAB puts its own header into the user block
        images = file.create_dataset(
            "images", (frames, 3, WIDTH, HEIGHT), np.uint8, chunks=(1, 3, WIDTH, HEIGHT), fillvalue=128
        )
        for name in ("depths", "rawDepths"):
            file.create_dataset(name, (frames, WIDTH, HEIGHT), np.float32, chunks=(1, WIDTH, HEIGHT), fillvalue=3.0)
        for frame in range(written):
            images[frame] = true_image(frame).transpose(2, 1, 0)
            file["depths"][frame] = true_depth(frame).T
            raw = true_depth(frame)
            raw[:40] = 0
            file["rawDepths"][frame] = raw.T
    with path.open("r+b") as raw_file:
        raw_file.write(b"MATLAB 7.3 MAT-file")
    numbers = np.arange(1, frames + 1)
    # Every other frame up to the 654th test frame, as many as in the official split.
    test = (numbers % 2 == 1) & (numbers < 2 * 654)
    scipy.io.savemat(root / "splits.mat", {"trainNdxs": numbers[~test][:, None], "testNdxs": numbers[test][:, None]})
    return path
