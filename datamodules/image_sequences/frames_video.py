"""Data module of clips from a user's video: a folder of frames, a folder of such folders, or a video file.

``docs/own_video.md`` describes how to prepare one.
"""

import logging
from pathlib import Path
from typing import Any

from datamodules.base import Split
from datamodules.files.media_paths import VIDEO_SUFFIXES, describe_unreadable, find_path
from datamodules.files.name_matching import TimeUnit
from datamodules.files.pairing import DEFAULT_TOLERANCE_S
from datamodules.files.photos import auxiliary_folders
from datamodules.image_sequences.camera_file import CAMERA_FILE, Camera, read_camera
from datamodules.image_sequences.frame_files import find_files, find_folders, find_images, list_files, match_depths
from datamodules.image_sequences.frame_ranges import assign_frames
from datamodules.image_sequences.frame_sequences import FolderSequence, FrameSequence, SequenceSource, VideoFileSequence
from datamodules.image_sequences.moving_video import MovingVideoDataModule
from datamodules.samples.clips import Window
from datamodules.samples.first_frames import check_first_frames
from datamodules.samples.frame import FrameSource

logger = logging.getLogger(__name__)


class FramesVideoDataModule(MovingVideoDataModule):
    """Data module of clips from a user's video, with or without depth.

    ``root`` is a folder of images in natural order, a folder of such folders (one sequence each), or a video file,
    which is decoded into memory. A ``camera.yaml`` beside the frames (``datamodules/image_sequences/camera_file.py``)
    gives the camera of one sequence, or of all sequences if it lies directly in ``root``.

    Args:
        root: See above.
        camera: Path of a camera file for all sequences; None searches beside the frames.
        depth_root: Folder of depth files for evaluation, with one subfolder per sequence if ``root`` has them; None
            leaves all depth unknown.
        depth_tolerance_s: Largest difference in seconds between the time stamps of a frame and its depth, if names are
            time stamps; frames without a match have unknown depth.
        depth_time_unit: Unit of integer time stamps, see :func:`~datamodules.files.pairing.pair_files`.
        train: Training frames, see :func:`assign_frames`; None uses all frames of no other split.
        val: Validation frames; None uses those of ``test``, and ``val_is_test`` is True.
        test: Test frames; None uses those of ``val``, or the last tenth of every sequence if both are None.
        max_video_frames: Maximum number of frames of a video file.
        base: Arguments of :class:`MovingVideoDataModule`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        root: str,
        *,
        camera: str | None = None,
        depth_root: str | None = None,
        depth_tolerance_s: float = DEFAULT_TOLERANCE_S,
        depth_time_unit: TimeUnit | None = None,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        max_video_frames: int = 5000,
        **base: Any,
    ) -> None:
        super().__init__(root, **base)
        if max_video_frames < 1:
            raise ValueError(f"max_video_frames has to be at least 1, got {max_video_frames}.")
        if self.evaluation == "frames" and depth_root is None:
            raise ValueError("evaluation 'frames' needs depth_root, the ground truth of single frames; choose 'clips'.")
        self.camera = None if camera is None else Path(camera)
        self.depth_root = None if depth_root is None else Path(depth_root)
        self.depth_tolerance_s = depth_tolerance_s
        self.depth_time_unit: TimeUnit | None = depth_time_unit
        self.frames_of: dict[Split, str | None] = {"train": train, "val": val, "test": test}
        self.max_video_frames = max_video_frames
        self._sequences: list[FrameSequence] | None = None

    @property
    def assumed_field_of_view_degrees(self) -> float:
        """Horizontal field of view of frames without K: that of the camera files if they agree, else the default."""
        views = {view for sequence in self._read() if (view := sequence.assumed_field_of_view_degrees) is not None}
        return views.pop() if len(views) == 1 else self.default_field_of_view_degrees

    @property
    def val_is_test(self) -> bool:
        """Whether validation runs on the test frames: True unless both ``val`` and ``test`` are given."""
        return self.frames_of["val"] is None or self.frames_of["test"] is None

    def prepare_data(self) -> None:
        """Validate files, camera, splits and the first frames before training starts.

        Raises:
            FileNotFoundError: If a file or folder is missing.
            ValueError: If a file or setting is invalid.
        """
        self._assigned()
        check_first_frames(self._read(), data=str(self.root), image_size=self.image_size, aspect=self.aspect)

    def make_source(self, split: Split) -> SequenceSource:
        """Return the frames of a split.

        Raises:
            FileNotFoundError: If a file or folder is missing.
            ValueError: If a file or setting is invalid.
        """
        assigned = self._assigned()[split]
        by_name = {sequence.name: sequence for sequence in self._read()}
        return SequenceSource([(by_name[name], frames) for name, frames in assigned.items()])

    def make_windows(self, split: Split, source: FrameSource) -> list[Window]:
        """Return the clips of a split; no clip crosses a gap between frames or the end of a sequence.

        Raises:
            ValueError: If the split has fewer frames than a clip, or no clip has enough motion.
        """
        assert isinstance(source, SequenceSource)  # the return type of make_source
        if split != "train" and self.evaluation == "frames":
            return [(position,) for position in range(len(source)) if _has_depth(*source.frames[position])]
        return self.moving_clips(split, source)

    def _assigned(self) -> dict[Split, dict[str, list[int]]]:
        clip = 1 if self.evaluation == "frames" else (self.window - 1) * self.stride + 1
        return assign_frames(
            {sequence.name: len(sequence) for sequence in self._read()}, **self.frames_of, least_held_out=clip
        )

    def _read(self) -> list[FrameSequence]:
        if self._sequences is None:
            guessed: list[Path] = []
            if self.root.is_file():
                sequences = [self._video_file(guessed)]
            else:
                sequences = [self._folder(name, images, guessed) for name, images in self._folders()]
            if guessed:
                logger.warning(
                    "%s has no %s: a horizontal field of view of %g degrees is assumed.",
                    self.root,
                    CAMERA_FILE,
                    self.default_field_of_view_degrees,
                )
            self._sequences = sequences
        return self._sequences

    def _folders(self) -> list[tuple[str, list[Path]]]:
        """Return name and images of every sequence."""
        if not self.root.is_dir():
            raise FileNotFoundError(
                f"There is no {self.root}: set data.init_args.root to a folder of frames, a folder of such folders, or "
                "a video file."
            )
        images = find_images(self.root)
        if images:
            return [("", images)]
        found = {path.name: find_images(path) for path in find_folders(self.root)}
        found = {name: files for name, files in found.items() if files}
        depth = next((name for name in found if "depth" in name.lower()), None)
        if depth is not None:
            raise ValueError(
                f"{self.root} holds a folder '{depth}', which is no sequence of pictures: let root be the folder of "
                f"the frames and depth_root={self.root / depth}."
            )
        beside = auxiliary_folders(found)
        if beside:
            frames = next(name for name in found if name not in beside)
            raise ValueError(
                f"{self.root} holds a folder '{beside[0]}' beside '{frames}', which is no sequence of pictures: let "
                f"root be the folder of the frames, as {self.root / frames}, or move '{beside[0]}' elsewhere."
            )
        if not found:
            videos = find_files(self.root, VIDEO_SUFFIXES)
            hint = f"; for a video let root be the file itself, as {videos[0]}" if videos else ""
            unknown = describe_unreadable(
                path for folder in (self.root, *find_folders(self.root)) for path in list_files(folder)
            )
            hint += f"; there are {unknown}" if unknown else ""
            raise ValueError(f"There are no images in {self.root} or the folders in it{hint}.")
        return list(found.items())

    def _folder(self, name: str, images: list[Path], guessed: list[Path]) -> FrameSequence:
        folder = self.root / name
        return FolderSequence(
            name,
            images,
            camera=self._camera_of([folder, self.root], guessed),
            depths=None if self.depth_root is None else self._depths(images, self.depth_root / name),
            depth_units_per_metre=self.depth_units_per_metre,
        )

    def _depths(self, images: list[Path], folder: Path) -> list[Path | None]:
        folder = find_path(folder) or folder
        return match_depths(images, folder, tolerance_s=self.depth_tolerance_s, time_unit=self.depth_time_unit)

    def _video_file(self, guessed: list[Path]) -> FrameSequence:
        if self.root.suffix.lower() not in VIDEO_SUFFIXES:
            raise ValueError(
                f"{self.root} is no video, whose name ends in {' '.join(sorted(VIDEO_SUFFIXES))}: set "
                "data.init_args.root to such a file or to a folder of frames."
            )
        if self.depth_root is not None:
            raise ValueError(f"depth_root needs frames as files: extract those of {self.root} (docs/own_video.md).")
        return VideoFileSequence(
            self.root,
            camera=self._camera_of([self.root.parent], guessed),
            image_size=self.image_size,
            oversampling=self.oversampling,
            max_frames=self.max_video_frames,
        )

    def _camera_of(self, folders: list[Path], guessed: list[Path]) -> Camera:
        if self.camera is not None:
            return read_camera(self.camera, data=str(self.root))
        for folder in folders:
            if (folder / CAMERA_FILE).is_file():
                return read_camera(folder / CAMERA_FILE, data=str(self.root))
        guessed.append(folders[0])
        view = self.default_field_of_view_degrees
        return Camera(str(folders[0]), field_of_view_degrees=view, data=str(self.root))


def _has_depth(sequence: FrameSequence, index: int) -> bool:
    """Return whether a frame has a depth file; matching by time stamps may leave frames without one."""
    return not isinstance(sequence, FolderSequence) or sequence.depths is None or sequence.depths[index] is not None
