"""The type of images with instances, and the interface of their sources."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from structures.instances import Truth


@dataclass
class InstanceFrame:
    """One image with its instances and all data that geometric transforms change, as numpy arrays.

    Attributes:
        image: ``(H, W, 3)`` RGB, uint8.
        boxes: float32 ``(N, 4)``, xyxy pixels of ``image``.
        labels: int64 ``(N,)``, from 1.
        name: Unique in the split and usable as a file stem.
        image_id: Id of the image in the data set.
        original_size: Height and width before any resize.
        masks: bool ``(N, H, W)``, or None if absent or not requested.
        flags: Bool arrays ``(N,)`` by name.
        pseudo_depth: float32 ``(h, w)`` of any size, covering the image: inverse depth in [0, 1], near = 1; or None.
        depth_mask: bool ``(h, w)``, where ``pseudo_depth`` is known, or None with it.
    """

    image: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    name: str
    image_id: int
    original_size: tuple[int, int]
    masks: npt.NDArray[np.bool_] | None = None
    flags: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    pseudo_depth: npt.NDArray[np.float32] | None = None
    depth_mask: npt.NDArray[np.bool_] | None = None


class InstanceSource(Protocol):
    """Interface of a source of images with instances. Reading must be safe in worker processes."""

    @property
    def names(self) -> list[str]:
        """Name of every image, in order."""
        ...

    def __len__(self) -> int:
        """Return the number of images of the split."""
        ...

    def read(self, index: int, *, masks: bool) -> InstanceFrame:
        """Return one image; the caller may modify its attributes but not its arrays.

        Args:
            index: Position of the image.
            masks: Whether to read the masks; otherwise no result depends on a mask.
        """
        ...

    def truth(self, index: int) -> Truth:
        """Return the ground truth that predictions for an image are scored against."""
        ...


class InstanceWrapper:
    """Base class of sources that change the images of another source and keep their names and ground truth.

    Args:
        source: Source of the images.
    """

    def __init__(self, source: InstanceSource) -> None:
        self.source = source

    @property
    def names(self) -> list[str]:
        """Name of every image, in order."""
        return self.source.names

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def truth(self, index: int) -> Truth:
        """Return the ground truth that predictions for an image are scored against."""
        return self.source.truth(index)
