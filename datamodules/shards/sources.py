"""Sources of frames and of images with instances, read from shards."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from datamodules.samples.frame import Frame, default_intrinsics
from datamodules.samples.instance_frame import InstanceFrame
from datamodules.shards.index import SAMPLES
from datamodules.shards.items import decode_frame, decode_instances, decode_truth
from datamodules.shards.store import ShardStore
from structures.depth_kind import DepthKind
from structures.instances import Truth


class _ShardSource:
    """Base class of the samples of a split of shards.

    Args:
        store: The samples of the split.
    """

    def __init__(self, store: ShardStore) -> None:
        self.store = store

    @property
    def names(self) -> list[str]:
        """Name of every sample; reads no shard."""
        return self.store.names

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.store)


class ShardFrames(_ShardSource):
    """Frames of a split of shards.

    Args:
        store: The samples of the split.
    """

    def read(self, index: int) -> Frame:
        """Return one frame.

        Raises:
            ValueError: If its shard is torn or damaged.
        """
        return self.store.read(index, decode_frame)


class ShardMixedFrames(ShardFrames):
    """Frames of several sources of mixed data, with the kind of the ground truth of each.

    Args:
        store: The samples of the training split.

    Attributes:
        sizes: Number of frames of each source.
        counts: Samples of each source in an epoch.

    Raises:
        ValueError: If the list of samples does not describe the mixture.
    """

    def __init__(self, store: ShardStore) -> None:
        super().__init__(store)
        self.sizes = _whole_numbers(store, "sizes")
        self.counts = _whole_numbers(store, "counts")
        self.kinds = _whole_numbers(store, "kinds")
        known = {int(kind) for kind in DepthKind}
        if sum(self.sizes) != len(store) or len(self.counts) != len(self.sizes) or len(self.kinds) != len(store):
            raise ValueError(f"{store.where(SAMPLES)}: sizes, counts and kinds do not fit the {len(store)} samples.")
        if not set(self.kinds) <= known:
            raise ValueError(f"{store.where(SAMPLES)} holds a kind of ground truth that is not known: copy it again.")

    def locate(self, index: int) -> tuple[int, int]:
        """Return the source of a frame and its position in the source."""
        for source, size in enumerate(self.sizes):
            if index < size:
                return source, index
            index -= size
        raise IndexError(f"The frame index must be below {len(self)}, the number of frames of all sources.")

    def kind(self, index: int) -> DepthKind:
        """Return the kind of ground truth of a frame."""
        return DepthKind(self.kinds[index])


class ShardImages(ShardFrames):
    """Images with instances of a split of shards, as frames with unknown depth: input of a teacher of pseudo depth.

    Args:
        store: The samples of the split.
    """

    has_depth = False
    """Whether any frame has ground-truth depth."""

    def read(self, index: int) -> Frame:
        """Return an image with depth 0 (unknown) everywhere and a default K."""
        image = self.store.read(index, lambda data: decode_instances(data, masks=False))
        height, width = image.image.shape[:2]
        return Frame(
            image=image.image,
            depth=np.zeros((height, width), dtype=np.float32),
            K=default_intrinsics(width=width, height=height),
            name=image.name,
            K_known=False,
        )


class ShardInstances(_ShardSource):
    """Images with instances of a split of shards.

    Args:
        store: The samples of the split.
    """

    def read(self, index: int, *, masks: bool) -> InstanceFrame:
        """Return one image.

        Args:
            index: Position of the image.
            masks: Whether to read its masks.

        Raises:
            ValueError: If its shard is torn or damaged.
        """
        return self.store.read(index, lambda data: decode_instances(data, masks=masks))

    def truth(self, index: int) -> Truth:
        """Return the ground truth that predictions for an image are scored against."""
        return self.store.read(index, decode_truth)


def stored_windows(store: ShardStore) -> list[tuple[int, ...]]:
    """Return the clips of a split, as positions of their frames.

    Raises:
        ValueError: If the list of samples holds none, or one that leads out of the split.
    """
    windows = store.samples.get("windows")
    valid = isinstance(windows, list) and all(
        isinstance(window, list) and len(window) % 2 == 1 and all(_is_position(k, len(store)) for k in window)
        for window in windows
    )
    if not valid or not isinstance(windows, list):
        raise ValueError(f"{store.where(SAMPLES)} holds no valid clips: copy it again, or write the shards again.")
    return [tuple(window) for window in windows]


def strings(values: Mapping[str, Any], name: str, where: str) -> list[str]:
    """Return a list of strings of a description.

    Raises:
        ValueError: If it is something else.
    """
    found = values.get(name, [])
    if not (isinstance(found, list) and all(isinstance(value, str) for value in found)):
        raise ValueError(f"{where}: {name} has to be a list of names: write the shards again (make shards).")
    return found


def _whole_numbers(store: ShardStore, name: str) -> list[int]:
    values = store.samples.get(name)
    if not (isinstance(values, list) and all(isinstance(value, int) and value >= 0 for value in values)):
        raise ValueError(f"{store.where(SAMPLES)}: {name} has to be a list of whole numbers, for mixed data.")
    return values


def _is_position(value: object, length: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < length
