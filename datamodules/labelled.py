"""Frames joined with what a teacher has written about them: proxy labels, vanishing directions."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from datamodules.frame import Frame, FrameSource
from structures.label_store import LabelStore

ASPECT_TOLERANCE = 0.02
"""Largest relative difference of width / height between a label map and its image; more is a map of another image."""


class LabelledSource:
    """Another source's frames with label maps under the name ``proxy_semantic``.

    A map of another size but the proportions of the image is read at the nearest pixel.

    Args:
        source: Where frames come from.
        store: The label file, of kind ``semantic``.

    Raises:
        ValueError: If the file is of another kind.
    """

    def __init__(self, source: FrameSource, store: LabelStore) -> None:
        _check_kind(store, "semantic")
        self.source = source
        self.store = store

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def read(self, index: int) -> Frame:
        """Return a frame with its labels.

        Raises:
            ValueError: If the file has no labels for it, or labels of other proportions.
        """
        frame = self.source.read(index)
        labels = fit_labels(self.store.read(frame.name), frame, where=str(self.store.path))
        return replace(frame, labels={**frame.labels, "proxy_semantic": labels})


class VanishingSource:
    """Another source's frames with stored vanishing directions.

    Args:
        source: Where frames come from.
        store: The file, of kind ``vanishing``.

    Raises:
        ValueError: If the file is of another kind.
    """

    def __init__(self, source: FrameSource, store: LabelStore) -> None:
        _check_kind(store, "vanishing")
        self.source = source
        self.store = store

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def read(self, index: int) -> Frame:
        """Return a frame with its directions.

        Raises:
            ValueError: If the file has none for it, or they are no 3x3 matrix.
        """
        frame = self.source.read(index)
        directions = np.asarray(self.store.read(frame.name), dtype=np.float64)
        if directions.shape != (3, 3):
            raise ValueError(f"{self.store.path}: the entry of {frame.name} has shape {directions.shape}, not (3, 3).")
        return replace(frame, vanishing=directions)


def fit_labels(labels: npt.NDArray[np.generic], frame: Frame, *, where: str) -> npt.NDArray[np.generic]:
    """A label map at the size of its frame.

    Args:
        labels: ``(h, w)``.
        frame: The frame it belongs to.
        where: The file, for messages.

    Raises:
        ValueError: If its proportions are not those of the frame.
    """
    height, width = frame.image.shape[:2]
    if labels.ndim != 2 or abs(labels.shape[1] * height / (labels.shape[0] * width) - 1) > ASPECT_TOLERANCE:
        raise ValueError(
            f"{where}: the labels of {frame.name} have the shape {labels.shape}, but the image is {height}x{width} "
            "(height x width): they were made for other frames, make them again."
        )
    if labels.shape == (height, width):
        return labels
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.intp)
    return labels[np.ix_(rows, columns)]


def _check_kind(store: LabelStore, kind: str) -> None:
    if store.kind != kind:
        raise ValueError(f"{store.path} holds labels of kind '{store.kind}', but '{kind}' is needed here.")
