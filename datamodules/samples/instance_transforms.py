"""Multi-scale resize and flip of images with instances, including boxes, masks and pseudo depth.

In the corner convention a resize scales boxes and a flip mirrors them. Masks are sampled at the nearest pixel. Pseudo
depth, which is smooth and may have any size, is interpolated where it is known.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.samples.instance_frame import InstanceFrame


def fitting_size(size: tuple[int, int], *, short_side: int, max_long_side: int) -> tuple[int, int]:
    """Return height and width with the same aspect ratio and a given shorter side, limited by the longer side.

    Args:
        size: Current height and width.
        short_side: Target length of the shorter side.
        max_long_side: Limit of the longer side, which takes precedence.

    Example:
        >>> fitting_size((480, 640), short_side=800, max_long_side=1333)
        (800, 1067)
        >>> fitting_size((640, 200), short_side=800, max_long_side=1333)
        (1333, 417)
    """
    scale = min(short_side / min(size), max_long_side / max(size))
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def resize_instances(frame: InstanceFrame, size: tuple[int, int]) -> InstanceFrame:
    """Return an image resized with its boxes, masks and pseudo depth.

    Args:
        frame: The image; not modified.
        size: New height and width in pixels.
    """
    height, width = frame.image.shape[:2]
    new_height, new_width = size
    if frame.pseudo_depth is not None and frame.depth_mask is not None and frame.pseudo_depth.shape != size:
        depth, depth_mask = resize_known(frame.pseudo_depth, frame.depth_mask, size)
        frame = replace(frame, pseudo_depth=depth, depth_mask=depth_mask)
    if (height, width) == size:
        return frame
    image = cv2.resize(frame.image, (new_width, new_height), interpolation=_interpolation((height, width), size))
    masks = frame.masks
    if masks is not None:
        rows = ((np.arange(new_height) + 0.5) * height / new_height).astype(np.intp)
        columns = ((np.arange(new_width) + 0.5) * width / new_width).astype(np.intp)
        masks = masks[:, rows[:, None], columns]
    factors = np.array([new_width / width, new_height / height] * 2)
    return replace(frame, image=image.astype(np.uint8), boxes=(frame.boxes * factors).astype(np.float32), masks=masks)


def flip_instances(frame: InstanceFrame) -> InstanceFrame:
    """Return an image flipped horizontally with its boxes, masks and pseudo depth; the input is not modified."""
    x1, y1, x2, y2 = frame.boxes.T
    width = np.float32(frame.image.shape[1])
    return replace(
        frame,
        image=np.ascontiguousarray(frame.image[:, ::-1]),
        boxes=np.stack([width - x2, y1, width - x1, y2], axis=1),
        masks=None if frame.masks is None else frame.masks[..., ::-1],
        pseudo_depth=None if frame.pseudo_depth is None else frame.pseudo_depth[:, ::-1],
        depth_mask=None if frame.depth_mask is None else frame.depth_mask[:, ::-1],
    )


def resize_known(
    values: npt.NDArray[np.float32], known: npt.NDArray[np.bool_], size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return a resized map with unknown pixels, which do not mix into known ones.

    Args:
        values: ``(h, w)``.
        known: ``(h, w)``.
        size: New height and width.

    Returns:
        The new map, 0 where unknown, and the new mask: pixels in which known ones have more than half of the weight.
    """
    interpolation = _interpolation(values.shape, size)
    new_size = (size[1], size[0])
    if known.all():
        resized = cv2.resize(np.ascontiguousarray(values), new_size, interpolation=interpolation)
        return resized.astype(np.float32), np.ones(size, dtype=np.bool_)
    weights = cv2.resize(known.astype(np.float32), new_size, interpolation=interpolation)
    sums = cv2.resize(np.where(known, values, np.float32(0)), new_size, interpolation=interpolation)
    new_known = weights > 0.5
    new_values = np.divide(sums, weights, out=np.zeros_like(sums), where=new_known)
    return new_values.astype(np.float32), new_known


def _interpolation(old: tuple[int, ...], new: tuple[int, int]) -> int:
    """Return OpenCV's area averaging if both sides shrink, else linear interpolation."""
    return cv2.INTER_AREA if new[0] <= old[0] and new[1] <= old[1] else cv2.INTER_LINEAR


class InstanceAugmentation:
    """Training augmentation of BoxInst and CondInst: multi-scale resize and horizontal flip.

    Args:
        short_sides: Candidate lengths of the shorter side in pixels (paper: 640 to 800 in steps of 32).
        max_long_side: Limit of the longer side in pixels (paper: 1333).
        flip: Probability of a horizontal flip.

    Raises:
        ValueError: If there is no length, one is below 1 or above the limit, or ``flip`` is no probability.
    """

    def __init__(
        self,
        *,
        short_sides: Sequence[int] = (640, 672, 704, 736, 768, 800),
        max_long_side: int = 1333,
        flip: float = 0.5,
    ) -> None:
        if len(short_sides) == 0 or min(short_sides) < 1 or max(short_sides) > max_long_side:
            raise ValueError(
                f"short_sides are lengths in pixels from 1 to max_long_side = {max_long_side}, got {list(short_sides)}."
            )
        if not 0 <= flip <= 1:
            raise ValueError(f"flip is a probability, got {flip}.")
        self.short_sides = tuple(short_sides)
        self.max_long_side = max_long_side
        self.flip = flip

    def __call__(self, frame: InstanceFrame, generator: np.random.Generator) -> InstanceFrame:
        """Return an augmented image; the input is not modified.

        Args:
            frame: The image.
            generator: Random generator.
        """
        short_side = self.short_sides[generator.integers(len(self.short_sides))]
        flips = generator.random() < self.flip
        size = fitting_size(frame.original_size, short_side=short_side, max_long_side=self.max_long_side)
        frame = resize_instances(frame, size)
        return flip_instances(frame) if flips else frame
