"""Clips (windows of neighbouring frames around a target), their augmentation and their samples."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from datamodules.loading.samplers import sample_generator
from datamodules.samples.colours import ColourJitter, float_image
from datamodules.samples.frame import DepthScale, Frame, FrameSource, Sample, to_sample
from datamodules.samples.transforms import flip, resize
from structures.batch import PADDING_INDEX

Window = tuple[int, ...]
"""Positions of the frames of a clip in their source, in temporal order; the target is the middle one."""


def clip_windows(sequences: Sequence[Sequence[int]], *, window: int, stride: int) -> list[Window]:
    """Return all windows inside the sequences; targets too close to an end of their sequence are skipped.

    Args:
        sequences: Positions of the frames of each sequence, in temporal order.
        window: Odd number of frames of a clip; 1 gives single frames.
        stride: Frames from one frame of a clip to the next.

    Returns:
        One window per target with all its neighbours, in the order of the sequences.

    Raises:
        ValueError: If the window is even or the stride below 1, or no sequence is long enough.

    >>> clip_windows([[0, 1, 2, 3, 4, 5], [6, 7]], window=3, stride=2)
    [(0, 2, 4), (1, 3, 5)]
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window is the odd number of frames of a clip, got {window}.")
    if stride < 1:
        raise ValueError(f"stride has to be at least 1 frame, got {stride}.")
    reach = (window - 1) * stride
    windows = [
        tuple(sequence[start : start + reach + 1 : stride])
        for sequence in sequences
        for start in range(len(sequence) - reach)
    ]
    if not windows:
        longest = max((len(sequence) for sequence in sequences), default=0)
        raise ValueError(
            f"A clip of {window} frames with stride {stride} spans {reach + 1} frames, but the longest sequence has "
            f"{longest}: lower window or stride, or use a longer video."
        )
    return windows


class ClipAugmentation:
    """Training augmentation of a clip: one horizontal flip and one colour jitter for all frames.

    The defaults are those of GAM-Depth. Its paper draws one jitter per clip, as here; the released code draws one per
    frame.

    Args:
        flip: Probability of a horizontal flip.
        jitter: Probability of a colour jitter.
        brightness: Range of the brightness factor.
        contrast: Range of the contrast factor.
        saturation: Range of the saturation factor.
        hue: Largest hue shift as a fraction of the colour circle.

    Raises:
        ValueError: If a probability or a range is out of bounds.
    """

    def __init__(
        self,
        *,
        flip: float = 0.5,
        jitter: float = 0.5,
        brightness: tuple[float, float] = (0.8, 1.2),
        contrast: tuple[float, float] = (0.8, 1.2),
        saturation: tuple[float, float] = (0.8, 1.2),
        hue: float = 0.1,
    ) -> None:
        for name, probability in (("flip", flip), ("jitter", jitter)):
            if not 0 <= probability <= 1:
                raise ValueError(f"{name} is a probability, got {probability}.")
        self.flip = flip
        self.jitter = jitter
        self.colours = ColourJitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)

    def __call__(
        self, frames: list[Frame], generator: np.random.Generator
    ) -> tuple[list[Frame], list[npt.NDArray[np.float32]]]:
        """Return the augmented frames of a clip.

        Args:
            frames: The frames at their final size; not modified.
            generator: Random generator.

        Returns:
            The frames, possibly flipped, without colour jitter, and the jittered images ``(H, W, 3)`` in [0, 1].
        """
        if generator.random() < self.flip:
            frames = [flip(frame) for frame in frames]
        images = [float_image(frame.image) for frame in frames]
        if generator.random() < self.jitter:
            change = self.colours.draw(generator)
            images = [change(image).clip(0, 1).astype(np.float32) for image in images]
        return frames, images


class ClipDataset(Dataset[Sample]):
    """Windows of a source as samples of ``structures.clip.ClipBatch``.

    An ``(epoch, index)`` pair gives the augmented training sample, whose draws depend on (seed, epoch, index) alone.
    An index gives the unaugmented sample, and ``PADDING_INDEX`` one without valid depth. A window of one frame
    gives a sample without neighbours.

    Args:
        source: Source of the frames.
        windows: The clips.
        targets: Source of the targets, if they need more data (labels) than their neighbours; None uses ``source``.
        image_size: Height and width of the samples.
        augmentation: Applied to training samples, or None.
        depth_scale: Depth that corresponds to the scaled depth 1.0.
        seed: Non-negative seed of the draws.
    """

    def __init__(
        self,
        source: FrameSource,
        windows: Sequence[Window],
        *,
        targets: FrameSource | None = None,
        image_size: tuple[int, int],
        augmentation: ClipAugmentation | None = None,
        depth_scale: DepthScale = "10m",
        seed: int = 0,
    ) -> None:
        self.source = source
        self.targets = source if targets is None else targets
        self.windows = windows
        self.image_size = image_size
        self.augmentation = augmentation
        self.depth_scale: DepthScale = depth_scale
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.windows)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Return the sample of an index (evaluation) or of an ``(epoch, index)`` pair (training).

        Raises:
            ValueError: If the frames of the clip have different sizes or cameras.
        """
        epoch, index = key if isinstance(key, tuple) else (None, key)
        window = self.windows[0 if index == PADDING_INDEX else index]
        middle = len(window) // 2
        frames = [(self.targets if k == middle else self.source).read(position) for k, position in enumerate(window)]
        _check_alike(frames)
        frames = [resize(frame, self.image_size) for frame in frames]
        if epoch is not None and self.augmentation is not None:
            frames, jittered = self.augmentation(frames, sample_generator(self.seed, epoch, index))
        else:
            jittered = [float_image(frame.image) for frame in frames]
        target = frames[middle]
        sample = to_sample(target, index=index, depth_scale=self.depth_scale)
        if len(frames) > 1:
            sample["frames"] = _stack([float_image(frame.image) for frame in frames])
            sample["frames_jittered"] = _stack(jittered)
            poses = [frame.T_world_camera for frame in frames]
            if target.T_world_camera is not None and all(pose is not None for pose in poses):
                T_frame_target = [np.linalg.inv(pose) @ target.T_world_camera for pose in poses if pose is not None]
                sample["T_frame_target"] = torch.from_numpy(np.stack(T_frame_target).astype(np.float32))
        return sample


def _stack(images: list[npt.NDArray[np.float32]]) -> torch.Tensor:
    """Return images ``(H, W, 3)`` as one tensor ``(N, 3, H, W)``."""
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))


def _check_alike(frames: list[Frame]) -> None:
    first = frames[0]
    for frame in frames[1:]:
        if frame.image.shape != first.image.shape:
            raise ValueError(
                f"{first.name} and {frame.name} belong to one clip, but their sizes are "
                f"{first.image.shape[1]}x{first.image.shape[0]} and {frame.image.shape[1]}x{frame.image.shape[0]}: "
                "the frames of a video need one size."
            )
        if not np.allclose(frame.K, first.K, rtol=1e-6):
            raise ValueError(f"{first.name} and {frame.name} belong to one clip, but have different intrinsics.")
