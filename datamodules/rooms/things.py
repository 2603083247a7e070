"""Small objects and lamps on furniture or on the floor, and the spots of objects."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from datamodules.rooms import texture as t
from datamodules.rooms.builder import SceneBuilder
from datamodules.rooms.materials import hsv


@dataclasses.dataclass(frozen=True)
class Spot:
    """Position and yaw of an object, and the background material index if it is camouflaged."""

    x: float
    y: float
    yaw: float
    z: float = 0.0
    disguise: int | None = None

    def at(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0, disguise: int | None = None) -> Spot:
        """Return a spot given in the local frame of this one."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return Spot(self.x + c * x - s * y, self.y + s * x + c * y, self.yaw + yaw, self.z + z, disguise)


def begin(b: SceneBuilder, category: str, spot: Spot) -> None:
    """Start an object of a category at a spot."""
    b.begin(category, spot.x, spot.y, spot.yaw, spot.z, spot.disguise)


def books(b: SceneBuilder, rng: np.random.Generator, spot: Spot, length: float, depth: float, height: float) -> None:
    """Add a row of books: one block with a pattern of spines and a second, lower block beside it."""
    begin(b, "books", spot)
    m = b.materials
    first, second, third = m.vivid(), m.muted(), m.vivid()
    spines = m.add(t.SPINES, first, second, third, scale=float(rng.uniform(0.025, 0.05)))
    paper = m.plain((0.86, 0.82, 0.74))
    cover = m.plain(second)
    faces = (cover, cover, spines, spines, paper, paper)
    share = float(rng.uniform(0.4, 0.8))
    b.box((-length * (1 - share) / 2, 0, height / 2), (length * share, depth, height), faces)
    low = height * float(rng.uniform(0.75, 0.93))
    b.box((length * share / 2, -0.01, low / 2), (length * (1 - share), depth * 0.92, low), faces)


def floor_lamp(b: SceneBuilder, rng: np.random.Generator, spot: Spot, *, lit: bool) -> float:
    """Add a floor lamp and return the height of its bulb above the floor."""
    begin(b, "lamp", spot)
    m = b.materials
    height = float(rng.uniform(1.45, 1.75))
    metal = m.metal()
    b.cone((0, 0, 0), 0.025, 0.14, 0.13, metal)
    b.rod((0, 0, 0.02), (0, 0, height - 0.05), float(rng.uniform(0.008, 0.014)), metal)
    _shade(b, rng, height, 0.28, 0.20, lit=lit)
    return height - 0.12


def _shade(b: SceneBuilder, rng: np.random.Generator, top: float, height: float, radius: float, *, lit: bool) -> None:
    """Add the shade of a lamp; a lit shade is emissive and casts no shadow, because the light is inside."""
    color = hsv(float(rng.uniform(0.06, 0.14)), float(rng.uniform(0.05, 0.4)), 0.92)
    shade = b.materials.add(t.FLAT, color, emission=1.6 if lit else 0.0)
    b.cone((0, 0, top - height), height, radius, radius * float(rng.uniform(0.5, 1.0)), shade, shadow=not lit)


def table_lamp(b: SceneBuilder, rng: np.random.Generator, spot: Spot) -> None:
    """Add a small lamp."""
    begin(b, "lamp", spot)
    height = float(rng.uniform(0.35, 0.5))
    b.cone((0, 0, 0), 0.02, 0.07, 0.06, b.materials.trinket())
    b.rod((0, 0, 0.02), (0, 0, height - 0.1), 0.009, b.materials.metal())
    _shade(b, rng, height, 0.18, 0.12, lit=bool(rng.random() < 0.4))


def ceiling_lamp(b: SceneBuilder, rng: np.random.Generator, spot: Spot, ceiling: float, *, lit: bool) -> float:
    """Add a flat or a hanging lamp below the ceiling and return the height of its light."""
    glass = b.materials.add(t.FLAT, (0.95, 0.93, 0.88), emission=2.5 if lit else 0.0)
    begin(b, "lamp", spot)
    if rng.random() < 0.5:
        b.cone((0, 0, ceiling - 0.09), 0.08, 0.17, 0.2, glass, shadow=False)
        return ceiling - 0.12
    drop = float(rng.uniform(0.45, 0.75))
    cable = b.materials.plain((0.1, 0.1, 0.1))
    b.rod((0, 0, ceiling - drop), (0, 0, ceiling), 0.005, cable, shadow=False)
    radius = float(rng.uniform(0.13, 0.2))
    b.ellipsoid((0, 0, ceiling - drop), (radius, radius, radius * float(rng.uniform(0.7, 1))), glass, shadow=False)
    return ceiling - drop - 0.05


