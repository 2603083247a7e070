"""Shading: direct light, ambient light with darkened corners, highlights, one mirror reflection, antialiasing."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from datamodules.files.compiled import compiled
from datamodules.rooms.arrays import (
    EMISSION,
    HIGH_AMBIENT,
    HIGHLIGHT,
    LIGHT_CENTER,
    LIGHT_COLOR,
    LIGHT_NORMAL,
    LIGHT_SPREAD,
    LOW_AMBIENT,
    REFLECTANCE,
    ROOM_SIZE,
    RenderArrays,
)
from datamodules.rooms.caster import TILE
from datamodules.rooms.intersect import nearest, surface
from datamodules.rooms.texture import texture
from datamodules.rooms.visibility import blocked


@compiled
def _nearness(distance: float, scale: float) -> float:
    """Return a falloff from 1 at distance 0, a rational approximation of an exponential."""
    q = max(distance, 0.0) / scale
    return 1.0 / (1.0 + q * (1.0 + q * (0.5 + q * 0.25)))


@compiled
def _corner_light(scene: RenderArrays, x: float, y: float, z: float, nx: float, ny: float, nz: float) -> float:
    """Return the share of ambient light at a point that is not occluded by nearby walls, floor and ceiling."""
    e = scene.environment
    open_share = 1.0 - 0.30 * (1.0 - nx) * _nearness(x, 0.4)
    open_share *= 1.0 - 0.30 * (1.0 + nx) * _nearness(e[ROOM_SIZE] - x, 0.4)
    open_share *= 1.0 - 0.30 * (1.0 - ny) * _nearness(y, 0.4)
    open_share *= 1.0 - 0.30 * (1.0 + ny) * _nearness(e[ROOM_SIZE + 1] - y, 0.4)
    open_share *= 1.0 - 0.35 * (1.0 - nz) * _nearness(z, 0.3)
    open_share *= 1.0 - 0.25 * (1.0 + nz) * _nearness(e[ROOM_SIZE + 2] - z, 0.4)
    return open_share


@compiled
def shade(
    scene: RenderArrays, i: int, face: int, x: float, y: float, z: float, dx: float, dy: float, dz: float,
    footprint: float, seen_0: float, seen_1: float, seen_2: float, seen_around: float
) -> tuple[float, float, float, float, float, float, float]:  # fmt: skip
    """Return the light from a surface point towards the viewer, without mirror reflection.

    Args:
        scene: The scene.
        i: Primitive.
        face: Face of the primitive.
        x: World x of the point.
        y: World y of the point.
        z: World z of the point.
        dx: Unit viewing direction, x.
        dy: Unit viewing direction, y.
        dz: Unit viewing direction, z.
        footprint: Size of a pixel at this distance in metres.
        seen_0: Visible share of the first light.
        seen_1: Visible share of the second light.
        seen_2: Visible share of the third light.
        seen_around: Open share of the hemisphere.

    Returns:
        Linear RGB, the reflectance in the viewing direction and the mirrored direction ``(r, g, b, k, mx, my, mz)``.
    """
    nx, ny, nz, u, v, un, vn = surface(scene.geometry, i, face, x, y, z)
    cosine = -(nx * dx + ny * dy + nz * dz)
    if cosine < 0.0:
        nx, ny, nz, cosine = -nx, -ny, -nz, -cosine
    material = scene.faces[i, face]
    albedo = texture(scene.materials, material, u, v, un, vn, footprint / math.sqrt(max(cosine, 0.05)))
    m, lights, e = scene.materials, scene.lights, scene.environment
    mx, my, mz = dx + 2.0 * cosine * nx, dy + 2.0 * cosine * ny, dz + 2.0 * cosine * nz
    open_share = _corner_light(scene, x, y, z, nx, ny, nz) * (0.25 + 0.75 * seen_around)
    up = 0.5 + 0.5 * nz
    red = open_share * (e[LOW_AMBIENT] * (1.0 - up) + e[HIGH_AMBIENT] * up)
    green = open_share * (e[LOW_AMBIENT + 1] * (1.0 - up) + e[HIGH_AMBIENT + 1] * up)
    blue = open_share * (e[LOW_AMBIENT + 2] * (1.0 - up) + e[HIGH_AMBIENT + 2] * up)
    shine = 0.0
    for light in range(lights.shape[0]):
        lx = lights[light, LIGHT_CENTER] - x
        ly = lights[light, LIGHT_CENTER + 1] - y
        lz = lights[light, LIGHT_CENTER + 2] - z
        square = lx * lx + ly * ly + lz * lz + 1e-9
        length = math.sqrt(square)
        lx, ly, lz = lx / length, ly / length, lz / length
        facing = nx * lx + ny * ly + nz * lz
        # An area light also reaches surfaces slightly beyond its horizon.
        facing = max(0.0, (facing + 0.08) / 1.08)
        away = -(
            lights[light, LIGHT_NORMAL] * lx
            + lights[light, LIGHT_NORMAL + 1] * ly
            + lights[light, LIGHT_NORMAL + 2] * lz
        )
        spread = lights[light, LIGHT_SPREAD]
        emitted = spread * (0.7 + 0.3 * away) + (1.0 - spread) * max(0.0, 0.15 + 0.85 * away)
        power = (seen_0 if light == 0 else (seen_1 if light == 1 else seen_2)) * emitted / (square + 0.6)
        red += lights[light, LIGHT_COLOR] * power * facing
        green += lights[light, LIGHT_COLOR + 1] * power * facing
        blue += lights[light, LIGHT_COLOR + 2] * power * facing
        if m[material, HIGHLIGHT] > 0.0 and facing > 0.0:
            mirrored = max(0.0, mx * lx + my * ly + mz * lz)
            shine += m[material, HIGHLIGHT] * power * lights[light, LIGHT_COLOR + 1] * mirrored**40.0
    glow = m[material, EMISSION]
    fresnel = 0.0
    if m[material, REFLECTANCE] > 0.0:
        fresnel = m[material, REFLECTANCE] + (1.0 - m[material, REFLECTANCE]) * 0.7 * (1.0 - cosine) ** 5
    return (
        albedo[0] * (red + glow) + shine,
        albedo[1] * (green + glow) + shine,
        albedo[2] * (blue + glow) + shine,
        fresnel, mx, my, mz,
    )  # fmt: skip


@compiled
def _seen_light(scene: RenderArrays, light: int, x: float, y: float, z: float) -> float:
    """Return 1 if the centre of a light is visible from a point, else 0; absent lights count as visible."""
    if light >= scene.lights.shape[0]:
        return 1.0
    lx = scene.lights[light, LIGHT_CENTER] - x
    ly = scene.lights[light, LIGHT_CENTER + 1] - y
    lz = scene.lights[light, LIGHT_CENTER + 2] - z
    return 0.0 if blocked(scene.geometry, scene.casters, scene.casters.shape[0], x, y, z, lx, ly, lz) else 1.0


@compiled
def radiance(
    scene: RenderArrays, everything: npt.NDArray[np.int32], i: int, face: int, x: float, y: float, z: float,
    dx: float, dy: float, dz: float, footprint: float, seen_0: float, seen_1: float, seen_2: float, seen_around: float
) -> tuple[float, float, float]:  # fmt: skip
    """Return the linear RGB of a surface point with one mirror reflection; arguments as in :func:`shade`."""
    red, green, blue, fresnel, mx, my, mz = shade(
        scene, i, face, x, y, z, dx, dy, dz, footprint, seen_0, seen_1, seen_2, seen_around
    )
    if fresnel < 0.01:
        return red, green, blue
    g = scene.geometry
    ox, oy, oz = x + 1e-3 * mx, y + 1e-3 * my, z + 1e-3 * mz
    t, other, other_face = nearest(g, everything, 0, everything.shape[0], ox, oy, oz, mx, my, mz)
    if other < 0:
        return red, green, blue
    qx, qy, qz = ox + t * mx, oy + t * my, oz + t * mz
    nx, ny, nz, _, _, _, _ = surface(g, other, other_face, qx, qy, qz)
    sx, sy, sz = qx + 2e-3 * nx, qy + 2e-3 * ny, qz + 2e-3 * nz
    r, b, c, _, _, _, _ = shade(
        scene, other, other_face, qx, qy, qz, mx, my, mz, footprint * (1.0 + t),
        _seen_light(scene, 0, sx, sy, sz), _seen_light(scene, 1, sx, sy, sz), _seen_light(scene, 2, sx, sy, sz), 0.85,
    )  # fmt: skip
    keep = 1.0 - fresnel
    return keep * red + fresnel * r, keep * green + fresnel * b, keep * blue + fresnel * c


@compiled
def shade_centers(
    scene: RenderArrays,
    pose: npt.NDArray[np.float64],
    k: npt.NDArray[np.float64],
    depth: npt.NDArray[np.float64],
    primitive: npt.NDArray[np.int32],
    face: npt.NDArray[np.int32],
    seen: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """Return the linear RGB through every pixel centre.

    Args:
        scene: The scene.
        pose: (4, 4) ``T_world_camera``.
        k: (3, 3) intrinsics.
        depth: (H, W) depth.
        primitive: (H, W) primitives.
        face: (H, W) faces.
        seen: (H, W, MAX_LIGHTS + 1) visibility.

    Returns:
        (H, W, 3) float32 linear RGB.
    """
    height, width = depth.shape
    image = np.empty((height, width, 3), np.float32)
    everything = np.arange(scene.geometry.shape[0]).astype(np.int32)
    for y in range(height):
        cy = (y + 0.5 - k[1, 2]) / k[1, 1]
        for x in range(width):
            cx = (x + 0.5 - k[0, 2]) / k[0, 0]
            dx = pose[0, 0] * cx + pose[0, 1] * cy + pose[0, 2]
            dy = pose[1, 0] * cx + pose[1, 1] * cy + pose[1, 2]
            dz = pose[2, 0] * cx + pose[2, 1] * cy + pose[2, 2]
            t = depth[y, x]
            n = math.sqrt(dx * dx + dy * dy + dz * dz)
            image[y, x, 0], image[y, x, 1], image[y, x, 2] = radiance(
                scene, everything, primitive[y, x], face[y, x],
                pose[0, 3] + t * dx, pose[1, 3] + t * dy, pose[2, 3] + t * dz,
                dx / n, dy / n, dz / n, t * n / k[0, 0],
                seen[y, x, 0], seen[y, x, 1], seen[y, x, 2], seen[y, x, 3],
            )  # fmt: skip
    return image


@compiled
def antialias(
    scene: RenderArrays,
    pose: npt.NDArray[np.float64],
    k: npt.NDArray[np.float64],
    primitive: npt.NDArray[np.int32],
    face: npt.NDArray[np.int32],
    seen: npt.NDArray[np.float32],
    chosen: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int32],
    image: npt.NDArray[np.float32],
    white: float,
) -> npt.NDArray[np.float32]:
    """Return the image with pixels at edges and strong contrast replaced by the mean of four rotated-grid samples.

    Args:
        scene: The scene.
        pose: (4, 4) ``T_world_camera``.
        k: (3, 3) intrinsics.
        primitive: (H, W) primitives.
        face: (H, W) faces.
        seen: (H, W, MAX_LIGHTS + 1) visibility of the pixel centres.
        chosen: Candidates of the tiles.
        counts: Number of candidates of each tile.
        image: (H, W, 3) linear RGB of the pixel centres.
        white: Linear value at which the sensor saturates; samples are clipped to it before averaging.

    Returns:
        (H, W, 3) float32 linear RGB.
    """
    height, width = primitive.shape
    columns = (width + TILE - 1) // TILE
    smooth = image.copy()
    everything = np.arange(scene.geometry.shape[0]).astype(np.int32)
    for y in range(height):
        for x in range(width):
            here = image[y, x, 1]
            edge = False
            for j, i in ((y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)):
                if 0 <= j < height and 0 <= i < width:
                    other = image[j, i, 1]
                    if (
                        primitive[j, i] != primitive[y, x]
                        or face[j, i] != face[y, x]
                        or abs(other - here) > 0.15 * (other + here) + 0.02 * white
                    ):
                        edge = True
            if not edge:
                continue
            red, green, blue = 0.0, 0.0, 0.0
            for s in range(4):
                ox = 0.125 + 0.25 * s
                oy = 0.625 if s == 0 else (0.125 if s == 1 else (0.875 if s == 2 else 0.375))
                cx = (x + ox - k[0, 2]) / k[0, 0]
                cy = (y + oy - k[1, 2]) / k[1, 1]
                dx = pose[0, 0] * cx + pose[0, 1] * cy + pose[0, 2]
                dy = pose[1, 0] * cx + pose[1, 1] * cy + pose[1, 2]
                dz = pose[2, 0] * cx + pose[2, 1] * cy + pose[2, 2]
                t, i, f = nearest(
                    scene.geometry, chosen, ((y // TILE) * columns + x // TILE) * scene.geometry.shape[0],
                    counts[y // TILE, x // TILE],
                    pose[0, 3], pose[1, 3], pose[2, 3], dx, dy, dz,
                )  # fmt: skip
                # Visibility is taken from the closest pixel centre on the same face, else from this pixel.
                source_y, source_x = y, x
                if primitive[y, x] != i or face[y, x] != f:
                    closest = 100
                    for b in range(max(y - 2, 0), min(y + 3, height)):
                        for a in range(max(x - 2, 0), min(x + 3, width)):
                            far = (b - y) * (b - y) + (a - x) * (a - x)
                            if far < closest and primitive[b, a] == i and face[b, a] == f:
                                source_y, source_x, closest = b, a, far
                n = math.sqrt(dx * dx + dy * dy + dz * dz)
                r, g, b_ = radiance(
                    scene, everything, i, f, pose[0, 3] + t * dx, pose[1, 3] + t * dy, pose[2, 3] + t * dz,
                    dx / n, dy / n, dz / n, 0.5 * t * n / k[0, 0],
                    seen[source_y, source_x, 0], seen[source_y, source_x, 1], seen[source_y, source_x, 2],
                    seen[source_y, source_x, 3],
                )  # fmt: skip
                red += 0.25 * min(r, white)
                green += 0.25 * min(g, white)
                blue += 0.25 * min(b_, white)
            smooth[y, x, 0], smooth[y, x, 1], smooth[y, x, 2] = red, green, blue
    return smooth
