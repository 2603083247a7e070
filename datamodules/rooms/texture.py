"""Procedural textures: colour as a function of surface coordinates in metres.

A texture is thus fixed to its surface across frames. Every pattern fades to its mean colour where its cells are smaller
than a pixel, which avoids aliasing on distant surfaces.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from datamodules.files.compiled import compiled
from datamodules.rooms.arrays import ASPECT, COLORS, CONTRAST, PATTERN, SCALE, SEED

#: Kinds of patterns.
FLAT, STRIPES, CHECKER, DOTS, PLANKS, TILES, BRICKS, CARPET, MARBLE, WALLPAPER = range(10)
GRAIN, PAINTING, OUTSIDE, SPINES, PLAID, SPECKLES, FOLIAGE, PANELS = range(10, 18)


@compiled
def hash2(x: int, y: int, seed: int) -> float:
    """Return a uniform number in [0, 1) from two integers and a seed (int64 arithmetic, wrapped to 32 bits)."""
    h = (x * 374761393 + y * 668265263 + seed * 1442695041) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 668265263) & 0xFFFFFFFF
    return (h ^ (h >> 15)) / 4294967296.0


@compiled
def noise2(u: float, v: float, seed: int) -> float:
    """Return value noise in [0, 1) with one lattice point per unit."""
    fu = math.floor(u)
    fv = math.floor(v)
    x = int(fu)
    y = int(fv)
    a = u - fu
    b = v - fv
    a = a * a * (3.0 - 2.0 * a)
    b = b * b * (3.0 - 2.0 * b)
    low = hash2(x, y, seed) * (1.0 - a) + hash2(x + 1, y, seed) * a
    high = hash2(x, y + 1, seed) * (1.0 - a) + hash2(x + 1, y + 1, seed) * a
    return low * (1.0 - b) + high * b


@compiled
def fractal2(u: float, v: float, seed: int, octaves: int) -> float:
    """Return a sum of octaves of value noise, mean about 0.5, in [0, 1)."""
    total = 0.0
    weight = 0.5
    norm = 0.0
    for k in range(octaves):
        total += weight * noise2(u, v, seed + 17 * k)
        norm += weight
        weight *= 0.5
        u = u * 2.03 + 5.1
        v = v * 2.03 + 1.7
    return total / norm


@compiled
def _visible(footprint: float, cell: float) -> float:
    """Return the remaining contrast of cells of a given size under a pixel footprint, both in metres."""
    ratio = footprint / cell
    if ratio <= 0.3:
        return 1.0
    if ratio >= 1.0:
        return 0.0
    s = (1.0 - ratio) / 0.7
    return s * s * (3.0 - 2.0 * s)


@compiled
def texture(
    m: npt.NDArray[np.float64], i: int, u: float, v: float, un: float, vn: float, footprint: float
) -> tuple[float, float, float]:
    """Return the linear RGB albedo of a material.

    Args:
        m: Material table.
        i: Row of the material table.
        u: First surface coordinate in metres.
        v: Second surface coordinate in metres (upwards on walls).
        un: First coordinate relative to the face, in [-1, 1].
        vn: Second coordinate relative to the face, in [-1, 1].
        footprint: Size of a pixel on the surface in metres.

    Returns:
        Linear RGB.
    """
    kind = int(m[i, PATTERN])
    if kind == FLAT:
        return m[i, COLORS], m[i, COLORS + 1], m[i, COLORS + 2]
    scale = m[i, SCALE]
    aspect = m[i, ASPECT]
    contrast = m[i, CONTRAST]
    seed = int(m[i, SEED])
    mix = 0.0  # weight of the second colour
    mean = 0.5  # average of mix, used where the pattern is finer than a pixel
    third = 0.0  # weight of the third colour over both
    gain = 1.0
    cell = scale
    if kind == STRIPES:
        mean = aspect
        mix = 1.0 if (u / scale) % 1.0 < aspect else 0.0
    elif kind == CHECKER:
        mix = float((math.floor(u / scale) + math.floor(v / scale)) % 2)
    elif kind == DOTS:
        row = math.floor(v / scale)
        x = (u / scale + 0.5 * (row % 2.0)) % 1.0 - 0.5
        y = (v / scale) % 1.0 - 0.5
        mix = 1.0 if x * x + y * y < aspect * aspect else 0.0
        mean = math.pi * aspect * aspect
    elif kind in (PLANKS, GRAIN):
        along, across = u, v
        if kind == PLANKS:
            row = math.floor(v / scale)
            shift = u / (scale * aspect) + hash2(row, 7, seed)
            board = math.floor(shift)
            tone = hash2(row, board, seed)
            gap = min((v / scale) % 1.0, 1.0 - (v / scale) % 1.0) * scale
            end = min(shift % 1.0, 1.0 - shift % 1.0) * scale * aspect
            third = 0.6 * _visible(footprint, 0.012) if min(gap, end) < 0.002 else 0.0
            gain = 1.0 + 0.35 * contrast * (tone - 0.5)
            along = u + 13.0 * tone
        veins = fractal2(along * 1.5, across * 22.0, seed + 3, 3)
        rings = 0.5 + 0.5 * math.sin(6.2832 * (across * 9.0 + 2.5 * noise2(along * 0.8, across * 3.0, seed + 5)))
        mix = 0.65 * veins + 0.35 * rings
        cell = 0.05
        mix = 0.5 + (mix - 0.5) * contrast
    elif kind in (TILES, BRICKS):
        height = scale / aspect
        row = math.floor(v / height)
        x = u / scale + (0.5 * (row % 2.0) if kind == BRICKS else 0.0)
        column = math.floor(x)
        edge = min(min(x - column, 1.0 - x + column) * scale, min(v / height - row, 1.0 - v / height + row) * height)
        mix = hash2(int(column), int(row), seed)
        width = 0.006 if kind == BRICKS else 0.003
        third = _visible(footprint, 3.0 * width) if edge < width else 0.0
        mix = 0.5 + (mix - 0.5) * contrast
        gain = 1.0 + 0.25 * contrast * (fractal2(u * 14.0, v * 14.0, seed + 9, 3) - 0.5) * _visible(footprint, 0.03)
    elif kind == CARPET:
        fine = noise2(u / scale, v / scale, seed) * _visible(footprint, scale)
        fine += 0.5 * (1.0 - _visible(footprint, scale))
        mix = 0.5 + contrast * (0.7 * (fine - 0.5) + 0.6 * (fractal2(u * 3.0, v * 3.0, seed + 1, 3) - 0.5))
        cell = 1.0
    elif kind == MARBLE:
        wave = u * 1.1 + v * 0.7 + 2.2 * fractal2(u / scale, v / scale, seed, 4)
        mix = abs(math.sin(3.1416 * wave)) ** 0.35
        mix = 1.0 - contrast * (1.0 - mix)
        mean = 0.8
    elif kind == WALLPAPER:
        fu = math.floor(u / scale)
        fv = math.floor(v / scale)
        x = 2.0 * (u / scale - fu) - 1.0
        y = 2.0 * (v / scale - fv) - 1.0
        flip = 0.5 if (int(fu) + int(fv)) % 2 == 0 else 0.0
        angle = math.atan2(y, x)
        petal = 0.55 + 0.28 * math.cos(math.floor(3.0 + 4.0 * aspect) * angle + 6.2832 * flip)
        radius = math.sqrt(x * x + y * y)
        mix = contrast if radius < petal else 0.0
        third = 0.8 if radius < 0.2 else 0.0
        third *= _visible(footprint, 0.3 * scale)
        mean = 0.35 * contrast
    elif kind == PAINTING:
        horizon = 0.1 + 0.5 * (fractal2(un * 2.0, 0.5, seed, 4) - 0.5)
        mix = min(1.0, max(0.0, 0.5 + 0.6 * (vn - horizon))) if vn > horizon else 0.0
        if vn < horizon:
            third = 0.3 + 0.7 * fractal2(un * 3.0, vn * 5.0, seed + 2, 3)
        gain = 0.6 + 0.8 * fractal2(un * 4.0, vn * 4.0, seed + 4, 3)
        blob = (un - 1.2 * hash2(1, 2, seed) + 0.6) ** 2 + (vn - 0.8 * hash2(3, 4, seed) + 0.2) ** 2
        if blob < 0.08:
            mix, third, gain = 1.0, 0.0, 1.5
        cell = 10.0
    elif kind == OUTSIDE:
        horizon = -0.25 + 0.5 * (fractal2(un * 3.0 + 3.0, 0.3, seed, 4) - 0.5)
        if vn > horizon:
            mix = min(1.0, 0.2 + 0.6 * (vn - horizon))
            gain = 1.0 + 0.5 * (fractal2(un * 1.5, vn * 3.0, seed + 4, 3) - 0.5)
        else:
            third = 1.0
            gain = 0.5 + 0.9 * fractal2(un * 8.0, vn * 8.0, seed + 2, 3)
        cell = 10.0
    elif kind == SPINES:
        # Books of different widths: positions jittered by noise on a regular row.
        x = u / scale + 0.35 * math.sin(2.3 * u / scale + hash2(1, 1, seed) * 6.0)
        column = math.floor(x)
        tone = hash2(column, 1, seed)
        mix = hash2(column, 2, seed)
        third = 1.0 if hash2(column, 3, seed) < 0.3 else 0.0
        gain = 0.4 + 1.1 * tone
        edge = min(x - column, 1.0 - x + column)
        if edge < 0.06:
            gain *= 1.0 - 0.75 * _visible(footprint, 0.3 * scale)
        band = 0.2 + 0.5 * hash2(column, 5, seed)
        if abs(vn - band) < 0.07:
            gain *= 1.5
    elif kind == PLAID:
        a = 1.0 if (u / scale) % 1.0 < aspect else 0.0
        b = 1.0 if (v / scale) % 1.0 < aspect else 0.0
        mix = 0.5 * (a + b)
        mean = aspect
        third = 0.8 * _visible(footprint, 0.1 * scale) if abs((u / scale) % 1.0 - 0.8) < 0.04 else 0.0
    elif kind == SPECKLES:
        x = u / scale
        y = v / scale
        column = math.floor(x)
        row = math.floor(y)
        cx = x - column - 0.3 - 0.4 * hash2(column, row, seed)
        cy = y - row - 0.3 - 0.4 * hash2(column, row, seed + 1)
        size = 0.12 + 0.25 * hash2(column, row, seed + 2)
        mean = 0.18 * contrast
        if cx * cx + cy * cy < size * size:
            mix = contrast
            third = (1.0 if hash2(column, row, seed + 3) < 0.4 else 0.0) * _visible(footprint, scale)
    elif kind == FOLIAGE:
        mix = fractal2(u / scale, v / scale, seed, 3)
        gain = 0.55 + 0.9 * noise2(2.0 * u / scale, 2.0 * v / scale, seed + 3)
    elif kind == PANELS:
        # Grooves between the fronts of a cupboard: ``aspect`` columns, SCALE rows.
        x = (0.5 * un + 0.5) * aspect
        y = (0.5 * vn + 0.5) * scale
        edge = min(min(x % 1.0, 1.0 - x % 1.0) / aspect, min(y % 1.0, 1.0 - y % 1.0) / scale)
        mix = 1.0 if edge < 0.006 else 0.0
        mean = 0.0
        cell = 0.03
    keep = _visible(footprint, cell)
    mix = mean + (mix - mean) * keep
    rest = 1.0 - third
    red = gain * (rest * (m[i, COLORS] * (1.0 - mix) + m[i, COLORS + 3] * mix) + third * m[i, COLORS + 6])
    green = gain * (rest * (m[i, COLORS + 1] * (1.0 - mix) + m[i, COLORS + 4] * mix) + third * m[i, COLORS + 7])
    blue = gain * (rest * (m[i, COLORS + 2] * (1.0 - mix) + m[i, COLORS + 5] * mix) + third * m[i, COLORS + 8])
    return red, green, blue
