"""The base of every instance data module: images with boxes, padded together, in an order that can be resumed."""

import abc
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from torch.utils.data import DataLoader, Dataset

from datamodules.base import LoaderDataModule, Split
from datamodules.loading.samplers import EvaluationSampler, TrainSampler
from datamodules.samples.frame import Sample
from datamodules.samples.instance_dataset import InstanceDataset, InstanceSubset, ReducedInstances, collate_instances
from datamodules.samples.instance_frame import InstanceSource
from datamodules.samples.instance_transforms import InstanceAugmentation
from datamodules.samples.pseudo_depth import NoiseDepth, StoredDepth, open_depth

PseudoDepth = Literal["exact", "file", "noise"]
"""Where pseudo depth comes from: the truth (rooms only), a teacher's file, or nowhere."""

MASK_STREAM = 6
"""First word of the seed that says which images may use their masks."""


class InstanceDataModule(LoaderDataModule):
    """Loaders of images with boxes (``structures.instances.InstanceBatch``); a subclass says where they come from.

    Order, draws, resuming and shares under DDP are those of :class:`LoaderDataModule`. Training never reads a mask
    unless ``mask_share`` allows it: with 0, files without any mask give the very same batches.

    Args:
        image_size: Length of the shorter side of evaluation images, and limit of their longer side, in pixels.
        augmentation: Applied to training images; None resizes them as in evaluation.
        mask_share: Share of the training images whose masks may be used where the data have them (mixed supervision):
            0 trains on boxes alone, 1 on all masks. A larger share holds the images of a smaller one.
        pseudo_depth: Where the pseudo depth of training images comes from; None leaves it out.
        pseudo_depth_file: Label file of kind ``depth`` for ``pseudo_depth: file``.
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
        self.augmentation = augmentation
        self.mask_share = mask_share
        self.pseudo_depth: PseudoDepth | None = pseudo_depth
        self.pseudo_depth_file = None if pseudo_depth_file is None else Path(pseudo_depth_file)

    @property
    @abc.abstractmethod
    def class_names(self) -> list[str]:
        """Names of the classes; that of label k is at k - 1."""

    @property
    @abc.abstractmethod
    def category_ids(self) -> list[int]:
        """The data set's own ids of the classes; that of label k is at k - 1."""

    @property
    def flag_names(self) -> tuple[str, ...]:
        """Names of the flags that every object has, such as ``camouflaged``; these can be scored by themselves."""
        return ()

    @property
    def n_classes(self) -> int:
        """How many classes the data have; a network takes it from here."""
        return len(self.category_ids)

    @abc.abstractmethod
    def make_instances(self, split: Split) -> InstanceSource:
        """Return the images of a split; called once per split and process, after ``prepare_data``."""

    def _make_dataset(self, split: Split) -> Dataset[Sample]:
        source = self.make_instances(split)
        if len(source) == 0:
            raise ValueError(f"The {split} split of {type(self).__name__} holds no images.")
        masked: list[bool] | None = None
        if split == "train":
            masked = self._masked(len(source))
            source = self._with_depth(source)
            chosen = self._chosen(split, len(source))
            if chosen is not None:
                source, masked = InstanceSubset(source, chosen), [masked[index] for index in chosen]
            source = self._reduced_instances(source, masked)
        elif self.cache:
            source = ReducedInstances(source, self.image_size, oversampling=float("inf"), keep=True)
        dataset = InstanceDataset(
            source,
            image_size=self.image_size,
            augmentation=self.augmentation if split == "train" else None,
            masked=masked,
            seed=self.seed,
        )
        return cast("Dataset[Sample]", dataset)

    def _masked(self, size: int) -> list[bool]:
        """For each training image whether its masks may be used."""
        order = np.random.default_rng((MASK_STREAM, self.seed)).permutation(size)
        masked = np.zeros(size, dtype=np.bool_)
        masked[order[: round(self.mask_share * size)]] = True
        return masked.tolist()

    def _with_depth(self, source: InstanceSource) -> InstanceSource:
        """The training images with what stands for their depth; a source with the truth has joined it by itself."""
        if self.pseudo_depth_file is not None:
            store = open_depth(self.pseudo_depth_file, names=source.names, content_key=self.content_key)
            return StoredDepth(source, store)
        return NoiseDepth(source, seed=self.seed) if self.pseudo_depth == "noise" else source

    def _reduced_instances(self, source: InstanceSource, masked: list[bool]) -> InstanceSource:
        """The source with its images reduced and kept in memory, as ``oversampling`` and ``cache`` say."""
        if self.oversampling is None and not self.cache:
            return source
        factor = float("inf") if self.oversampling is None else self.oversampling
        reduced = ReducedInstances(source, self.image_size, oversampling=factor, keep=self.cache)
        if self.cache and self.num_workers > 0:  # now, so that worker processes forked later share one memory
            for index in range(len(reduced)):
                reduced.read(index, masks=masked[index])
        return reduced

    def _make_loader(self, dataset: Dataset[Sample], sampler: TrainSampler | EvaluationSampler) -> DataLoader[Any]:
        loader = super()._make_loader(dataset, sampler)
        loader.collate_fn = collate_instances
        return loader
