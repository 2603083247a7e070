"""Reading and validation of a COCO-format JSON file: categories, images, boxes and masks.

The annotations are packed into arrays while the file is read, so that a large data set needs little memory. Invalid
content is refused with one sentence per kind of fault. Faults that occur in otherwise good files are skipped or
corrected, and counted (``datamodules.coco.findings.NOTES``):

    refused    a file that is no JSON or no COCO file; an annotation of an unknown image or category, or without a box;
               an invalid id, size, flag or coordinate (``values``); an unreadable segmentation (``segmentations``);
               duplicate ids of images or categories; duplicate image names; a file_name outside of the image folder;
               boxes that are relative, given as corners, or apart from their masks (``boxes``)
    left out   boxes without area or with NaN; boxes entirely outside of the image; an annotation that is listed twice;
               polygons without area, with NaN, or with the numbers of a box
    corrected  boxes that cross the image border are clipped; an area that is missing or not positive becomes the area
               of the box
    kept       duplicate annotation ids, duplicate class names, a few boxes apart from their masks

An object whose mask is invalid keeps its box. The masks of its image are not used for training, and its box is an
ignore region for mask scores.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.coco.boxes import BoxRecord, check_box_format
from datamodules.coco.findings import Findings, format_value
from datamodules.coco.image import CocoImage
from datamodules.coco.json_reading import load_coco_json
from datamodules.coco.segmentations import check_segmentation
from datamodules.coco.values import MAX_ID, crowd_flag, identifier, real_number, whole_number
from datamodules.files.reading import MAX_MEGAPIXELS

MAX_SIDE = 2**31 - 1
"""Largest height or width of any image format; larger numbers may not fit a float."""

ABSOLUTE = re.compile(r"^(/|[A-Za-z]:/)")


@dataclass
class _Row:
    """A validated annotation."""

    box: tuple[float, ...]
    label: int
    crowd: bool
    area: float
    segmentation: Any


class CocoFile:
    """A validated COCO-format file.

    Args:
        path: The JSON file.
        keep_masks: Whether to keep the segmentations. They are validated in any case.

    Attributes:
        categories: Class names by category id, in ascending order of the ids, which is the order of the labels.
        images: All images, in the order of the file.
        findings: Skipped and corrected faults by kind.

    Raises:
        FileNotFoundError: If the file does not exist.
        CocoFileError: If its content is invalid; a ValueError.
    """

    def __init__(self, path: Path, *, keep_masks: bool) -> None:
        self.path = path
        self.keep_masks = keep_masks
        self.findings = Findings()
        content = load_coco_json(path)
        self.categories: dict[int, str] = {}
        for record in content["categories"]:
            self._add_category(record)
        self.categories = dict(sorted(self.categories.items()))
        by_id: dict[int, CocoImage] = {}
        names: dict[str, int] = {}
        for record in content["images"]:
            self._add_image(record, by_id, names)
        self.images = list(by_id.values())
        self._boxes: list[BoxRecord] = []
        self._ids: set[int | str] = set()
        self._contents: set[int] = set()
        if not {"category", "image"} & self.findings.refused.keys():  # these faults would invalidate all annotations
            self._add_annotations(by_id, content["annotations"])
            check_box_format(self._boxes, self.findings, self.path)
        self._boxes, self._ids, self._contents = [], set(), set()  # frees memory, much for a large data set
        self.findings.raise_refused()

    def _refuse(self, kind: str, sentence: str) -> None:
        self.findings.refuse(kind, f"{self.path}: {sentence}")

    def _add_category(self, record: dict[str, Any]) -> None:
        number, name = identifier(record.get("id")), record.get("name")
        if number is None:
            self._refuse(
                "category", f"the id of a category is {format_value(record.get('id'))}{_needed(record.get('id'))}."
            )
            return
        if name is None or name == "":
            name = number
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            self._refuse(
                "category", f"the name of the category {number} is {format_value(name)}, but a text is needed."
            )
            return
        if number in self.categories:
            self._refuse("category", f"two categories have the id {number}.")
            return
        if str(name) in self.categories.values():
            self.findings.note("same_class", f"category {number}, {format_value(name)}")
        self.categories[number] = str(name)

    def _add_image(self, record: dict[str, Any], by_id: dict[int, CocoImage], names: dict[str, int]) -> None:
        number, name = identifier(record.get("id")), record.get("file_name")
        if number is None:
            self._refuse(
                "image",
                f"the id of an image is {format_value(record.get('id'))}{_needed(record.get('id'))}; its file_name is "
                f"{format_value(name)}.",
            )
            return
        if not isinstance(name, str) or not Path(name).name:
            self._refuse(
                "image", f"the image {number} has the file_name {format_value(name)}, but that of a file is needed."
            )
            return
        name = name.replace("\\", "/")  # written on Windows
        if ABSOLUTE.match(name) or ".." in name.split("/"):
            self._refuse(
                "image",
                f"the file_name of the image {number} is {format_value(name)}, but a path below the folder of the "
                "images is needed: without .., not an absolute one.",
            )
            return
        height, width = whole_number(record.get("height")), whole_number(record.get("width"))
        if height is None or width is None or min(height, width) < 1 or max(height, width) > MAX_SIDE:
            self._refuse(
                "image",
                f"the image {name} (id {number}) has the height {format_value(record.get('height'))} and the width "
                f"{format_value(record.get('width'))}, but both are needed in pixels, as whole numbers from 1.",
            )
            return
        if number in by_id:
            self._refuse("image", f"two images have the id {number}: {by_id[number].file_name} and {name}.")
            return
        if height * width > MAX_MEGAPIXELS * 10**6:
            self._refuse(
                "image",
                f"the image {name} (id {number}) has {width}x{height} pixels, but at most {MAX_MEGAPIXELS} megapixels "
                "are read.",
            )
            return
        image = CocoImage(image_id=number, file_name=name, height=height, width=width)
        if image.name in names:
            self._refuse(
                "image",
                f"two images are called {image.name}, those with the ids {names[image.name]} and {number}, but depth "
                "and results are found by the name.",
            )
            return
        names[image.name] = number
        by_id[number] = image

    def _add_annotations(self, by_id: dict[int, CocoImage], records: list[Any]) -> None:
        labels = {number: label for label, number in enumerate(self.categories, start=1)}
        rows: dict[int, list[_Row]] = {number: [] for number in by_id}
        for record in records:
            where = f"the annotation {format_value(record.get('id'))}"
            found, category = identifier(record.get("image_id")), identifier(record.get("category_id"))
            image = None if found is None else by_id.get(found)
            label = None if category is None else labels.get(category)
            if image is None:
                self._refuse(
                    "absent image",
                    f"{where} belongs to the image {format_value(record.get('image_id'))}, which is not in the file"
                    f"{_as_number(record.get('image_id'), by_id)}.",
                )
                continue
            if label is None:
                self._refuse(
                    "absent category",
                    f"{where} has the category {format_value(record.get('category_id'))}, which is none of the "
                    f"{len(labels)} in the file ({_some(labels)}){_as_number(record.get('category_id'), labels)}.",
                )
                continue
            if self._is_repeated(record, where):
                continue
            row = self._row(record, image, label, where)
            if row is not None:
                rows[image.image_id].append(row)
        for image in self.images:
            _fill(image, rows[image.image_id], keep_masks=self.keep_masks)

    def _is_repeated(self, record: dict[str, Any], where: str) -> bool:
        """Return whether the annotation repeats an earlier one (id, image, class, box); count duplicate ids."""
        key = record.get("id")
        if key is None:
            return False
        key = key if isinstance(key, int) else format_value(key)
        content = hash((key, str(record.get("image_id")), str(record.get("category_id")), str(record.get("bbox"))))
        if content in self._contents:
            self.findings.note("repeated", where)
            return True
        if key in self._ids:
            self.findings.note("same_id", where)
        self._ids.add(key)
        self._contents.add(content)
        return False

    def _row(self, record: dict[str, Any], image: CocoImage, label: int, where: str) -> _Row | None:
        """Return a validated annotation, or None if its box is skipped or it is refused."""
        crowd = crowd_flag(record.get("iscrowd"))
        if crowd is None:
            self._refuse(
                "iscrowd", f"{where} has the iscrowd {format_value(record.get('iscrowd'))}, but 0 or 1 is needed."
            )
            return None
        given = record.get("bbox")
        values = [real_number(value) for value in given] if isinstance(given, list) else []
        numbers = [value for value in values if value is not None]
        if len(values) != 4 or len(numbers) != 4:
            self._refuse(
                "box", f"{where} has the box {format_value(given)}, but four numbers are needed: x, y, width, height."
            )
            return None
        area = record.get("area")
        known_area = math.nan if area is None else real_number(area)
        if known_area is None:
            self._refuse("area", f"{where} has the area {format_value(area)}, but a number of pixels is needed.")
            return None
        size = (image.height, image.width)
        try:
            segmentation = check_segmentation(record.get("segmentation"), size)
        except ValueError as error:
            self._refuse(
                "segmentation", f"{where}, of the image {image.file_name}, cannot be used: its segmentation {error}."
            )
            return None
        if not all(math.isfinite(value) for value in numbers) or min(numbers[2:]) <= 0:
            self.findings.note("no_area", f"{where}, bbox {format_value(given)}")
            return None
        kind, box = _clipped(numbers, image)
        if kind is not None:
            self.findings.note(kind, f"{where}, bbox {format_value(given)}")
        self._boxes.append(
            BoxRecord(record.get("id"), numbers, size[::-1], segmentation.box, known_area, box is not None)
        )
        if box is None:
            return None
        for fault in segmentation.faults:
            self.findings.note(fault, f"{where}, of the image {image.file_name}")
        if segmentation.faults and segmentation.usable is None:
            self.findings.note("unmasked", f"{where}, of the image {image.file_name}")
        if not known_area > 0 or math.isinf(known_area):
            if area is not None:
                self.findings.note("area", f"{where}, area {format_value(area)}")
            known_area = (box[2] - box[0]) * (box[3] - box[1])
        return _Row(box, label, crowd, known_area, segmentation.usable)


def _clipped(numbers: list[float], image: CocoImage) -> tuple[str | None, tuple[float, ...] | None]:
    """Return the kind of fault of a box or None, and the box clipped to the image as xyxy, or None if it is empty."""
    x, y, width, height = numbers
    whole = (x, y, x + width, y + height)
    x1, x2 = (min(max(value, 0.0), float(image.width)) for value in (x, x + width))
    y1, y2 = (min(max(value, 0.0), float(image.height)) for value in (y, y + height))
    if np.float32(x2) <= np.float32(x1) or np.float32(y2) <= np.float32(y1):  # boxes are stored as float32
        return "no_area" if x1 < image.width and x2 > 0 and y1 < image.height and y2 > 0 else "outside", None
    return None if (x1, y1, x2, y2) == whole else "clipped", (x1, y1, x2, y2)


def _fill(image: CocoImage, rows: list[_Row], *, keep_masks: bool) -> None:
    if rows:
        image.boxes = np.array([row.box for row in rows], dtype=np.float32)
        image.labels = np.array([row.label for row in rows], dtype=np.int64)
        image.crowd = np.array([row.crowd for row in rows], dtype=np.bool_)
        image.area = np.array([row.area for row in rows], dtype=np.float64)
    if keep_masks:
        image.segmentations = [row.segmentation for row in rows]


def _needed(value: Any) -> str:
    """Return the part of a message that states which ids are valid."""
    number = whole_number(value)
    if number is not None and number > MAX_ID:
        return f", but none above {MAX_ID} (64 bits with a sign) can be read: number them anew"
    return ", but a whole number from 0 is needed"


def _as_number(value: Any, known: Iterable[int]) -> str:
    """Return a hint if a text would be a valid id as a number, else an empty string."""
    if isinstance(value, str) and value.strip().isdecimal() and int(value) in known:
        return f"; the number {int(value)} is: write ids as numbers, not as text"
    return ""


def _some(numbers: Iterable[int]) -> str:
    listed = list(numbers)
    return ", ".join(str(number) for number in listed[:10]) + (", ..." if len(listed) > 10 else "")
