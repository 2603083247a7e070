"""Ground truth of any kind as maps of a frame, so that augmentation applies to it.

A frame stores its ground truth as a label map and the validity as a flag map. Geometric transforms sample both at the
nearest pixel without mixing values, and set both to 0 outside of the image. The metric depth of a frame of another kind
is 0 everywhere, so that it cannot enter a loss.
"""

from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from datamodules.samples.frame import Frame, FrameSource
from structures.depth_kind import DepthKind

TRUTH, TRUTH_MASK = "truth", "truth_mask"
"""Names of the maps in the labels and flags of a frame."""

Truth = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class TruthSource(FrameSource, Protocol):
    """Frames with ground truth, whose kind is available without reading the frame."""

    def kind(self, index: int) -> DepthKind:
        """Return the kind of ground truth of a frame."""
        ...


def with_truth(frame: Frame, truth: Truth, mask: Mask) -> Frame:
    """Return a frame with ground truth of another kind instead of metric depth.

    Args:
        frame: The frame; its metric depth and pose are removed.
        truth: ``(H, W)`` in the unit of its kind.
        mask: ``(H, W)``, where the ground truth is valid.
    """
    return replace(
        frame,
        depth=np.zeros_like(frame.depth),
        labels={TRUTH: np.where(mask, truth, np.float32(0)).astype(np.float32)},
        flags={TRUTH_MASK: mask},
        T_world_camera=None,
    )


def with_metres(frame: Frame) -> Frame:
    """Return a frame of kind ``metric``, whose ground truth is its depth."""
    return replace(frame, labels={TRUTH: frame.depth}, flags={TRUTH_MASK: frame.depth > 0})


def truth_of(frame: Frame) -> tuple[Truth, Mask]:
    """Return the ground truth of a frame and the mask of its valid pixels."""
    truth: Truth = frame.labels[TRUTH].astype(np.float32)
    return truth, frame.flags[TRUTH_MASK]


def check_truth(truth: npt.NDArray[np.floating], mask: Mask, kind: DepthKind, where: str) -> None:
    """Raise an error for ground truth that is unusable for training.

    Args:
        truth: ``(H, W)`` in the unit of its kind.
        mask: ``(H, W)``, where the ground truth is valid.
        kind: Any kind but ``METRIC``, for which see :func:`datamodules.samples.frame.check_depth`.
        where: Name in messages, e.g. file and row.

    Raises:
        ValueError: If no pixel is valid, a valid value is not finite, or all valid values are equal.
    """
    name = kind.name.lower()
    if not mask.any():
        raise ValueError(f"{where}: no pixel of the {name} truth is valid, so the frame is useless; drop it.")
    low, high = float(truth.min(where=mask, initial=np.inf)), float(truth.max(where=mask, initial=-np.inf))
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(np.count_nonzero(~np.isfinite(truth) & mask))
        raise ValueError(
            f"{where}: the {name} truth holds {bad} NaN or infinite pixels where it is valid; mark them invalid (0, or "
            "0 in the mask)."
        )
    if low == high:
        raise ValueError(
            f"{where}: the {name} truth is {low:g} in every valid pixel, so there is nothing to align or to order; "
            "drop the frame."
        )
