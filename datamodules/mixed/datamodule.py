"""Data module of mixed data: weighted training sources with different kinds of ground truth, evaluation in metres."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from datamodules.base import DepthDataModule, Split
from datamodules.files.version import joined_version
from datamodules.loading.samplers import epoch_order, sample_generator
from datamodules.mixed.joined import JoinedSource, MixedFrames, with_default_camera
from datamodules.mixed.schedule import Mixture, share_counts
from datamodules.mixed.sources import ManifestDomain, MixedSource
from datamodules.mixed.truth import TruthSource, truth_of
from datamodules.rooms.make_store import default_root
from datamodules.samples.aspect import warn_stretched
from datamodules.samples.dataset import DepthDataset, FrameSubset
from datamodules.samples.frame import DepthScale, Frame, FrameSource, Sample, to_sample
from datamodules.samples.transforms import DepthAugmentation, resize
from structures.depth_kind import DepthKind


class MixedDataset(DepthDataset):
    """Training samples of :class:`structures.depth_kind.MixedBatch`.

    The key ``(epoch, slot)`` selects a frame through the mixture. Its augmentation is a function of (seed, epoch,
    slot), so a frame that occurs twice in an epoch is augmented differently. ``index`` is the position of the frame
    among the frames of all sources.

    Args:
        source: Frames of all sources with ground truth, possibly downsampled, in the order of ``joined``.
        joined: Concatenation of the sources, which gives source and kind of a frame.
        mixture: Selection of the frames of an epoch.
        image_size: Height and width of the samples.
        augmentation: Applied before the final resize, or None.
        depth_scale: Depth that corresponds to the scaled depth 1.0, for metric depth.
        seed: Non-negative seed of the draws.
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        joined: MixedFrames,
        mixture: Mixture,
        image_size: tuple[int, int],
        augmentation: DepthAugmentation | None = None,
        depth_scale: DepthScale = "10m",
        seed: int = 0,
    ) -> None:
        super().__init__(source, image_size=image_size, augmentation=augmentation, depth_scale=depth_scale, seed=seed)
        self.joined = joined
        self.mixture = mixture

    def __len__(self) -> int:
        """Return the number of samples of an epoch."""
        return len(self.mixture)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return the augmented sample of an ``(epoch, slot)`` pair, or the unaugmented one of a frame index."""
        if isinstance(key, tuple):
            epoch, slot = key
            index = self.mixture.frame(epoch, slot)
            frame = self.source.read(index)
            if self.augmentation is not None:
                generator = sample_generator(self.seed, epoch, slot)
                frame = self.augmentation(frame, generator, image_size=self.image_size)
        else:
            index = key
            frame = self.source.read(index)
        return self._sample(resize(frame, self.image_size), index)

    def _sample(self, frame: Frame, index: int) -> Sample:
        truth, mask = truth_of(frame)
        sample = to_sample(replace(frame, labels={}, flags={}), index=index, depth_scale=self.depth_scale)
        source, _ = self.joined.locate(index)
        return sample | {
            "truth": torch.from_numpy(np.array(truth)[None]),
            "truth_mask": torch.from_numpy(np.array(mask)[None]),
            "kind": torch.tensor(int(self.joined.kind(index)), dtype=torch.int64),
            "source": torch.tensor(source, dtype=torch.int64),
        }


class _TruthSubset(FrameSubset):
    """Selected frames of a source with kinds of ground truth."""

    def __init__(self, source: TruthSource, indices: list[int]) -> None:
        super().__init__(source, indices)
        self.truth_source = source

    def kind(self, index: int) -> DepthKind:
        return self.truth_source.kind(self.indices[index])


class MixedDataModule(DepthDataModule):
    """Data module of several weighted sources, each with its own kind of ground truth; evaluation is in metres.

    In an epoch each source has its exact share of ``samples_per_epoch`` (except for an incomplete last batch), in an
    order that mixes all sources. A source smaller than its share repeats. The selection is a function of (seed, epoch),
    so order, resuming and DDP sharding are those of :class:`DepthDataModule`. Only samples of kind ``metric`` have
    depth in metres. Every training sample has ``truth``, ``truth_mask``, ``kind`` and ``source``.

    Args:
        sources: Training sources.
        evaluation: Source of validation and test, always metric; its weight and kind are ignored.
        root: Folder of embedded data, to which paths of manifests are relative; None uses ``$PLUMBLINE_DATA``, or
            ``data`` in the working directory.
        samples_per_epoch: Samples of one epoch; None uses the number of frames of all sources.
        oversampling: Frames are downsampled to this multiple of ``image_size`` before augmentation; None keeps their
            size.
        cache: Whether to keep frames in memory after the first read.
        base: Arguments of :class:`DepthDataModule`.

    Raises:
        ValueError: If there is no source, two have one name, or ``samples_per_epoch`` is below 1.
    """

    def __init__(
        self,
        *,
        sources: Sequence[MixedSource],
        evaluation: MixedSource,
        root: str | None = None,
        samples_per_epoch: int | None = None,
        oversampling: float | None = 1.0,
        cache: bool = True,
        **base: Any,
    ) -> None:
        super().__init__(oversampling=oversampling, cache=cache, **base)
        if not sources:
            raise ValueError("Mixed data need at least one source, but the list of sources is empty.")
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"Two sources of mixed data are called '{twice[0]}'; names are unique.")
        if samples_per_epoch is not None and samples_per_epoch < 1:
            raise ValueError(f"samples_per_epoch has to be at least 1 or null, got {samples_per_epoch}.")
        self.sources = list(sources)
        self.evaluation = evaluation
        self.root = default_root() if root is None else Path(root)
        self.samples_per_epoch = samples_per_epoch

    @property
    def val_is_test(self) -> bool:
        """Whether validation runs on the test frames, because the source has no validation frames."""
        return self.evaluation.val_is_test(self.root)

    @property
    def data_version(self) -> str | None:
        """Versions of all sources, the evaluation's last."""
        return joined_version(source.version(self.root) for source in [*self.sources, self.evaluation])

    def prepare_data(self) -> None:
        """Create or validate the data of every source."""
        for source in [*self.sources, self.evaluation]:
            source.prepare(self.root)
            if self.aspect == "stretch" and isinstance(source, ManifestDomain):
                warn_stretched(f"source {source.name}", source.sizes, self.image_size)

    def make_source(self, split: Split) -> FrameSource:
        """Return the frames of a split: those of all sources with ground truth, or those of the evaluation source.

        Raises:
            FileNotFoundError: If data are missing.
            ValueError: If data are invalid, or a source has no training frame.
        """
        if split == "train":
            return self._joined()
        frames = self.evaluation.evaluation(split, self.root)
        return frames if self.evaluation.K_known else _DefaultCamera(frames)

    def _joined(self) -> JoinedSource:
        parts = [source.training(self.root) for source in self.sources]
        for source, part in zip(self.sources, parts, strict=True):
            if len(part) == 0:
                raise ValueError(f"source {source.name}: it holds no frames to train on (no rows or rooms of 'train').")
        if self.train_subset is not None:
            counts = self._shares(self.train_subset, "train_subset")
            parts = [
                self._subset(source, part, count)
                for source, part, count in zip(self.sources, parts, counts, strict=True)
            ]
        return JoinedSource(self.sources, parts)

    def _subset(self, source: MixedSource, part: TruthSource, count: int) -> TruthSource:
        """Return the first ``count`` frames of a seeded permutation of a source."""
        if count > len(part):
            raise ValueError(
                f"source {source.name}: its share of train_subset {self.train_subset} is {count} frames, but it has "
                f"{len(part)}; lower train_subset or the weight."
            )
        return _TruthSubset(part, np.sort(epoch_order(len(part), seed=self.seed, epoch=0)[:count]).tolist())

    def _shares(self, total: int, name: str) -> list[int]:
        counts = share_counts([source.weight for source in self.sources], total)
        for source, count in zip(self.sources, counts, strict=True):
            if count == 0:
                raise ValueError(
                    f"source {source.name}: its weight {source.weight:g} is worth less than one of the {total} samples "
                    f"({name}); raise either."
                )
        return counts

    def _make_dataset(self, split: Split) -> Dataset[Sample]:
        if split != "train":
            return super()._make_dataset(split)
        joined = self._joined()
        total = len(joined) if self.samples_per_epoch is None else self.samples_per_epoch
        return MixedDataset(
            self._preprocessed(joined),
            joined=joined,
            mixture=Mixture(joined.sizes, self._shares(total, "samples_per_epoch"), seed=self.seed),
            image_size=self.image_size,
            augmentation=self.augmentation,
            depth_scale=self.depth_scale,
            seed=self.seed,
        )


class _DefaultCamera:
    """Frames of a source with default intrinsics instead of their own."""

    def __init__(self, source: FrameSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> Frame:
        return with_default_camera(self.source.read(index))
