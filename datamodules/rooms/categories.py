"""Semantic classes of the rooms data set, with the ids of the ``semantic`` map: things first, then stuff."""

from __future__ import annotations

#: ``(id, name, is_thing)`` of every class; id 0 means "no class" and never occurs inside a rendered frame.
CATEGORIES: tuple[tuple[int, str, bool], ...] = (
    (1, "table", True),
    (2, "chair", True),
    (3, "shelf", True),
    (4, "cabinet", True),
    (5, "bed", True),
    (6, "sofa", True),
    (7, "lamp", True),
    (8, "box", True),
    (9, "ball", True),
    (10, "vase", True),
    (11, "books", True),
    (12, "plant", True),
    (13, "screen", True),
    (14, "picture", True),
    (15, "mirror", True),
    (16, "door", True),
    (17, "window", True),
    (18, "floor", False),
    (19, "ceiling", False),
    (20, "wall", False),
    (21, "skirting", False),
    (22, "rug", False),
)

#: Class id by name.
CATEGORY_ID: dict[str, int] = {name: index for index, name, _ in CATEGORIES}

#: Ids of the classes whose objects have an instance id.
THING_IDS: tuple[int, ...] = tuple(index for index, _, is_thing in CATEGORIES if is_thing)
