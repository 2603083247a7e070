"""Selection of training clips with enough image motion, measured by optical flow.

Two nearly identical frames do not constrain depth: any depth explains them. Papers on NYU Depth v2 exclude such pairs
by lists of frames. Here they are detected by dense optical flow (Kroeger et al., "Fast Optical Flow using Dense Inverse
Search", https://arxiv.org/abs/1603.03590, as in OpenCV), whose median is robust to moving objects.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.samples.clips import Window, clip_windows

logger = logging.getLogger(__name__)

FLOW_WIDTH = 160
"""Width of the grey images for optical flow; the result differs from that at twice the width by a few per cent."""


def small_grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return an RGB image ``(H, W, 3)`` as grey ``(h, FLOW_WIDTH)`` with the same aspect ratio."""
    height, width = image.shape[:2]
    size = (FLOW_WIDTH, max(12, round(height * FLOW_WIDTH / width)))  # OpenCV's flow needs at least 12 rows
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if width > FLOW_WIDTH else cv2.INTER_LINEAR)
    return np.asarray(small, dtype=np.uint8)


def median_flow(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """Return the median length of the optical flow over all pixels, as a fraction of the image width.

    Args:
        first: Grey, ``(H, W)``.
        second: Grey, of the same size.
    """
    flow = np.zeros((*first.shape, 2), dtype=np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(first, second, flow)
    return float(np.median(np.hypot(flow[..., 0], flow[..., 1]))) / first.shape[1]


class FlowMeter:
    """Median flow between two frames given by position, with a cache of images and results.

    Args:
        read: Function that returns the RGB image, uint8 ``(H, W, 3)``, at a position.
    """

    def __init__(self, read: Callable[[int], npt.NDArray[np.generic]]) -> None:
        self.read = read
        self.images: dict[int, npt.NDArray[np.uint8]] = {}
        self.flows: dict[tuple[int, int], float] = {}

    def __call__(self, first: int, second: int) -> float:
        """Return the median flow between two frames as a fraction of the image width; symmetric."""
        pair = (min(first, second), max(first, second))
        if pair not in self.flows:
            self.flows[pair] = median_flow(self._image(pair[0]), self._image(pair[1]))
        return self.flows[pair]

    def _image(self, position: int) -> npt.NDArray[np.uint8]:
        if position not in self.images:
            self.images[position] = small_grey(np.asarray(self.read(position), dtype=np.uint8))
        return self.images[position]


@dataclass(frozen=True)
class Motion:
    """Limits of the median flow between a target and its nearest neighbours, as fractions of the image width.

    Attributes:
        min_flow: Targets with less flow are dropped; None keeps them.
        max_flow: Targets with more flow (cuts, blur, too little overlap) are dropped; None keeps them.
        target_flow: The stride of each target is the smallest with at least this flow; None uses one stride for all.
        max_stride: Largest stride for ``target_flow``.

    Raises:
        ValueError: If a number is out of its range.
    """

    min_flow: float | None = None
    max_flow: float | None = None
    target_flow: float | None = None
    max_stride: int = 10

    def __post_init__(self) -> None:
        for name in ("min_flow", "max_flow", "target_flow"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} is a fraction of the image width between 0 and 1, or null, got {value:g}.")
        if self.min_flow is not None and self.max_flow is not None and self.min_flow >= self.max_flow:
            raise ValueError(f"min_flow={self.min_flow:g} has to be below max_flow={self.max_flow:g}.")
        if self.max_stride < 1:
            raise ValueError(f"max_stride has to be at least 1 frame, got {self.max_stride}.")


@dataclass(frozen=True)
class MovingClips:
    """Result of :func:`moving_windows`.

    Attributes:
        windows: Clips that are kept.
        flows: Median flow of each from the target to its nearest neighbours, as a fraction of the width.
        too_slow: Number of clips below ``min_flow``.
        too_fast: Number of clips above ``max_flow``.
        largest_flow: Largest flow of all clips, including dropped ones.
    """

    windows: list[Window]
    flows: list[float]
    too_slow: int
    too_fast: int
    largest_flow: float


def strided_windows(
    sequences: Sequence[Sequence[int]], flow: Callable[[int, int], float], motion: Motion, *, window: int, stride: int
) -> list[Window]:
    """Return windows with a stride per target: the smallest with a flow of at least ``target_flow``.

    Args:
        sequences: Positions of the frames of each sequence, in temporal order.
        flow: Median flow between two positions.
        motion: See :class:`Motion`.
        window: Odd number of frames of a clip.
        stride: Smallest stride.

    Returns:
        One window for each target that has neighbours at the smallest stride. If no stride inside the sequence has
        enough flow, the largest is used.

    Raises:
        ValueError: If no sequence is long enough for the smallest stride.
    """
    windows = clip_windows(sequences, window=window, stride=stride)
    if motion.target_flow is None or window == 1:
        return windows
    half = window // 2
    chosen: list[Window] = []
    for sequence in sequences:
        for middle in range(half * stride, len(sequence) - half * stride):
            room = min(middle, len(sequence) - 1 - middle) // half
            best = stride
            for candidate in range(stride, max(stride, min(room, motion.max_stride)) + 1):
                best = candidate
                neighbours = (sequence[middle - candidate], sequence[middle + candidate])
                if _mean_flow(flow, sequence[middle], neighbours) >= motion.target_flow:
                    break
            chosen.append(tuple(sequence[middle + offset * best] for offset in range(-half, half + 1)))
    return chosen


def moving_windows(windows: Sequence[Window], flow: Callable[[int, int], float], motion: Motion) -> MovingClips:
    """Return the windows whose flow lies within the limits.

    Args:
        windows: Clips of at least three frames.
        flow: Median flow between two positions.
        motion: See :class:`Motion`.
    """
    flows = []
    for window in windows:
        middle = len(window) // 2
        flows.append(_mean_flow(flow, window[middle], (window[middle - 1], window[middle + 1])))
    slow = [motion.min_flow is not None and value < motion.min_flow for value in flows]
    fast = [motion.max_flow is not None and value > motion.max_flow for value in flows]
    kept = [index for index in range(len(windows)) if not (slow[index] or fast[index])]
    return MovingClips(
        windows=[windows[index] for index in kept],
        flows=[flows[index] for index in kept],
        too_slow=sum(slow),
        too_fast=sum(fast),
        largest_flow=max(flows, default=0.0),
    )


def moving_clips(
    sequences: Sequence[Sequence[int]],
    read: Callable[[int], npt.NDArray[np.generic]],
    motion: Motion,
    *,
    window: int,
    stride: int,
    leave_out: bool,
    where: str,
) -> list[Window]:
    """Return the clips of some sequences, with strides and limits according to ``motion``.

    Args:
        sequences: Positions of the frames of each sequence, in temporal order.
        read: Function that returns the RGB image, uint8 ``(H, W, 3)``, at a position; not called if ``motion`` sets no
            limit.
        motion: Limits of the flow.
        window: Odd number of frames of a clip.
        stride: Frames from one frame of a clip to the next.
        leave_out: Whether to drop clips outside of the limits.
        where: The split, for messages.

    Raises:
        ValueError: If no sequence is as long as a clip, or no clip lies within the limits.
    """
    flow = FlowMeter(read)
    try:
        if window == 1:
            return clip_windows(sequences, window=window, stride=stride)
        windows = strided_windows(sequences, flow, motion, window=window, stride=stride)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not leave_out or (motion.min_flow is None and motion.max_flow is None):
        return windows
    moving = moving_windows(windows, flow, motion)
    if not moving.windows:
        if moving.too_slow == len(windows):
            raise ValueError(
                f"{where}: nothing moves, the median optical flow to the neighbours is at most "
                f"{moving.largest_flow:.4f} image widths in all {len(windows)} clips, which is below min_flow="
                f"{motion.min_flow:g}; without motion of the camera no depth can be learned, so raise stride or set "
                "target_flow if the camera moves slowly."
            )
        raise ValueError(
            f"{where}: of {len(windows)} clips {moving.too_slow} move less than min_flow={motion.min_flow} and "
            f"{moving.too_fast} more than max_flow={motion.max_flow}, so none is left."
        )
    strides = sorted({clip[1] - clip[0] for clip in moving.windows})
    logger.log(
        logging.WARNING if moving.too_slow or moving.too_fast else logging.INFO,
        "%s: %d of %d clips kept, %d move too little (min_flow), %d too much (max_flow); the median flow from target "
        "to neighbour is %.4f image widths at strides of %d to %d frames.",
        where,
        len(moving.windows),
        len(windows),
        moving.too_slow,
        moving.too_fast,
        float(np.median(moving.flows)),
        strides[0],
        strides[-1],
    )
    return moving.windows


def _mean_flow(flow: Callable[[int, int], float], target: int, neighbours: tuple[int, int]) -> float:
    return (flow(target, neighbours[0]) + flow(target, neighbours[1])) / 2
