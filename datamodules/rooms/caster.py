"""Ray casting: depth, primitive and face of the first hit through every pixel centre."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datamodules.files.compiled import compiled
from datamodules.rooms.arrays import CENTER, EXTENT, KIND, ROOM, ROTATION, Scene
from datamodules.rooms.intersect import nearest

#: Side of the square tiles that share one list of candidate primitives, in pixels.
TILE = 16


@compiled
def screen_boxes(
    g: npt.NDArray[np.float64], pose: npt.NDArray[np.float64], k: npt.NDArray[np.float64], height: int, width: int
) -> npt.NDArray[np.float64]:
    """Return the bounding rectangle of every primitive in the image.

    Args:
        g: Geometry table.
        pose: (4, 4) ``T_world_camera``.
        k: (3, 3) intrinsics.
        height: Image height.
        width: Image width.

    Returns:
        (P, 4) ``x0, y0, x1, y1`` in pixels: the whole image for a primitive that is partly behind the camera, empty
        (``x1 < x0``) for one that is completely behind it.
    """
    count = g.shape[0]
    boxes = np.empty((count, 4))
    for i in range(count):
        x0, y0, x1, y1 = 1e9, 1e9, -1e9, -1e9
        behind = 0
        if g[i, KIND] == ROOM:
            boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = 0.0, 0.0, width, height
            continue
        for corner in range(8):
            sx = g[i, EXTENT] * (1.0 if corner & 1 else -1.0)
            sy = g[i, EXTENT + 1] * (1.0 if corner & 2 else -1.0)
            sz = g[i, EXTENT + 2] * (1.0 if corner & 4 else -1.0)
            wx = g[i, CENTER] + g[i, ROTATION] * sx + g[i, ROTATION + 3] * sy + g[i, ROTATION + 6] * sz - pose[0, 3]
            wy = (
                g[i, CENTER + 1]
                + g[i, ROTATION + 1] * sx
                + g[i, ROTATION + 4] * sy
                + g[i, ROTATION + 7] * sz
                - pose[1, 3]
            )
            wz = (
                g[i, CENTER + 2]
                + g[i, ROTATION + 2] * sx
                + g[i, ROTATION + 5] * sy
                + g[i, ROTATION + 8] * sz
                - pose[2, 3]
            )
            z = pose[0, 2] * wx + pose[1, 2] * wy + pose[2, 2] * wz
            if z < 0.05:
                behind += 1
                continue
            x = k[0, 0] * (pose[0, 0] * wx + pose[1, 0] * wy + pose[2, 0] * wz) / z + k[0, 2]
            y = k[1, 1] * (pose[0, 1] * wx + pose[1, 1] * wy + pose[2, 1] * wz) / z + k[1, 2]
            x0, y0, x1, y1 = min(x0, x), min(y0, y), max(x1, x), max(y1, y)
        if behind == 8:
            x0, y0, x1, y1 = 1.0, 1.0, 0.0, 0.0
        elif behind > 0:
            x0, y0, x1, y1 = 0.0, 0.0, width, height
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = x0, y0, x1, y1
    return boxes


@compiled
def tile_candidates(
    boxes: npt.NDArray[np.float64], height: int, width: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the primitives that may be visible in each tile of the image.

    Args:
        boxes: (P, 4) from :func:`screen_boxes`.
        height: Image height.
        width: Image width.

    Returns:
        (tiles_y * tiles_x * P,) primitive indices with P entries per tile, and (tiles_y, tiles_x) numbers of valid
        entries.
    """
    rows = (height + TILE - 1) // TILE
    columns = (width + TILE - 1) // TILE
    chosen = np.empty(rows * columns * boxes.shape[0], np.int32)
    counts = np.zeros((rows, columns), np.int32)
    for i in range(boxes.shape[0]):
        if boxes[i, 2] < max(boxes[i, 0], 0.0) or boxes[i, 3] < max(boxes[i, 1], 0.0):
            continue
        if boxes[i, 0] > width or boxes[i, 1] > height:
            continue
        first_column = int(max(boxes[i, 0], 0.0)) // TILE
        last_column = min(int(min(boxes[i, 2], width)) // TILE, columns - 1)
        first_row = int(max(boxes[i, 1], 0.0)) // TILE
        last_row = min(int(min(boxes[i, 3], height)) // TILE, rows - 1)
        for row in range(first_row, last_row + 1):
            for column in range(first_column, last_column + 1):
                chosen[(row * columns + column) * boxes.shape[0] + counts[row, column]] = i
                counts[row, column] += 1
    return chosen, counts


@compiled
def cast(
    g: npt.NDArray[np.float64],
    pose: npt.NDArray[np.float64],
    k: npt.NDArray[np.float64],
    height: int,
    width: int,
    chosen: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return the first hit through every pixel centre.

    The ray directions have camera z = 1, so the ray parameter is the depth along z.

    Args:
        g: Geometry table.
        pose: (4, 4) ``T_world_camera``.
        k: (3, 3) intrinsics, corner convention.
        height: Image height.
        width: Image width.
        chosen: Candidates of :func:`tile_candidates`.
        counts: Number of candidates of each tile.

    Returns:
        ``(depth, primitive, face)``, each (height, width); depth in metres along z.
    """
    columns = (width + TILE - 1) // TILE
    depth = np.empty((height, width))
    primitive = np.empty((height, width), np.int32)
    face = np.empty((height, width), np.int32)
    for y in range(height):
        cy = (y + 0.5 - k[1, 2]) / k[1, 1]
        for x in range(width):
            cx = (x + 0.5 - k[0, 2]) / k[0, 0]
            dx = pose[0, 0] * cx + pose[0, 1] * cy + pose[0, 2]
            dy = pose[1, 0] * cx + pose[1, 1] * cy + pose[1, 2]
            dz = pose[2, 0] * cx + pose[2, 1] * cy + pose[2, 2]
            t, i, f = nearest(
                g, chosen, ((y // TILE) * columns + x // TILE) * g.shape[0], counts[y // TILE, x // TILE],
                pose[0, 3], pose[1, 3], pose[2, 3], dx, dy, dz,
            )  # fmt: skip
            depth[y, x], primitive[y, x], face[y, x] = t, i, f
    return depth, primitive, face


def first_hits(
    scene: Scene, pose: npt.NDArray[np.float64], k: npt.NDArray[np.float64], height: int, width: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return depth, primitive and face of one image; see :func:`cast`."""
    g = scene.render.geometry
    chosen, counts = tile_candidates(screen_boxes(g, pose, k, height, width), height, width)
    depth, primitive, face = cast(g, pose, k, height, width, chosen, counts)
    return depth, primitive, face