def plant(b: SceneBuilder, rng: np.random.Generator, spot: Spot, height: float) -> None:
    """Add a potted plant."""
    begin(b, "plant", spot)
    m = b.materials
    radius = 0.13 * height + 0.03
    b.cone((0, 0, 0), 0.26 * height, radius * 0.75, radius, m.trinket())
    green = hsv(float(rng.uniform(0.22, 0.38)), 0.6, float(rng.uniform(0.25, 0.5)))
    leaf = m.add(t.FOLIAGE, green, m.shifted(green, 0.22), scale=0.05)
    b.rod((0, 0, 0.2 * height), (0, 0, 0.6 * height), 0.012, m.wood())
    for k in range(int(rng.integers(5, 9))):
        angle, out = 2.4 * k + float(rng.uniform(0, 0.8)), float(rng.uniform(0.05, 0.16)) * height
        size = float(rng.uniform(0.09, 0.15)) * height
        z = height * float(rng.uniform(0.45, 0.86))
        b.ellipsoid((out * math.cos(angle), out * math.sin(angle), z), (size, size * 0.7, size * 0.8), leaf, yaw=angle)


def screen(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float) -> None:
    """Add a monitor or television on a stand; its front is black and glossy."""
    begin(b, "screen", spot)
    m = b.materials
    height = width * 0.58
    case = m.plain((0.06, 0.06, 0.07), highlight=0.1)
    glass = m.add(t.FLAT, (0.03, 0.03, 0.035), reflectance=0.08)
    b.box((0, 0, 0.01), (width * 0.35, 0.16, 0.02), case)
    b.rod((0, -0.02, 0.01), (0, -0.02, 0.12), 0.018, case)
    b.box((0, 0, 0.08 + height / 2), (width, 0.045, height), (case, case, case, glass, case, case))


def carton(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, depth: float, height: float) -> None:
    """Add a box with a lid or a strip of tape."""
    begin(b, "box", spot)
    m = b.materials
    cardboard = m.plain(hsv(0.09, 0.42, 0.7)) if rng.random() < 0.4 else m.trinket()
    b.box((0, 0, height / 2), (width, depth, height), cardboard)
    if rng.random() < 0.6:
        b.box((0, 0, height - 0.02), (width + 0.012, depth + 0.012, 0.05), m.plain(m.muted()))


def ball(b: SceneBuilder, rng: np.random.Generator, spot: Spot, radius: float) -> None:
    """Add a ball."""
    begin(b, "ball", spot)
    b.ellipsoid((0, 0, radius), (radius, radius, radius), b.materials.trinket())


def vase(b: SceneBuilder, rng: np.random.Generator, spot: Spot, height: float) -> None:
    """Add a vase of two cones and a neck."""
    begin(b, "vase", spot)
    glaze = b.materials.trinket()
    wide = height * float(rng.uniform(0.22, 0.34))
    b.cone((0, 0, 0), height * 0.45, wide * 0.55, wide, glaze)
    b.cone((0, 0, height * 0.45), height * 0.4, wide, wide * 0.45, glaze)
    b.cone((0, 0, height * 0.85), height * 0.15, wide * 0.45, wide * 0.6, glaze)


def trinket(b: SceneBuilder, rng: np.random.Generator, spot: Spot, height: float, radius: float) -> None:
    """Add a ball, vase or small box of at most the given height and radius."""
    choice = float(rng.random())
    size = min(height, 2.0 * radius)
    if choice < 0.25:
        ball(b, rng, spot, min(0.11, 0.5 * size) * float(rng.uniform(0.6, 1.0)))
    elif choice < 0.6:
        vase(b, rng, spot, min(height, 0.32, 3.0 * radius) * float(rng.uniform(0.7, 1.0)))
    else:
        w, d = radius * float(rng.uniform(0.7, 1.3)), radius * float(rng.uniform(0.7, 1.2))
        carton(
            b,
            rng,
            spot.at(0, 0, yaw=float(rng.uniform(-0.5, 0.5))),
            w,
            d,
            min(height, 0.25) * float(rng.uniform(0.5, 1)),
        )


def book_stack(b: SceneBuilder, rng: np.random.Generator, spot: Spot) -> None:
    """Add a pile of two to four lying books."""
    begin(b, "books", spot)
    m = b.materials
    z = 0.0
    for _ in range(int(rng.integers(2, 5))):
        thick = float(rng.uniform(0.015, 0.045))
        size = (float(rng.uniform(0.15, 0.21)), float(rng.uniform(0.21, 0.29)), thick)
        b.box((0, 0, z + thick / 2), size, m.trinket(), yaw=float(rng.uniform(-0.35, 0.35)))
        z += thick


def put_on_top(
    b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, depth: float, height: float, chance: float
) -> None:
    """Add small objects on a surface: one per slot of 0.35 m with the given probability."""
    slots = max(1, int(width / 0.35))
    for k in range(slots):
        if rng.random() > chance:
            continue
        x = -width / 2 + (k + 0.5) * width / slots + float(rng.uniform(-0.05, 0.05))
        y = float(rng.uniform(-0.25, 0.25)) * max(0.0, depth - 0.25)
        place = spot.at(x, y, height, yaw=float(rng.uniform(-0.4, 0.4)))
        choice = rng.random()
        if choice < 0.25:
            book_stack(b, rng, place)
        elif choice < 0.38:
            table_lamp(b, rng, place)
        elif choice < 0.5:
            plant(b, rng, place, float(rng.uniform(0.25, 0.5)))
        else:
            trinket(b, rng, place, 0.3, 0.1)
