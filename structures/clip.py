"""Batches of video clips for self-supervised training: a target frame and its neighbours."""

from typing import NotRequired

import torch
from torch import Tensor

from structures.batch import DepthBatch

IGNORED_LABEL = 0
"""Class id of pixels without a proxy label; classes count from 1."""


class ClipBatch(DepthBatch):
    """A batch of clips. ``image``, ``depth``, ``K`` and the other fields of ``DepthBatch`` belong to the target frame.

    All frames of a clip share ``K`` and every spatial augmentation. ``N`` is odd and the target is the middle frame. In
    a data set of single images (for evaluation) the fields below are absent; without ground truth, ``depth`` is 0 and
    ``depth_mask`` False everywhere.
    """

    frames: NotRequired[Tensor]
    """float32 ``(B, N, 3, H, W)``, RGB in [0, 1], in temporal order; ``frames[:, N // 2]`` is ``image``."""
    frames_jittered: NotRequired[Tensor]
    """float32 ``(B, N, 3, H, W)``: ``frames`` with the same colour jitter in a clip; equal to ``frames`` in
    evaluation."""
    T_frame_target: NotRequired[Tensor]
    """float32 ``(B, N, 4, 4)``, metres: ground-truth transforms of points from the target's camera to each frame's."""
    proxy_semantic: NotRequired[Tensor]
    """int64 ``(B, H, W)``: proxy labels (or ground truth), class ids from 1; ``IGNORED_LABEL`` where there is none."""
    vanishing: NotRequired[Tensor]
    """float32 ``(B, 3, 3)``: rows are orthogonal unit vectors of the Manhattan frame in the target's camera frame, of
    either sign; all zero where unknown."""
    keypoints: NotRequired[Tensor]
    """bool ``(B, 1, H, W)``: key points selected by DSO in the target at full resolution."""


def source_positions(n_frames: int) -> list[int]:
    """Positions of the neighbours in a clip, all but the middle one.

    Args:
        n_frames: Odd number of frames of the clip.

    Raises:
        ValueError: If the number is even or below 3.

    >>> source_positions(5)
    [0, 1, 3, 4]
    """
    if n_frames < 3 or n_frames % 2 == 0:
        raise ValueError(f"a clip has an odd number of frames, at least 3, but this one has {n_frames}")
    return [position for position in range(n_frames) if position != n_frames // 2]


def target_of(frames: Tensor) -> Tensor:
    """The target image ``(B, 3, H, W)`` of clips ``(B, N, 3, H, W)``."""
    return frames[:, frames.shape[1] // 2]


def sources_of(frames: Tensor) -> Tensor:
    """The neighbours ``(B, N - 1, 3, H, W)`` of clips ``(B, N, 3, H, W)``, in temporal order."""
    return frames[:, torch.tensor(source_positions(frames.shape[1]), device=frames.device)]
