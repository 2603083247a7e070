"""Scene representation as plain arrays, the input of the compiled loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Kinds of primitives. ROOM is a box viewed from inside, CONE an upright frustum (a cylinder if both radii are equal).
ROOM, BOX, ELLIPSOID, CONE = 0, 1, 2, 3

#: Bits of the ``flags`` map.
PLAIN, THIN, GLOSSY, CAMOUFLAGED = 1, 2, 4, 8

#: Columns of the geometry table: kind, centre (3), rotation world to local (9), half extents (3; a CONE has bottom
#: radius, top radius, half height), radius of the bounding sphere, half extents of the local bounding box (3).
KIND, CENTER, ROTATION, HALF, BOUND, EXTENT, GEOMETRY_COLUMNS = 0, 1, 4, 13, 16, 17, 20

#: Columns of the material table: pattern (``texture.py``), seed, three linear RGB colours (9), cell size in metres,
#: aspect, contrast, reflectance at normal incidence, emission, strength of highlights.
PATTERN, SEED, COLORS, SCALE, ASPECT, CONTRAST = 0, 1, 2, 11, 12, 13
REFLECTANCE, EMISSION, HIGHLIGHT, MATERIAL_COLUMNS = 14, 15, 16, 17

#: Columns of the light table: centre (3), two half edges (6), direction of strongest emission (3), linear RGB intensity
#: (3), spread (1 for a lamp that emits in all directions, 0 for a window that emits along its normal).
LIGHT_CENTER, LIGHT_AXES, LIGHT_NORMAL, LIGHT_COLOR, LIGHT_SPREAD, LIGHT_COLUMNS = 0, 3, 9, 12, 15, 16

#: Entries of the environment: linear RGB light from below (3) and from above (3), room width, length, height (3).
LOW_AMBIENT, HIGH_AMBIENT, ROOM_SIZE = 0, 3, 6

#: Largest number of lights in a scene.
MAX_LIGHTS = 3


class RenderArrays(NamedTuple):
    """Arrays that describe a scene for the compiled loops.

    Few arrays with many columns, because every array argument adds about eight words to a call.

    World frame: origin in a corner of the room, x and y along the walls, z up, metres. ``P`` primitives (the room
    itself is number 0), ``M`` materials, ``L`` lights. Faces are numbered ``2 * axis + side``; ellipsoids and the side
    of a cone use 0.
    """

    geometry: npt.NDArray[np.float64]
    """(P, GEOMETRY_COLUMNS)."""
    faces: npt.NDArray[np.int32]
    """(P, 6) material of each face."""
    materials: npt.NDArray[np.float64]
    """(M, MATERIAL_COLUMNS)."""
    lights: npt.NDArray[np.float64]
    """(L, LIGHT_COLUMNS)."""
    environment: npt.NDArray[np.float64]
    """(9,)."""
    casters: npt.NDArray[np.int32]
    """Indices of the primitives that cast shadows."""


class Scene(NamedTuple):
    """A room: arrays for rendering and labels of its primitives."""

    render: RenderArrays
    """Geometry, materials and lights."""
    plane: npt.NDArray[np.int32]
    """(P, 6) plane id of each face, 0 for curved or small faces."""
    semantic: npt.NDArray[np.int32]
    """(P, 6) class id of each face."""
    instance: npt.NDArray[np.int32]
    """(P,) instance id, 0 for stuff."""
    flags: npt.NDArray[np.int32]
    """(P,) THIN and CAMOUFLAGED bits (PLAIN and GLOSSY come from the material)."""

    @property
    def size(self) -> npt.NDArray[np.float64]:
        """(3,) width (x), length (y) and height (z) of the room in metres."""
        return self.render.environment[ROOM_SIZE:]
