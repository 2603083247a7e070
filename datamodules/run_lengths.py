"""Masks as run lengths in COCO's encoding, by the library that also scores them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from structures.instances import RunLengths


def encode_masks(masks: npt.NDArray[np.bool_]) -> list[RunLengths]:
    """Run lengths of masks ``(N, H, W)``."""
    from faster_coco_eval.core import mask as coco_masks

    if len(masks) == 0:
        return []
    encoded: list[RunLengths] = coco_masks.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return encoded


def decode_masks(run_lengths: Sequence[RunLengths], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Masks ``(N, H, W)`` of run lengths that all have that size."""
    from faster_coco_eval.core import mask as coco_masks

    if len(run_lengths) == 0:
        return np.zeros((0, *size), dtype=np.bool_)
    masks: npt.NDArray[np.bool_] = coco_masks.decode(list(run_lengths)).transpose(2, 0, 1).astype(np.bool_)
    return masks


def segmentation_run_lengths(segmentation: Any, size: tuple[int, int]) -> RunLengths:
    """Run lengths of what a COCO file calls a segmentation: polygons or run lengths, packed or not.

    Args:
        segmentation: List of polygons, each ``[x1, y1, x2, y2, ...]``, or a dictionary with ``size`` and ``counts``.
        size: Height and width of the image.

    Raises:
        ValueError: If it is neither, a polygon has less than three corners, or the run lengths are of another size or
            do not add up to it; the message has no full stop.
    """
    from faster_coco_eval.core import mask as coco_masks

    height, width = size
    if isinstance(segmentation, list):
        if not segmentation or any(not isinstance(p, list) or len(p) < 6 or len(p) % 2 for p in segmentation):
            raise ValueError("its segmentation is a list, but not of polygons with at least three corners each")
    elif isinstance(segmentation, dict) and {"size", "counts"} <= segmentation.keys():
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"its run lengths are for {segmentation['size']}, but the image has {[height, width]}")
        if isinstance(segmentation["counts"], list) and sum(segmentation["counts"]) != height * width:
            raise ValueError(f"its run lengths add up to {sum(segmentation['counts'])}, not to {height}x{width} pixels")
    else:
        raise ValueError("its segmentation is neither a list of polygons nor run lengths with size and counts")
    encoded: RunLengths = coco_masks.segmToRle(segmentation, width, height)
    return encoded
