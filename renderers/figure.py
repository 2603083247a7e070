"""Figures for people: rows of pictures with the name and the score of a sample, titles, and colour bars.

A figure is :data:`WIDTH` pixels wide at most. Pictures are enlarged or reduced to the columns of it, whole pixels where
they are enlarged to at least twice their size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from torch import Tensor

from renderers import colour_bars
from renderers.colour_bars import ColourBar, draw_bar
from renderers.lettering import FAINT_INK, width_of, write

WIDTH = 1200
"""Largest width of a figure, pixels."""
TITLE_SIZE = 14
NAME_SIZE = 16
SCORE_COLOUR = (16, 90, 170)

_MARGIN, _GAP = 8, 8
_LEAST_CELL = 96  # columns; a narrower picture stands in the middle of so many, so that its title and bar fit
_LARGEST_HEIGHT = 480
_WIDE, _VERY_WIDE = 2.5, 6.0
_MOST_COLUMNS = 5
_BESIDE = 5  # in the place of a picture


@dataclass(frozen=True)
class Picture:
    """One picture of a sample.

    Attributes:
        title: Title above it.
        pixels: uint8 ``(h, w, 3)``, RGB.
        bar: Scale of its colours, drawn below it; None for a photo.
        of_truth: Whether it shows ground truth, so that it is left out where no sample has any.
        starts_line: Whether it begins a new line of the figure.
    """

    title: str
    pixels: npt.NDArray[np.uint8]
    bar: ColourBar | None = None
    of_truth: bool = False
    starts_line: bool = False


@dataclass(frozen=True)
class PictureRow:
    """The pictures of one sample.

    Attributes:
        name: Name of the sample.
        pictures: Pictures in their order.
        score: Text behind the name, such as ``AbsRel 0.083``.
    """

    name: str
    pictures: tuple[Picture, ...]
    score: str = ""

    @property
    def caption(self) -> str:
        """Name and score in one line."""
        return f"{self.name}  {self.score}".strip()

    def without_truth(self) -> "PictureRow":
        """The row without the pictures that show ground truth."""
        kept = tuple(picture for picture in self.pictures if not picture.of_truth)
        return PictureRow(self.name, kept, self.score)


class Maps(dict[str, Tensor]):
    """RGB maps ``(B, 3, H, W)`` in [0, 1] of a batch by name, in the order in which they are drawn.

    Args:
        maps: The maps.
        bars: By name the colour bar of each sample; maps without a scale are absent.
        titles: Titles of the maps whose name is none.
    """

    def __init__(
        self,
        maps: Mapping[str, Tensor],
        bars: Mapping[str, list[ColourBar | None]] | None = None,
        titles: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(maps)
        self.bars: dict[str, list[ColourBar | None]] = {} if bars is None else dict(bars)
        self.titles: dict[str, str] = {} if titles is None else dict(titles)


Place = tuple[int, int, int, int]
"""Top, left, height and width of a drawn picture or bar, pixels."""


@dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
        pixels: uint8 ``(H, W, 3)``, RGB.
        places: Where the pictures of each row are.
        bars: Where their bars are, without the numbers; None for a picture without a bar.
    """

    pixels: npt.NDArray[np.uint8]
    places: list[list[Place]] = field(default_factory=list)
    bars: list[list[Place | None]] = field(default_factory=list)


