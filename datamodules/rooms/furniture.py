"""Furniture of realistic size, built from boxes, rods, cones and ellipsoids.

Every function starts an object at a :class:`Spot` and adds its parts in the local frame: the front faces +y, the back
is at ``y = -depth / 2``. Sizes are in metres and follow common furniture: tables 0.72-0.76 high, seats 0.45 high, desks
0.60-0.80 deep.
"""

from __future__ import annotations

import math

import numpy as np

from datamodules.rooms.builder import SceneBuilder
from datamodules.rooms.materials import hsv
from datamodules.rooms.things import Spot, begin, books, trinket


def table(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, depth: float, height: float) -> None:
    """Add a table: a slab on four legs, or a round one on a column if ``width == depth``."""
    begin(b, "table", spot)
    m = b.materials
    top = m.body()
    legs = m.metal() if rng.random() < 0.4 else (top if rng.random() < 0.5 else m.body())
    slab = float(rng.uniform(0.025, 0.04))
    if width == depth:
        b.cone((0, 0, height - slab), slab, width / 2, width / 2, top)
        b.cone((0, 0, 0.03), height - slab - 0.03, 0.045, 0.035, legs)
        b.cone((0, 0, 0), 0.03, width * 0.26, width * 0.24, legs)
        return
    b.box((0, 0, height - slab / 2), (width, depth, slab), top)
    thick = float(rng.uniform(0.025, 0.06))
    round_legs = rng.random() < 0.5
    inset = thick / 2 + 0.03
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * (width / 2 - inset), sy * (depth / 2 - inset)
            if round_legs:
                b.cone((x, y, 0), height - slab, thick * 0.35, thick / 2, legs)
            else:
                b.box((x, y, (height - slab) / 2), (thick, thick, height - slab), legs)
    if rng.random() < 0.6 and height > 0.6:
        for sy in (-1, 1):
            b.box((0, sy * (depth / 2 - inset), height - slab - 0.04), (width - 2 * inset, 0.02, 0.08), legs)


def chair(b: SceneBuilder, rng: np.random.Generator, spot: Spot) -> None:
    """Add a chair with a seat 0.45 m high; the back is at -y."""
    begin(b, "chair", spot)
    m = b.materials
    frame = m.metal() if rng.random() < 0.4 else m.body()
    seat = frame if rng.random() < 0.5 else m.fabric()
    w, d, seat_height, full = 0.42, 0.42, 0.45, float(rng.uniform(0.82, 0.95))
    r = float(rng.uniform(0.010, 0.018))
    b.box((0, 0, seat_height - 0.02), (w, d, 0.04), seat)
    for sx in (-1, 1):
        x = sx * (w / 2 - 0.025)
        b.rod((x, d / 2 - 0.03, seat_height - 0.04), (x + sx * 0.01, d / 2, 0.0), r, frame)
        b.rod((x, -d / 2 + 0.03, seat_height), (x + sx * 0.01, -d / 2 - 0.02, 0.0), r, frame)
        b.rod((x, -d / 2 + 0.03, seat_height - 0.03), (x, -d / 2 - 0.04, full), r, frame)
    if rng.random() < 0.5:
        b.box((0, -d / 2 - 0.02, full - 0.13), (w - 0.04, 0.022, 0.24), seat, tilt=0.12)
    else:
        for k in range(3):
            z = full - 0.03 - 0.11 * k
            b.box((0, -d / 2 - 0.035 + 0.012 * k, z), (w - 0.05, 0.018, 0.055), frame, tilt=0.12)


def stool(b: SceneBuilder, rng: np.random.Generator, spot: Spot) -> None:
    """Add a round stool, class chair."""
    begin(b, "chair", spot)
    m = b.materials
    height = float(rng.uniform(0.43, 0.50))
    b.cone((0, 0, height - 0.05), 0.05, 0.17, 0.17, m.fabric())
    legs = m.metal() if rng.random() < 0.6 else m.wood()
    for k in range(4):
        angle = math.pi / 4 + k * math.pi / 2
        c, s = math.cos(angle), math.sin(angle)
        b.rod((0.11 * c, 0.11 * s, height - 0.05), (0.18 * c, 0.18 * s, 0), 0.011, legs)


def shelf(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, depth: float, height: float) -> None:
    """Add an open shelf with books and small objects on its boards."""
    begin(b, "shelf", spot)
    m = b.materials
    body = m.body()
    back = body if rng.random() < 0.6 else m.plain(m.pale())
    board = 0.022
    for sx in (-1, 1):
        b.box((sx * (width / 2 - board / 2), 0, height / 2), (board, depth, height), body)
    b.box((0, -depth / 2 + 0.006, height / 2), (width - 2 * board, 0.012, height), back)
    count = max(2, round(height / 0.36))
    pitch = (height - board) / count
    for k in range(count + 1):
        b.box((0, 0.004, k * pitch + board / 2), (width - 2 * board, depth - 0.012, board), body)
    inner = width - 2 * board
    for k in range(count):
        z = k * pitch + board
        fill = float(rng.random())
        if fill < 0.6:
            length = inner * float(rng.uniform(0.35, 0.95))
            side = float(rng.choice([-1.0, 1.0]))
            books(b, rng, spot.at(side * (inner - length) / 2, -0.02, z), length, depth * 0.65, min(pitch - 0.06, 0.26))
        elif fill < 0.85:
            trinket(
                b, rng, spot.at(float(rng.uniform(-0.25, 0.25)) * inner, 0.0, z), 0.8 * (pitch - board), 0.4 * depth
            )


