"""Detection of boxes in another format than COCO's pixels x, y, width, height, over all annotations of a file.

A single unusual box is an annotation error, but a file full of them is written in another format. The checks compare
each box with the other data of its annotation: the mask, the area and the size of the image.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.coco.findings import Findings, format_value

Floats = npt.NDArray[np.float64]

ONE_PIXEL = 1.0 + 1e-6
"""Boxes that end within the first pixel are relative to the image: objects of that size would be invisible."""

FEW = 4
"""With fewer boxes the image size alone is no evidence for corners."""

CORNER_SHARE = 0.25
"""Least share of boxes far outside of the image for a file to count as corners, if all boxes are valid corners."""

CORNER_HINT = 0.05
"""Distance outside of the image that counts as far, as a fraction of the side of the image."""

APART_IOU = 0.1
"""IoU of a box and the bounding box of its mask below which they do not belong together. Occlusion leaves more."""

CENTRES = "the centre x, y and width, height (as of YOLO), but x, y of the top-left corner, width, height are needed"
SWAPPED = "y, x, height, width, but x, y, width, height are needed"

PERCENT = 100.5
LARGE_SIDE = 200


@dataclass(slots=True)
class BoxRecord:
    """A box as written in the file, with the data of its annotation that it is checked against.

    Attributes:
        annotation: Id of the annotation, as written.
        given: x, y, width, height, as written; finite, width and height above 0.
        limits: Width and height of the image.
        mask: Bounding box of the mask, xyxy, or None.
        area: Area as written; NaN if absent.
        kept: Whether the box is used after clipping.
    """

    annotation: Any
    given: list[float]
    limits: tuple[int, int]
    mask: tuple[float, float, float, float] | None
    area: float
    kept: bool

    @property
    def example(self) -> str:
        """Annotation id and numbers of the box, for messages."""
        return f"the annotation {format_value(self.annotation)}, bbox {format_value(self.given)}"


@dataclass
class BoxTable:
    """All boxes of a file as arrays.

    Attributes:
        boxes: ``(N, 4)``, x, y, width, height.
        limits: ``(N, 2)``, width and height of the images in pixels.
        masks: ``(N, 4)``, bounding boxes of the masks, xyxy, NaN without a mask.
        areas: ``(N,)``, areas as written, NaN if absent.
    """

    boxes: Floats
    limits: Floats
    masks: Floats
    areas: Floats

    @property
    def corners(self) -> Floats:
        """Boxes as xyxy corners, ``(N, 4)``, assuming x, y, width, height."""
        return np.concatenate([self.boxes[:, :2], self.boxes[:, :2] + self.boxes[:, 2:]], axis=1)


def check_box_format(records: list[BoxRecord], findings: Findings, path: Path) -> None:
    """Refuse a file whose boxes are in another format, and count single boxes that look like another format.

    Args:
        records: All boxes of the file that are finite and have an area.
        findings: Collects the faults; modified in place.
        path: The file, for messages.
    """
    if not records:
        return
    table = BoxTable(
        np.array([record.given for record in records], dtype=np.float64),
        np.array([record.limits for record in records], dtype=np.float64),
        np.array([record.mask or (math.nan,) * 4 for record in records], dtype=np.float64),
        np.array([record.area for record in records], dtype=np.float64),
    )
    with np.errstate(over="ignore", invalid="ignore"):  # a box of 1e300 pixels is invalid in every format
        relative, over, apart = inside_first_pixel(table), like_corners(table), apart_from_masks(table)
        masked, corners = int(np.isfinite(table.masks[:, 0]).sum()), are_corners(table)
        other = None if corners is not None else other_order(table)

    def first(flags: npt.NDArray[np.bool_]) -> str:
        return records[int(flags.argmax())].example

    fault = None
    if relative.mean() > 0.5:
        fault = (
            f"{int(relative.sum())} of {len(records)} boxes have no number above 1, as {first(relative)}: they are "
            "relative to the image, but pixels are needed; multiply them by its width and height"
        )
    elif corners is not None:
        fault = (
            "the boxes seem to be corners x1, y1, x2, y2, but x, y, width, height are needed: "
            f"{corners}; for one, {first(over)}"
        )
    elif other is not None:
        fault = f"the boxes seem to be {other}; for one, {records[0].example}"
    elif apart.sum() > 0.5 * masked:
        fault = (
            f"{int(apart.sum())} of {masked} boxes with a mask lie elsewhere than it, as {first(apart)}: one of both "
            "is in another unit, or of another image"
        )
    if fault is not None:
        findings.refuse("unit", f"{path}: {fault}.")
    else:
        for kind, flags in (("first_pixel", relative), ("like_corners", over), ("apart", apart)):
            for position in np.flatnonzero(flags).tolist():
                if records[position].kept:
                    findings.note(kind, records[position].example)
        if look_like_percent(table):
            findings.note("percent", str(path))


def inside_first_pixel(table: BoxTable) -> npt.NDArray[np.bool_]:
    """Flag boxes whose numbers are all at most 1, as in relative coordinates; bool ``(N,)``."""
    small = np.abs(table.boxes).max(axis=1, initial=0) <= ONE_PIXEL
    return np.asarray(small & (table.limits.min(axis=1, initial=np.inf) > 2), dtype=np.bool_)


def like_corners(table: BoxTable) -> npt.NDArray[np.bool_]:
    """Flag boxes that end far outside of the image but are valid as corners x1, y1, x2, y2; bool ``(N,)``."""
    return _fit_as_corners(table) & (table.corners[:, 2:] > (1 + CORNER_HINT) * table.limits).any(axis=1)


def are_corners(table: BoxTable) -> str | None:
    """Return the evidence that the boxes are corners x1, y1, x2, y2; None if there is none."""
    fit = _fit_as_corners(table)
    if len(fit) == 0 or fit.mean() < 0.99:
        return None
    masked = ~np.isnan(table.masks[:, 0])
    if masked.any():
        as_corners = box_iou(table.boxes[masked], table.masks[masked])
        better = as_corners > box_iou(table.corners[masked], table.masks[masked]) + 0.1
        if better.mean() > 0.5:
            return (
                f"{int(better.sum())} of {int(masked.sum())} boxes with a mask fit it as corners, and not as they stand"
            )
        if masked.mean() > 0.5:
            return None
    x, y, w, h = table.boxes.T
    known = ~np.isnan(table.areas)
    inner, outer = (w - x) * (h - y), w * h
    agree = known & (np.abs(table.areas - inner) <= 0.01 * inner) & (np.abs(table.areas - outer) > 0.01 * outer)
    if known.any() and agree.sum() > 0.5 * known.sum():
        return (
            f"{int(agree.sum())} of {int(known.sum())} areas are those of corners, and not of the boxes as they stand"
        )
    over = like_corners(table)
    if len(fit) >= FEW and over.mean() >= CORNER_SHARE:
        return f"{int(over.sum())} of {len(fit)} end far outside of their image, and all would fit as corners"
    return None


def other_order(table: BoxTable) -> str | None:
    """Return which format other than x, y, width, height the boxes have, with the evidence; None if there is none.

    With masks, boxes given by their centre and boxes with x and y swapped are detected. Without masks only centres are
    detected: boxes that end far outside of their images although all are valid as centres.
    """
    x, y, w, h = table.boxes.T
    masked = ~np.isnan(table.masks[:, 0])
    fit = box_iou(table.corners[masked], table.masks[masked])
    for what, corners in ((CENTRES, [x - w / 2, y - h / 2, x + w / 2, y + h / 2]), (SWAPPED, [y, x, y + h, x + w])):
        read = np.stack(corners, axis=1)
        if ((read[:, :2] >= -1) & (read[:, 2:] <= table.limits + 1)).all(axis=1).mean() < 0.99:
            continue
        better = int((box_iou(read[masked], table.masks[masked]) > fit + 0.1).sum())
        if better > max(1.0, 0.5 * masked.sum()):
            return f"{what}: {better} of {int(masked.sum())} boxes with a mask fit it so, and not as they stand"
        far = (table.corners[:, 2:] > (1 + CORNER_HINT) * table.limits).any(axis=1)
        if what is CENTRES and masked.mean() <= 0.5 and len(table.boxes) >= FEW and far.mean() >= CORNER_SHARE:
            return (
                f"{what}: {int(far.sum())} of {len(table.boxes)} end far outside of their image, and all would fit so"
            )
    return None


def apart_from_masks(table: BoxTable) -> npt.NDArray[np.bool_]:
    """Flag boxes that hardly overlap their own mask; bool ``(N,)``."""
    masked = ~np.isnan(table.masks[:, 0])
    apart = np.zeros(len(masked), dtype=np.bool_)
    apart[masked] = box_iou(table.corners[masked], table.masks[masked]) < APART_IOU
    return apart


def look_like_percent(table: BoxTable) -> bool:
    """Return whether all boxes end within 100 pixels, some close to 100, although the images are much larger."""
    if len(table.boxes) < 5 * FEW or table.limits.min() < LARGE_SIDE:
        return False
    ends = table.corners[:, 2:].max(axis=0)
    return bool((ends <= PERCENT).all() and (ends > 0.9 * PERCENT).all())


def box_iou(one: Floats, two: Floats) -> Floats:
    """Return the intersection over union ``(N,)`` of pairs of xyxy boxes, both ``(N, 4)``."""
    overlap = (np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2])).clip(min=0).prod(axis=1)
    union = sum((box[:, 2:] - box[:, :2]).clip(min=0).prod(axis=1) for box in (one, two)) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def _fit_as_corners(table: BoxTable) -> npt.NDArray[np.bool_]:
    x, y, w, h = table.boxes.T
    return (w > x) & (h > y) & (w <= table.limits[:, 0] + 1) & (h <= table.limits[:, 1] + 1) & (x >= -1) & (y >= -1)
