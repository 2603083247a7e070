"""Placement of objects on free floor and wall area."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from datamodules.rooms.builder import Vector
from datamodules.rooms.things import Spot

#: Yaw of objects with their back to the walls x = 0, x = width, y = 0, y = length.
WALL_YAW = (-math.pi / 2, math.pi / 2, 0.0, math.pi)


@dataclasses.dataclass(frozen=True)
class Footprint:
    """A rectangle on the floor: centre, half sizes and yaw."""

    x: float
    y: float
    half_x: float
    half_y: float
    yaw: float

    def corners(self) -> list[tuple[float, float]]:
        """Return the four corners in world coordinates."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return [
            (self.x + c * i * self.half_x - s * j * self.half_y, self.y + s * i * self.half_x + c * j * self.half_y)
            for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]


def overlap(a: Footprint, b: Footprint) -> bool:
    """Return whether two rectangles overlap (separating axis test)."""
    corners_a, corners_b = a.corners(), b.corners()
    for yaw in (a.yaw, b.yaw):
        for angle in (yaw, yaw + math.pi / 2):
            c, s = math.cos(angle), math.sin(angle)
            on_a = [c * x + s * y for x, y in corners_a]
            on_b = [c * x + s * y for x, y in corners_b]
            if max(on_a) <= min(on_b) or max(on_b) <= min(on_a):
                return False
    return True


class FloorPlan:
    """Occupied floor rectangles and wall rectangles of a room.

    Args:
        size: Room width, length, height in metres.
        rng: Source of random positions.
    """

    def __init__(self, size: Vector, rng: np.random.Generator) -> None:
        self.size = size
        self.rng = rng
        self.taken: list[Footprint] = []
        self.walls: list[list[tuple[float, float, float, float]]] = [[], [], [], []]

    def wall_length(self, wall: int) -> float:
        """Return the length of a wall in metres."""
        return self.size[1] if wall < 2 else self.size[0]

    def wall_spot(self, wall: int, along: float, distance: float, disguise: int | None = None) -> Spot:
        """Return the spot at a coordinate along a wall and a distance from it, facing into the room."""
        width, length, _ = self.size
        x, y = ((distance, along), (width - distance, along), (along, distance), (along, length - distance))[wall]
        return Spot(x, y, WALL_YAW[wall], disguise=disguise)

    def fits(self, footprint: Footprint) -> bool:
        """Return whether a rectangle lies inside the room and overlaps no occupied floor."""
        inside = all(0.0 <= x <= self.size[0] and 0.0 <= y <= self.size[1] for x, y in footprint.corners())
        return inside and not any(overlap(footprint, other) for other in self.taken)

    def wall_free(self, wall: int, along: float, half: float, low: float, high: float) -> bool:
        """Return whether a rectangle lies on a wall and overlaps no occupied part of it."""
        if along - half < 0.05 or along + half > self.wall_length(wall) - 0.05:
            return False
        return all(along + half <= a or along - half >= b or high <= c or low >= d for a, b, c, d in self.walls[wall])

    def take_wall(self, wall: int, along: float, half: float, low: float, high: float) -> None:
        """Mark a rectangle of a wall as occupied."""
        self.walls[wall].append((along - half, along + half, low, high))

    def hang(self, width: float, low: float, high: float, wall: int | None = None) -> tuple[int, float] | None:
        """Occupy a random free rectangle of a wall and return ``(wall, along)``, or None if no attempt fits."""
        for _ in range(15):
            chosen = int(self.rng.integers(4)) if wall is None else wall
            along = float(self.rng.uniform(0.1, self.wall_length(chosen) - 0.1))
            if self.wall_free(chosen, along, width / 2 + 0.08, low, high):
                self.take_wall(chosen, along, width / 2 + 0.08, low, high)
                return chosen, along
        return None

    def against_wall(
        self, width: float, depth: float, height: float, wall: int | None = None
    ) -> tuple[int, Spot] | None:
        """Occupy floor for furniture with its back to a wall and return ``(wall, spot)``, or None if none fits."""
        for attempt in range(25):
            chosen = int(self.rng.integers(4)) if wall is None else wall
            free = self.wall_length(chosen) - width
            if free < 0.1:
                continue
            along = width / 2 + (0.04 + float(self.rng.random()) * (free - 0.08))
            if attempt % 4 == 0:  # every fourth attempt tries a corner, a common place for furniture
                along = width / 2 + 0.04 if self.rng.random() < 0.5 else self.wall_length(chosen) - width / 2 - 0.04
            spot = self.wall_spot(chosen, along, depth / 2 + 0.03)
            footprint = Footprint(spot.x, spot.y, width / 2 + 0.03, depth / 2 + 0.02, spot.yaw)
            if self.fits(footprint) and self.wall_free(chosen, along, width / 2 - 0.05, 0.0, height):
                self.taken.append(footprint)
                self.take_wall(chosen, along, width / 2, 0.0, height)
                return chosen, spot
        return None

    def free_floor(
        self, width: float, depth: float, margin: float, yaw: float | None = None, center: float = 0.0
    ) -> Spot | None:
        """Occupy floor away from walls; ``center`` in [0, 1] restricts positions to the middle of the room.

        Returns:
            The spot, or None if no attempt fits.
        """
        for _ in range(20):
            turn = float(self.rng.uniform(-math.pi, math.pi)) if yaw is None else yaw
            reach = (1.0 - center) * 0.5
            x = self.size[0] * (0.5 + reach * float(self.rng.uniform(-1, 1)))
            y = self.size[1] * (0.5 + reach * float(self.rng.uniform(-1, 1)))
            if self.fits(Footprint(x, y, width / 2 + margin, depth / 2 + margin, turn)):
                self.taken.append(Footprint(x, y, width / 2, depth / 2, turn))
                return Spot(x, y, turn)
        return None
