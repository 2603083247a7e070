"""Data set of images with instances, and collation into padded batches."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.loading.samplers import sample_generator
from datamodules.samples.downsampled import covering_size
from datamodules.samples.instance_frame import InstanceFrame, InstanceSource, InstanceWrapper
from datamodules.samples.instance_transforms import InstanceAugmentation, fitting_size, resize_instances
from structures.batch import PADDING_INDEX
from structures.instances import SIZE_DIVISOR, InstanceBatch, Truth

InstanceSample = dict[str, Any]
"""One sample before collating; the keys are those of ``structures.instances.InstanceBatch``."""


class DownsampledInstances(InstanceWrapper):
    """Images of a source, downsampled and optionally cached in memory.

    Args:
        source: Source of the images.
        image_size: Downsampled images cover ``oversampling`` times this size, with their own aspect ratio.
        oversampling: Factor on the size; infinity keeps images at full size.
        keep: Whether to keep an image in memory after the first read.
    """

    def __init__(self, source: InstanceSource, image_size: tuple[int, int], *, oversampling: float, keep: bool) -> None:
        super().__init__(source)
        self.image_size = image_size
        self.oversampling = oversampling
        self.kept: dict[tuple[int, bool], InstanceFrame] | None = {} if keep else None
        self.kept_truths: dict[int, Truth] = {}

    def read(self, index: int, *, masks: bool) -> InstanceFrame:
        """Return a downsampled image."""
        if self.kept is None:
            return self._reduce(index, masks)
        if (index, masks) not in self.kept:
            self.kept[index, masks] = self._reduce(index, masks)
        return self.kept[index, masks]

    def truth(self, index: int) -> Truth:
        """Return the ground truth of an image, which must not be modified."""
        if self.kept is None:
            return super().truth(index)
        if index not in self.kept_truths:
            self.kept_truths[index] = self.source.truth(index)
        return self.kept_truths[index]

    def _reduce(self, index: int, masks: bool) -> InstanceFrame:
        frame = self.source.read(index, masks=masks)
        height, width = frame.image.shape[:2]
        return resize_instances(frame, covering_size((height, width), self.image_size, self.oversampling))


class InstanceSubset:
    """Selected images of a source, in the given order."""

    def __init__(self, source: InstanceSource, indices: list[int]) -> None:
        self.source = source
        self.indices = indices

    @property
    def names(self) -> list[str]:
        """Name of every selected image."""
        names = self.source.names
        return [names[index] for index in self.indices]

    def __len__(self) -> int:
        """Return the number of selected images."""
        return len(self.indices)

    def read(self, index: int, *, masks: bool) -> InstanceFrame:
        """Return the selected image at a position."""
        return self.source.read(self.indices[index], masks=masks)

    def truth(self, index: int) -> Truth:
        """Return the ground truth of the selected image at a position."""
        return self.source.truth(self.indices[index])


class InstanceDataset(Dataset[InstanceSample]):
    """Images of a source as samples.

    An ``(epoch, index)`` pair gives the augmented training sample, whose draws depend on (seed, epoch, index) alone. An
    index gives the unaugmented sample with its ground truth, and ``PADDING_INDEX`` one without instances.

    Args:
        source: Source of the images.
        image_size: Length of the shorter side of unaugmented images and limit of the longer one.
        augmentation: Applied to training samples, or None.
        masked: For each image whether its masks may be read; None for all images. If it is False for every image,
            samples have no key ``masks``.
        seed: Non-negative seed of the draws.
    """

    def __init__(
        self,
        source: InstanceSource,
        *,
        image_size: tuple[int, int],
        augmentation: InstanceAugmentation | None = None,
        masked: Sequence[bool] | None = None,
        seed: int = 0,
    ) -> None:
        self.source = source
        self.image_size = image_size
        self.augmentation = augmentation
        self.masked = [True] * len(source) if masked is None else list(masked)
        self.with_masks = any(self.masked)
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.source)

    def __getitem__(self, key: int | tuple[int, int]) -> InstanceSample:
        """Return the sample of an index (evaluation) or of an ``(epoch, index)`` pair (training)."""
        truth: Truth | None = None
        if isinstance(key, tuple):
            epoch, index = key
            frame = self.source.read(index, masks=self.masked[index])
            if self.augmentation is None:
                frame = self._fitted(frame)
            else:
                frame = self.augmentation(frame, sample_generator(self.seed, epoch, index))
        elif key == PADDING_INDEX:
            index = PADDING_INDEX
            frame = _emptied(self._fitted(self.source.read(0, masks=False)))
        else:
            index = key
            frame = self._fitted(self.source.read(index, masks=self.masked[index]))
            truth = self.source.truth(index)
        return _to_sample(frame, index=index, truth=truth, with_masks=self.with_masks)

    def _fitted(self, frame: InstanceFrame) -> InstanceFrame:
        short_side, max_long_side = self.image_size
        size = fitting_size(frame.original_size, short_side=short_side, max_long_side=max_long_side)
        return resize_instances(frame, size)


def _emptied(frame: InstanceFrame) -> InstanceFrame:
    """Return the image without instances, as padding of the samples of a rank."""
    return replace(
        frame,
        image_id=PADDING_INDEX,
        name="padding",
        boxes=frame.boxes[:0],
        labels=frame.labels[:0],
        masks=None,
        flags={name: flag[:0] for name, flag in frame.flags.items()},
    )


def _to_sample(frame: InstanceFrame, *, index: int, truth: Truth | None, with_masks: bool) -> InstanceSample:
    height, width = frame.image.shape[:2]
    image = frame.image.astype(np.float32).transpose(2, 0, 1) / np.float32(255)
    sample: InstanceSample = {
        "image": torch.from_numpy(np.ascontiguousarray(image)),
        "boxes": torch.from_numpy(np.array(frame.boxes, dtype=np.float32).reshape(-1, 4)),
        "labels": torch.from_numpy(np.array(frame.labels, dtype=np.int64)),
        "has_masks": torch.tensor(frame.masks is not None),
        "image_id": torch.tensor(frame.image_id, dtype=torch.int64),
        "scale": torch.tensor([height / frame.original_size[0], width / frame.original_size[1]]),
        "original_size": torch.tensor(frame.original_size, dtype=torch.int64),
        "index": torch.tensor(index, dtype=torch.int64),
        "name": frame.name,
        "truth": truth,
    }
    for name, flag in frame.flags.items():
        sample[name] = torch.from_numpy(np.array(flag, dtype=np.bool_))
    if with_masks:
        masks = np.zeros((len(frame.boxes), height, width), np.bool_) if frame.masks is None else frame.masks
        sample["masks"] = torch.from_numpy(np.ascontiguousarray(masks))
    if frame.pseudo_depth is not None and frame.depth_mask is not None:
        frame = resize_instances(frame, (height, width))  # pseudo depth may have another size than the image
        sample["pseudo_depth"] = torch.from_numpy(np.ascontiguousarray(frame.pseudo_depth)[None])
        sample["depth_mask"] = torch.from_numpy(np.ascontiguousarray(frame.depth_mask)[None])
    return sample


def collate_instances(samples: list[InstanceSample]) -> InstanceBatch:
    """Return a batch of samples with different sizes and numbers of instances.

    Images, masks and depth are padded at the right and bottom to the smallest common multiples of 32. Instances are
    padded to the largest number in the batch, at least one.
    """
    size = [
        -(-max(sample["image"].shape[dimension] for sample in samples) // SIZE_DIVISOR) * SIZE_DIVISOR
        for dimension in (1, 2)
    ]
    n_instances = max(1, *(len(sample["labels"]) for sample in samples))
    batch: dict[str, Any] = {
        "image_mask": torch.stack(
            [_padded(torch.ones(1, *s["image"].shape[1:], dtype=torch.bool), (1, *size)) for s in samples]
        )
    }
    for key, value in samples[0].items():
        values = [sample[key] for sample in samples]
        if not isinstance(value, Tensor):
            batch[key] = values
        elif key in ("image", "pseudo_depth", "depth_mask"):
            batch[key] = torch.stack([_padded(v, (len(v), *size)) for v in values])
        elif key == "masks":
            batch[key] = torch.stack([_padded(v, (n_instances, *size)) for v in values])
        elif key in ("has_masks", "image_id", "scale", "original_size", "index"):
            batch[key] = torch.stack(values)
        else:  # per-instance values: boxes, labels, flags
            batch[key] = torch.stack([_padded(v, (n_instances, *v.shape[1:])) for v in values])
    return cast(InstanceBatch, batch)


def _padded(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the values padded with zeros at the end of each axis to a shape."""
    if values.shape == shape:
        return values
    padded = values.new_zeros(shape)
    padded[tuple(slice(length) for length in values.shape)] = values
    return padded
