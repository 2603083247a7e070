"""Flat objects on walls: doors, windows, pictures, mirrors, radiators and skirting boards, of realistic size.

Spots are given on the wall, with the local y axis pointing into the room.
"""

from __future__ import annotations

import numpy as np

from datamodules.rooms import texture as t
from datamodules.rooms.builder import SceneBuilder
from datamodules.rooms.materials import hsv
from datamodules.rooms.things import Spot


def door(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, height: float) -> None:
    """Add a closed door: leaf with panels, casing of 7 cm and a handle at 1.05 m."""
    b.begin("door", spot.x, spot.y, spot.yaw, disguise=spot.disguise)
    m = b.materials
    leaf = m.wood() if rng.random() < 0.4 else m.plain(m.pale() if rng.random() < 0.7 else m.muted(), highlight=0.05)
    casing = leaf if rng.random() < 0.5 else m.plain(m.pale())
    b.box((0, 0.01, height / 2), (width, 0.04, height), leaf, shadow=False)
    for sx in (-1, 1):
        b.box((sx * (width / 2 + 0.035), 0.015, (height + 0.07) / 2), (0.07, 0.06, height + 0.07), casing, shadow=False)
    b.box((0, 0.015, height + 0.035), (width, 0.06, 0.07), casing, shadow=False)
    style = int(rng.integers(0, 3))
    inner = width - 0.24
    if style == 1:
        for z, h in ((0.47, 0.62), (1.43, 0.98)):
            b.box((0, 0.032, z), (inner, 0.012, h), leaf, shadow=False)
    elif style == 2:
        for row in range(3):
            for sx in (-1, 1):
                z = 0.40 + 0.62 * row
                b.box((sx * (inner / 4 + 0.02), 0.032, z), (inner / 2 - 0.04, 0.012, 0.5), leaf, shadow=False)
    side = float(rng.choice([-1.0, 1.0]))
    x = side * (width / 2 - 0.065)
    metal = m.metal()
    b.box((x, 0.034, 1.03), (0.04, 0.01, 0.2), metal, shadow=False)
    b.rod((x, 0.03, 1.05), (x, 0.09, 1.05), 0.009, metal, shadow=False)
    b.rod((x + side * 0.01, 0.085, 1.05), (x - side * 0.12, 0.085, 1.05), 0.009, metal, shadow=False)


def window(
    b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, low: float, high: float, day: float
) -> None:
    """Add a window with casing, bars and sill; ``day`` is the brightness outside (0 is night)."""
    b.begin("window", spot.x, spot.y, spot.yaw)
    m = b.materials
    tall = high - low
    middle = (low + high) / 2
    if day > 0.0:
        sky, light = hsv(float(rng.uniform(0.52, 0.6)), float(rng.uniform(0.05, 0.45)), 0.95), (0.95, 0.96, 0.97)
        green = hsv(float(rng.uniform(0.2, 0.36)), float(rng.uniform(0.1, 0.45)), float(rng.uniform(0.2, 0.4)))
        pane = m.add(t.OUTSIDE, light, sky, green, emission=day)
    else:
        pane = m.add(
            t.OUTSIDE, (0.03, 0.04, 0.09), (0.05, 0.06, 0.12), (0.02, 0.02, 0.03), reflectance=0.08, emission=0.3
        )
    frame = m.plain((0.9, 0.9, 0.88)) if rng.random() < 0.7 else m.wood()
    b.box((0, 0.0, middle), (width, 0.02, tall), pane, shadow=False)
    for sx in (-1, 1):
        b.box((sx * (width / 2 + 0.03), 0.015, middle), (0.07, 0.07, tall + 0.13), frame, shadow=False)
    for sz in (-1, 1):
        b.box((0, 0.015, middle + sz * (tall / 2 + 0.03)), (width, 0.07, 0.07), frame, shadow=False)
    wings = max(1, round(width / 0.7))
    for k in range(1, wings):
        b.box((-width / 2 + k * width / wings, 0.014, middle), (0.06, 0.05, tall), frame, shadow=False)
    if rng.random() < 0.4:
        b.box((0, 0.012, low + 0.68 * tall), (width, 0.04, 0.035), frame, shadow=False)
    b.box((0, 0.09, low - 0.08), (width + 0.24, 0.2, 0.03), frame)


