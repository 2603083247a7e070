"""Lights of a room: ceiling lamp, windows in daylight, floor lamp in the evening."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from datamodules.rooms.arrays import MAX_LIGHTS
from datamodules.rooms.builder import Vector
from datamodules.rooms.things import Spot


@dataclasses.dataclass
class Lights:
    """Area lights in world coordinates as rows of the light table, at most ``MAX_LIGHTS``; further ones are ignored."""

    rows: list[npt.NDArray[np.float64]] = dataclasses.field(default_factory=list)

    def full(self) -> bool:
        """Return whether the maximum number of lights is reached."""
        return len(self.rows) >= MAX_LIGHTS

    def add(
        self,
        center: Vector,
        first: npt.NDArray[np.float64],
        second: npt.NDArray[np.float64],
        normal: npt.NDArray[np.float64],
        color: npt.NDArray[np.float64],
        spread: float,
    ) -> None:
        """Add a rectangle with half edges ``first`` and ``second``; ``spread`` as in ``arrays.py``."""
        if self.full():
            return
        self.rows.append(np.concatenate([center, first, second, normal, color, [spread]]))

    def add_lamp(self, center: Vector, radius: float, color: npt.NDArray[np.float64]) -> None:
        """Add a horizontal lamp that emits in all directions, slightly more downwards."""
        self.add(
            center, np.array([radius, 0.0, 0.0]), np.array([0.0, radius, 0.0]), np.array([0.0, 0.0, -1.0]), color, 1.0
        )

    def add_window(self, spot: Spot, width: float, low: float, high: float, strength: float) -> None:
        """Add daylight from a window: emission along the wall normal, in proportion to the window area."""
        center, along, inward = spot.at(0.0, 0.06), spot.at(1.0, 0.0), spot.at(0.0, 1.0)
        first = np.array([along.x - spot.x, along.y - spot.y, 0.0]) * width / 2
        normal = np.array([inward.x - spot.x, inward.y - spot.y, 0.0])
        color = np.array([0.93, 1.0, 1.08]) * strength * width * (high - low)
        second = np.array([0.0, 0.0, (high - low) / 2])
        self.add((center.x, center.y, (low + high) / 2), first, second, normal, color, 0.0)


def warm_white(rng: np.random.Generator, warmth: float) -> npt.NDArray[np.float64]:
    """Return the linear RGB colour of a lamp, from neutral (0) to incandescent (1), normalised to green = 1."""
    shift = warmth * float(rng.uniform(0.6, 1.0))
    return np.array([1.0 + 0.30 * shift, 1.0, 1.0 - 0.42 * shift])
