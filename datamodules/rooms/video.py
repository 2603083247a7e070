"""Data module of the video part of rooms as clips with exact poses."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.base import Split
from datamodules.rooms.datamodule import Field, RoomsSource, check_choices, open_store
from datamodules.rooms.make_store import DEFAULT_RENDERER, build_store, default_root, store_path
from datamodules.rooms.settings import RoomsSettings
from datamodules.rooms.store import RoomsStore
from datamodules.samples.clips import Window, clip_windows
from datamodules.samples.frame import Frame, FrameSource
from datamodules.video import VideoDataModule


class _ExactLabels:
    """Frames with ground truth instead of proxy labels and estimated vanishing directions."""

    def __init__(self, source: RoomsSource, *, semantic: bool, vanishing: bool) -> None:
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


class RoomsVideoDataModule(VideoDataModule):
    """Data module of clips of the videos of rooms (by default 48 for training, 8 for validation, 8 for test).

    Args:
        settings: Settings of the rooms; None uses the defaults. Every value is part of the key of the file.
        root: Folder of the file; None uses ``$PLUMBLINE_DATA``, or ``data`` in the working directory.
        fields: Optional fields of the target frames, see :class:`~datamodules.rooms.datamodule.RoomsDataModule`.
        exact_semantic: Whether to use the ground-truth classes as proxy labels, an upper bound for ablations.
        exact_vanishing: Whether to use the ground-truth axes of the room as vanishing directions.
        processes: Processes that render the data set; None uses one per core, 0 renders in this process.
        renderer: ``module:function`` that renders a sequence.
        proxy_labels: File of proxy labels for the training frames, or None.
        vanishing: File of vanishing directions for the training frames, or None.
        oversampling: Frames are downsampled to this multiple of ``image_size`` when they are read.
        base: Arguments of :class:`VideoDataModule`.

    Raises:
        ValueError: If a field is unknown, or labels are both exact and from a file.
    """

    def __init__(
        self,
        *,
        settings: RoomsSettings | None = None,
        root: str | None = None,
        fields: Sequence[Field] = ("plain", "thin", "glossy", "T_world_camera"),
        exact_semantic: bool = False,
        exact_vanishing: bool = False,
        processes: int | None = None,
        renderer: str = DEFAULT_RENDERER,
        proxy_labels: str | None = None,
        vanishing: str | None = None,
        oversampling: float = 1.0,
        **base: Any,
    ) -> None:
        super().__init__(proxy_labels=proxy_labels, vanishing=vanishing, oversampling=oversampling, **base)
        check_choices("fields", fields, Field)
        for name, file in (("semantic", proxy_labels), ("vanishing", vanishing)):
            if file is not None and {"semantic": exact_semantic, "vanishing": exact_vanishing}[name]:
                raise ValueError(f"rooms: exact_{name} and the file {file} exclude each other; set one to null.")
        self.settings = RoomsSettings() if settings is None else settings
        self.root = default_root() if root is None else Path(root)
        self.fields = tuple(fields)
        self.exact_semantic = exact_semantic
        self.exact_vanishing = exact_vanishing
        self.processes = processes
        self.renderer = renderer
        self.store: RoomsStore | None = None

    @property
    def content_key(self) -> str:
        """Key of the settings."""
        return f"rooms-{self.settings.fingerprint()}"

    def prepare_data(self) -> None:
        """Render the data set if it does not exist, with a progress bar; an interrupted run is resumed."""
        build_store(self.settings, self.root, processes=self.processes, renderer=self.renderer)

    def make_source(self, split: Split) -> FrameSource:
        """Return the video frames of a split, in order.

        Raises:
            FileNotFoundError: If ``prepare_data`` did not run.
            ValueError: If the file is truncated or no rooms file.
        """
        if self.store is None:
            self.store = open_store(store_path(self.settings, self.root), self.settings)
        exact = split == "train" and (self.exact_semantic or self.exact_vanishing)
        fields = list(self.fields)
        if exact and self.exact_semantic:
            fields.append("semantic")
        if exact and self.exact_vanishing:
            fields.append("T_world_camera")
        source = RoomsSource(self.store, split, parts=("video",), fields=fields)
        if not exact:
            return source
        return _ExactLabels(source, semantic=self.exact_semantic, vanishing=self.exact_vanishing)

    def make_windows(self, split: Split, source: FrameSource) -> list[Window]:
        """Return the clips of a split; no clip crosses the end of a video.

        Raises:
            ValueError: If no video is as long as a clip.
        """
        assert self.store is not None  # opened by make_source
        lengths = [s.n_frames for s in self.store.sequences if s.split == split and s.part == "video"]
        ends = np.cumsum(lengths).tolist()
        sequences = [range(end - length, end) for end, length in zip(ends, lengths, strict=True)]
        return clip_windows(sequences, window=self.window, stride=self.stride)