def curtains(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, high: float) -> None:
    """Add a curtain of folds on both sides of a window, and its rod; part of the window's class."""
    b.begin("window", spot.x, spot.y, spot.yaw)
    fabric = b.materials.fabric()
    top = high + 0.16
    for sx in (-1, 1):
        for k in range(5):
            x = sx * (width / 2 + 0.06 + 0.055 * k)
            b.cone((x, 0.1, 0.04), top - 0.04, 0.034, 0.03, fabric, shadow=k == 2)
    b.rod(
        (-width / 2 - 0.4, 0.1, top + 0.01),
        (width / 2 + 0.4, 0.1, top + 0.01),
        0.012,
        b.materials.metal(),
        shadow=False,
    )


def radiator(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float) -> None:
    """Add a ribbed radiator below a window; it counts as wall."""
    b.begin("wall", spot.x, spot.y, spot.yaw)
    paint = b.materials.plain((0.9, 0.9, 0.88), highlight=0.05)
    ribs = max(4, int(width / 0.085))
    for k in range(ribs):
        b.box(
            (-width / 2 + (k + 0.5) * width / ribs, 0.07, 0.41), (width / ribs * 0.62, 0.08, 0.56), paint, shadow=False
        )
    for z in (0.17, 0.63):
        b.box((0, 0.07, z), (width, 0.05, 0.05), paint, shadow=False)


def picture(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, height: float, middle: float) -> None:
    """Add a framed picture with its centre at the given height."""
    b.begin("picture", spot.x, spot.y, spot.yaw, disguise=spot.disguise)
    m = b.materials
    frame = m.wood() if rng.random() < 0.5 else m.plain(hsv(0.1, 0.05, float(rng.uniform(0.05, 0.9))))
    rim = float(rng.uniform(0.02, 0.05))
    b.box((0, 0.013, middle), (width, 0.026, height), frame, shadow=False)
    inner = (width - 2 * rim, height - 2 * rim)
    if rng.random() < 0.5 and min(inner) > 0.25:
        b.box((0, 0.0265, middle), (inner[0], 0.003, inner[1]), m.plain((0.93, 0.92, 0.88)), shadow=False)
        inner = (inner[0] - 0.12, inner[1] - 0.12)
    kind = t.PAINTING if rng.random() < 0.7 else (t.PLAID, t.MARBLE, t.WALLPAPER)[int(rng.integers(3))]
    art = m.add(kind, m.vivid(), m.vivid(), m.vivid(), scale=float(rng.uniform(0.08, 0.3)), aspect=0.4)
    b.box((0, 0.0275, middle), (inner[0], 0.003, inner[1]), art, shadow=False)


def mirror(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, height: float, middle: float) -> None:
    """Add a mirror; its depth is that of its surface."""
    b.begin("mirror", spot.x, spot.y, spot.yaw)
    m = b.materials
    frame = m.wood() if rng.random() < 0.5 else m.metal()
    glass = m.add(t.FLAT, (0.05, 0.06, 0.06), reflectance=0.88)
    b.box((0, 0.01, middle), (width, 0.02, height), frame, shadow=False)
    b.box((0, 0.013, middle), (width - 0.06, 0.018, height - 0.06), glass, shadow=False)


def skirting(b: SceneBuilder, rng: np.random.Generator) -> None:
    """Add skirting boards of 8-12 cm along all walls; doors protrude further and interrupt them."""
    width, length, _ = b.size
    height = float(rng.uniform(0.08, 0.12))
    material = b.materials.plain((0.9, 0.89, 0.86)) if rng.random() < 0.6 else b.materials.wood()
    b.begin("skirting", 0.0, 0.0, 0.0)
    for x in (0.0075, width - 0.0075):
        b.box((x, length / 2, height / 2), (0.015, length, height), material, shadow=False)
    for y in (0.0075, length - 0.0075):
        b.box((width / 2, y, height / 2), (width, 0.015, height), material, shadow=False)
