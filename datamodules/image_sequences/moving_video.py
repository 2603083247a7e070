"""Base class of data modules of recorded video: evaluation on clips or frames, and selection of clips by motion."""

import math
from pathlib import Path
from typing import Any, Literal

from datamodules.base import Split
from datamodules.image_sequences.frame_sequences import SequenceSource
from datamodules.image_sequences.optical_flow import Motion, moving_clips
from datamodules.samples.clips import Window
from datamodules.video import VideoDataModule
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES, check_field_of_view

Evaluation = Literal["clips", "frames"]
"""Whether validation and test use clips, as training does, or single frames."""


class MovingVideoDataModule(VideoDataModule):
    """Data loaders of clips with enough motion. A subclass defines the sequences of a split.

    Args:
        root: Folder or file of the data.
        default_field_of_view_degrees: Horizontal field of view that is assumed for frames without a known camera
            (``K_known`` is False then).
        depth_units_per_metre: File units of depth per metre, e.g. 1000 for millimetres.
        evaluation: Whether to validate and test on ``clips`` or on single ``frames``.
        min_flow: Training clips with less motion between the target and its nearest neighbours (median optical flow
            as a fraction of the image width) are dropped; None keeps them.
        max_flow: Training clips with more motion are dropped; None keeps them.
        target_flow: The stride of each clip is the smallest from ``stride`` to ``max_stride`` with at least this
            motion; None uses ``stride`` for all clips.
        max_stride: See ``target_flow``.
        base: Arguments of :class:`VideoDataModule`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        root: str,
        *,
        default_field_of_view_degrees: float = USUAL_FIELD_OF_VIEW_DEGREES,
        depth_units_per_metre: float = 1000.0,
        evaluation: Evaluation = "clips",
        min_flow: float | None = 0.003,
        max_flow: float | None = 0.15,
        target_flow: float | None = None,
        max_stride: int = 10,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        check_field_of_view(default_field_of_view_degrees, "default_field_of_view_degrees")
        if evaluation not in ("clips", "frames"):
            raise ValueError(f"evaluation '{evaluation}' is not known; choose 'clips' or 'frames'.")
        if not (math.isfinite(depth_units_per_metre) and depth_units_per_metre > 0):
            raise ValueError(
                f"depth_units_per_metre is positive, e.g. 1000 for millimetres, got {depth_units_per_metre}."
            )
        self.root = Path(root)
        self.default_field_of_view_degrees = default_field_of_view_degrees
        self.depth_units_per_metre = depth_units_per_metre
        self.evaluation: Evaluation = evaluation
        self.motion = Motion(min_flow=min_flow, max_flow=max_flow, target_flow=target_flow, max_stride=max_stride)

    def moving_clips(self, split: Split, source: SequenceSource) -> list[Window]:
        """Return the clips inside the runs of a source; training clips outside of the motion limits are dropped.

        Raises:
            ValueError: If every run is shorter than a clip, or no clip has enough motion.
        """
        return moving_clips(
            source.runs,
            lambda position: source.read(position).image,
            self.motion,
            window=self.window,
            stride=self.stride,
            leave_out=split == "train",
            where=f"The {split} split of {self.root}",
        )
