"""Exact depth turned into truth of another kind: what a data set without a scale would say of the same scene."""

import math
from dataclasses import dataclass

import numpy as np

from datamodules.mixed.truth import Truth, with_metres, with_truth
from datamodules.samples.frame import Frame, FrameSource
from structures.depth_kind import DepthKind

DISTORTION_STREAM = 4
"""First word of the seed of every distortion."""


@dataclass(frozen=True)
class Distortion:
    """How much of the metres the truth of one image still tells.

    ``affine_depth`` is ``a D + b`` and ``affine_disparity`` ``a / D + b`` with D in metres, ``a`` and ``b`` of each
    image; ``ordinal`` is ``(D / max D)^p``, which keeps the order alone. The draws are a function of (seed, position of
    the image), the same in every epoch and every run: they are part of the data, as unknown scales are.

    Args:
        scale_range: Range of ``a``, positive, drawn evenly in its logarithm.
        shift_range: Range of ``b``.
        power_range: Range of ``p``, positive, drawn evenly in its logarithm.
        seed: Non-negative seed of the draws, not that of the run.

    Raises:
        ValueError: If a range is reversed, not finite or not positive where it has to be, or the seed is negative.
    """

    scale_range: tuple[float, float] = (0.5, 2.0)
    shift_range: tuple[float, float] = (-0.5, 0.5)
    power_range: tuple[float, float] = (0.5, 2.0)
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        for name, positive in (("scale_range", True), ("shift_range", False), ("power_range", True)):
            low, high = getattr(self, name)
            if not (math.isfinite(low) and math.isfinite(high) and low <= high and (low > 0 or not positive)):
                raise ValueError(
                    f"distortion: {name} is ({low}, {high}), it must be a rising pair of finite "
                    f"{'positive ' if positive else ''}numbers"
                )
        if self.seed < 0:
            raise ValueError(f"distortion: seed is {self.seed}, it must not be negative")

    def draw(self, index: int) -> tuple[float, float, float]:
        """Return a, b and p of the image at that position of its source."""
        generator = np.random.default_rng((DISTORTION_STREAM, self.seed, index))
        a, p = (
            math.exp(generator.uniform(math.log(low), math.log(high)))
            for low, high in (self.scale_range, self.power_range)
        )
        return a, float(generator.uniform(*self.shift_range)), p

    def __call__(self, depth: Truth, kind: DepthKind, index: int) -> Truth:
        """The truth of an image.

        Args:
            depth: float32 ``(H, W)``, metres, 0 where unknown.
            kind: Kind of the truth, any but ``METRIC``.
            index: Position of the image in its source.

        Returns:
            float32 ``(H, W)``; values where depth is unknown mean nothing.
        """
        a, b, p = self.draw(index)
        metres = np.where(depth > 0, depth, 1.0).astype(np.float64)
        if kind is DepthKind.AFFINE_DEPTH:
            return (a * metres + b).astype(np.float32)
        if kind is DepthKind.AFFINE_DISPARITY:
            return (a / metres + b).astype(np.float32)
        return ((metres / depth.max()) ** p).astype(np.float32)


class DistortedSource:
    """Another source's frames with truth of one kind in place of their metres.

    Args:
        source: Frames with depth in metres.
        kind: Kind of the truth.
        distortion: What is done to depth; unused for ``METRIC``.
    """

    def __init__(self, source: FrameSource, kind: DepthKind, distortion: Distortion) -> None:
        self.source = source
        self.truth_kind = kind
        self.distortion = distortion

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def kind(self, _index: int) -> DepthKind:
        """Return the kind of a frame's truth."""
        return self.truth_kind

    def read(self, index: int) -> Frame:
        """Return a frame with its truth."""
        frame = self.source.read(index)
        if self.truth_kind is DepthKind.METRIC:
            return with_metres(frame)
        return with_truth(frame, self.distortion(frame.depth, self.truth_kind, index), frame.depth > 0)
