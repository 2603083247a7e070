"""Construction of a scene: primitives, objects and planes of a room, collected in lists."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from datamodules.rooms.arrays import BOX, CAMOUFLAGED, CONE, ELLIPSOID, ROOM, THIN
from datamodules.rooms.categories import CATEGORY_ID, THING_IDS
from datamodules.rooms.materials import MaterialTable

Vector = tuple[float, float, float]

#: Thickness in metres up to which a rod counts as thin.
THIN_M = 0.04

#: Smallest side in metres and smallest area in square metres of a face that gets a plane id.
PLANE_SIDE_M, PLANE_AREA_M2 = 0.10, 0.03

_IDENTITY = np.eye(3)


def turn(yaw: float) -> npt.NDArray[np.float64]:
    """Return the rotation by ``yaw`` radians around z, local to world, (3, 3)."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


class SceneBuilder:
    """Builder that adds primitives in the frame of the current object: origin on the floor, x right, y front, z up.

    Args:
        size: Width (x), length (y) and height (z) of the room in metres.
        materials: The material table to fill.
        wall_materials: Materials of the walls x = 0, x = width, y = 0, y = length.
        floor_material: Material of the floor.
        ceiling_material: Material of the ceiling.
    """

    def __init__(
        self,
        size: Vector,
        materials: MaterialTable,
        wall_materials: tuple[int, int, int, int],
        floor_material: int,
        ceiling_material: int,
    ) -> None:
        self.size = size
        self.materials = materials
        self.surfaces = (*wall_materials, floor_material, ceiling_material)
        self.geometry: list[npt.NDArray[np.float64]] = []
        self.material: list[tuple[int, ...]] = []
        self.plane: list[tuple[int, ...]] = []
        self.semantic: list[tuple[int, ...]] = []
        self.instance: list[int] = []
        self.flags: list[int] = []
        self.casts_shadow: list[int] = []
        self.n_planes = 0
        self.n_instances = 0
        self._origin = np.zeros(3)
        self._turn = _IDENTITY
        self._category = 0
        self._instance = 0
        self._disguise: int | None = None
        half = (size[0] / 2, size[1] / 2, size[2] / 2)
        wall, floor, ceiling = (CATEGORY_ID[name] for name in ("wall", "floor", "ceiling"))
        self._append(
            ROOM,
            np.array(half),
            _IDENTITY,
            half,
            half,
            self.surfaces,
            (wall,) * 4 + (floor, ceiling),
            (0, 1, 2, 3, 4, 5),
        )
        self.casts_shadow[0] = 0

    def begin(self, category: str, x: float, y: float, yaw: float, z: float = 0.0, disguise: int | None = None) -> None:
        """Start an object.

        Args:
            category: Name of its class; things get a new instance id.
            x: World x of its origin.
            y: World y of its origin.
            yaw: Direction of its local x axis, radians.
            z: Height of its origin.
            disguise: Background material that replaces all materials of a camouflaged object, or None.
        """
        self._origin = np.array([x, y, z])
        self._turn = turn(yaw)
        self._category = CATEGORY_ID[category]
        self._disguise = disguise
        self._instance = 0
        if self._category in THING_IDS:
            self.n_instances += 1
            self._instance = self.n_instances

    def _append(
        self,
        kind: int,
        center: npt.NDArray[np.float64],
        rotation: npt.NDArray[np.float64],
        half: Vector,
        extent: Vector,
        material: tuple[int, ...],
        semantic: tuple[int, ...],
        planar: tuple[int, ...],
    ) -> int:
        planes = [0] * 6
        for face in planar:
            self.n_planes += 1
            planes[face] = self.n_planes
        flags = 0
        if kind != ROOM and sorted(extent)[1] * 2 <= THIN_M + 1e-9:
            flags |= THIN
        if self._disguise is not None:
            flags |= CAMOUFLAGED
        # The bounding sphere is enlarged by a margin for rounding errors, so that no hit on its rim is lost.
        bound = (float(np.linalg.norm(extent)) if kind != ELLIPSOID else max(extent)) * (1.0 + 1e-9)
        self.geometry.append(np.concatenate([[kind], center, rotation.ravel(), half, [bound], extent]))
        self.material.append(material)
        self.plane.append(tuple(planes))
        self.semantic.append(semantic)
        self.instance.append(self._instance)
        self.flags.append(flags)
        self.casts_shadow.append(1)
        return len(self.geometry) - 1

    def _place(
        self,
        kind: int,
        center: Vector,
        local_turn: npt.NDArray[np.float64],
        half: Vector,
        extent: Vector,
        material: int | tuple[int, ...],
        planar: tuple[int, ...],
        shadow: bool,
    ) -> int:
        faces = (material,) * 6 if isinstance(material, int) else material
        if self._disguise is not None:
            faces = (self._disguise,) * 6
        world = self._origin + self._turn @ np.array(center)
        index = self._append(
            kind, world, (self._turn @ local_turn).T.copy(), half, extent, faces, (self._category,) * 6, planar
        )
        self.casts_shadow[index] = int(shadow)
        return index

    def box(
        self, center: Vector, size: Vector, material: int | tuple[int, ...], *, yaw: float = 0.0, tilt: float = 0.0,
        shadow: bool = True,
    ) -> int:  # fmt: skip
        """Add a box of full ``size`` at a local centre, rotated by ``yaw`` and tilted around its x axis (radians).

        ``material`` is one index or one per face ``2 * axis + side``. Returns the index of the primitive.
        """
        half = (size[0] / 2, size[1] / 2, size[2] / 2)
        planar = []
        for face in range(6):
            sides = [size[axis] for axis in range(3) if axis != face // 2]
            if min(sides) >= PLANE_SIDE_M and sides[0] * sides[1] >= PLANE_AREA_M2:
                planar.append(face)
        c, s = math.cos(tilt), math.sin(tilt)
        local = turn(yaw) @ np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
        return self._place(BOX, center, local, half, half, material, tuple(planar), shadow)

    def ellipsoid(self, center: Vector, radii: Vector, material: int, *, yaw: float = 0.0, shadow: bool = True) -> int:
        """Add an ellipsoid (a ball if all radii are equal)."""
        return self._place(ELLIPSOID, center, turn(yaw), radii, radii, material, (), shadow)

    def cone(
        self, bottom: Vector, height: float, radius: float, top_radius: float, material: int, *, shadow: bool = True
    ) -> int:
        """Add an upright frustum that stands on the local point ``bottom``."""
        wide = max(radius, top_radius)
        planar = tuple(
            face
            for face, r in ((4, radius), (5, top_radius))
            if 2 * r >= PLANE_SIDE_M and math.pi * r * r >= PLANE_AREA_M2
        )
        center = (bottom[0], bottom[1], bottom[2] + height / 2)
        extent = (wide, wide, height / 2)
        return self._place(CONE, center, _IDENTITY, (radius, top_radius, height / 2), extent, material, planar, shadow)

    def rod(self, start: Vector, end: Vector, radius: float, material: int, *, shadow: bool = True) -> int:
        """Add a round rod between two local points."""
        a, b = np.array(start), np.array(end)
        length = float(np.linalg.norm(b - a))
        axis = (b - a) / length
        side = np.array([1.0, 0.0, 0.0]) if abs(axis[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
        first = np.cross(side, axis)
        first /= np.linalg.norm(first)
        local = np.stack([first, np.cross(axis, first), axis], axis=1)
        middle = (a + b) / 2
        center = (float(middle[0]), float(middle[1]), float(middle[2]))
        extent = (radius, radius, length / 2)
        return self._place(CONE, center, local, extent, extent, material, (), shadow)
