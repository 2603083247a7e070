"""Images of a COCO-format file, as training samples with objects and as frames for a teacher of pseudo depth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from datamodules.coco.image import CocoImage
from datamodules.coco.images import read_image
from datamodules.files.run_lengths import decode_masks
from datamodules.samples.frame import Frame, default_intrinsics
from datamodules.samples.instance_frame import InstanceFrame
from structures.instances import Truth


class CocoSource:
    """Images of a COCO-format file with their objects.

    Args:
        images: The images, in order.
        folder: Folder that ``file_name`` is relative to.
        upright: Whether images are rotated according to their EXIF entry.
    """

    def __init__(self, images: Sequence[CocoImage], folder: Path, *, upright: bool = True) -> None:
        self.images = images
        self.folder = folder
        self.upright = upright

    def pixels(self, index: int) -> np.ndarray:
        """Return the pixels of an image; see :func:`datamodules.coco.images.read_image`."""
        return read_image(self.images[index], self.folder, upright=self.upright)

    @property
    def names(self) -> list[str]:
        """Name of every image: its path without the ending."""
        return [image.name for image in self.images]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def read(self, index: int, *, masks: bool) -> InstanceFrame:
        """Return an image with its objects, without crowds.

        Raises:
            FileNotFoundError: If the image does not exist.
            ValueError: If the image or a mask is damaged.
        """
        image = self.images[index]
        single = ~image.crowd
        size = (image.height, image.width)
        return InstanceFrame(
            image=self.pixels(index),
            boxes=image.boxes[single],
            labels=image.labels[single],
            name=image.name,
            image_id=image.image_id,
            original_size=size,
            masks=decode_masks(image.masks(), size)[single] if masks and image.has_masks else None,
        )

    def truth(self, index: int) -> Truth:
        """Return the ground truth that predictions for an image are scored against."""
        image = self.images[index]
        return Truth(
            boxes=torch.from_numpy(image.boxes),
            labels=torch.from_numpy(image.labels),
            crowd=torch.from_numpy(image.crowd),
            ignored=torch.zeros(len(image.labels), dtype=torch.bool),
            area=torch.from_numpy(image.area),
            masks=image.masks() if image.scores_masks else None,
            unmasked=torch.from_numpy(image.unmasked),
        )


class CocoFrames:
    """Images of a COCO source as frames with unknown depth, input of a teacher that predicts pseudo depth."""

    has_depth = False
    """Whether any frame has ground-truth depth."""

    def __init__(self, source: CocoSource) -> None:
        self.source = source

    @property
    def names(self) -> list[str]:
        """Name of every image; reads no file."""
        return self.source.names

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of every image; reads no file."""
        return [(image.height, image.width) for image in self.source.images]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def read(self, index: int) -> Frame:
        """Return an image with depth 0 (unknown) everywhere and a default K."""
        image = self.source.images[index]
        return Frame(
            image=self.source.pixels(index),
            depth=np.zeros((image.height, image.width), dtype=np.float32),
            K=default_intrinsics(width=image.width, height=image.height),
            name=image.name,
            K_known=False,
        )
