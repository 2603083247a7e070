"""Masks in COCO's run-length encoding, by the library that also computes the scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from structures.instances import RunLengths


def encode_masks(masks: npt.NDArray[np.bool_]) -> list[RunLengths]:
    """Return the run lengths of masks ``(N, H, W)``."""
    from faster_coco_eval.core import mask as coco_masks

    if len(masks) == 0:
        return []
    encoded: list[RunLengths] = coco_masks.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return encoded


def decode_masks(run_lengths: Sequence[RunLengths], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the masks ``(N, H, W)`` of run lengths of the given size."""
    from faster_coco_eval.core import mask as coco_masks

    if len(run_lengths) == 0:
        return np.zeros((0, *size), dtype=np.bool_)
    masks: npt.NDArray[np.bool_] = coco_masks.decode(list(run_lengths)).transpose(2, 0, 1).astype(np.bool_)
    return masks


def unpack_counts(text: str) -> npt.NDArray[np.int64]:
    """Return the run lengths in COCO's compressed text.

    The text holds groups of five bits. From the fourth count on, the difference to the count two before is stored.

    Args:
        text: The ``counts`` of a compressed mask.

    Returns:
        int64 ``(N,)``, lengths of runs of 0, 1, 0, ... in column-major order; not checked to be positive.

    Raises:
        ValueError: If a character is invalid or the last count is truncated; the message has no full stop.
    """
    letters = np.frombuffer(text.encode("ascii", errors="replace"), dtype=np.uint8).astype(np.int64) - 48
    if len(letters) == 0:
        return np.zeros(0, dtype=np.int64)
    if ((letters < 0) | (letters > 63)).any() or not text.isascii():
        raise ValueError("which holds letters that packed run lengths do not have")
    last = letters & 32 == 0
    if not last[-1]:
        raise ValueError("which is cut off")
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    lengths = np.diff(np.append(starts, len(letters)))
    if lengths.max() > 12:
        raise ValueError("which holds a number that is too large")
    position = np.arange(len(letters)) - np.repeat(starts, lengths)
    values = np.add.reduceat((letters & 31) << (5 * position), starts)
    negative = letters[last] & 16 != 0
    values = np.where(negative, values - (np.int64(1) << (5 * lengths)), values)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def segmentation_run_lengths(segmentation: Any, size: tuple[int, int]) -> RunLengths:
    """Return the run lengths of a validated segmentation: polygons, or run lengths with or without compression.

    Args:
        segmentation: List of polygons, each ``[x1, y1, x2, y2, ...]``, or a dictionary with ``size`` and ``counts``,
            from ``datamodules.coco.segmentations.check_segmentation``.
        size: Height and width of the image.
    """
    from faster_coco_eval.core import mask as coco_masks

    height, width = size
    encoded: RunLengths = coco_masks.segmToRle(segmentation, width, height)
    return encoded
