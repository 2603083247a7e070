"""Data module of the video part of rooms as clips with exact poses."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from datamodules.base import Split
from datamodules.rooms.camera_video import CameraVideoSource
from datamodules.rooms.datamodule import Field, RoomsSource, check_choices
from datamodules.rooms.file_module import RoomsFileModule
from datamodules.samples.camera import CameraEffects
from datamodules.samples.clips import Window, clip_windows
from datamodules.samples.frame import Frame, FrameSource
from datamodules.video import VideoDataModule


class _ExactLabels:
    """Frames with ground truth instead of proxy labels and estimated vanishing directions."""

    def __init__(self, source: FrameSource, *, semantic: bool, vanishing: bool) -> None:
        self.source = source
        self.semantic = semantic
        self.vanishing = vanishing

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> Frame:
        frame = self.source.read(index)
        if self.semantic:
            frame = replace(frame, labels={**frame.labels, "proxy_semantic": frame.labels["semantic"]})
        if self.vanishing and frame.T_world_camera is not None:
            # Walls are parallel to the world axes; row k is world axis k in the camera frame.
            frame = replace(frame, vanishing=np.array(frame.T_world_camera[:3, :3]))
        return frame


class RoomsVideoDataModule(RoomsFileModule, VideoDataModule):
    """Data module of clips of the videos of rooms (by default 48 for training, 8 for validation, 8 for test).

    Args:
        fields: Optional fields of the target frames, see :class:`~datamodules.rooms.datamodule.RoomsDataModule`.
        exact_semantic: Whether to use the ground-truth classes as proxy labels, an upper bound for ablations.
        exact_vanishing: Whether to use the ground-truth axes of the room as vanishing directions.
        proxy_labels: File of proxy labels for the training frames, or None.
        vanishing: File of vanishing directions for the training frames, or None.
        oversampling: Frames are downsampled to this multiple of ``image_size`` when they are read.
        camera: Effects of a camera on the images of all splits, at their stored size; None leaves them as rendered.
        base: Arguments of :class:`~datamodules.rooms.file_module.RoomsFileModule` and :class:`VideoDataModule`.

    Raises:
        ValueError: If a field is unknown, or labels are both exact and from a file.
    """

    def __init__(
        self,
        *,
        fields: Sequence[Field] = ("plain", "thin", "glossy", "T_world_camera"),
        exact_semantic: bool = False,
        exact_vanishing: bool = False,
        proxy_labels: str | None = None,
        vanishing: str | None = None,
        oversampling: float = 1.0,
        camera: CameraEffects | None = None,
        **base: Any,
    ) -> None:
        super().__init__(proxy_labels=proxy_labels, vanishing=vanishing, oversampling=oversampling, **base)
        check_choices("fields", fields, Field)
        for name, file in (("semantic", proxy_labels), ("vanishing", vanishing)):
            if file is not None and {"semantic": exact_semantic, "vanishing": exact_vanishing}[name]:
                raise ValueError(f"rooms: exact_{name} and the file {file} exclude each other; set one to null.")
        self.fields = tuple(fields)
        self.exact_semantic = exact_semantic
        self.exact_vanishing = exact_vanishing
        self.camera = camera

    @property
    def content_key(self) -> str:
        """Key of the settings of rooms and camera, so that no labels of other images are taken for these."""
        key = super().content_key
        if self.camera is None:
            return key
        effects = json.dumps(asdict(self.camera), sort_keys=True)
        return f"{key}-camera-{hashlib.sha256(effects.encode()).hexdigest()[:12]}"

    def make_source(self, split: Split) -> FrameSource:
        """Return the video frames of a split, in order.

        Raises:
            FileNotFoundError: If ``prepare_data`` did not run.
            ValueError: If the file is truncated or no rooms file.
        """
        exact = split == "train" and (self.exact_semantic or self.exact_vanishing)
        fields = list(self.fields)
        if exact and self.exact_semantic:
            fields.append("semantic")
        if exact and self.exact_vanishing:
            fields.append("T_world_camera")
        rendered = RoomsSource(self.store, split, parts=("video",), fields=fields)
        source = rendered if self.camera is None else CameraVideoSource(rendered, self.camera)
        if not exact:
            return source
        return _ExactLabels(source, semantic=self.exact_semantic, vanishing=self.exact_vanishing)

    def make_windows(self, split: Split, source: FrameSource) -> list[Window]:
        """Return the clips of a split; no clip crosses the end of a video.

        Raises:
            ValueError: If no video is as long as a clip.
        """
        lengths = [s.n_frames for s in self.store.sequences if s.split == split and s.part == "video"]
        ends = np.cumsum(lengths).tolist()
        sequences = [range(end - length, end) for end, length in zip(ends, lengths, strict=True)]
        return clip_windows(sequences, window=self.window, stride=self.stride)
