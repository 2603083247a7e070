"""Frames of unknown camera with the field of view that a checkpoint was trained with."""

import math
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.samples.frame import Sample
from geometry.camera import focal_from_field_of_view
from geometry.novel_views import zoomed_intrinsics
from lightning_modules.runs.trained_data import FIELD_OF_VIEW, trained_settings
from lightning_modules.teachers.source import source_kind


class AssumedCamera(Dataset[Sample]):
    """Samples whose assumed intrinsics (``K_known`` is False) are replaced; known intrinsics stay.

    Args:
        frames: Samples with ``image``, ``K`` and ``K_known``.
        field_of_view_degrees: Horizontal field of view of unknown cameras. The ratio of the two focal lengths and the
            principal point stay.
    """

    def __init__(self, frames: Dataset[Sample], field_of_view_degrees: float) -> None:
        self.frames = frames
        self.field_of_view_degrees = field_of_view_degrees

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(cast(Any, self.frames))

    def __getitem__(self, index: int) -> Sample:
        """Return a sample."""
        sample = dict(self.frames[index])
        if not bool(sample["K_known"]):
            K, image = cast(Tensor, sample["K"]), cast(Tensor, sample["image"])
            focal_px = focal_from_field_of_view(math.radians(self.field_of_view_degrees), image.shape[-1])
            sample["K"] = zoomed_intrinsics(K[None], torch.as_tensor(focal_px / K[0, 0])[None])[0]
        return sample


def with_training_camera(frames: Dataset[Sample], teacher: str) -> Dataset[Sample]:
    """The frames, with the field of view of a checkpoint's training for unknown cameras.

    The depth of a network with a canonical camera is proportional to the focal length. Where the camera is unknown, the
    network needs the assumption that it was trained with, not that of the data that it labels.

    Args:
        frames: Unaugmented samples.
        teacher: Source of the teacher; frames stay as they are for anything but a checkpoint that stores its field of
            view.
    """
    if source_kind(teacher) != "checkpoint":
        return frames
    degrees = trained_settings(Path(teacher)).get(FIELD_OF_VIEW)
    return frames if degrees is None else AssumedCamera(frames, degrees)
