"""Closed-form intersections of rays with the primitives of a room."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from datamodules.files.compiled import compiled
from datamodules.rooms.arrays import BOUND, BOX, CENTER, ELLIPSOID, HALF, KIND, ROOM, ROTATION

INFINITY = 1e30


@compiled
def _nonzero(value: float) -> float:
    """Return the value, or a small positive number if it is zero, so that the slab test needs no special case."""
    if abs(value) < 1e-12:
        return 1e-12
    return value


@compiled
def intersect(
    g: npt.NDArray[np.float64],
    i: int,
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
    tmin: float,
    tmax: float,
) -> tuple[float, int]:
    """Return the first hit of the ray ``o + t d`` with primitive ``i`` for ``tmin < t < tmax``.

    Returns:
        ``(t, face)``, or ``(INFINITY, -1)`` without a hit.
    """
    px = ox - g[i, CENTER]
    py = oy - g[i, CENTER + 1]
    pz = oz - g[i, CENTER + 2]
    # Bounding sphere: no hit if the origin is outside and the ray points away, misses the sphere, or ends before it.
    dd = dx * dx + dy * dy + dz * dz
    pd = px * dx + py * dy + pz * dz
    outside = px * px + py * py + pz * pz - g[i, BOUND] * g[i, BOUND]
    if outside > 0.0:
        if pd > 0.0 or outside * dd > pd * pd:
            return INFINITY, -1
        if -pd > tmax * dd and outside + tmax * (2.0 * pd + tmax * dd) > 0.0:
            return INFINITY, -1
    ax = g[i, ROTATION] * px + g[i, ROTATION + 1] * py + g[i, ROTATION + 2] * pz
    ay = g[i, ROTATION + 3] * px + g[i, ROTATION + 4] * py + g[i, ROTATION + 5] * pz
    az = g[i, ROTATION + 6] * px + g[i, ROTATION + 7] * py + g[i, ROTATION + 8] * pz
    bx = g[i, ROTATION] * dx + g[i, ROTATION + 1] * dy + g[i, ROTATION + 2] * dz
    by = g[i, ROTATION + 3] * dx + g[i, ROTATION + 4] * dy + g[i, ROTATION + 5] * dz
    bz = g[i, ROTATION + 6] * dx + g[i, ROTATION + 7] * dy + g[i, ROTATION + 8] * dz
    hx = g[i, HALF]
    hy = g[i, HALF + 1]
    hz = g[i, HALF + 2]
    kind = int(g[i, KIND])
    if kind in (BOX, ROOM):
        ix = 1.0 / _nonzero(bx)
        iy = 1.0 / _nonzero(by)
        iz = 1.0 / _nonzero(bz)
        ex = abs(ix) * hx
        ey = abs(iy) * hy
        ez = abs(iz) * hz
        mx = -ax * ix
        my = -ay * iy
        mz = -az * iz
        if kind == BOX:
            t, axis, negative = mx - ex, 0, bx > 0
            if my - ey > t:
                t, axis, negative = my - ey, 1, by > 0
            if mz - ez > t:
                t, axis, negative = mz - ez, 2, bz > 0
            if t > min(mx + ex, my + ey, mz + ez):
                return INFINITY, -1
        else:
            t, axis, negative = mx + ex, 0, bx < 0
            if my + ey < t:
                t, axis, negative = my + ey, 1, by < 0
            if mz + ez < t:
                t, axis, negative = mz + ez, 2, bz < 0
        if t > tmin and t < tmax:
            return t, 2 * axis + (0 if negative else 1)
        return INFINITY, -1
    if kind == ELLIPSOID:
        ax, ay, az = ax / hx, ay / hy, az / hz
        bx, by, bz = bx / hx, by / hy, bz / hz
        a = bx * bx + by * by + bz * bz
        b = ax * bx + ay * by + az * bz
        c = ax * ax + ay * ay + az * az - 1.0
        root = b * b - a * c
        if root <= 0.0:
            return INFINITY, -1
        root = math.sqrt(root)
        t = (-b - root) / a
        if t <= tmin:
            t = (-b + root) / a
        if t > tmin and t < tmax:
            return t, 0
        return INFINITY, -1
    # CONE: hx, hy are the radii at the bottom and at the top.
    best = INFINITY
    face = -1
    middle = 0.5 * (hx + hy)
    slope = 0.5 * (hy - hx) / hz
    radius = middle + slope * az
    a = bx * bx + by * by - slope * slope * bz * bz
    b = ax * bx + ay * by - slope * bz * radius
    c = ax * ax + ay * ay - radius * radius
    root = b * b - a * c
    if root > 0.0 and abs(a) > 1e-14:
        root = math.sqrt(root)
        for sign in (-1.0, 1.0):
            t = (-b + sign * root) / a
            z = az + t * bz
            if t > tmin and t < tmax and t < best and abs(z) <= hz and middle + slope * z >= 0.0:
                best = t
                face = 0
    if abs(bz) > 1e-12:
        for side in range(2):
            t = ((hz if side == 1 else -hz) - az) / bz
            if t > tmin and t < tmax and t < best:
                x = ax + t * bx
                y = ay + t * by
                limit = hy if side == 1 else hx
                if x * x + y * y <= limit * limit:
                    best = t
                    face = 4 + side
    return best, face


@compiled
def surface(
    g: npt.NDArray[np.float64], i: int, face: int, x: float, y: float, z: float
) -> tuple[float, float, float, float, float, float, float]:
    """Return normal and surface coordinates of a point on primitive ``i``.

    Returns:
        Unit normal ``(nx, ny, nz)`` in the world frame (towards free space), surface coordinates ``(u, v)`` in metres
        and the same relative to the face, in [-1, 1] on boxes.
    """
    px = x - g[i, CENTER]
    py = y - g[i, CENTER + 1]
    pz = z - g[i, CENTER + 2]
    ax = g[i, ROTATION] * px + g[i, ROTATION + 1] * py + g[i, ROTATION + 2] * pz
    ay = g[i, ROTATION + 3] * px + g[i, ROTATION + 4] * py + g[i, ROTATION + 5] * pz
    az = g[i, ROTATION + 6] * px + g[i, ROTATION + 7] * py + g[i, ROTATION + 8] * pz
    hx = g[i, HALF]
    hy = g[i, HALF + 1]
    hz = g[i, HALF + 2]
    kind = int(g[i, KIND])
    lx, ly, lz = 0.0, 0.0, 0.0
    if kind in (BOX, ROOM):
        sign = 1.0 if face % 2 == 1 else -1.0
        if kind == ROOM:
            sign = -sign
        axis = face // 2
        if axis == 0:
            lx = sign
            u, v, un, vn = ay, az, ay / hy, az / hz
        elif axis == 1:
            ly = sign
            u, v, un, vn = ax, az, ax / hx, az / hz
        else:
            lz = sign
            u, v, un, vn = ax, ay, ax / hx, ay / hy
    elif kind == ELLIPSOID:
        lx, ly, lz = ax / (hx * hx), ay / (hy * hy), az / (hz * hz)
        un = math.atan2(ay, ax) / math.pi
        vn = max(-1.0, min(1.0, az / hz))
        u = un * math.pi * hx
        v = math.asin(vn) * hz
    elif face >= 4:
        lz = 1.0 if face == 5 else -1.0
        limit = max(hx, hy)
        u, v, un, vn = ax, ay, ax / limit, ay / limit
    else:
        slope = 0.5 * (hy - hx) / hz
        radial = math.sqrt(ax * ax + ay * ay) + 1e-12
        lx, ly, lz = ax / radial, ay / radial, -slope
        un = math.atan2(ay, ax) / math.pi
        vn = az / hz
        u = un * math.pi * max(hx, hy)
        v = az
    length = math.sqrt(lx * lx + ly * ly + lz * lz)
    lx, ly, lz = lx / length, ly / length, lz / length
    nx = g[i, ROTATION] * lx + g[i, ROTATION + 3] * ly + g[i, ROTATION + 6] * lz
    ny = g[i, ROTATION + 1] * lx + g[i, ROTATION + 4] * ly + g[i, ROTATION + 7] * lz
    nz = g[i, ROTATION + 2] * lx + g[i, ROTATION + 5] * ly + g[i, ROTATION + 8] * lz
    return nx, ny, nz, u, v, un, vn


@compiled
def nearest(
    g: npt.NDArray[np.float64],
    chosen: npt.NDArray[np.int32],
    first: int,
    count: int,
    ox: float,
    oy: float,
    oz: float,
    dx: float,
    dy: float,
    dz: float,
) -> tuple[float, int, int]:
    """Return the nearest hit among ``chosen[first : first + count]``; indices avoid the reference counts of views.

    Returns:
        ``(t, primitive, face)``; ``(INFINITY, -1, -1)`` without a hit.
    """
    best = INFINITY
    best_i = -1
    best_face = -1
    for k in range(first, first + count):
        i = chosen[k]
        t, face = intersect(g, i, ox, oy, oz, dx, dy, dz, 1e-4, best)
        if t < best:
            best, best_i, best_face = t, i, face
    return best, best_i, best_face
