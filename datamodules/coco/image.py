"""One image of a COCO-format file with its annotations as arrays."""

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
        image_id: Id in the file.
        file_name: Path relative to the folder of the images.
        height: Rows.
        width: Columns.
        boxes: float32 ``(N, 4)``, xyxy pixels, clipped to the image.
        labels: int64 ``(N,)``, from 1, in the order of the file's categories.
        crowd: bool ``(N,)``, regions of many objects.
        area: float64 ``(N,)``, pixels; the area of the box if the file has none.
        segmentations: One per box, None for a box without a usable mask; None if masks are not kept.
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
        """File name without its extension."""
        return str(Path(self.file_name).with_suffix(""))

    @property
    def unmasked(self) -> npt.NDArray[np.bool_]:
        """Flags of objects and crowds without a mask, bool ``(N,)``."""
        if self.segmentations is None:
            return np.ones(len(self.labels), dtype=np.bool_)
        return np.array([segmentation is None for segmentation in self.segmentations], dtype=np.bool_)

    @property
    def has_masks(self) -> bool:
        """Whether every object has a mask, so that the image can supervise masks; crowds need none."""
        return self.segmentations is not None and not (self.unmasked & ~self.crowd).any()

    @property
    def scores_masks(self) -> bool:
        """Whether any object has a mask to score against, or there is no object at all."""
        objects = ~self.crowd
        return self.segmentations is not None and (not objects.any() or bool((objects & ~self.unmasked).any()))

    def masks(self) -> list[RunLengths]:
        """Return the mask of every box; a box without a mask has an empty one."""
        size = (self.height, self.width)
        empty = {"size": list(size), "counts": [self.height * self.width]}
        return [
            segmentation_run_lengths(empty if segmentation is None else segmentation, size)
            for segmentation in self.segmentations or []
        ]
