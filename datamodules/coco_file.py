"""What a COCO-format JSON says of its images: classes, boxes and, where asked for, masks; checked while it is read.

The format is a few lists of plain records, so the file is read as JSON and packed into arrays at once: of a large set
only what is needed stays in memory. What cannot be right is refused with one sentence; what is known to occur in good
files is dropped and counted:

    refused   no JSON or no COCO file, an annotation of an unknown image or category, one without a box, an image
              without size, two images or categories with one id, two images with one name
    dropped   boxes without area or with a number that is none, boxes wholly outside of their image
    clipped   boxes that reach over the border of their image
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.run_lengths import segmentation_run_lengths
from structures.instances import RunLengths


@dataclass
class OddBoxes:
    """How many boxes of a file were not as they should be.

    Attributes:
        without_area: Dropped: width or height not above 0, or a number that is none.
        outside: Dropped: wholly outside of the image.
        clipped: Kept, but cut at the border of the image.
    """

    without_area: int = 0
    outside: int = 0
    clipped: int = 0

    @property
    def dropped(self) -> int:
        """Boxes that are not used."""
        return self.without_area + self.outside


@dataclass
class CocoImage:
    """One image of a file with its annotations.

    Attributes:
        image_id: The file's own id.
        file_name: Path below the folder of the images.
        height: Rows.
        width: Columns.
        boxes: float32 ``(N, 4)``, xyxy pixels, inside the image.
        labels: int64 ``(N,)``, from 1, in the order of the file's categories.
        crowd: bool ``(N,)``, regions of many objects.
        area: float64 ``(N,)``, pixels; that of the box where the file has none.
        segmentations: One for each box as it stands in the file (None where there is none), or None if unwanted.
    """

    image_id: int
    file_name: str
    height: int
    width: int
    boxes: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    crowd: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    area: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0, np.float64))
    segmentations: list[Any] | None = None

    @property
    def name(self) -> str:
        """The path without its ending."""
        return str(Path(self.file_name).with_suffix(""))

    @property
    def has_masks(self) -> bool:
        """Whether every object has a mask; crowds need none."""
        return self.segmentations is not None and all(
            segmentation or crowd for segmentation, crowd in zip(self.segmentations, self.crowd, strict=True)
        )

    def masks(self) -> list[RunLengths]:
        """The mask of every box, empty for a crowd without one.

        Raises:
            ValueError: If a segmentation cannot be read; the message names the image.
        """
        encoded = []
        for segmentation in self.segmentations or []:
            given = segmentation or {"size": [self.height, self.width], "counts": [self.height * self.width]}
            try:
                encoded.append(segmentation_run_lengths(given, (self.height, self.width)))
            except ValueError as error:
                raise ValueError(f"An annotation of the image {self.file_name} is broken: {error}.") from error
        return encoded


class CocoFile:
    """A COCO-format file, read.

    Args:
        path: The JSON file.
        keep_masks: Whether to keep the segmentations; without them nothing depends on any.

    Attributes:
        categories: Names by category id, in the order of the ids, which is that of the labels.
        images: Every image, in the order of the file.
        odd_boxes: How many boxes were dropped or clipped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If something in it cannot be right.
    """

    def __init__(self, path: Path, *, keep_masks: bool) -> None:
        self.path = path
        self.odd_boxes = OddBoxes()
        content = self._load()
        self.categories: dict[int, str] = {}
        for record in content["categories"]:
            number = self._number(record, "id", "a category")
            if number in self.categories:
                raise ValueError(f"{path}: two categories have the id {number}.")
            self.categories[number] = str(record.get("name", number))
        if not self.categories:
            raise ValueError(f"{path} has no categories, so its boxes have no classes.")
        self.categories = dict(sorted(self.categories.items()))
        by_id: dict[int, CocoImage] = {}
        for record in content["images"]:
            image = self._image(record)
            if image.image_id in by_id:
                raise ValueError(f"{path}: two images have the id {image.image_id}.")
            by_id[image.image_id] = image
        self.images = list(by_id.values())
        self._check_names()
        self._add_annotations(by_id, content["annotations"], keep_masks)

    def _load(self) -> dict[str, Any]:
        if not self.path.is_file():
            raise FileNotFoundError(f"There is no annotation file {self.path}: give the path of a COCO-format JSON.")
        try:
            content = json.loads(self.path.read_bytes())
        except ValueError as error:  # of the JSON as of its letters
            raise ValueError(f"{self.path} is no JSON, or it is cut off: {error}.") from error
        lists = ("images", "annotations", "categories")
        missing = [key for key in lists if not isinstance(content, dict) or not isinstance(content.get(key), list)]
        if missing:
            raise ValueError(f"{self.path} is no COCO-format file: it has no list of {' and '.join(missing)}.")
        for key in lists:
            if any(not isinstance(record, dict) for record in content[key]):
                raise ValueError(f"{self.path} is no COCO-format file: its {key} are no list of records.")
        checked: dict[str, Any] = content
        return checked

    def _number(self, record: dict[str, Any], key: str, what: str) -> int:
        value = record.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{self.path}: the {key} of {what} is {value!r}, but a whole number from 0 is needed.")
        return value

    def _image(self, record: dict[str, Any]) -> CocoImage:
        number = self._number(record, "id", "an image")
        name = record.get("file_name")
        height, width = record.get("height"), record.get("width")
        if not isinstance(name, str) or not name:
            raise ValueError(f"{self.path}: the image {number} has no file_name.")
        if not isinstance(height, int) or not isinstance(width, int) or min(height, width) < 1:
            raise ValueError(
                f"{self.path}: the image {name} has the height {height} and the width {width}, but both are needed in "
                "pixels."
            )
        return CocoImage(image_id=number, file_name=name, height=height, width=width)

    def _check_names(self) -> None:
        seen: set[str] = set()
        for image in self.images:
            if image.name in seen:
                raise ValueError(f"{self.path}: two images are called {image.name}, but depth is found by the name.")
            seen.add(image.name)

    def _add_annotations(self, by_id: dict[int, CocoImage], records: list[Any], keep_masks: bool) -> None:
        labels = {number: label for label, number in enumerate(self.categories, start=1)}
        kept: dict[int, list[tuple[tuple[float, ...], int, bool, float, Any]]] = {}
        for record in records:
            where = f"{self.path}: the annotation {record.get('id')}"
            image = by_id.get(record.get("image_id"))
            if image is None:
                raise ValueError(f"{where} belongs to the image {record.get('image_id')}, which is not in the file.")
            label = labels.get(record.get("category_id"))
            if label is None:
                raise ValueError(
                    f"{where} has the category {record.get('category_id')}, which is none of the {len(labels)} in the "
                    f"file ({_some(labels)})."
                )
            box = self._box(record, image, where)
            if box is not None:
                area = record.get("area")
                known_area = float(area) if isinstance(area, int | float) else (box[2] - box[0]) * (box[3] - box[1])
                segmentation = record.get("segmentation") if keep_masks else None
                kept.setdefault(image.image_id, []).append(
                    (box, label, bool(record.get("iscrowd", 0)), known_area, segmentation)
                )
        for number, image in by_id.items():
            rows = kept.get(number, [])
            if rows:
                image.boxes = np.array([row[0] for row in rows], dtype=np.float32)
                image.labels = np.array([row[1] for row in rows], dtype=np.int64)
                image.crowd = np.array([row[2] for row in rows], dtype=np.bool_)
                image.area = np.array([row[3] for row in rows], dtype=np.float64)
            if keep_masks:
                image.segmentations = [row[4] for row in rows]

    def _box(self, record: dict[str, Any], image: CocoImage, where: str) -> tuple[float, ...] | None:
        """The box as xyxy inside its image, or None if nothing of it is left."""
        given = record.get("bbox")
        if not isinstance(given, list) or len(given) != 4 or any(not isinstance(v, int | float) for v in given):
            raise ValueError(f"{where} has the box {given!r}, but four numbers are needed: x, y, width, height.")
        x, y, width, height = (float(value) for value in given)
        if not all(math.isfinite(value) for value in (x, y, width, height)) or width <= 0 or height <= 0:
            self.odd_boxes.without_area += 1
            return None
        whole = (x, y, x + width, y + height)
        x1, x2 = (min(max(value, 0.0), float(image.width)) for value in (x, x + width))
        y1, y2 = (min(max(value, 0.0), float(image.height)) for value in (y, y + height))
        if x2 <= x1 or y2 <= y1:
            self.odd_boxes.outside += 1
            return None
        if (x1, y1, x2, y2) != whole:
            self.odd_boxes.clipped += 1
        return x1, y1, x2, y2


def _some(numbers: Iterable[int]) -> str:
    shown = list(numbers)
    return ", ".join(str(number) for number in shown[:10]) + (", ..." if len(shown) > 10 else "")
