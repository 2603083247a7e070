"""Generation of a furnished room from a seed."""

from __future__ import annotations

import numpy as np

from datamodules.rooms import openings
from datamodules.rooms.arrays import LIGHT_COLOR, RenderArrays, Scene
from datamodules.rooms.room import Room
from datamodules.rooms.settings import RoomsSettings

#: Independent random streams of one scene, so that a change in one part does not affect the others.
LAYOUT, MATERIALS, CAMERA, SENSOR, LIGHT = range(5)


def stream(scene_seed: int, *path: int) -> np.random.Generator:
    """Return the random generator for one purpose within a scene."""
    return np.random.default_rng(np.random.SeedSequence([scene_seed, *path]))


def _arrays(room: Room) -> Scene:
    """Return the room as arrays, with ambient light derived from its lights and colours."""
    b, m, lights = room.b, room.materials, room.lights
    walls = np.mean([m.mean_color(index) for index in room.walls], axis=0)
    floor = m.mean_color(room.floor)
    power = np.sum([row[LIGHT_COLOR : LIGHT_COLOR + 3] for row in lights.rows], axis=0)
    area = 2 * (b.size[0] * b.size[1] + b.size[0] * b.size[2] + b.size[1] * b.size[2])
    level = 0.95 * power / area**0.75 * float(room.light_rng.uniform(0.8, 1.2))
    return Scene(
        render=RenderArrays(
            geometry=np.array(b.geometry),
            faces=np.array(b.material, np.int32),
            materials=np.array(m.rows),
            lights=np.array(lights.rows),
            environment=np.concatenate(
                [level * (0.35 * walls + 0.65 * floor + 0.05), level * (0.45 * walls + 0.45), b.size]
            ),
            casters=np.flatnonzero(b.casts_shadow).astype(np.int32),
        ),
        plane=np.array(b.plane, np.int32),
        semantic=np.array(b.semantic, np.int32),
        instance=np.array(b.instance, np.int32),
        flags=np.array(b.flags, np.int32),
    )


def build_scene(settings: RoomsSettings, scene_seed: int) -> Scene:
    """Return a random room: openings, furniture of one of four kinds of rooms, objects, decorations and lights.

    Args:
        settings: Difficulty settings.
        scene_seed: Seed of the whole scene.

    Returns:
        The scene as arrays.
    """
    room = Room(settings, stream(scene_seed, LAYOUT), stream(scene_seed, MATERIALS), stream(scene_seed, LIGHT))
    openings.skirting(room.b, room.rng)
    room.doors()
    room.windows()
    kind = int(room.rng.integers(4))
    first = (room.dining, room.lounge, room.sleeping, room.desk)
    first[kind]()
    area = room.b.size[0] * room.b.size[1]
    extras = [room.bookshelf, lambda: room.cupboard(tall=False), lambda: room.cupboard(tall=True), room.desk,
              room.standing_lamp, room.lounge, room.dining]  # fmt: skip
    for index in room.rng.permutation(len(extras))[: 3 + int(area > 15) + int(area > 25)]:
        extras[index]()
    room.rug()
    room.loose_things()
    room.decorations()
    room.ceiling_lamp()
    return _arrays(room)
