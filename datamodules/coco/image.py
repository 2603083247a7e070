"""One image of a COCO-format file with its annotations, packed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.files.run_lengths import segmentation_run_lengths
from structures.instances import RunLengths


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
        segmentations: One for each box (None where there is none, or nothing of it is left), or None if unwanted.
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
    def unmasked(self) -> npt.NDArray[np.bool_]:
        """Bool ``(N,)``, objects and crowds without a mask."""
        if self.segmentations is None:
            return np.ones(len(self.labels), dtype=np.bool_)
        return np.array([segmentation is None for segmentation in self.segmentations], dtype=np.bool_)

    @property
    def has_masks(self) -> bool:
        """Whether every object has a mask, so that all can be learned; crowds need none."""
        return self.segmentations is not None and not (self.unmasked & ~self.crowd).any()

    @property
    def scores_masks(self) -> bool:
        """Whether any object has a mask to score against, or there is no object at all."""
        objects = ~self.crowd
        return self.segmentations is not None and (not objects.any() or bool((objects & ~self.unmasked).any()))

    def masks(self) -> list[RunLengths]:
        """The mask of every box, empty where there is none."""
        size = (self.height, self.width)
        empty = {"size": list(size), "counts": [self.height * self.width]}
        return [
            segmentation_run_lengths(empty if segmentation is None else segmentation, size)
            for segmentation in self.segmentations or []
        ]
