"""Writes a few images with depth in the layouts of ScanNet and InteriorNet, with the list that names them."""

from pathlib import Path
from typing import Literal

import cv2
import numpy as np

SIZES = {"scannet": ((968, 1296), (480, 640)), "interiornet": ((480, 640), (480, 640))}
"""Height and width of images and depth."""


def written_depth(layout: str, number: int) -> np.ndarray:
    """Millimetres, uint16, of a written file: a ramp over x and y with unknown upper rows."""
    height, width = SIZES[layout][1]
    y, x = np.mgrid[:height, :width]
    depth = 1000 + 500 * number + 4 * x + 3 * y
    depth[:48] = 0
    return depth.astype(np.uint16)


def written_image(layout: str, number: int) -> np.ndarray:
    """Image of a written file: x in red, y in green, the number in blue."""
    height, width = SIZES[layout][0]
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, np.full_like(x, 100 + 50 * number)], axis=2).astype(np.uint8)


def make_depth_list(
    root: Path, layout: Literal["scannet", "interiornet"], *, count: int = 2, flat: bool = False
) -> Path:
    """Write images, depth and ``test.txt``.

    Args:
        root: Folder to write into.
        layout: Whose folders.
        count: Number of images.
        flat: Write all files into one folder, with the names of their folders in front of their own.

    Returns:
        The root.
    """
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        if layout == "scannet":
            image, depth = (f"scene0011_{number:02d}/{part}" for part in ("color/1860.jpg", "depth/1860.png"))
        else:
            image, depth = (f"3FO4IF0OYUX{number}_Study/{part}/data/1.png" for part in ("cam0", "depth0"))
        lines.append(image)
        for path, values in ((image, written_image(layout, number)[..., ::-1]), (depth, written_depth(layout, number))):
            file = root / (path.replace("/", "_") if flat else path)
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), values)
    (root / "test.txt").write_text("\n".join(lines) + "\n")
    return root
