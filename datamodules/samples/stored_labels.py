"""Sources that add stored proxy labels or vanishing directions to frames."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from datamodules.samples.frame import Frame, FrameSource
from structures.label_store import LabelStore


class _StoredSource:
    """Frames of a source with data from a label file.

    Args:
        source: Source of the frames.
        store: The label file.
    """

    def __init__(self, source: FrameSource, store: LabelStore) -> None:
        self.source = source
        self.store = store

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)


class ProxyLabelSource(_StoredSource):
    """Frames of a source with proxy labels in the label map ``proxy_semantic``.

    A map of another size is sampled at the nearest pixel.

    Args:
        source: Source of the frames.
        store: The label file, of kind ``semantic``.
    """

    def read(self, index: int) -> Frame:
        """Return a frame with its proxy labels.

        Raises:
            ValueError: If the file has no labels for the frame.
        """
        frame = self.source.read(index)
        labels = fit_labels(self.store.read(frame.name), frame, where=str(self.store.path))
        return replace(frame, labels={**frame.labels, "proxy_semantic": labels})


class VanishingSource(_StoredSource):
    """Frames of a source with stored vanishing directions.

    Args:
        source: Source of the frames.
        store: The file, of kind ``vanishing``.
    """

    def read(self, index: int) -> Frame:
        """Return a frame with its vanishing directions.

        Raises:
            ValueError: If the file has none for the frame, or they are no 3x3 matrix.
        """
        frame = self.source.read(index)
        directions = np.asarray(self.store.read(frame.name), dtype=np.float64)
        if directions.shape != (3, 3):
            raise ValueError(f"{self.store.path}: the entry of {frame.name} has shape {directions.shape}, not (3, 3).")
        return replace(frame, vanishing=directions)


def fit_labels(labels: npt.NDArray[np.generic], frame: Frame, *, where: str) -> npt.NDArray[np.generic]:
    """Return a label map at the size of its frame, sampled at the nearest pixel.

    A teacher processes the whole frame at its own input size, so its map covers the frame for any aspect ratio.

    Args:
        labels: ``(h, w)``.
        frame: Frame of the labels.
        where: The file, for messages.

    Raises:
        ValueError: If the labels are no map.
    """
    height, width = frame.image.shape[:2]
    if labels.ndim != 2 or labels.size == 0:
        raise ValueError(f"{where}: the labels of {frame.name} have the shape {labels.shape}, not (height, width).")
    if labels.shape == (height, width):
        return labels
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.intp)
    return labels[np.ix_(rows, columns)]


def open_labels(
    path: Path, *, kind: Literal["semantic", "vanishing", "depth"], content_key: str | None, items: str = "frames"
) -> LabelStore:
    """Return an opened label file, after comparing its content key with that of the data, if both exist.

    Args:
        path: The file.
        kind: Kind of the labels.
        content_key: Content key of the data module, or None.
        items: Plural noun for the frames, for messages.

    Raises:
        FileNotFoundError: If the file does not exist, or is not finished.
        IsADirectoryError: If it is a folder.
        ValueError: If it is damaged, of another kind, or was made from other data.
    """
    store = LabelStore(path, kind=kind)
    made_of = store.settings.get("data")
    if content_key is not None and made_of is not None and made_of != content_key:
        raise ValueError(
            f"{path} was made of other data ({made_of}, not {content_key}) whose {items} have the same names: give "
            "these data a file of their own."
        )
    return store
