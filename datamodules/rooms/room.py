"""Furnishing of a room with doors, windows, furniture, small objects, pictures and lamps."""

from __future__ import annotations

import numpy as np

from datamodules.rooms import furniture as f
from datamodules.rooms import openings as o
from datamodules.rooms import things
from datamodules.rooms.builder import SceneBuilder, Vector
from datamodules.rooms.layout import FloorPlan, Footprint
from datamodules.rooms.lighting import Lights, warm_white
from datamodules.rooms.materials import MaterialTable, linear
from datamodules.rooms.settings import RoomsSettings
from datamodules.rooms.things import Spot


class Room:
    """A room under construction.

    Args:
        settings: Difficulty settings.
        rng: Random numbers for sizes and places.
        material_rng: Random numbers for colours and patterns.
        light_rng: Random numbers for lights and the view through windows.
    """

    def __init__(
        self,
        settings: RoomsSettings,
        rng: np.random.Generator,
        material_rng: np.random.Generator,
        light_rng: np.random.Generator,
    ) -> None:
        self.settings = settings
        self.rng = rng
        self.light_rng = light_rng
        self.materials = MaterialTable(material_rng)
        size: Vector = (
            float(self.rng.uniform(3.0, 6.0)),
            float(self.rng.uniform(3.2, 7.0)),
            float(self.rng.uniform(2.4, 2.9)),
        )
        m = self.materials
        paint = m.pale()
        main, accent = m.plain(paint), m.plain(m.pale())
        paper = m.wallpaper()
        walls = []
        for _ in range(4):
            if material_rng.random() < settings.plain_wall_fraction:
                walls.append(main if material_rng.random() < 0.75 else accent)
            else:
                walls.append(paper)
        floor = m.floor(bool(material_rng.random() < settings.glossy_floor_fraction))
        ceiling = m.plain((0.93, 0.93, 0.92))
        self.walls = (walls[0], walls[1], walls[2], walls[3])
        self.floor = floor
        self.b = SceneBuilder(size, m, self.walls, floor, ceiling)
        self.plan = FloorPlan(size, self.rng)
        self.lights = Lights()
        self.day = bool(self.light_rng.random() < 0.6)

    def disguise(self, material: int) -> int | None:
        """Return the background material for the camouflaged fraction of objects, else None."""
        return material if self.rng.random() < self.settings.camouflage_fraction else None

    def u(self, low: float, high: float) -> float:
        """Return a uniform random number."""
        return float(self.rng.uniform(low, high))

    def wall_item(self, width: float, depth: float, height: float) -> tuple[Spot, int] | None:
        """Occupy floor at a wall and return the spot, possibly camouflaged with the wall's material, and the wall."""
        found = self.plan.against_wall(width, depth, height)
        if found is None:
            return None
        wall, spot = found
        return Spot(spot.x, spot.y, spot.yaw, 0.0, self.disguise(self.walls[wall])), wall

    def doors(self) -> None:
        """Add one or two doors, with free floor in front of them."""
        for _ in range(2 if self.rng.random() < 0.45 else 1):
            width, height = self.u(0.80, 0.95), self.u(2.00, 2.06)
            place = self.plan.hang(width + 0.2, 0.0, height + 0.1)
            if place is None:
                continue
            wall, along = place
            spot = self.plan.wall_spot(wall, along, 0.0, self.disguise(self.walls[wall]))
            o.door(self.b, self.rng, spot, width, height)
            front = spot.at(0.0, 0.45)
            self.plan.taken.append(Footprint(front.x, front.y, width / 2, 0.45, spot.yaw))

    def windows(self) -> None:
        """Add up to two windows, with curtains and radiators; in daylight they are lights."""
        count = 0 if self.rng.random() < 0.12 else int(self.rng.integers(1, 3))
        for _ in range(count):
            width, low, high = self.u(0.8, 1.9), self.u(0.85, 1.0), self.u(1.95, 2.2)
            if self.rng.random() < 0.15:
                low = self.u(0.25, 0.45)
            place = self.plan.hang(width + 0.5, low - 0.1, high + 0.1)
            if place is None:
                continue
            wall, along = place
            spot = self.plan.wall_spot(wall, along, 0.0)
            o.window(
                self.b,
                self.light_rng,
                spot,
                width,
                low,
                high,
                float(self.light_rng.uniform(2.0, 4.5)) if self.day else 0.0,
            )
            if self.rng.random() < 0.4:
                o.curtains(self.b, self.rng, spot, width, high)
            if low > 0.8 and self.rng.random() < 0.6:
                o.radiator(self.b, self.rng, spot, width * 0.8)
                self.plan.take_wall(wall, along, width * 0.4, 0.0, low)
                front = spot.at(0.0, 0.1)
                self.plan.taken.append(Footprint(front.x, front.y, width * 0.4, 0.1, spot.yaw))
            if self.day:
                self.lights.add_window(spot, width, low, high, float(self.light_rng.uniform(4.5, 9.0)))

    def dining(self) -> None:
        """Add a dining table with objects on it and chairs around it."""
        height = self.u(0.72, 0.76)
        if self.rng.random() < 0.3:
            width = depth = self.u(0.8, 1.1)
        else:
            width, depth = self.u(1.1, 1.7), self.u(0.7, 0.9)
        yaw = float(self.rng.choice([0.0, np.pi / 2])) + self.u(-0.25, 0.25)
        found = self.plan.free_floor(width, depth, 0.45, yaw, center=0.5)
        if found is None:
            return
        spot = Spot(found.x, found.y, found.yaw, 0.0, self.disguise(self.floor))
        f.table(self.b, self.rng, spot, width, depth, height)
        things.put_on_top(self.b, self.rng, spot, width * 0.85, depth, height, 0.45)
        for x, y, turn in (
            (-width / 4, depth / 2 + 0.12, np.pi), (width / 4, -depth / 2 - 0.12, 0.0),
            (width / 4, depth / 2 + 0.12, np.pi), (-width / 4, -depth / 2 - 0.12, 0.0),
        ):  # fmt: skip
            if self.rng.random() < 0.7:
                seat = spot.at(
                    x + self.u(-0.04, 0.04), y + self.u(-0.05, 0.15) * np.sign(y), yaw=turn + self.u(-0.3, 0.3)
                )
                footprint = Footprint(seat.x, seat.y, 0.22, 0.22, seat.yaw)
                if not self._blocked(footprint, found):
                    f.chair(self.b, self.rng, seat)
                    self.plan.taken.append(footprint)

    def _blocked(self, footprint: Footprint, table: Spot) -> bool:
        """Return whether a chair collides with anything but its own table, which it may overlap."""
        others = [other for other in self.plan.taken if (other.x, other.y) != (table.x, table.y)]
        kept, self.plan.taken = self.plan.taken, others
        blocked = not self.plan.fits(footprint)
        self.plan.taken = kept
        return blocked

    def desk(self) -> None:
        """Add a desk at a wall with a screen and a chair."""
        width, depth, height = self.u(1.0, 1.5), self.u(0.6, 0.78), self.u(0.72, 0.76)
        found = self.wall_item(width, depth, height)
        if found is None:
            return
        spot, _ = found
        f.table(self.b, self.rng, spot, width, depth + 1e-3, height)
        things.screen(self.b, self.rng, spot.at(self.u(-0.15, 0.15), -0.12, height), self.u(0.48, 0.65))
        for x in (-width / 2 + 0.16, width / 2 - 0.16):
            if self.rng.random() < 0.6:
                things.put_on_top(self.b, self.rng, spot.at(x, 0.0), 0.3, depth, height, 0.9)
        seat = spot.at(self.u(-0.15, 0.15), depth / 2 + self.u(0.1, 0.35), yaw=np.pi + self.u(-0.5, 0.5))
        footprint = Footprint(seat.x, seat.y, 0.22, 0.22, seat.yaw)
        if not self._blocked(footprint, spot):
            f.chair(self.b, self.rng, seat)
            self.plan.taken.append(footprint)

    def lounge(self) -> None:
        """Add a sofa and a low table in front of it."""
        width, depth = self.u(1.4, 2.2), self.u(0.82, 0.95)
        found = self.wall_item(width, depth, 0.85)
        if found is None:
            return
        spot, _ = found
        f.sofa(self.b, self.rng, spot, width, depth)
        w, d, h = self.u(0.8, 1.1), self.u(0.5, 0.6), self.u(0.40, 0.46)
        front = spot.at(self.u(-0.2, 0.2), depth / 2 + 0.45 + d / 2)
        footprint = Footprint(front.x, front.y, w / 2, d / 2, front.yaw)
        if self.plan.fits(footprint):
            self.plan.taken.append(footprint)
            low = Spot(front.x, front.y, front.yaw, 0.0, self.disguise(self.floor))
            f.table(self.b, self.rng, low, w, d, h)
            things.put_on_top(self.b, self.rng, low, w * 0.8, d, h, 0.5)

    def sleeping(self) -> None:
        """Add a bed."""
        width, length = float(self.rng.choice([0.9, 1.4, 1.6])), self.u(2.0, 2.1)
        found = self.wall_item(width + 0.04, length, 1.0)
        if found is not None:
            f.bed(self.b, self.rng, found[0], width, length)

    def cupboard(self, *, tall: bool) -> None:
        """Add a wardrobe, or a sideboard with objects on it."""
        width = self.u(0.8, 1.8)
        depth, height = (self.u(0.52, 0.62), self.u(1.9, 2.15)) if tall else (self.u(0.36, 0.5), self.u(0.7, 1.0))
        found = self.wall_item(width, depth, height)
        if found is None:
            return
        spot, _ = found
        f.cabinet(self.b, self.rng, spot, width, depth, height)
        if not tall:
            if width > 1.1 and self.rng.random() < 0.35:
                things.screen(self.b, self.rng, spot.at(0, 0, height), self.u(0.7, min(1.2, width)))
            else:
                things.put_on_top(self.b, self.rng, spot, width * 0.9, depth, height, 0.5)

    def bookshelf(self) -> None:
        """Add a shelf, with objects on top if it is low."""
        width, depth, height = self.u(0.7, 1.3), self.u(0.26, 0.36), float(self.rng.choice([0.85, 1.25, 1.8, 2.0]))
        found = self.wall_item(width, depth, height)
        if found is not None:
            f.shelf(self.b, self.rng, found[0], width, depth, height)
            if height < 1.3:
                things.put_on_top(self.b, self.rng, found[0], width * 0.9, depth, height, 0.4)

    def standing_lamp(self) -> None:
        """Add a standing lamp, lit more often in the evening."""
        found = self.wall_item(0.44, 0.44, 1.7)
        if found is None:
            return
        lit = bool(self.light_rng.random() < (0.2 if self.day else 0.7)) and found[0].disguise is None
        z = things.floor_lamp(self.b, self.rng, found[0], lit=lit)
        if lit:
            color = warm_white(self.light_rng, 1.0) * float(self.light_rng.uniform(0.8, 1.8))
            self.lights.add_lamp((found[0].x, found[0].y, z), 0.1, color)

    def loose_things(self) -> None:
        """Add balls, boxes, stools, vases and plants on free floor."""
        for _ in range(int(self.rng.integers(2, 6))):
            choice = self.rng.random()
            size = 0.24 if choice < 0.4 else 0.42
            spot = self.plan.free_floor(size, size, 0.05)
            if spot is None:
                continue
            spot = Spot(spot.x, spot.y, spot.yaw, 0.0, self.disguise(self.floor))
            if choice < 0.3:
                things.ball(self.b, self.rng, spot, self.u(0.09, 0.125))
            elif choice < 0.4:
                things.vase(self.b, self.rng, spot, self.u(0.3, 0.55))
            elif choice < 0.75:
                things.carton(self.b, self.rng, spot, self.u(0.24, 0.4), self.u(0.24, 0.4), self.u(0.16, 0.42))
            elif choice < 0.88:
                f.stool(self.b, self.rng, spot)
            else:
                things.plant(self.b, self.rng, spot, self.u(0.7, 1.3))

    def rug(self) -> None:
        """Add a rug with a probability of 45 %."""
        if self.rng.random() > 0.45:
            return
        w, d = self.u(1.2, 2.2), self.u(0.9, 1.6)
        x, y = self.size_at(0.5 + self.u(-0.12, 0.12), 0.5 + self.u(-0.12, 0.12))
        self.b.begin("rug", x, y, float(self.rng.choice([0.0, np.pi / 2])) + self.u(-0.15, 0.15))
        self.b.box((0, 0, 0.006), (w, d, 0.012), self.materials.fabric(), shadow=False)

    def size_at(self, a: float, b: float) -> tuple[float, float]:
        """Return the floor position at fractions of width and length."""
        return a * self.b.size[0], b * self.b.size[1]

    def decorations(self) -> None:
        """Add a mirror and pictures on free wall area."""
        if self.rng.random() < self.settings.mirror_fraction:
            width, height = self.u(0.45, 0.9), self.u(0.7, 1.3)
            place = self.plan.hang(width, 1.5 - height / 2, 1.5 + height / 2)
            if place is not None:
                o.mirror(self.b, self.rng, self.plan.wall_spot(*place, 0.0), width, height, 1.5)
        for _ in range(int(self.rng.integers(1, 6))):
            width, height, middle = self.u(0.25, 1.1), self.u(0.25, 0.8), self.u(1.45, 1.65)
            place = self.plan.hang(width, middle - height / 2, middle + height / 2)
            if place is not None:
                spot = self.plan.wall_spot(*place, 0.0, self.disguise(self.walls[place[0]]))
                o.picture(self.b, self.rng, spot, width, height, middle)

    def ceiling_lamp(self) -> None:
        """Add a ceiling or pendant lamp; it is lit in the evening, and by day if there is no other light."""
        x, y = self.size_at(0.5 + self.u(-0.1, 0.1), 0.5 + self.u(-0.1, 0.1))
        lit = not self.day or bool(self.light_rng.random() < 0.35) or not self.lights.rows
        color = warm_white(self.light_rng, float(self.light_rng.random()))
        tint = linear(np.clip(color, 0.0, 1.0) ** (1 / 2.2))
        z = things.ceiling_lamp(self.b, self.rng, Spot(x, y, 0.0), self.b.size[2], lit=lit)
        if lit:
            strength = float(self.light_rng.uniform(4.0, 8.0)) * (0.6 if self.day else 1.0)
            self.lights.add_lamp((x, y, z), 0.16, color * strength * (0.85 + 0.15 * tint))
