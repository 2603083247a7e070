"""Validation of the cameras of a manifest against the sizes in image headers, before training starts."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from datamodules.manifest.rows import ManifestRow
from datamodules.samples.aspect import MAX_HEADERS, header_size
from datamodules.samples.frame import check_intrinsics


def intrinsic_matrix(intrinsics: tuple[float, float, float, float], shift: float) -> np.ndarray:
    """Return K, float64 ``(3, 3)``, corner convention, from ``(fx, fy, cx, cy)`` with ``shift`` added to cx and cy."""
    fx, fy, cx, cy = intrinsics
    return np.array([[fx, 0, cx + shift], [0, fy, cy + shift], [0, 0, 1]], dtype=np.float64)


def check_headers(rows: Sequence[ManifestRow], *, shift: float) -> Counter[tuple[int, int]]:
    """Return the number of images by size among evenly spaced rows of a manifest, and validate their intrinsics.

    Args:
        rows: All rows.
        shift: Offset of cx and cy to the corner convention.

    Returns:
        Number of images by height and width; files without a readable header are skipped.

    Raises:
        ValueError: If intrinsics are implausible for their image; one sentence with manifest and row.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for index in np.unique(np.linspace(0, len(rows) - 1, min(MAX_HEADERS, len(rows))).round().astype(int)):
        row = rows[index]
        size = header_size(row.image, upright=True)
        if size is None:
            continue
        sizes[size] += 1
        # For a rotated image, whether K is that of the stored or upright image is decided when it is read.
        if row.intrinsics is not None and size == header_size(row.image, upright=False):
            K = intrinsic_matrix(row.intrinsics, shift)
            check_intrinsics(K, width=size[1], height=size[0], where=row.where, data=row.manifest)
    return sizes
