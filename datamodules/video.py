"""Base class of all video data modules, with clips of neighbouring frames instead of single images."""

import abc
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from datamodules.base import DepthDataModule, Split
from datamodules.preprocessing.keypoints import KeypointSource
from datamodules.samples.clips import ClipAugmentation, ClipDataset, Window
from datamodules.samples.frame import FrameSource, Sample
from datamodules.samples.stored_labels import ProxyLabelSource, VanishingSource, open_labels


class VideoDataModule(DepthDataModule):
    """Data loaders of clips (``structures.clip.ClipBatch``). A subclass defines the frame source and the clips.

    Order, random draws, resuming and DDP sharding are those of :class:`DepthDataModule`, applied to clips.

    Args:
        window: Odd number of frames of a clip; the target is the middle one.
        stride: Frames of the video from one frame of a clip to the next.
        augmentation: Applied to training clips; None trains on unaugmented clips.
        proxy_labels: File of proxy labels for the training frames (``structures/label_store.py``), or None.
        vanishing: File of vanishing directions for the training frames, or None.
        keypoints: Whether to select key points in every frame, at full size.
        batch_size: Clips per batch and process.
        oversampling: Frames are downsampled to this multiple of ``image_size`` when they are read; None keeps their
            size.
        cache: Whether to keep frames in memory after the first read; every frame is part of several clips.
        base: Arguments of :class:`DepthDataModule`.

    Raises:
        ValueError: If ``window`` is even or below 1 or ``stride`` below 1.
    """

    def __init__(
        self,
        *,
        window: int = 5,
        stride: int = 1,
        augmentation: ClipAugmentation | None = None,
        proxy_labels: str | None = None,
        vanishing: str | None = None,
        keypoints: bool = False,
        batch_size: int = 8,
        oversampling: float | None = 1.0,
        cache: bool = True,
        **base: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, oversampling=oversampling, cache=cache, **base)
        if window < 1 or window % 2 == 0:
            raise ValueError(f"window is the odd number of frames of a clip, got {window}.")
        if stride < 1:
            raise ValueError(f"stride has to be at least 1 frame, got {stride}.")
        self.window = window
        self.stride = stride
        self.clip_augmentation = augmentation
        self.proxy_labels = None if proxy_labels is None else Path(proxy_labels)
        self.vanishing = None if vanishing is None else Path(vanishing)
        self.keypoints = keypoints

    @abc.abstractmethod
    def make_windows(self, split: Split, source: FrameSource) -> list[Window]:
        """Return the clips of a split, as positions in the source from ``make_source``."""

    def _make_dataset(self, split: Split) -> Dataset[Sample]:
        source = self.make_source(split)
        windows = self.make_windows(split, source)
        if len(windows) == 0:
            raise ValueError(f"The {split} split of {type(self).__name__} holds no clips.")
        chosen = self._subset_positions(split, len(windows))
        if chosen is not None:
            windows = [windows[index] for index in chosen]
        targets = self._preprocessed(self._with_labels(split, source))
        return ClipDataset(
            # With a cache, targets and neighbours share frames. Without one, neighbours are read without labels.
            targets if self.cache else self._preprocessed(source),
            windows,
            targets=targets,
            image_size=self.image_size,
            augmentation=self.clip_augmentation if split == "train" else None,
            depth_scale=self.depth_scale,
            seed=self.seed,
        )

    def _with_labels(self, split: Split, source: FrameSource) -> FrameSource:
        """Return the source with proxy labels, vanishing directions and key points according to the settings."""
        if split == "train" and self.proxy_labels is not None:
            source = ProxyLabelSource(
                source, open_labels(self.proxy_labels, kind="semantic", content_key=self.content_key)
            )
        if split == "train" and self.vanishing is not None:
            source = VanishingSource(
                source, open_labels(self.vanishing, kind="vanishing", content_key=self.content_key)
            )
        return KeypointSource(source) if self.keypoints else source
