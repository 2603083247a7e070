"""Random materials: colours, patterns and their sizes, from uniform to strongly textured."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

from datamodules.rooms import texture as t
from datamodules.rooms.arrays import COLORS

Color = tuple[float, float, float]

#: Wood tones (light, dark) in sRGB.
_WOODS: tuple[tuple[Color, Color], ...] = (
    ((0.78, 0.62, 0.43), (0.62, 0.44, 0.27)),
    ((0.66, 0.45, 0.27), (0.46, 0.28, 0.15)),
    ((0.45, 0.29, 0.18), (0.27, 0.16, 0.09)),
    ((0.86, 0.76, 0.60), (0.72, 0.58, 0.41)),
    ((0.58, 0.35, 0.22), (0.38, 0.19, 0.11)),
    ((0.62, 0.57, 0.50), (0.45, 0.40, 0.34)),
)


def linear(color: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the linear values of sRGB values in [0, 1]."""
    value = np.clip(np.asarray(color, dtype=np.float64), 0.0, 1.0)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def hsv(hue: float, saturation: float, value: float) -> Color:
    """Return the sRGB colour of hue, saturation and value, all in [0, 1]."""
    return colorsys.hsv_to_rgb(hue, saturation, value)


class MaterialTable:
    """Table of materials, with methods that draw random ones.

    Args:
        rng: Source of all random choices.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.rows: list[npt.NDArray[np.float64]] = []

    def add(
        self,
        kind: int,
        first: Color,
        second: Color | None = None,
        third: Color | None = None,
        *,
        scale: float = 1.0,
        aspect: float = 0.5,
        contrast: float = 1.0,
        reflectance: float = 0.0,
        emission: float = 0.0,
        highlight: float = 0.0,
    ) -> int:
        """Add a material with sRGB colours and return its index; see ``texture.py`` for the meaning of the values."""
        second = first if second is None else second
        third = second if third is None else third
        seed = float(self.rng.integers(1, 2**31))
        values = (scale, aspect, contrast, reflectance, emission, highlight)
        self.rows.append(np.concatenate([[kind, seed], linear((first, second, third)).ravel(), values]))
        return len(self.rows) - 1

    def mean_color(self, material: int) -> npt.NDArray[np.float64]:
        """Return the linear RGB mean of the first two colours of a material."""
        return self.rows[material][COLORS : COLORS + 6].reshape(2, 3).mean(axis=0)

    def _u(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def pale(self) -> Color:
        """Draw a colour for walls: mostly off-white and pastel, sometimes strong."""
        if self.rng.random() < 0.22:
            return hsv(self._u(0, 1), self._u(0.18, 0.45), self._u(0.4, 0.75))
        return hsv(self._u(0.0, 0.65), self._u(0.01, 0.16), self._u(0.78, 0.95))

    def vivid(self) -> Color:
        """Draw a colour for small objects."""
        return hsv(self._u(0, 1), self._u(0.25, 0.85), self._u(0.3, 0.9))

    def muted(self) -> Color:
        """Draw a colour for fabrics and painted furniture."""
        if self.rng.random() < 0.35:
            return hsv(self._u(0, 1), self._u(0.0, 0.08), self._u(0.12, 0.92))
        return hsv(self._u(0, 1), self._u(0.08, 0.5), self._u(0.2, 0.75))

    def plain(self, color: Color, highlight: float = 0.0) -> int:
        """Add a material of one colour."""
        return self.add(t.FLAT, color, highlight=highlight)

    def shifted(self, color: Color, amount: float) -> Color:
        """Return a lighter (amount > 0) or darker colour, clipped to [0, 1]."""
        shifted = [min(1.0, max(0.0, channel + amount)) for channel in color]
        return shifted[0], shifted[1], shifted[2]

    def wallpaper(self) -> int:
        """Add a textured wall: stripes, dots, motifs, plaster, bricks, plaid or tiles."""
        base = self.pale()
        other = self.shifted(base, -self._u(0.06, 0.3)) if self.rng.random() < 0.7 else self.muted()
        accent = self.shifted(base, self._u(-0.25, 0.1))
        choice = int(self.rng.integers(0, 8))
        if choice == 0:
            return self.add(t.STRIPES, base, other, scale=self._u(0.06, 0.3), aspect=self._u(0.3, 0.6))
        if choice == 1:
            return self.add(t.DOTS, base, other, scale=self._u(0.06, 0.2), aspect=self._u(0.18, 0.35))
        if choice in (2, 3):
            return self.add(
                t.WALLPAPER,
                base,
                other,
                accent,
                scale=self._u(0.12, 0.35),
                aspect=self._u(0, 0.9),
                contrast=self._u(0.6, 1),
            )
        if choice == 4:
            clay = hsv(self._u(0.01, 0.08), self._u(0.3, 0.6), self._u(0.45, 0.7))
            mortar = hsv(0.1, 0.05, self._u(0.55, 0.8))
            return self.add(
                t.BRICKS, clay, self.shifted(clay, -0.15), mortar, scale=0.25, aspect=3.3, contrast=self._u(0.7, 1)
            )
        if choice == 5:
            return self.add(t.PLAID, base, other, accent, scale=self._u(0.12, 0.4), aspect=self._u(0.3, 0.5))
        if choice == 6:
            return self.add(
                t.TILES, base, self.shifted(base, -0.1), self.shifted(base, -0.3), scale=self._u(0.1, 0.3), aspect=1.0,
                contrast=self._u(0.3, 1),
            )  # fmt: skip
        return self.add(t.CARPET, base, other, scale=self._u(0.02, 0.06), contrast=self._u(0.7, 1.0))

    def floor(self, glossy: bool) -> int:
        """Add a floor: planks, parquet, tiles, checker, carpet, marble, speckled stone or plain."""
        reflectance = self._u(0.06, 0.22) if glossy else 0.0
        choice = float(self.rng.random())
        if choice < 0.40:
            light, dark = _WOODS[int(self.rng.integers(len(_WOODS)))]
            return self.add(
                t.PLANKS, light, dark, (0.12, 0.08, 0.05), scale=self._u(0.08, 0.2), aspect=self._u(5, 9),
                contrast=self._u(0.5, 1.0), reflectance=reflectance,
            )  # fmt: skip
        if choice < 0.55:
            base = hsv(self._u(0, 0.15), self._u(0.02, 0.3), self._u(0.4, 0.85))
            return self.add(
                t.TILES, base, self.shifted(base, -0.12), self.shifted(base, -0.3), scale=self._u(0.2, 0.6), aspect=1.0,
                contrast=self._u(0.4, 1), reflectance=reflectance,
            )  # fmt: skip
        if choice < 0.62:
            base = self.shifted(self.pale(), 0.0)
            return self.add(t.CHECKER, base, self.muted(), scale=self._u(0.2, 0.4), reflectance=reflectance)
        if choice < 0.70:
            stone = hsv(self._u(0, 0.15), self._u(0, 0.12), self._u(0.7, 0.92))
            return self.add(
                t.MARBLE, self.shifted(stone, -0.35), stone, scale=self._u(0.5, 1.0), contrast=self._u(0.4, 0.9),
                reflectance=reflectance,
            )  # fmt: skip
        if choice < 0.76:
            stone = hsv(self._u(0, 0.15), self._u(0, 0.12), self._u(0.55, 0.85))
            return self.add(
                t.SPECKLES, stone, self.shifted(stone, -0.3), self.shifted(stone, 0.15), scale=self._u(0.02, 0.05),
                contrast=self._u(0.6, 1), reflectance=reflectance,
            )  # fmt: skip
        base = self.muted()
        if choice < 0.9 and not glossy:
            return self.add(
                t.CARPET,
                base,
                self.shifted(base, -self._u(0.08, 0.25)),
                scale=self._u(0.006, 0.02),
                contrast=self._u(0.5, 1),
            )
        return self.add(t.FLAT, base, reflectance=reflectance)

    def wood(self) -> int:
        """Add furniture wood."""
        light, dark = _WOODS[int(self.rng.integers(len(_WOODS)))]
        return self.add(t.GRAIN, light, dark, contrast=self._u(0.35, 1.0), highlight=self._u(0.0, 0.12))

    def body(self) -> int:
        """Add a furniture material: wood, paint or laminate."""
        if self.rng.random() < 0.5:
            return self.wood()
        color = self.pale() if self.rng.random() < 0.5 else self.muted()
        return self.plain(color, highlight=self._u(0.0, 0.15))

    def fabric(self) -> int:
        """Add a fabric: plain, woven, plaid, striped, dotted or patterned."""
        base = self.muted()
        other = self.shifted(base, -0.2) if self.rng.random() < 0.5 else self.muted()
        choice = float(self.rng.random())
        if choice < 0.45:
            return self.plain(base)
        if choice < 0.65:
            return self.add(t.CARPET, base, self.shifted(base, -0.12), scale=0.012, contrast=self._u(0.4, 0.9))
        if choice < 0.78:
            return self.add(t.PLAID, base, other, self.muted(), scale=self._u(0.08, 0.25), aspect=self._u(0.3, 0.5))
        if choice < 0.88:
            return self.add(t.STRIPES, base, other, scale=self._u(0.04, 0.2), aspect=self._u(0.3, 0.6))
        return self.add(t.DOTS, base, other, scale=self._u(0.05, 0.15), aspect=self._u(0.2, 0.35))

    def metal(self) -> int:
        """Add chrome or painted metal."""
        if self.rng.random() < 0.5:
            return self.add(t.FLAT, (0.35, 0.35, 0.36), reflectance=self._u(0.35, 0.6), highlight=0.6)
        return self.plain(hsv(0.6, 0.04, self._u(0.05, 0.3)), highlight=0.3)

    def trinket(self) -> int:
        """Add a material for small objects: plain or patterned, often vivid."""
        base, other = self.vivid(), self.vivid()
        choice = float(self.rng.random())
        if choice < 0.5:
            return self.plain(base, highlight=self._u(0.0, 0.5))
        kind = (t.STRIPES, t.CHECKER, t.DOTS, t.MARBLE)[int(self.rng.integers(4))]
        return self.add(
            kind, base, other, scale=self._u(0.03, 0.09), aspect=self._u(0.25, 0.5), highlight=self._u(0.0, 0.4)
        )
