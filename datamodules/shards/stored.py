"""What a data module's shards hold: the stored samples of each split and the description of all of them."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torch.utils.data import Dataset

from datamodules.base import DepthDataModule, LoaderDataModule
from datamodules.instances import InstanceDataModule
from datamodules.mixed.datamodule import MixedDataModule, MixedDataset
from datamodules.samples.clips import ClipDataset
from datamodules.samples.dataset import DepthDataset
from datamodules.samples.downsampled import CroppedSource, DownsampledSource
from datamodules.samples.frame import FrameSource
from datamodules.samples.instance_dataset import DownsampledInstances, InstanceDataset
from datamodules.samples.instance_frame import InstanceSource
from datamodules.shards.index import Kind
from datamodules.shards.items import encode_frame, encode_instances
from datamodules.video import VideoDataModule

NamedBytes = tuple[str, bytes]
"""Name and encoded bytes of a stored sample."""


class StoredFrames(Dataset[NamedBytes]):
    """Frames of a source as encoded bytes.

    Args:
        source: Source of the frames.
        positions: Frames to store, in order.
        targets: Source of the frames that are targets of a clip, which may hold labels; None uses ``source``.
        middles: Positions of these frames.
    """

    def __init__(
        self,
        source: FrameSource,
        positions: list[int],
        *,
        targets: FrameSource | None = None,
        middles: frozenset[int] = frozenset(),
    ) -> None:
        self.source = source
        self.positions = positions
        self.targets = source if targets is None else targets
        self.middles = middles

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.positions)

    def __getitem__(self, index: int) -> NamedBytes:
        """Return a frame's name and its bytes."""
        position = self.positions[index]
        frame = (self.targets if position in self.middles else self.source).read(position)
        return frame.name, encode_frame(frame)


class StoredInstances(Dataset[NamedBytes]):
    """Images with instances of a source, with their ground truth, as encoded bytes.

    Args:
        source: Source of the images.
        masked: For each image whether its masks are stored.
    """

    def __init__(self, source: InstanceSource, masked: list[bool]) -> None:
        self.source = source
        self.masked = masked

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.source)

    def __getitem__(self, index: int) -> NamedBytes:
        """Return an image's name and its bytes."""
        frame = self.source.read(index, masks=self.masked[index])
        return frame.name, encode_instances(frame, self.source.truth(index))


@dataclass(frozen=True)
class StoredSplit:
    """Stored samples of a split.

    Attributes:
        items: The samples.
        samples: What ``samples.json`` says beside their names.
    """

    items: StoredFrames | StoredInstances
    samples: dict[str, Any]


def stored_split(dataset: Dataset[Any], *, reduced: bool) -> StoredSplit:
    """Return what is stored of a split.

    Args:
        dataset: The split, from a data module that keeps no frames in memory.
        reduced: Whether to store frames as the data module crops and downsamples them before augmentation, or as they
            are.

    Raises:
        TypeError: If the samples of the data set are of an unknown kind.
    """
    if isinstance(dataset, InstanceDataset):
        images = dataset.source
        while not reduced and isinstance(images, DownsampledInstances):
            images = images.source
        return StoredSplit(StoredInstances(images, dataset.masked), {})
    if isinstance(dataset, ClipDataset):
        used = sorted({position for window in dataset.windows for position in window})
        place = {position: index for index, position in enumerate(used)}
        frames = StoredFrames(
            _stored_source(dataset.source, reduced),
            used,
            targets=_stored_source(dataset.targets, reduced),
            middles=frozenset(window[len(window) // 2] for window in dataset.windows),
        )
        return StoredSplit(
            frames, {"windows": [[place[position] for position in window] for window in dataset.windows]}
        )
    if not isinstance(dataset, DepthDataset):
        raise TypeError(f"Samples of {type(dataset).__name__} cannot be written as shards.")
    source = _stored_source(dataset.source, reduced)
    samples: dict[str, Any] = {}
    if isinstance(dataset, MixedDataset):
        samples = {
            "sizes": dataset.mixture.sizes,
            "counts": dataset.mixture.counts,
            "kinds": [int(dataset.joined.kind(index)) for index in range(len(source))],
        }
    return StoredSplit(StoredFrames(source, list(range(len(source)))), samples)


def _stored_source(source: FrameSource, reduced: bool) -> FrameSource:
    while not reduced and isinstance(source, DownsampledSource | CroppedSource):
        source = source.source
    return source


def kind_of(data: LoaderDataModule) -> Kind:
    """Return the kind of a data module's samples."""
    if isinstance(data, InstanceDataModule):
        return "instances"
    if isinstance(data, VideoDataModule):
        return "video"
    return "mixed" if isinstance(data, MixedDataModule) else "depth"


def described_values(data: LoaderDataModule) -> dict[str, Any]:
    """Return the values that the description of a data module's shards holds for its kind."""
    values: dict[str, Any] = {}
    if isinstance(data, DepthDataModule):
        values["assumed_field_of_view_degrees"] = data.assumed_field_of_view_degrees
    if isinstance(data, VideoDataModule):
        values |= {"window": data.window, "stride": data.stride}
    if isinstance(data, InstanceDataModule):
        values |= {"mask_share": data.mask_share, "mask_seed": data.seed}
    for name in ("class_names", "category_ids", "flag_names"):
        if hasattr(data, name):
            values[name] = np.array(cast(Any, getattr(data, name))).tolist()
    return values
