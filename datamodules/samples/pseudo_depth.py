"""Pseudo depth for images with instances: predicted by a teacher, exact, or random noise.

Pseudo depth is converted to nearness: inverse depth, normalised per image so that two percentiles of the known pixels
become 0 and 1, and clipped to [0, 1]. With the extremes instead of percentiles one wrong pixel, such as a prediction of
a few centimetres, would set the unit of the whole image. The normalisation precedes augmentation, which does not change
it.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.samples.instance_frame import InstanceFrame, InstanceSource, InstanceWrapper
from datamodules.samples.stored_labels import open_labels
from structures.label_store import LabelStore

NOISE_STREAM = 5
"""First word of the seed of every noise map; separates its random stream from orders and augmentations."""

NOISE_CELLS = (6, 8)
"""Rows and columns of the random grid from which noise is interpolated; about as smooth as depth."""


Percentiles = tuple[float, float]
"""Two percentiles in [0, 100], rising."""

EXTREMES: Percentiles = (0.0, 100.0)


def nearness(
    depth: npt.NDArray[np.floating], percentiles: Percentiles = EXTREMES
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the normalised inverse depth of an image in [0, 1], near = 1, and the mask of known pixels.

    Args:
        depth: ``(H, W)``, in any unit, 0 where unknown.
        percentiles: Percentiles of ``1 / depth`` over known pixels that become 0 and 1.

    Returns:
        ``(1 / depth - low) / (high - low)``, clipped to [0, 1], with the percentiles ``low`` and ``high``; 0 where
        depth is unknown, and everywhere if both are equal. And the mask of known pixels.
    """
    known = depth > 0
    inverse = np.divide(1.0, depth, out=np.zeros(depth.shape, dtype=np.float64), where=known)
    if not known.any():
        return inverse.astype(np.float32), known
    low, high = np.percentile(inverse[known], percentiles)
    stretched = ((inverse - low) / (high - low)).clip(0, 1) if high > low else np.zeros_like(inverse)
    return np.where(known, stretched, 0.0).astype(np.float32), known


def noise(size: tuple[int, int], *, seed: int, index: int) -> npt.NDArray[np.float32]:
    """Return a smooth random map in [0, 1], independent of the image and equal in every epoch.

    Args:
        size: Height and width.
        seed: Non-negative seed.
        index: Position of the image.
    """
    grid = np.random.default_rng((NOISE_STREAM, seed, index)).random(NOISE_CELLS)
    values = cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    stretched: npt.NDArray[np.float32] = ((values - values.min()) / np.ptp(values)).astype(np.float32)
    return stretched


def open_depth(path: Path, *, names: list[str], content_key: str | None) -> LabelStore:
    """Return an opened file of pseudo depth, after checking its content key and that it contains all images.

    Args:
        path: The file.
        names: Names of the images.
        content_key: Content key of the data module, or None.

    Raises:
        FileNotFoundError: If the file does not exist, or is not finished.
        IsADirectoryError: If it is a folder.
        ValueError: If it is damaged, of another kind, was made from other data, or lacks an image.
    """
    store = open_labels(path, kind="depth", content_key=content_key, items="images")
    missing = store.missing(names)
    if missing:
        raise ValueError(
            f"{path} has no depth for {len(missing)} of {len(names)} training images, the first is '{missing[0]}': "
            "make one for these data (make pseudo-depth), in a file of its own."
        )
    return store


class StoredDepth(InstanceWrapper):
    """Images of a source with the stored depth of a teacher, found by image name.

    A teacher processes the whole image at its own input size, so its map covers the image at any size.

    Args:
        source: Source of the images.
        store: The file, of kind ``depth``: larger is farther, 0 unknown.
        percentiles: See :func:`nearness`.
    """

    def __init__(self, source: InstanceSource, store: LabelStore, percentiles: Percentiles = EXTREMES) -> None:
        super().__init__(source)
        self.store = store
        self.percentiles = percentiles

    def read(self, index: int, *, masks: bool) -> InstanceFrame:
        """Return an image with its pseudo depth.

        Raises:
            ValueError: If the file has no depth for the image.
        """
        frame = self.source.read(index, masks=masks)
        depth, known = nearness(self.store.read(frame.name), self.percentiles)
        return replace(frame, pseudo_depth=depth, depth_mask=known)


class NoiseDepth(InstanceWrapper):
    """Images of a source with noise as pseudo depth, for an ablation.

    Args:
        source: Source of the images.
        seed: Non-negative seed.
    """

    def __init__(self, source: InstanceSource, *, seed: int) -> None:
        super().__init__(source)
        self.seed = seed

    def read(self, index: int, *, masks: bool) -> InstanceFrame:
        """Return an image with noise as pseudo depth."""
        frame = self.source.read(index, masks=masks)
        height, width = frame.image.shape[:2]
        depth = noise((height, width), seed=self.seed, index=index)
        return replace(frame, pseudo_depth=depth, depth_mask=np.ones((height, width), dtype=np.bool_))
