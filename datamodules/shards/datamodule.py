"""Data modules of shards: single images with depth, clips, and images with instances."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from datamodules.base import DepthDataModule, Split
from datamodules.instances import InstanceDataModule
from datamodules.mixed.datamodule import MixedDataset
from datamodules.mixed.schedule import Mixture
from datamodules.samples.clips import Window
from datamodules.samples.frame import FrameSource, Sample
from datamodules.samples.instance_frame import InstanceSource
from datamodules.shards.base import ShardDataModule
from datamodules.shards.index import DESCRIPTION
from datamodules.shards.sources import (
    ShardFrames,
    ShardImages,
    ShardInstances,
    ShardMixedFrames,
    stored_windows,
    strings,
)
from datamodules.video import VideoDataModule
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES, check_field_of_view


class _ShardFramesModule(ShardDataModule):
    """Base class of the data modules whose stored samples are frames."""

    @property
    def assumed_field_of_view_degrees(self) -> float:
        """Horizontal field of view from which K was derived where the camera was unknown."""
        view = self.description.values.get("assumed_field_of_view_degrees", USUAL_FIELD_OF_VIEW_DEGREES)
        check_field_of_view(view, f"{self.storage.where(DESCRIPTION)}: assumed_field_of_view_degrees")
        return float(view)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes of ``semantic`` in the data that were written; empty without any."""
        return strings(self.description.values, "class_names", self.storage.where(DESCRIPTION))

    def make_source(self, split: Split) -> FrameSource:
        """Return the frames of a split.

        Raises:
            FileNotFoundError: If there are no finished shards.
            ValueError: If the shards are of another kind, damaged, or lack the split.
        """
        return ShardFrames(self.store(split))


class ShardDepthDataModule(_ShardFramesModule, DepthDataModule):
    """Data module of single images with depth from shards.

    Args:
        root: See :class:`ShardDataModule`.
        base: Arguments of :class:`ShardDataModule` and :class:`~datamodules.base.DepthDataModule`.
    """

    kind = "depth"

    def __init__(self, root: str, **base: Any) -> None:
        super().__init__(root, **base)


class ShardMixedDataModule(_ShardFramesModule, DepthDataModule):
    """Data module of mixed data from shards; the mixture is that of the data module that was written.

    The order of mixed data repeats frames and mixes sources, so ``shuffle: shards`` is not available.

    Args:
        root: See :class:`ShardDataModule`.
        base: Arguments of :class:`ShardDataModule` and :class:`~datamodules.base.DepthDataModule`.

    Raises:
        ValueError: If ``shuffle`` is ``shards``, or ``train_subset`` is set.
    """

    kind = "mixed"

    def __init__(self, root: str, **base: Any) -> None:
        super().__init__(root, **base)
        if self.shuffle != "samples":
            raise ValueError("shuffle is 'shards', but mixed data repeat frames of small sources: set it to 'samples'.")
        if self.train_subset is not None:
            raise ValueError("train_subset cannot be set for mixed data in shards: set it when they are written.")

    def _make_dataset(self, split: Split) -> Dataset[Sample]:
        if split != "train":
            return super()._make_dataset(split)
        frames = ShardMixedFrames(self.store("train"))
        return MixedDataset(
            self._preprocessed(frames),
            joined=frames,
            mixture=Mixture(frames.sizes, frames.counts, seed=self.seed),
            image_size=self.image_size,
            augmentation=self.augmentation,
            depth_scale=self.depth_scale,
            seed=self.seed,
        )


class ShardVideoDataModule(_ShardFramesModule, VideoDataModule):
    """Data module of clips from shards, which hold each frame once.

    Proxy labels, vanishing directions and key points are stored if they were written; they can also come from files of
    their own, as in every video data module.

    Args:
        root: See :class:`ShardDataModule`.
        window: Odd number of frames of a clip, at most that of the data that were written; fewer frames are the
            middle ones of the stored clips.
        base: Arguments of :class:`ShardDataModule` and :class:`~datamodules.video.VideoDataModule`. ``stride`` has
            no effect: the stored clips have one.
    """

    kind = "video"

    def __init__(self, root: str, *, window: int = 5, **base: Any) -> None:
        super().__init__(root, window=window, **base)

    def make_windows(self, split: Split, source: FrameSource) -> list[Window]:
        """Return the clips of a split.

        Raises:
            ValueError: If the stored clips are shorter than ``window``.
        """
        written = self.description.values.get("window")
        if not isinstance(written, int) or self.window > written:
            raise ValueError(
                f"{self.storage.where(DESCRIPTION)} holds clips of {written} frames, but window is {self.window}: set "
                "data.init_args.window to at most that."
            )
        return [_middle(window, self.window) for window in stored_windows(self.store(split))]

    def _stored_positions(self) -> npt.NDArray[np.int64]:
        targets = [window[len(window) // 2] for window in stored_windows(self.store("train"))]
        return np.array(targets, dtype=np.int64)


class ShardInstanceDataModule(ShardDataModule, InstanceDataModule):
    """Data module of images with instances from shards.

    Args:
        root: See :class:`ShardDataModule`.
        base: Arguments of :class:`ShardDataModule` and :class:`~datamodules.instances.InstanceDataModule`.
            ``mask_share`` can be chosen freely if the shards were written with ``mask_share`` 1.
    """

    kind = "instances"

    def __init__(self, root: str, **base: Any) -> None:
        super().__init__(root, **base)

    @property
    def class_names(self) -> list[str]:
        """Class names; the name of label k is at index k - 1."""
        return strings(self.description.values, "class_names", self.storage.where(DESCRIPTION))

    @property
    def category_ids(self) -> list[int]:
        """Category ids of the data that were written; the id of label k is at index k - 1."""
        ids = self.description.values.get("category_ids")
        if not (isinstance(ids, list) and ids and all(isinstance(value, int) for value in ids)):
            raise ValueError(f"{self.storage.where(DESCRIPTION)}: category_ids has to be a list of whole numbers.")
        return ids

    @property
    def flag_names(self) -> tuple[str, ...]:
        """Names of the flags of every object."""
        return tuple(strings(self.description.values, "flag_names", self.storage.where(DESCRIPTION)))

    def make_source(self, split: Split) -> FrameSource:
        """Return every image of a split as a frame with unknown depth, input of a teacher of pseudo depth.

        Raises:
            FileNotFoundError: If there are no finished shards.
            ValueError: If the shards are of another kind, damaged, or lack the split.
        """
        return ShardImages(self.store(split))

    def make_instances(self, split: Split) -> InstanceSource:
        """Return the images of a split.

        Raises:
            FileNotFoundError: If there are no finished shards.
            ValueError: If the shards are of another kind, damaged, lack the split, or hold fewer masks than
                ``mask_share`` needs.
        """
        written, seed = (self.description.values.get(name) for name in ("mask_share", "mask_seed"))
        if (
            split == "train"
            and self.mask_share > 0
            and written != 1
            and (written, seed) != (self.mask_share, self.seed)
        ):
            raise ValueError(
                f"{self.storage.where(DESCRIPTION)} holds the masks of a share of {written} of the training images, "
                f"drawn with seed {seed}, but mask_share is {self.mask_share} with seed {self.seed}: set both as they "
                "were, or mask_share to 0, or write the shards with mask_share 1."
            )
        return ShardInstances(self.store(split))


def _middle(window: Window, length: int) -> Window:
    """Return the middle frames of a clip; a clip that is not longer is returned as it is."""
    cut = max(0, (len(window) - length) // 2)
    return window[cut : len(window) - cut]
