"""Base class of all instance data modules: padded batches of images with boxes, in a resumable order."""

import abc
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from torch.utils.data import DataLoader, Dataset

from datamodules.base import LoaderDataModule, Split
from datamodules.loading.samplers import EvaluationSampler, TrainSampler
from datamodules.samples.frame import Sample
from datamodules.samples.instance_dataset import (
    DownsampledInstances,
    InstanceDataset,
    InstanceSubset,
    collate_instances,
)
from datamodules.samples.instance_frame import InstanceSource
from datamodules.samples.instance_transforms import InstanceAugmentation
from datamodules.samples.pseudo_depth import NoiseDepth, Percentiles, StoredDepth, open_depth

PseudoDepth = Literal["exact", "file", "noise"]
"""Source of pseudo depth: ground truth (rooms only), a file of a teacher, or random noise."""

MASK_STREAM = 6
"""First word of the seed that selects the images whose masks may be used."""


class InstanceDataModule(LoaderDataModule):
    """Data loaders of images with boxes (``structures.instances.InstanceBatch``). A subclass defines their source.

    Order, random draws, resuming and DDP sharding are those of :class:`LoaderDataModule`. Training reads no mask unless
    ``mask_share`` allows it: with 0, files without masks give identical batches.

    Args:
        image_size: Length of the shorter side of evaluation images, and limit of their longer side, in pixels.
        augmentation: Applied to training images; None resizes them as in evaluation.
        mask_share: Share of the training images whose masks may be used if the data have them (mixed supervision): 0
            trains on boxes alone, 1 on all masks. A larger share includes the images of a smaller one.
        pseudo_depth: Source of the pseudo depth of training images; None for none.
        pseudo_depth_file: Label file of kind ``depth`` for ``pseudo_depth: file``.
        depth_percentiles: Percentiles of the inverse depth of an image that become 0 and 1; values beyond are clipped.
            0 and 100 are the extremes.
        base: Arguments of :class:`LoaderDataModule`.

    Raises:
        ValueError: If an argument is out of range, or only one of ``pseudo_depth: file`` and its file is given.
    """

    def __init__(
        self,
        *,
        image_size: tuple[int, int] = (800, 1333),
        augmentation: InstanceAugmentation | None = None,
        mask_share: float = 0.0,
        pseudo_depth: PseudoDepth | None = None,
        pseudo_depth_file: str | None = None,
        depth_percentiles: Percentiles = (1.0, 99.0),
        **base: Any,
    ) -> None:
        super().__init__(image_size=image_size, **base)
        if self.image_size[1] < self.image_size[0]:
            raise ValueError(
                f"image_size is the length of the shorter side and the limit of the longer one, got {self.image_size}."
            )
        if not 0 <= mask_share <= 1:
            raise ValueError(f"mask_share is a share of the training images inside [0, 1], got {mask_share}.")
        if (pseudo_depth == "file") != (pseudo_depth_file is not None):
            raise ValueError(
                f"pseudo_depth is {pseudo_depth!r} and pseudo_depth_file {pseudo_depth_file!r}, but 'file' needs a "
                "file, and nothing else takes one."
            )
        if not 0 <= depth_percentiles[0] < depth_percentiles[1] <= 100:
            raise ValueError(
                f"depth_percentiles is {depth_percentiles}, but two rising numbers inside [0, 100] are needed."
            )
        self.augmentation = augmentation
        self.mask_share = mask_share
        self.depth_percentiles: Percentiles = depth_percentiles
        self.pseudo_depth: PseudoDepth | None = pseudo_depth
        self.pseudo_depth_file = None if pseudo_depth_file is None else Path(pseudo_depth_file)

    @property
    @abc.abstractmethod
    def class_names(self) -> list[str]:
        """Class names; the name of label k is at index k - 1."""

    @property
    @abc.abstractmethod
    def category_ids(self) -> list[int]:
        """Category ids of the data set; the id of label k is at index k - 1."""

    @property
    def flag_names(self) -> tuple[str, ...]:
        """Names of the flags of every object, such as ``camouflaged``; flagged objects can be scored separately."""
        return ()

    @property
    def n_classes(self) -> int:
        """Number of classes of the data, to which the network is set."""
        return len(self.category_ids)

    @abc.abstractmethod
    def make_instances(self, split: Split) -> InstanceSource:
        """Return the images of a split. Called once per split and process, after ``prepare_data``."""

    def _make_dataset(self, split: Split) -> Dataset[Sample]:
        source = self.make_instances(split)
        if len(source) == 0:
            raise ValueError(f"The {split} split of {type(self).__name__} holds no images.")
        masked: list[bool] | None = None
        if split == "train":
            masked = self._masked(len(source))
            source = self._with_depth(source)
            chosen = self._subset_positions(split, len(source))
            if chosen is not None:
                source, masked = InstanceSubset(source, chosen), [masked[index] for index in chosen]
            source = self._preprocessed(source, masked)
        elif self.cache:
            source = DownsampledInstances(source, self.image_size, oversampling=float("inf"), keep=True)
        dataset = InstanceDataset(
            source,
            image_size=self.image_size,
            augmentation=self.augmentation if split == "train" else None,
            masked=masked,
            seed=self.seed,
        )
        return cast("Dataset[Sample]", dataset)

    def _masked(self, size: int) -> list[bool]:
        """Return for each training image whether its masks may be used."""
        order = np.random.default_rng((MASK_STREAM, self.seed)).permutation(size)
        masked = np.zeros(size, dtype=np.bool_)
        masked[order[: round(self.mask_share * size)]] = True
        return masked.tolist()

    def _with_depth(self, source: InstanceSource) -> InstanceSource:
        """Return the training images with pseudo depth from a file or noise; exact depth is added by the source."""
        if self.pseudo_depth_file is not None:
            store = open_depth(self.pseudo_depth_file, names=source.names, content_key=self.content_key)
            return StoredDepth(source, store, self.depth_percentiles)
        return NoiseDepth(source, seed=self.seed) if self.pseudo_depth == "noise" else source

    def _preprocessed(self, source: InstanceSource, masked: list[bool]) -> InstanceSource:
        """Return the source with downsampling and caching according to ``oversampling`` and ``cache``."""
        if self.oversampling is None and not self.cache:
            return source
        factor = float("inf") if self.oversampling is None else self.oversampling
        reduced = DownsampledInstances(source, self.image_size, oversampling=factor, keep=self.cache)
        if self.cache and self.num_workers > 0:  # filled before forking, so that worker processes share the memory
            for index in range(len(reduced)):
                reduced.read(index, masks=masked[index])
        return reduced

    def _make_loader(self, dataset: Dataset[Sample], sampler: TrainSampler | EvaluationSampler) -> DataLoader[Any]:
        loader = super()._make_loader(dataset, sampler)
        loader.collate_fn = collate_instances
        return loader
