"""Writes a few NYU Depth v2 test images as HDF5 files in the layout that P2Net's authors hand out."""

from pathlib import Path

import h5py
import numpy as np

WIDTH, HEIGHT = 640, 480


def written_image(number: int) -> np.ndarray:
    """Image ``(480, 640, 3)`` of a written file: x in red, y in green, the number in blue."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, np.full_like(x, 10 + number)], axis=2).astype(np.uint8)


def written_depth(number: int) -> np.ndarray:
    """Depth ``(480, 640)`` in metres of a written file: a ramp with a hole at the evaluated window's left upper end."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    depth = 1.0 + 0.1 * number + 2.0 * x / WIDTH + 4.0 * y / HEIGHT
    depth[44:54, 40:60] = 0
    return depth.astype(np.float32)


def make_nyuv2_eval(root: Path, *, count: int = 3, one_file: bool = False, channels_last: bool = False) -> Path:
    """Write ``00001.h5`` and so on, or all images into one file.

    Args:
        root: Folder to write into.
        count: Number of images.
        one_file: Write one ``nyu_test.h5`` with one more axis instead.
        channels_last: Write images ``(480, 640, 3)`` instead of ``(3, 480, 640)``.

    Returns:
        The folder.
    """
    root.mkdir(parents=True, exist_ok=True)
    axes = (0, 1, 2) if channels_last else (2, 0, 1)
    content = [
        {
            "rgb": written_image(number).transpose(axes),
            "depth": written_depth(number),
            "norm": np.zeros((3, HEIGHT, WIDTH), np.float32),
            "mask": np.ones((HEIGHT, WIDTH), np.uint8),
        }
        for number in range(count)
    ]
    if one_file:
        with h5py.File(root / "nyu_test.h5", "w") as file:
            for key in content[0]:
                file.create_dataset(key, data=np.stack([arrays[key] for arrays in content]), compression="lzf")
        return root
    for number, arrays in enumerate(content, start=1):
        with h5py.File(root / f"{number:05d}.h5", "w") as file:
            for key, values in arrays.items():
                file.create_dataset(key, data=values, compression="lzf")
    return root
