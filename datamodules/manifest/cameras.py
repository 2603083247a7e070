"""Cameras and sizes of the images of a manifest, from the heads of their files, before anything starts."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from datamodules.manifest.rows import ManifestRow
from datamodules.samples.aspect import LOOKED_AT, header_size
from datamodules.samples.frame import check_intrinsics


def intrinsic_matrix(intrinsics: tuple[float, float, float, float], shift: float) -> np.ndarray:
    """K float64 ``(3, 3)``, corner convention, of ``(fx, fy, cx, cy)`` to whose principal point ``shift`` is added."""
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0, cx + shift], [0, fy, cy + shift], [0, 0, 1]], dtype=np.float64)


def check_headers(rows: Sequence[ManifestRow], *, shift: float) -> Counter[tuple[int, int]]:
    """Refuse intrinsics that cannot belong to their images, of rows evenly over a manifest.

    Args:
        rows: All rows.
        shift: What is added to cx and cy to make them count from the corner.

    Returns:
        How many of the images looked at have each height and width; files without a readable head are left out.

    Raises:
        ValueError: If a camera cannot be that of its image; one sentence that names manifest and row.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for index in np.unique(np.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).round().astype(int)):
        row = rows[index]
        size = header_size(row.image, upright=True)
        if size is None:
            continue
        sizes[size] += 1
        # Whether K is that of a turned image as it is stored or upright is told when the image is read.
        if row.intrinsics is not None and size == header_size(row.image, upright=False):
            K = intrinsic_matrix(row.intrinsics, shift)
            check_intrinsics(K, width=size[1], height=size[0], where=row.where, data=row.manifest)
    return sizes
