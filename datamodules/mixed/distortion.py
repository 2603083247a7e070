"""Conversion of exact depth to ground truth of another kind, to simulate data sets without metric scale."""

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
    """Random transform of metric depth into ground truth with a scale-and-shift ambiguity, or with order alone.

    ``affine_depth`` is ``a D + b`` and ``affine_disparity`` is ``a / D + b`` with D in metres and ``a``, ``b`` drawn
    per image. ``ordinal`` is ``(D / max D)^p``, which preserves only the order. The draws are a function of (seed,
    position of the image) and equal in every epoch and run, because they are part of the data.

    Args:
        scale_range: Range of ``a``, positive, log-uniform.
        shift_range: Range of ``b``, uniform.
        power_range: Range of ``p``, positive, log-uniform.
        seed: Non-negative seed of the draws, independent of the seed of the run.

    Raises:
        ValueError: If a range is reversed, not finite or not positive where it has to be, or the seed is negative.
    """

    scale_range: tuple[float, float] = (0.5, 2.0)
    shift_range: tuple[float, float] = (-0.5, 0.5)
    power_range: tuple[float, float] = (0.5, 2.0)
    seed: int = 0

    def __post_init__(self) -> None:
        """Validate every value."""
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
        """Return a, b and p of the image at a position of its source."""
        generator = np.random.default_rng((DISTORTION_STREAM, self.seed, index))
        a, p = (
            math.exp(generator.uniform(math.log(low), math.log(high)))
            for low, high in (self.scale_range, self.power_range)
        )
        return a, float(generator.uniform(*self.shift_range)), p

    def __call__(self, depth: Truth, kind: DepthKind, index: int) -> Truth:
        """Return the ground truth of an image.

        Args:
            depth: float32 ``(H, W)``, metres, 0 where unknown.
            kind: Kind of ground truth, any but ``METRIC``.
            index: Position of the image in its source.

        Returns:
            float32 ``(H, W)``; undefined where depth is unknown.
        """
        a, b, p = self.draw(index)
        metres = np.where(depth > 0, depth, 1.0).astype(np.float64)
        if kind is DepthKind.AFFINE_DEPTH:
            return (a * metres + b).astype(np.float32)
        if kind is DepthKind.AFFINE_DISPARITY:
            return (a / metres + b).astype(np.float32)
        return ((metres / depth.max()) ** p).astype(np.float32)


class DistortedSource:
    """Frames of a source with ground truth of another kind instead of metric depth.

    Args:
        source: Frames with depth in metres.
        kind: Kind of ground truth.
        distortion: Transform of depth; unused for ``METRIC``.
    """

    def __init__(self, source: FrameSource, kind: DepthKind, distortion: Distortion) -> None:
        self.source = source
        self.truth_kind = kind
        self.distortion = distortion

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def kind(self, _index: int) -> DepthKind:
        """Return the kind of ground truth of a frame."""
        return self.truth_kind

    def read(self, index: int) -> Frame:
        """Return a frame with its ground truth."""
        frame = self.source.read(index)
        if self.truth_kind is DepthKind.METRIC:
            return with_metres(frame)
        return with_truth(frame, self.distortion(frame.depth, self.truth_kind, index), frame.depth > 0)
