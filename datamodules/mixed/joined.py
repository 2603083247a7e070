"""Concatenation of the training frames of all sources of mixed data."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from datamodules.mixed.sources import MixedSource
from datamodules.mixed.truth import TruthSource
from datamodules.samples.frame import Frame, default_intrinsics
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES
from structures.depth_kind import DepthKind


class MixedFrames(TruthSource, Protocol):
    """Interface of the training frames of all sources, in one sequence."""

    def locate(self, index: int) -> tuple[int, int]:
        """Return the source index of a frame and its position in the source."""
        ...


class JoinedSource:
    """Concatenation of the training frames of all sources.

    Args:
        sources: The configured sources.
        frames: Frames of each source.
    """

    def __init__(self, sources: Sequence[MixedSource], frames: Sequence[TruthSource]) -> None:
        self.sources = list(sources)
        self.frames = list(frames)
        self.sizes = [len(part) for part in frames]

    def __len__(self) -> int:
        """Return the number of frames."""
        return sum(self.sizes)

    def locate(self, index: int) -> tuple[int, int]:
        """Return the source index of a frame and its position in the source."""
        for source, size in enumerate(self.sizes):
            if index < size:
                return source, index
            index -= size
        raise IndexError(f"The frame index must be below {len(self)}, the number of frames of all sources.")

    def kind(self, index: int) -> DepthKind:
        """Return the kind of ground truth of a frame."""
        source, position = self.locate(index)
        return self.frames[source].kind(position)

    def read(self, index: int) -> Frame:
        """Return a frame with its ground truth; K is a default if its source has ``K_known=False``."""
        source, position = self.locate(index)
        frame = self.frames[source].read(position)
        frame = replace(frame, name=f"{self.sources[source].name}/{frame.name}")
        return frame if self.sources[source].K_known else with_default_camera(frame)


def with_default_camera(frame: Frame) -> Frame:
    """Return the frame with default intrinsics instead of its own."""
    height, width = frame.image.shape[:2]
    K = default_intrinsics(width=width, height=height, field_of_view_degrees=USUAL_FIELD_OF_VIEW_DEGREES)
    return replace(frame, K=K, K_known=False)
