"""The panel of a predicted image: image, ground truth where there is some, depth and error, with colour bars."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from renderers.colour_bars import depth_bar
from renderers.depth_figure import depth_rows
from renderers.display import colorize, to_uint8
from renderers.figure import Picture, PictureRow, Place, column_width, draw_figure, fitted, resized
from structures.files import read_picture, write_png

PANEL_WIDTH = 1600
"""Largest width of a panel, pixels, so that an image of 640x480 is not reduced."""

TITLE = "depth"


def write_panel(
    path: Path,
    image: Tensor,
    depth: Tensor,
    *,
    name: str,
    unit: str,
    truth: Tensor | None = None,
    mask: Tensor | None = None,
    ends: tuple[float, float] | None = None,
) -> Place:
    """Write the panel of an image.

    Args:
        path: Target, ending in ``.png``.
        image: float ``(3, H, W)``, RGB in [0, 1].
        depth: float ``(1, H, W)``, predicted, in ``unit``.
        name: Name of the image.
        unit: Unit of depth for the colour bar.
        truth: float ``(1, H, W)``, metres, or None.
        mask: bool ``(1, H, W)``, pixels with ground truth.
        ends: Near and far end of the colours, in place of those of the image.

    Returns:
        Where the image is, for :func:`draw_again`.

    Raises:
        OSError: If the file cannot be written.
    """
    known = truth is not None and bool((truth > 0 if mask is None else mask & (truth > 0)).any())
    maps = [None if values is None or not known else values[None] for values in (truth, mask)]
    rows = depth_rows(image[None], maps[0], maps[1], depth[None], names=[name], units=[unit], title=TITLE, ends=ends)
    figure = draw_figure(rows, width=PANEL_WIDTH)
    write_png(path, figure.pixels)
    return figure.places[0][0]


def depth_picture(depth: Tensor, near: float, far: float, *, unit: str) -> Picture:
    """Depth ``(1, H, W)`` with colours from ``near`` to ``far``, and the bar of them."""
    colours = to_uint8(colorize(depth[None], near_m=near, far_m=far)[0]).numpy()
    return Picture(TITLE, colours, depth_bar(near, far, unit))


def draw_again(
    path: Path, place: Place, colours: npt.NDArray[np.uint8], near: float, far: float, *, name: str, unit: str
) -> None:
    """Rewrite a panel of image and depth with another range.

    Args:
        path: The panel.
        place: Where its image is.
        colours: uint8 ``(H, W, 3)``, depth in the colours of that range.
        near: Near end of the range, in ``unit``.
        far: Far end.
        name: Name of the image.
        unit: Unit of depth.

    Raises:
        OSError: If the panel is no longer there, or cannot be written.
    """
    top, left, height, width = place
    image = read_picture(path)[top : top + height, left : left + width]
    shown = resized(colours, (height, width))
    pictures = (Picture("image", image), Picture(TITLE, shown, depth_bar(near, far, unit)))
    write_png(path, draw_figure([PictureRow(name, pictures)], width=PANEL_WIDTH).pixels)


def shown_size(size: tuple[int, int], *, count: int = 2, width: int = PANEL_WIDTH) -> tuple[int, int]:
    """Rows and columns at which an image of a size is drawn in a panel of ``count`` pictures."""
    return fitted(size, width=column_width(count, size, width=width))
