"""An image with its instances as a data set reads it, and the sources that give such images."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from structures.instances import Truth


@dataclass
class InstanceFrame:
    """One image with its instances and everything that has to move with it, as numpy arrays.

    Attributes:
        image: ``(H, W, 3)`` RGB, uint8.
        boxes: float32 ``(N, 4)``, xyxy pixels of ``image``.
        labels: int64 ``(N,)``, from 1.
        name: Unique in the split and usable as a file stem.
        image_id: The data set's own number of the image.
        original_size: Height and width before any resize.
        masks: bool ``(N, H, W)``, or None where there are none or nobody asked.
        flags: Bool arrays ``(N,)`` by name.
        pseudo_depth: float32 ``(h, w)`` of any size, spanning the image: inverse depth in [0, 1], near = 1; or None.
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
    """Images with instances by position. Reading must be safe in worker processes."""

    @property
    def names(self) -> list[str]:
        """Name of every image, in order."""
        ...

    def __len__(self) -> int:
        """Return the number of images of the split."""
        ...

    def read(self, index: int, *, masks: bool) -> InstanceFrame:
        """Return one image; the caller may write to the object but not into its arrays.

        Args:
            index: Position of the image.
            masks: Whether its masks are wanted; without them nothing that is read depends on any mask.
        """
        ...

    def truth(self, index: int) -> Truth:
        """Return what predictions for the image are scored on."""
        ...
