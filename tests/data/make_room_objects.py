"""A stand-in for the rooms renderer whose frames hold rectangles of known place, class and depth."""

import numpy as np

from datamodules.rooms.settings import RoomsSettings, Sequence
from datamodules.rooms.store import Arrays
from tests.data.make_rooms import TINY, render_fake

RENDERER = "tests.data.make_room_objects:render_objects"

#: Instance id, class, box, depth in metres, and whether it is camouflaged; the second lies on the first.
OBJECTS = (
    (7, 5, (2, 2, 20, 16), 3.0, False),
    (3, 9, (8, 4, 16, 10), 2.0, True),
    (9, 2, (24, 10, 27, 12), 1.0, False),  # small
)
SETTINGS = TINY


def render_objects(settings: RoomsSettings, sequence: Sequence) -> Arrays:
    """Return the fake renderer's noise with the objects on a wall at 6 m."""
    arrays = render_fake(settings, sequence)
    arrays["semantic"][:] = 20
    arrays["instance"][:] = 0
    arrays["flags"][:] = 0
    arrays["depth"][:] = 6.0
    for number, category, (x1, y1, x2, y2), depth, camouflaged in OBJECTS:
        window = np.s_[:, y1:y2, x1:x2]
        arrays["instance"][window] = number
        arrays["semantic"][window] = category
        arrays["depth"][window] = depth
        arrays["flags"][window] = 8 * camouflaged
    return arrays
