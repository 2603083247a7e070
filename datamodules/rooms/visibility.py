"""Soft shadows and ambient occlusion.

Two rays per pixel are cast to every area light, and two short rays into the hemisphere. The 16 pixels of a 4x4 block
use different strata, and a 4x4 mean over pixels of the same face combines them to 32 samples (interleaved sampling).
Rays are jittered within their stratum, which replaces banding by faint noise.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from datamodules.files.compiled import compiled
from datamodules.rooms.arrays import (
    BOUND,
    CENTER,
    EXTENT,
    LIGHT_AXES,
    LIGHT_CENTER,
    MAX_LIGHTS,
    ROTATION,
    RenderArrays,
)
from datamodules.rooms.intersect import intersect, surface
from datamodules.rooms.texture import hash2

#: Side of the tiles that share a list of shadow casters, in pixels.
SHADOW_TILE = 8

#: Rays per pixel to each light and into the hemisphere; two rays of 16 pixels cover half of the 8x8 strata.
RAYS = 2

#: Reach of ambient occlusion in metres.
REACH = 0.5


@compiled
def blocked(
    g: npt.NDArray[np.float64], chosen: npt.NDArray[np.int32], count: int, x: float, y: float, z: float,
    dx: float, dy: float, dz: float
) -> bool:  # fmt: skip
    """Return whether the segment from ``(x, y, z)`` to ``(x + dx, y + dy, z + dz)`` hits one of the primitives."""
    for k in range(count):
        t, _ = intersect(g, chosen[k], x, y, z, dx, dy, dz, 1e-6, 1.0)
        if t < 1.0:
            return True
    return False


@compiled
def _near_hull(
    g: npt.NDArray[np.float64], casters: npt.NDArray[np.int32], chosen: npt.NDArray[np.int32],
    ax: float, ay: float, az: float, ra: float, bx: float, by: float, bz: float, rb: float
) -> int:  # fmt: skip
    """Return the number of casters near the convex hull of two spheres ``a`` and ``b``, written into ``chosen``."""
    lx, ly, lz = bx - ax, by - ay, bz - az
    square = max(lx * lx + ly * ly + lz * lz, 1e-12)
    sine = (ra - rb) * (ra - rb) / square
    count = 0
    for n in range(casters.shape[0]):
        i = casters[n]
        near = True
        if sine < 0.95:
            px, py, pz = g[i, CENTER] - ax, g[i, CENTER + 1] - ay, g[i, CENTER + 2] - az
            s = min(1.0, max(0.0, (px * lx + py * ly + pz * lz) / square))
            px, py, pz = px - s * lx, py - s * ly, pz - s * lz
            # Enlarged, because the hull is a cone and the distance is measured perpendicular to its axis.
            reach = (ra + s * (rb - ra) + g[i, BOUND]) / math.sqrt(1.0 - sine)
            near = px * px + py * py + pz * pz < reach * reach
        if near:
            # Separating axes: along each axis of the primitive, its interval must overlap that of the hull.
            px, py, pz = ax - g[i, CENTER], ay - g[i, CENTER + 1], az - g[i, CENTER + 2]
            for axis in range(3):
                r = ROTATION + 3 * axis
                first = g[i, r] * px + g[i, r + 1] * py + g[i, r + 2] * pz
                second = first + g[i, r] * lx + g[i, r + 1] * ly + g[i, r + 2] * lz
                half = g[i, EXTENT + axis]
                if min(first - ra, second - rb) > half or max(first + ra, second + rb) < -half:
                    near = False
                    break
        if near:
            chosen[count] = i
            count += 1
    return count


@compiled
def sample_visibility(
    scene: RenderArrays,
    pose: npt.NDArray[np.float64],
    k: npt.NDArray[np.float64],
    depth: npt.NDArray[np.float64],
    primitive: npt.NDArray[np.int32],
    face: npt.NDArray[np.int32],
) -> npt.NDArray[np.float32]:
    """Return the visible share of each light and the open share of the hemisphere for every pixel.

    Args:
        scene: The scene.
        pose: (4, 4) ``T_world_camera``.
        k: (3, 3) intrinsics.
        depth: (H, W) depth.
        primitive: (H, W) primitive of each pixel.
        face: (H, W) face of each pixel.

    Returns:
        (H, W, MAX_LIGHTS + 1) float32 in [0, 1]; the last channel is the open share of the hemisphere.
    """
    g = scene.geometry
    height, width = depth.shape
    raw = np.ones((height, width, MAX_LIGHTS + 1), np.float32)
    points = np.empty((SHADOW_TILE * SHADOW_TILE, 6))
    chosen = np.empty(g.shape[0], np.int32)
    low, high, middle = np.empty(3), np.empty(3), np.empty(3)
    lights = scene.lights.shape[0]
    for ty in range(0, height, SHADOW_TILE):
        for tx in range(0, width, SHADOW_TILE):
            y1 = min(ty + SHADOW_TILE, height)
            x1 = min(tx + SHADOW_TILE, width)
            low[:] = 1e9
            high[:] = -1e9
            n = 0
            for y in range(ty, y1):
                cy = (y + 0.5 - k[1, 2]) / k[1, 1]
                for x in range(tx, x1):
                    cx = (x + 0.5 - k[0, 2]) / k[0, 0]
                    t = depth[y, x]
                    px = pose[0, 3] + t * (pose[0, 0] * cx + pose[0, 1] * cy + pose[0, 2])
                    py = pose[1, 3] + t * (pose[1, 0] * cx + pose[1, 1] * cy + pose[1, 2])
                    pz = pose[2, 3] + t * (pose[2, 0] * cx + pose[2, 1] * cy + pose[2, 2])
                    nx, ny, nz, _, _, _, _ = surface(g, primitive[y, x], face[y, x], px, py, pz)
                    points[n, 0], points[n, 1], points[n, 2] = px + 2e-3 * nx, py + 2e-3 * ny, pz + 2e-3 * nz
                    points[n, 3], points[n, 4], points[n, 5] = nx, ny, nz
                    for c in range(3):
                        low[c] = min(low[c], points[n, c])
                        high[c] = max(high[c], points[n, c])
                    n += 1
            radius = 0.0
            for c in range(3):
                middle[c] = 0.5 * (low[c] + high[c])
                radius += (0.5 * (high[c] - low[c])) ** 2
            radius = math.sqrt(radius)
            for light in range(lights):
                cx, cy, cz = scene.lights[light, LIGHT_CENTER], scene.lights[light, 1], scene.lights[light, 2]
                ux, uy, uz = scene.lights[light, LIGHT_AXES], scene.lights[light, 4], scene.lights[light, 5]
                vx, vy, vz = scene.lights[light, 6], scene.lights[light, 7], scene.lights[light, 8]
                spread = math.sqrt(ux * ux + uy * uy + uz * uz + vx * vx + vy * vy + vz * vz)
                count = _near_hull(
                    g, scene.casters, chosen, middle[0], middle[1], middle[2], radius, cx, cy, cz, spread
                )
                if count == 0:
                    continue
                n = 0
                for y in range(ty, y1):
                    for x in range(tx, x1):
                        px, py, pz = points[n, 0], points[n, 1], points[n, 2]
                        facing = points[n, 3] * (cx - px) + points[n, 4] * (cy - py) + points[n, 5] * (cz - pz)
                        n += 1
                        if facing <= -spread:
                            continue
                        free = 0
                        for s in range(RAYS):
                            a = 2.0 * (4 * s + x % 4 + hash2(x, y, 2 * s)) / 8.0 - 1.0
                            b = 2.0 * (2 * (y % 4) + (s + x) % 2 + hash2(x, y, 2 * s + 1)) / 8.0 - 1.0
                            if not blocked(
                                g, chosen, count, px, py, pz,
                                cx + a * ux + b * vx - px, cy + a * uy + b * vy - py, cz + a * uz + b * vz - pz,
                            ):  # fmt: skip
                                free += 1
                        raw[y, x, light] = free / RAYS
            # The two spheres coincide, so the hull is a sphere.
            count = _near_hull(
                g, scene.casters, chosen, middle[0], middle[1], middle[2], radius + REACH,
                middle[0], middle[1], middle[2], radius + REACH,
            )  # fmt: skip
            if count == 0:
                continue
            n = 0
            for y in range(ty, y1):
                for x in range(tx, x1):
                    px, py, pz = points[n, 0], points[n, 1], points[n, 2]
                    nx, ny, nz = points[n, 3], points[n, 4], points[n, 5]
                    n += 1
                    sign = 1.0 if nz >= 0.0 else -1.0
                    a = -1.0 / (sign + nz)
                    b = nx * ny * a
                    free = 0
                    for s in range(RAYS):
                        first = (4 * s + x % 4 + hash2(x, y, 2 * s)) / 8.0
                        angle = 6.283185307 * (2 * (y % 4) + (s + x) % 2 + hash2(x, y, 2 * s + 1)) / 8.0
                        radial = math.sqrt(first)
                        along = REACH * radial * math.cos(angle)
                        across = REACH * radial * math.sin(angle)
                        up = REACH * math.sqrt(1.0 - first)
                        if not blocked(
                            g, chosen, count, px, py, pz,
                            along * (1.0 + sign * nx * nx * a) + across * b + up * nx,
                            along * sign * b + across * (sign + ny * ny * a) + up * ny,
                            -along * sign * nx - across * ny + up * nz,
                        ):  # fmt: skip
                            free += 1
                    raw[y, x, MAX_LIGHTS] = free / RAYS
    return raw


@compiled
def join_samples(
    raw: npt.NDArray[np.float32], primitive: npt.NDArray[np.int32], face: npt.NDArray[np.int32], start: int
) -> npt.NDArray[np.float32]:
    """Return the mean over 4x4 windows, restricted to pixels of the same face.

    Args:
        raw: (H, W, MAX_LIGHTS + 1) of :func:`sample_visibility`.
        primitive: (H, W) primitives.
        face: (H, W) faces.
        start: First row and column of the window, relative to the pixel (-1 or -2).

    Returns:
        (H, W, MAX_LIGHTS + 1) float32.
    """
    height, width, _ = raw.shape
    joined = np.empty_like(raw)
    for y in range(height):
        for x in range(width):
            a, b, c, d = 0.0, 0.0, 0.0, 0.0
            n = 0
            for j in range(max(y + start, 0), min(y + start + 4, height)):
                for i in range(max(x + start, 0), min(x + start + 4, width)):
                    if primitive[j, i] == primitive[y, x] and face[j, i] == face[y, x]:
                        a += raw[j, i, 0]
                        b += raw[j, i, 1]
                        c += raw[j, i, 2]
                        d += raw[j, i, 3]
                        n += 1
            joined[y, x, 0] = a / n
            joined[y, x, 1] = b / n
            joined[y, x, 2] = c / n
            joined[y, x, 3] = d / n
    return joined


def visibility(
    scene: RenderArrays,
    pose: npt.NDArray[np.float64],
    k: npt.NDArray[np.float64],
    depth: npt.NDArray[np.float64],
    primitive: npt.NDArray[np.int32],
    face: npt.NDArray[np.int32],
) -> npt.NDArray[np.float32]:
    """Return the smoothed visible share of each light and of the hemisphere; see :func:`sample_visibility`.

    The second mean has its window shifted to the other side, which removes the steps of the sampling pattern in soft
    shadows.
    """
    raw = sample_visibility(scene, pose, k, depth, primitive, face)
    smooth: npt.NDArray[np.float32] = join_samples(join_samples(raw, primitive, face, -1), primitive, face, -2)
    return smooth