def cabinet(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, depth: float, height: float) -> None:
    """Add a sideboard, chest or wardrobe: a body on feet or a plinth, doors with gaps and handles."""
    begin(b, "cabinet", spot)
    m = b.materials
    body = m.body()
    front = body if rng.random() < 0.5 else m.body()
    foot = float(rng.uniform(0.05, 0.16)) if height < 1.2 else 0.06
    b.box((0, 0, (height + foot) / 2), (width, depth, height - foot), body)
    if foot > 0.09:
        for sx in (-1, 1):
            for sy in (-1, 1):
                b.cone((sx * (width / 2 - 0.06), sy * (depth / 2 - 0.06), 0), foot, 0.014, 0.02, body)
    else:
        b.box((0, -0.02, foot / 2), (width - 0.04, depth - 0.06, foot), body)
    columns = max(1, round(width / 0.5))
    rows = 1 if height > 1.2 or rng.random() < 0.4 else int(rng.integers(2, 5))
    handle = m.metal()
    cell_w, cell_h = (width - 0.02) / columns, (height - foot - 0.02) / rows
    for i in range(columns):
        for j in range(rows):
            x = -width / 2 + 0.01 + (i + 0.5) * cell_w
            z = foot + 0.01 + (j + 0.5) * cell_h
            b.box((x, depth / 2 + 0.008, z), (cell_w - 0.008, 0.016, cell_h - 0.008), front, shadow=False)
            if rows == 1:
                hx = x + (cell_w / 2 - 0.05) * (1 if i % 2 == 0 else -1)
                hz = min(z, 1.05)
                b.rod(
                    (hx, depth / 2 + 0.035, hz - 0.07), (hx, depth / 2 + 0.035, hz + 0.07), 0.007, handle, shadow=False
                )
            else:
                b.rod((x - 0.06, depth / 2 + 0.035, z), (x + 0.06, depth / 2 + 0.035, z), 0.007, handle, shadow=False)


def bed(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, length: float) -> None:
    """Add a bed with its head at -y, the mattress 0.5 m high."""
    begin(b, "bed", spot)
    m = b.materials
    frame = m.body()
    sheet = m.plain(hsv(float(rng.random()), float(rng.uniform(0, 0.1)), 0.9))
    cover = m.fabric()
    top = float(rng.uniform(0.45, 0.55))
    b.box((0, 0, 0.20), (width, length, 0.22), frame)
    for sx in (-1, 1):
        for sy in (-1, 1):
            b.box((sx * (width / 2 - 0.05), sy * (length / 2 - 0.05), 0.05), (0.07, 0.07, 0.1), frame)
    b.box((0, -length / 2 + 0.03, 0.5), (width + 0.04, 0.06, 1.0), frame)
    b.box((0, 0.03, (top + 0.29) / 2), (width - 0.04, length - 0.08, top - 0.29), sheet)
    b.box((0, 0.2 * length, top / 2 + 0.17), (width + 0.01, length * 0.6, top - 0.30), cover)
    pillows = 2 if width > 1.3 else 1
    for k in range(pillows):
        x = (k - (pillows - 1) / 2) * width * 0.48
        b.ellipsoid((x, -length / 2 + 0.32, top + 0.05), (0.34, 0.22, 0.09), sheet)


def sofa(b: SceneBuilder, rng: np.random.Generator, spot: Spot, width: float, depth: float) -> None:
    """Add a sofa or armchair, seat 0.42 m high."""
    begin(b, "sofa", spot)
    m = b.materials
    fabric = m.fabric()
    seat, back, arm = 0.42, float(rng.uniform(0.72, 0.88)), float(rng.uniform(0.12, 0.2))
    b.box((0, 0, 0.18), (width, depth, 0.2), fabric)
    for sx in (-1, 1):
        b.box((sx * (width / 2 - arm / 2), 0, 0.33), (arm, depth, 0.5), fabric)
        for sy in (-1, 1):
            b.cone((sx * (width / 2 - 0.08), sy * (depth / 2 - 0.08), 0), 0.08, 0.016, 0.02, m.wood())
    b.box((0, -depth / 2 + 0.1, (back + 0.28) / 2), (width - 2 * arm, 0.2, back - 0.28), fabric)
    cushions = max(1, round((width - 2 * arm) / 0.65))
    each = (width - 2 * arm) / cushions
    other = m.fabric()
    for k in range(cushions):
        x = -width / 2 + arm + (k + 0.5) * each
        b.box((x, 0.1, seat - 0.07), (each - 0.012, depth - 0.22, 0.14), fabric)
        b.box((x, -depth / 2 + 0.25, seat + 0.2), (each - 0.02, 0.13, 0.38), fabric, tilt=-0.2)
        if rng.random() < 0.5:
            b.box(
                (x, -depth / 2 + 0.36, seat + 0.17),
                (0.38, 0.12, 0.36),
                other,
                yaw=float(rng.uniform(-0.3, 0.3)),
                tilt=-0.35,
            )
