"""Validation of the segmentations of a COCO-format file: polygons, or run lengths with or without compression.

left out   a polygon with fewer than three corners or without area; the empty list; a box in place of a polygon; a
           polygon with NaN or far outside of the image; run lengths without a pixel
refused    an odd number of coordinates; text; a list of points; run lengths whose size or sum differs from the image;
           anything else
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.coco.findings import format_value
from datamodules.coco.values import whole_number
from datamodules.files.run_lengths import unpack_counts

Box = tuple[float, float, float, float]

FAR = 10.0
"""Coordinates more than this many image sides away are invalid. Rasterising such an edge would take gigabytes."""

COLLINEAR = 1e-6
"""Area in square pixels below which three corners count as collinear."""


@dataclass
class Segmentation:
    """A validated segmentation.

    Attributes:
        usable: The part that can be decoded, None if there is none.
        faults: Kinds of harmless faults, as in ``datamodules.coco.findings.NOTES``.
        box: Bounding box of the usable part, xyxy pixels.
    """

    usable: list[list[float]] | dict[str, Any] | None = None
    faults: list[str] = field(default_factory=list)
    box: Box | None = None


def check_segmentation(given: Any, size: tuple[int, int]) -> Segmentation:
    """Return a validated segmentation, without decoding it to pixels.

    Args:
        given: Value in the file. None and the empty list mean that there is no mask, which is no fault.
        size: Height and width of the image.

    Raises:
        ValueError: If it is invalid. The message continues "its segmentation ..." and has no full stop.
    """
    if given is None or given == []:
        return Segmentation()
    if isinstance(given, list):
        return _polygons(given, size)
    if isinstance(given, dict) and {"size", "counts"} <= given.keys():
        return _run_lengths(given, size)
    raise ValueError(f"is {format_value(given)}, but a list of polygons or run lengths with size and counts are needed")


def _polygons(given: list[Any], size: tuple[int, int]) -> Segmentation:
    faults: list[str] = []
    if not any(isinstance(polygon, list) for polygon in given):
        if len(given) <= 4:
            _check_numbers(given)
            return Segmentation(faults=["box_polygon" if len(given) == 4 else "thin_polygon"])
        faults.append("flat_polygon")
        given = [given]
    for polygon in given:
        _check_numbers(polygon)
    if len(given) > 2 and all(len(polygon) == 2 for polygon in given):
        raise ValueError(
            f"is the list of points {format_value(given)}, but polygons [[x1, y1, x2, y2, ...], ...] are needed"
        )
    usable, boxes = [], []
    for polygon in given:
        found = _measure(polygon, size)
        if isinstance(found, str):
            faults.append(found)
        else:
            usable.append(polygon)
            boxes.append(found)
    if not usable:
        return Segmentation(faults=faults)
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return Segmentation(usable, faults, (min(x1), min(y1), max(x2), max(y2)))


def _check_numbers(polygon: Any) -> None:
    """Raise ValueError unless the polygon is a list of an even number of numbers."""
    if not isinstance(polygon, list):
        raise ValueError(f"holds {format_value(polygon)} among its polygons")
    if not set(map(type, polygon)) <= {int, float}:
        wrong = next(value for value in polygon if type(value) not in (int, float))
        raise ValueError(f"holds {format_value(wrong)} in a polygon, but numbers x1, y1, x2, y2, ... are needed")
    if len(polygon) % 2:
        raise ValueError(f"has a polygon of {len(polygon)} numbers, {format_value(polygon)}, but pairs x, y are needed")


def _measure(polygon: list[float], size: tuple[int, int]) -> Box | str:
    """Return the bounding box of a polygon or the kind of its fault. Loops are faster than arrays at this size."""
    if len(polygon) < 6:
        return "thin_polygon"
    height, width = size
    x, y = polygon[::2], polygon[1::2]
    low_x, high_x, low_y, high_y = min(x), max(x), min(y), max(y)
    try:
        finite = math.isfinite(sum(polygon))
    except OverflowError:  # an integer beyond the range of floats
        finite = False
    if not finite or high_x <= 0 or high_y <= 0 or low_x >= width or low_y >= height:
        return "odd_polygon"
    if min(low_x / width, low_y / height) < -FAR or max(high_x / width, high_y / height) > FAR:
        return "odd_polygon"
    # Three corners that are not collinear span an area. The signed area of a self-intersecting polygon may be zero.
    one, two = len(x) // 3, 2 * len(x) // 3
    if abs((x[one] - x[0]) * (y[two] - y[0]) - (y[one] - y[0]) * (x[two] - x[0])) <= COLLINEAR and _on_a_line(x, y):
        return "thin_polygon"
    return float(low_x), float(low_y), float(high_x), float(high_y)


def _on_a_line(x: list[float], y: list[float]) -> bool:
    far = max(range(len(x)), key=lambda k: abs(x[k] - x[0]) + abs(y[k] - y[0]))
    along_x, along_y = x[far] - x[0], y[far] - y[0]
    return all(abs((x[k] - x[0]) * along_y - (y[k] - y[0]) * along_x) <= COLLINEAR for k in range(len(x)))


def _run_lengths(given: dict[str, Any], size: tuple[int, int]) -> Segmentation:
    height, width = size
    of = given["size"]
    numbers = [whole_number(value) for value in of] if isinstance(of, list) else None
    if numbers != [height, width]:
        swapped = " (swapped?)" if numbers == [width, height] else ""
        raise ValueError(
            f"is in run lengths for {format_value(of)}{swapped}, but the image has {[height, width]} (height, width)"
        )
    counts = _counts(given["counts"])
    if (counts < 0).any() or int(counts.sum()) != height * width:
        raise ValueError(f"is in run lengths that add up to {int(counts.sum())}, not to {height}x{width} pixels")
    ends = np.cumsum(counts)[1::2]
    lengths = counts[1::2]
    starts, ends = (ends - lengths)[lengths > 0], ends[lengths > 0] - 1
    if len(starts) == 0:
        return Segmentation(faults=["empty_mask"])
    # Runs are column-major; a run that continues in the next column contains the last and the first row.
    crosses = bool((starts // height != ends // height).any())
    rows = (0, height - 1) if crosses else (int((starts % height).min()), int((ends % height).max()))
    box = (float(starts[0] // height), float(rows[0]), float(ends[-1] // height + 1), float(rows[1] + 1))
    packed = given["counts"] if isinstance(given["counts"], str) else counts.tolist()
    return Segmentation({"size": [height, width], "counts": packed}, [], box)


def _counts(given: Any) -> npt.NDArray[np.int64]:
    if isinstance(given, str):
        try:
            return unpack_counts(given)
        except ValueError as error:
            raise ValueError(f"has the counts {format_value(given)}, {error}") from error
    if not isinstance(given, list):
        raise ValueError(f"has the counts {format_value(given)}, but a list of numbers or COCO's text is needed")
    counts = [whole_number(value) for value in given]
    wrong = [value for value, count in zip(given, counts, strict=True) if count is None or not 0 <= count < 2**40]
    if wrong:
        raise ValueError(f"has {format_value(wrong[0])} among its counts, but whole numbers from 0 are needed")
    return np.array(counts, dtype=np.int64)
