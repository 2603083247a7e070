"""Plots of curves as pictures."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_COLOURS = ((31, 119, 180), (214, 95, 14), (44, 140, 60), (148, 60, 160), (120, 120, 120))
_INK, _GRID, _BAND = (40, 40, 40), (225, 225, 225), (214, 229, 245)
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 16, 34, 46


def round_values(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten in an interval, for the marks of an axis.

    Args:
        low: start of the interval, finite.
        high: its end, greater.
        most: largest number of values, at least 2.

    Returns:
        The values of the smallest such step that gives at most ``most``.
    """
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < most:
            break
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def plot_curves(
    x: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    title: str,
    x_label: str,
    marks: Mapping[str, float] | None = None,
    band: tuple[float, float] | None = None,
    height: int = 360,
    width: int = 560,
    letters: int = 10,
) -> Tensor:
    """Picture of curves over one axis.

    Args:
        x: abscissae, ascending, at least two.
        curves: ordinates by name, as many as ``x``; values that are not finite are left out.
        title: title above the plot.
        x_label: label below the plot.
        marks: abscissae of named vertical dashed lines.
        band: shaded interval of x.
        height: rows of the picture.
        width: columns of the picture.
        letters: height of the letters, pixels.

    Returns:
        float32 ``(3, height, width)``, RGB in [0, 1].

    Raises:
        ValueError: if there is no curve or one has another length than ``x``.
    """
    if len(x) < 2 or not curves or any(len(y) != len(x) for y in curves.values()):
        lengths = {name: len(y) for name, y in curves.items()}
        raise ValueError(f"curves of the lengths {lengths} do not fit to {len(x)} abscissae; at least two are needed.")
    picture = Image.new("RGB", (width, height), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(letters)
    values = np.concatenate([np.asarray(y, dtype=np.float64) for y in curves.values()])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    half = max(0.5, 0.01 * abs(low)) if low == high else 0.0
    low, high = low - half, high + half
    margin = 0.06 * (high - low)
    low, high = low - margin, high + margin
    first, last = float(x[0]), float(x[-1])
    last += first == last  # one abscissa, several values

    def place(at: float, value: float) -> tuple[float, float]:
        return (
            _LEFT + (at - first) / (last - first) * (width - _LEFT - _RIGHT),
            _TOP + (high - value) / (high - low) * (height - _TOP - _BOTTOM),
        )

    if band is not None:
        ends = [min(max(end, first), last) for end in band]
        draw.rectangle([place(ends[0], high), place(ends[1], low)], fill=_BAND)
    for value in round_values(low, high, 5):
        _, row = place(first, value)
        draw.line([(_LEFT, row), (width - _RIGHT, row)], fill=_GRID)
        draw.text((_LEFT - 6, row), f"{value:g}", fill=_INK, font=font, anchor="rm")
    for at in round_values(first, last, 7):
        column, _ = place(at, low)
        draw.text((column, height - _BOTTOM + 6), f"{at:g}", fill=_INK, font=font, anchor="mt")
    if low < 0 < high:
        draw.line([place(first, 0.0), place(last, 0.0)], fill=_INK)
    draw.rectangle([_LEFT, _TOP, width - _RIGHT, height - _BOTTOM], outline=_INK)
    for index, (name, y) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        points = [place(a, b) if np.isfinite(b) else None for a, b in zip(x, y, strict=True)]
        for start, end in itertools.pairwise(points):
            if start is not None and end is not None:
                draw.line([start, end], fill=colour, width=2)
        draw.text((_LEFT + 8, _TOP + 6 + 14 * index), name, fill=colour, font=font)
    for name, at in (marks or {}).items():
        column, _ = place(min(max(at, first), last), low)
        for row in range(_TOP, height - _BOTTOM, 8):
            draw.line([(column, row), (column, row + 4)], fill=_INK)
        draw.text((column + 4, height - _BOTTOM - 14), name, fill=_INK, font=font)
    draw.text((width / 2, 8), title, fill=_INK, font=font, anchor="mt")
    draw.text((width / 2, height - 8), x_label, fill=_INK, font=font, anchor="mb")
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255