def fitted(size: tuple[int, int], *, width: int) -> tuple[int, int]:
    """Rows and columns at which a picture is drawn in a column of a figure.

    Args:
        size: Rows and columns of the picture.
        width: Columns that there are, >= 1.

    Returns:
        Rows and columns, each at least 1: a whole multiple of the size where that uses three quarters of the width.

    >>> fitted((96, 128), width=290), fitted((96, 128), width=232), fitted((3000, 4000), width=400)
    ((192, 256), (174, 232), (300, 400))
    """
    factor = min(width / size[1], _LARGEST_HEIGHT / size[0])
    if factor >= 1 and int(factor) >= 0.75 * factor:
        factor = int(factor)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def columns_for(count: int, aspect: float) -> int:
    """Columns of a figure whose samples have a number of pictures of an aspect ratio (width / height).

    >>> [columns_for(count, 4 / 3) for count in (1, 2, 4, 5, 6, 9, 11)], columns_for(4, 3.3), columns_for(4, 40.0)
    ([1, 2, 4, 5, 3, 5, 4], 2, 1)
    """
    most = 1 if aspect > _VERY_WIDE else 2 if aspect > _WIDE else _MOST_COLUMNS
    lines = -(-count // most)
    return max(1, -(-count // lines)) if count else 1


def column_width(count: int, size: tuple[int, int], *, width: int = WIDTH) -> int:
    """Columns that each picture of a figure has, pixels.

    Args:
        count: Number of pictures of a sample.
        size: Rows and columns of a picture.
        width: Largest width of the figure.
    """
    columns = columns_for(count, size[1] / size[0])
    return max(1, (width - 2 * _MARGIN - (columns - 1) * _GAP) // columns)


def draw_figure(rows: Sequence[PictureRow], *, width: int = WIDTH) -> Figure:
    """Draw rows of pictures.

    Args:
        rows: The samples; pictures at the same place of all rows are drawn in the same column.
        width: Largest width of the figure, pixels.

    Returns:
        The figure; empty space is white.

    Raises:
        ValueError: If there is no picture, or one is not uint8 ``(h, w, 3)`` with pixels.
    """
    pictures = [picture for row in rows for picture in row.pictures]
    for picture in pictures:
        pixels = picture.pixels
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
            raise ValueError(
                f"the picture '{picture.title}' is {pixels.dtype} {pixels.shape}, but uint8 (h, w, 3) is needed"
            )
    if not pictures:
        raise ValueError("a figure needs at least one picture")
    size = pictures[0].pixels.shape[:2]
    lines = [_lines(row.pictures) for row in rows]
    count = max(len(line) for row_lines in lines for line in row_lines)
    columns, most = columns_for(count, size[1] / size[0]), column_width(count, size, width=width)
    cell = min(most, max(_LEAST_CELL, *(fitted(picture.pixels.shape[:2], width=most)[1] for picture in pictures)))
    broken = [[line[k : k + columns] for line in row for k in range(0, len(line), columns)] for row in lines]
    full_width = 2 * _MARGIN + columns * cell + (columns - 1) * _GAP
    heights = [_row_height(row, cell) for row in broken]
    canvas = Image.new("RGB", (full_width, _MARGIN + sum(heights) + _MARGIN), "white")
    figure = Figure(np.empty(0, np.uint8))
    top = _MARGIN
    for row, row_lines, rows_high in zip(rows, broken, heights, strict=True):
        _draw_row(canvas, row, row_lines, cell, top, figure)
        top += rows_high
    return Figure(np.asarray(canvas).copy(), figure.places, figure.bars)


def _lines(pictures: Sequence[Picture]) -> list[list[Picture]]:
    lines: list[list[Picture]] = [[]]
    for picture in pictures:
        if picture.starts_line and lines[-1]:
            lines.append([])
        lines[-1].append(picture)
    return lines


def _line_height(line: Sequence[Picture], cell: int) -> int:
    tallest = max((fitted(picture.pixels.shape[:2], width=cell)[0] for picture in line), default=0)
    bar = colour_bars.HEIGHT + _BESIDE if any(picture.bar is not None for picture in line) else 0
    return TITLE_SIZE + _BESIDE + tallest + bar + _GAP


def _row_height(lines: Sequence[Sequence[Picture]], cell: int) -> int:
    return NAME_SIZE + 2 * _BESIDE + sum(_line_height(line, cell) for line in lines) + _GAP


def _draw_row(
    canvas: Image.Image, row: PictureRow, lines: Sequence[Sequence[Picture]], cell: int, top: int, figure: Figure
) -> None:
    """Draw a sample and add the places of its pictures to ``figure``."""
    draw = ImageDraw.Draw(canvas)
    room = canvas.width - 2 * _MARGIN
    for_score = min(width_of(row.score, NAME_SIZE), room)
    used = write(draw, (_MARGIN, top), row.name, size=NAME_SIZE, width=room - for_score - 2 * _GAP)
    used += 2 * _GAP if used else 0
    write(draw, (_MARGIN + used, top), row.score, size=NAME_SIZE, width=room - used, colour=SCORE_COLOUR)
    figure.places.append([])
    figure.bars.append([])
    top += NAME_SIZE + 2 * _BESIDE
    for line in lines:
        tallest = max((fitted(picture.pixels.shape[:2], width=cell)[0] for picture in line), default=0)
        for position, picture in enumerate(line):
            left = _MARGIN + position * (cell + _GAP)
            write(draw, (left, top), picture.title, size=TITLE_SIZE, width=cell, colour=FAINT_INK)
            below = top + TITLE_SIZE + _BESIDE
            height, long = fitted(picture.pixels.shape[:2], width=cell)
            place = (below, left, height, long)
            canvas.paste(Image.fromarray(resized(picture.pixels, (height, long))), (left, below))
            figure.places[-1].append(place)
            if picture.bar is None:
                figure.bars[-1].append(None)
                continue
            bar_top, bar_width = below + tallest + _BESIDE, max(long, min(cell, _LEAST_CELL))
            draw_bar(canvas, picture.bar, left=left, top=bar_top, width=bar_width)
            figure.bars[-1].append((bar_top, left, colour_bars.BAR_HEIGHT, bar_width))
        top += _line_height(line, cell)


def resized(pixels: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A picture at another size: the mean where it is reduced, the nearest pixel where it is enlarged.

    Args:
        pixels: uint8 ``(h, w, 3)``.
        size: Rows and columns.
    """
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    smaller = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    method = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST_EXACT
    return cv2.resize(np.ascontiguousarray(pixels), (size[1], size[0]), interpolation=method).astype(np.uint8)
