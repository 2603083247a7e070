"""Point clouds as small grids of depth, from which the page computes the points."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from renderers.point_cloud import depth_edges
from structures.sample_file import SampleRecord
from tools.report.assets import Assets, packed

MOST_POINTS = 4800
"""Largest number of points of a cloud: enough to see the shape of a room, and 13 kB in a page."""
_LEVELS = 65535
_MAX_JUMP = 0.1


def cloud_of(
    sample: SampleRecord, assets: Assets, *, most_points: int = MOST_POINTS, max_jump: float | None = _MAX_JUMP
) -> dict[str, Any] | None:
    """The clouds of a sample, stored in ``assets``, or None without intrinsics or depth.

    Args:
        sample: The sample.
        assets: Takes the points.
        most_points: Largest number of points of a cloud; rows and columns are skipped evenly above it.
        max_jump: Points at edges of depth with a relative jump above this are left out; None keeps all.

    Returns:
        ``colours``: key of the RGB bytes of the grid; ``grids``: by ``truth``, ``before`` and ``prediction`` the keys
        of grids: rows, columns, intrinsics in grid pixels, near and far depth and one uint16 a point, 0 for none, else
        ``near (far / near)^((level - 1) / 65534)``.
    """
    if sample.K is None or sample.prediction is None:
        return None
    height, width = sample.prediction.shape
    step = max(1, math.ceil(math.sqrt(height * width / most_points)))
    rows, columns = np.arange(step // 2, height, step), np.arange(step // 2, width, step)
    K = np.asarray(sample.K, dtype=np.float64)
    grids = {}
    for name in ("truth", "before", "prediction"):
        depth = getattr(sample, name)
        if depth is not None and depth.shape == (height, width):
            grid = _grid(_without_edges(depth, max_jump), rows, columns)
            if grid is not None:
                grids[name] = assets.add_json({**grid, "K": _plain(K), "step": step, "first": step // 2 + 0.5})
    if "prediction" not in grids:
        return None
    colours = sample.image[np.ix_(rows, columns)] if sample.image.shape[:2] == (height, width) else None
    return {"colours": None if colours is None else assets.add(packed(colours)), "grids": grids}


def _plain(K: npt.NDArray[np.float64]) -> list[float]:
    return [round(float(value), 3) for value in (K[0, 0], K[1, 1], K[0, 2], K[1, 2])]


def _without_edges(depth: npt.NDArray[Any], max_jump: float | None) -> npt.NDArray[np.float32]:
    """Depth with 0 at its edges, where a network's points lie between the surfaces."""
    plain = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    if max_jump is None:
        return plain
    edges = depth_edges(torch.from_numpy(plain)[None, None], max_jump=max_jump)[0, 0].numpy()
    return np.where(edges, 0, plain).astype(np.float32)


def _grid(depth: npt.NDArray[np.float32], rows: npt.NDArray[Any], columns: npt.NDArray[Any]) -> dict[str, Any] | None:
    chosen = depth[np.ix_(rows, columns)].astype(np.float64)
    valid = chosen > 0
    if not valid.any():
        return None
    near, far = float(chosen[valid].min()), float(chosen[valid].max())
    far = max(far, near * (1 + 1e-6))
    position = np.log(np.where(valid, chosen, near) / near) / math.log(far / near)
    levels = np.where(valid, 1 + np.rint(position * (_LEVELS - 1)), 0).astype("<u2")
    return {"h": len(rows), "w": len(columns), "near": near, "far": far, "levels": packed(levels)}
