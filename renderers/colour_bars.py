"""Colour bars: the colours of a scale of depth, relative error or other values, with their numbers."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from renderers.display import colorize, error_map, scalar_map, to_uint8
from renderers.lettering import FAINT_INK, font, width_of

BAR_HEIGHT = 12
"""Rows of a drawn bar, pixels."""
NUMBER_SIZE = 13
"""Height of the numbers below it, pixels."""
HEIGHT = BAR_HEIGHT + NUMBER_SIZE + 7
"""Rows of a bar with its numbers, pixels."""

_GAP_BETWEEN_NUMBERS = 10


@dataclass(frozen=True)
class ColourBar:
    """The scale of a coloured map.

    Attributes:
        low: Value of the left end: the nearest depth, the most negative relative error, or the lowest value.
        high: Value of the right end, at least ``low``; equal to it for a map of one value.
        kind: ``depth`` is logarithmic, see :func:`renderers.display.colorize`; ``error`` is a signed relative error,
            see :func:`~renderers.display.error_map`; ``scalar`` see :func:`~renderers.display.scalar_map`.
        unit: Unit behind the numbers, such as ``m``; ``relative`` where depth has no scale.

    Raises:
        ValueError: If the ends are not finite and ascending, or depth is not positive.
    """

    low: float
    high: float
    kind: Literal["depth", "error", "scalar"] = "depth"
    unit: str = ""

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low <= self.high):
            raise ValueError(f"a colour bar from {self.low} to {self.high} needs finite, ascending ends")
        if self.kind == "depth" and not self.low > 0:
            raise ValueError(f"a colour bar of depth begins at {self.low}, but a depth above 0 is needed")

    def values(self, positions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Values at positions in [0, 1] from the left end to the right one."""
        if self.kind == "depth":
            return np.asarray(self.low * (self.high / self.low) ** positions)
        return np.asarray(self.low + (self.high - self.low) * positions)

    @lru_cache(maxsize=64)  # noqa: B019  # a frozen value, whose bars are drawn below several pictures
    def colours(self, count: int) -> npt.NDArray[np.uint8]:
        """Colours of the bar, uint8 ``(count, 3)``, at the centres of its columns."""
        values = torch.from_numpy(self.values((np.arange(count) + 0.5) / count)).float().view(1, 1, 1, -1)
        match self.kind:
            case "depth":
                picture = colorize(values, near_m=self.low, far_m=self.high)
            case "error":
                ones = torch.ones_like(values)
                picture = error_map(1 + values, target=ones, mask=ones > 0, max_relative=self.high)
            case "scalar":
                low = self.low if self.high > self.low else self.low - 1  # one value has one colour
                picture = scalar_map(values, low=low, high=self.high)
        return to_uint8(picture[0]).numpy()[0]

    def numbers(self) -> list[tuple[float, str]]:
        """Positions in [0, 1] and texts of the numbers below the bar."""
        if self.low == self.high or (self.kind == "depth" and self.high <= self.low * (1 + 1e-4)):
            return [(0.5, f"{number(self.low)} {self.unit}".strip())]
        if self.kind == "error":
            limit = f"{100 * self.high:.3g} %"
            return [(0.0, f"-{limit} too near"), (0.5, "0"), (1.0, f"too far +{limit}")]
        positions = [0.0, 0.25, 0.5, 0.75, 1.0]
        texts = [number(float(value)) for value in self.values(np.array(positions))]
        return list(zip(positions, [*texts[:-1], f"{texts[-1]} {self.unit}".strip()], strict=True))


def depth_bar(near: float, far: float, unit: str = "m") -> ColourBar | None:
    """The bar of a range of depth; None where it is none, as after the alignment of depth that is not finite."""
    usable = bool(np.isfinite([near, far]).all()) and 0 < near <= far
    return ColourBar(near, far, unit=unit) if usable else None


def number(value: float) -> str:
    """A value with three digits, without an exponent where that is short.

    >>> [number(value) for value in (0.0123, 1.5, 12.34, 1234.5)]
    ['0.0123', '1.50', '12.3', '1234']
    """
    if value == 0 or not 0.001 <= abs(value) < 1e5:
        return f"{value:.3g}"
    digits = 2 - int(np.floor(np.log10(abs(value))))
    return f"{value:.{max(0, digits)}f}"


def draw_bar(picture: Image.Image, bar: ColourBar, *, left: int, top: int, width: int) -> None:
    """Draw a bar with as many of its numbers as fit.

    Args:
        picture: Canvas, RGB.
        bar: The bar.
        left: First column.
        top: First row; ``HEIGHT`` rows are used.
        width: Columns, >= 1.
    """
    draw = ImageDraw.Draw(picture)
    picture.paste(Image.fromarray(np.tile(bar.colours(width), (BAR_HEIGHT, 1, 1))), (left, top))
    row = top + BAR_HEIGHT + 3
    for start, text in _placed(bar.numbers(), width):
        draw.text((left + start, row), text, fill=FAINT_INK, font=font(NUMBER_SIZE), anchor="la")


def _placed(numbers: list[tuple[float, str]], width: int) -> list[tuple[int, str]]:
    """Columns and texts of the numbers that do not overlap; the ends have precedence, then the middle."""
    taken: list[tuple[int, int, str]] = []
    for position, text in sorted(
        numbers, key=lambda entry: (-entry[0] if entry[0] in (0, 1) else 1, abs(entry[0] - 0.5))
    ):
        long = width_of(text, NUMBER_SIZE)
        start = round(min(max(position * width - long / 2, 0), max(width - long, 0)))
        before, after = start - _GAP_BETWEEN_NUMBERS, start + long + _GAP_BETWEEN_NUMBERS
        if all(before >= end or after <= begin for begin, end, _ in taken):
            taken.append((start, start + long, text))
    return [(start, text) for start, _, text in sorted(taken)]
