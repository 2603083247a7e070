"""The truth of a sample whose kind is not metric, and how it travels through augmentation.

A frame carries its truth as one more label map and the truth's validity as one more flag: whatever moves a frame moves
those, from the nearest pixel and without mixing values, and what it cannot know becomes 0 in both. The metres of such a
frame are 0 everywhere, so that none can leak into a loss.
"""

from dataclasses import replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from datamodules.samples.frame import Frame, FrameSource
from structures.depth_kind import DepthKind

TRUTH, TRUTH_MASK = "truth", "truth_mask"
"""Names of the maps among a frame's labels and flags."""

Truth = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


class TruthSource(FrameSource, Protocol):
    """Frames that carry truth and know its kind without being read."""

    def kind(self, index: int) -> DepthKind:
        """Return the kind of a frame's truth."""
        ...


def with_truth(frame: Frame, truth: Truth, mask: Mask) -> Frame:
    """A frame that carries truth in place of metres.

    Args:
        frame: The frame; its depth, and whatever else it holds in metres, is left out.
        truth: ``(H, W)`` in the unit of its kind.
        mask: ``(H, W)``, where it was measured.
    """
    return replace(
        frame,
        depth=np.zeros_like(frame.depth),
        labels={TRUTH: np.where(mask, truth, np.float32(0)).astype(np.float32)},
        flags={TRUTH_MASK: mask},
        T_world_camera=None,
    )


def with_metres(frame: Frame) -> Frame:
    """A frame of kind ``metric``, whose truth is its depth."""
    return replace(frame, labels={TRUTH: frame.depth}, flags={TRUTH_MASK: frame.depth > 0})


def truth_of(frame: Frame) -> tuple[Truth, Mask]:
    """The truth that a frame carries and where it was measured."""
    truth: Truth = frame.labels[TRUTH].astype(np.float32)
    return truth, frame.flags[TRUTH_MASK]


def check_truth(truth: npt.NDArray[np.floating], mask: Mask, kind: DepthKind, where: str) -> None:
    """Refuse truth that would teach nonsense or nothing.

    Args:
        truth: ``(H, W)`` in the unit of its kind.
        mask: ``(H, W)``, where it was measured.
        kind: Any but ``METRIC``, which :func:`datamodules.samples.frame.check_depth` is for.
        where: What to call it in the message, e.g. its file and row.

    Raises:
        ValueError: If nothing is measured, a measured value is not finite, or all measured values are equal.
    """
    name = kind.name.lower()
    if not mask.any():
        raise ValueError(f"{where}: no pixel of the {name} truth is valid, so the frame teaches nothing; drop it.")
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
