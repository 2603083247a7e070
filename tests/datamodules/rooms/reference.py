"""A small scene and a slow, independent ray caster."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datamodules.rooms.arrays import LIGHT_COLUMNS, RenderArrays, Scene
from datamodules.rooms.builder import SceneBuilder
from datamodules.rooms.materials import MaterialTable

Array = npt.NDArray[np.float64]

SIZE = (4.0, 5.0, 2.5)

#: (centre, full size, yaw) of the boxes, (centre, radius) of the ball, (bottom, height, radius) of the cylinder and
#: (start, end, radius) of the rod.
BOXES = (((1.5, 3.0, 0.4), (0.8, 0.6, 0.8), 0.4), ((2.8, 3.4, 1.0), (0.5, 0.9, 2.0), -0.9))
BALL = ((2.0, 2.4, 0.3), 0.3)
CYLINDER = ((1.0, 2.2, 0.0), 0.9, 0.15)
ROD = ((2.2, 2.0, 0.0), (2.5, 2.2, 1.6), 0.02)
LIGHT = (2.0, 1.5, 2.3)


def small_scene() -> Scene:
    """Room with two boxes, a ball, a cylinder, a slanted rod and a point light."""
    materials = MaterialTable(np.random.default_rng(0))
    grey = materials.plain((0.7, 0.7, 0.7))
    b = SceneBuilder(SIZE, materials, (grey, grey, grey, grey), grey, grey)
    b.begin("box", 0.0, 0.0, 0.0)
    for center, size, yaw in BOXES:
        b.box(center, size, grey, yaw=yaw)
    b.begin("ball", 0.0, 0.0, 0.0)
    b.ellipsoid(BALL[0], (BALL[1],) * 3, grey)
    b.begin("vase", 0.0, 0.0, 0.0)
    b.cone(CYLINDER[0], CYLINDER[1], CYLINDER[2], CYLINDER[2], grey)
    b.begin("lamp", 0.0, 0.0, 0.0)
    b.rod(ROD[0], ROD[1], ROD[2], grey)
    light = np.zeros((1, LIGHT_COLUMNS))
    light[0, :3] = LIGHT
    light[0, 9:16] = (0, 0, -1, 1, 1, 1, 1)
    render = RenderArrays(
        geometry=np.array(b.geometry),
        faces=np.array(b.material, np.int32),
        materials=np.array(materials.rows),
        lights=light,
        environment=np.array([0.3] * 6 + list(SIZE)),
        casters=np.flatnonzero(b.casts_shadow).astype(np.int32),
    )
    return Scene(
        render,
        np.array(b.plane, np.int32),
        np.array(b.semantic, np.int32),
        np.array(b.instance, np.int32),
        np.array(b.flags, np.int32),
    )


def _first(t: Array, valid: npt.NDArray[np.bool_]) -> Array:
    return np.where(valid & (t > 1e-6), t, np.inf)


def _box(o: Array, d: Array, center: Array, size: Array, yaw: float) -> Array:
    """Hit with each of the six rectangles by plane equation and containment, (N,)."""
    axes = np.array([[np.cos(yaw), np.sin(yaw), 0.0], [-np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])
    best = np.full(len(d), np.inf)
    for axis in range(3):
        for side in (-1, 1):
            point = center + side * axes[axis] * size[axis] / 2
            t = ((point - o) @ axes[axis]) / (d @ axes[axis])
            offset = (o + t[:, None] * d - center) @ axes.T
            inside = np.all([np.abs(offset[:, k]) <= size[k] / 2 for k in range(3) if k != axis], axis=0)
            best = np.minimum(best, _first(t, inside))
    return best


def _ball(o: Array, d: Array, center: Array, radius: float) -> Array:
    """Hit by the distance of the centre from the line, (N,)."""
    unit = d / np.linalg.norm(d, axis=1, keepdims=True)
    along = (center - o) @ unit.T if o.ndim == 1 else np.sum((center - o) * unit, axis=1)
    off = np.linalg.norm(o + along[:, None] * unit - center, axis=1)
    chord = np.sqrt(np.maximum(radius**2 - off**2, 0.0))
    return _first((along - chord) / np.linalg.norm(d, axis=1), off < radius)


def _tube(o: Array, d: Array, start: Array, end: Array, radius: float) -> Array:
    """Hit with a capped cylinder by cross products with its axis, (N,)."""
    axis = (end - start) / np.linalg.norm(end - start)
    n = np.cross(d, axis)
    m = np.cross(o - start, axis)
    m = np.broadcast_to(m, n.shape)
    a, b, c = np.sum(n * n, 1), np.sum(n * m, 1), np.sum(m * m, 1) - radius**2
    root = np.sqrt(np.maximum(b * b - a * c, 0.0))
    best = np.full(len(d), np.inf)
    for t in ((-b - root) / a, (-b + root) / a):
        height = (o + t[:, None] * d - start) @ axis
        best = np.minimum(best, _first(t, (b * b > a * c) & (height >= 0) & (height <= np.linalg.norm(end - start))))
    for cap in (start, end):
        t = ((cap - o) @ axis) / (d @ axis)
        best = np.minimum(best, _first(t, np.linalg.norm(o + t[:, None] * d - cap, axis=1) <= radius))
    return best


def reference_hits(o: Array, d: Array, *, room: bool = True) -> tuple[Array, npt.NDArray[np.int64]]:
    """Nearest hit of rays ``o + t d`` (``o`` (3,) or (N, 3), ``d`` (N, 3)) and its primitive's number in the scene."""
    hits = [np.full(len(d), np.inf)]
    if room:
        size = np.array(SIZE)
        hits = [_box(o, d, size / 2, size, 0.0)]
    hits += [_box(o, d, np.array(center), np.array(size), yaw) for center, size, yaw in BOXES]
    hits.append(_ball(o, d, np.array(BALL[0]), BALL[1]))
    bottom = np.array(CYLINDER[0])
    hits.append(_tube(o, d, bottom, bottom + np.array([0.0, 0.0, CYLINDER[1]]), CYLINDER[2]))
    hits.append(_tube(o, d, np.array(ROD[0]), np.array(ROD[1]), ROD[2]))
    stacked = np.stack(hits)
    return stacked.min(axis=0), stacked.argmin(axis=0)


def pixel_rays(pose: Array, k: Array, height: int, width: int) -> Array:
    """Directions (H * W, 3) through pixel centres, with camera z = 1, in the world."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    pixels = np.stack([x.ravel(), y.ravel(), np.ones(height * width)])
    directions: Array = (pose[:3, :3] @ np.linalg.solve(k, pixels)).T
    return directions
