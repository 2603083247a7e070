"""Sequences of frames as a user has them: a folder of images, with depth or without, or a video file."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.camera_file import Camera, FrameCamera
from datamodules.frame import Frame, check_frame
from datamodules.image_files import read_video
from datamodules.media_paths import IMAGE_SUFFIXES
from datamodules.reading import read_rgb, read_values
from datamodules.reduced import covering_size

DEPTH_SUFFIXES = frozenset({".png", ".tif", ".tiff"})


class FrameSequence(Protocol):
    """The frames of one shot of one camera, in temporal order."""

    name: str

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def read(self, index: int) -> Frame:
        """Return one frame."""
        ...


class FolderSequence:
    """Image files in temporal order, read from disk each time.

    Args:
        name: Put before the names of the frames, with a slash; empty for none.
        images: The files, at least one.
        camera: Their camera.
        depths: A 16-bit PNG or TIFF for each of them, or None: the depth of all frames is then 0 (unknown).
        depth_units_per_metre: File units of depth per metre.
        same_size: Whether the frames have to be of one size, as clips need.

    Raises:
        ValueError: If two frames have the same name.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[Path],
        *,
        camera: Camera,
        depths: Sequence[Path] | None = None,
        depth_units_per_metre: float = 1000.0,
        same_size: bool = True,
    ) -> None:
        stems: dict[str, Path] = {}
        for path in images:
            if path.stem in stems:
                raise ValueError(
                    f"{path.parent} holds both {stems[path.stem].name} and {path.name}: every frame is one image of "
                    "its own name, so move depth and the like into another folder."
                )
            stems[path.stem] = path
        self.name = name
        self.images = list(images)
        self.names = [f"{name}/{path.stem}" if name else path.stem for path in images]
        self.camera = camera
        self.depths = depths
        self.depth_units_per_metre = depth_units_per_metre
        self.same_size = same_size
        self._cameras: dict[tuple[int, int], FrameCamera] = {}

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.images)

    def read(self, index: int) -> Frame:
        """Return one frame at full size, without lens distortion.

        Raises:
            ValueError: If a file is broken or holds impossible values, or the frame is of another size than the first.
        """
        path = self.images[index]
        image = _read_image(path)
        height, width = image.shape[:2]
        if self.same_size and not self._cameras and index != 0:
            self._camera(*_read_image(self.images[0]).shape[:2])
        if self.same_size and self._cameras and (height, width) not in self._cameras:
            first_height, first_width = next(iter(self._cameras))
            raise ValueError(
                f"{path} is {width}x{height}, but {self.images[0].name} is {first_width}x{first_height}: all frames of "
                "a sequence have one size."
            )
        camera = self._camera(height, width)
        frame = Frame(
            image=camera.undistort(image),
            depth=np.zeros((height, width), dtype=np.float32),
            K=camera.K.copy(),
            name=self.names[index],
            K_known=camera.known,
        )
        if self.depths is not None:
            depth = _read_depth(self.depths[index], self.depth_units_per_metre)
            # Of another size it is left as it is, for check_frame to refuse.
            frame.depth = camera.undistort_depth(depth) if depth.shape == (height, width) else depth
            # A sensor may measure nothing in a frame; dropping it would cut the video.
            if frame.depth.shape != (height, width) or frame.depth.any():
                check_frame(frame, str(self.depths[index]))
        return frame

    def _camera(self, height: int, width: int) -> FrameCamera:
        if (height, width) not in self._cameras:
            self._cameras[height, width] = self.camera.for_frames(height, width)
        return self._cameras[height, width]


class VideoFileSequence:
    """The frames of a video file, decoded once and kept in memory at a reduced size.

    Args:
        path: The video.
        camera: Its camera.
        image_size: Height and width of the samples.
        oversampling: Frames are kept at that many times ``image_size``, in their proportions; None keeps them whole.
        max_frames: Most frames that a video may have.

    Raises:
        ValueError: If the video cannot be read in full or has more frames.
    """

    def __init__(
        self, path: Path, *, camera: Camera, image_size: tuple[int, int], oversampling: float | None, max_frames: int
    ) -> None:
        self.name = ""
        self.path = path
        self.images: list[npt.NDArray[np.uint8]] = []
        try:
            for image in read_video(path):
                if len(self.images) == max_frames:
                    raise ValueError(
                        f"video '{path}' has more than max_video_frames={max_frames} frames, which are kept in memory: "
                        "cut it, raise the limit, or extract the frames into a folder (docs/own_video.md)"
                    )
                if not self.images:
                    full_height, full_width = image.shape[:2]
                    full = camera.for_frames(full_height, full_width)
                    factor = float("inf") if oversampling is None else oversampling
                    height, width = covering_size((full_height, full_width), image_size, factor)
                image = full.undistort(image)
                image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
                self.images.append(image)
        except ValueError as error:
            raise ValueError(f"{str(error).rstrip('.')}.") from error
        self.K = np.diag([width / full_width, height / full_height, 1.0]) @ full.K
        self.known = full.known

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.images)

    def read(self, index: int) -> Frame:
        """Return one frame at the reduced size; its name is its number, counted from 0."""
        image = self.images[index]
        depth = np.zeros(image.shape[:2], dtype=np.float32)
        return Frame(image=image, depth=depth, K=self.K.copy(), name=f"{index:06d}", K_known=self.known)


class SequenceSource:
    """Chosen frames of several sequences, one after the other.

    Args:
        parts: Sequences with the positions of the chosen frames in them, ascending.
    """

    def __init__(self, parts: Sequence[tuple[FrameSequence, Sequence[int]]]) -> None:
        self.frames: list[tuple[FrameSequence, int]] = []
        self.runs: list[list[int]] = []
        """Positions in this source of frames that follow one another without a gap; no clip may leave its run."""
        for sequence, chosen in parts:
            previous = None
            for index in chosen:
                if previous is None or index != previous + 1:
                    self.runs.append([])
                self.runs[-1].append(len(self.frames))
                self.frames.append((sequence, index))
                previous = index

    def __len__(self) -> int:
        """Return the number of chosen frames."""
        return len(self.frames)

    def read(self, index: int) -> Frame:
        """Return one frame."""
        sequence, position = self.frames[index]
        return sequence.read(position)


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """Sort key of file names in which ``frame_2`` comes before ``frame_10``.

    >>> [path.name for path in sorted(map(Path, ["f10.png", "f2.png", "F1.png"]), key=natural_order)]
    ['F1.png', 'f2.png', 'f10.png']
    """
    words = re.split(r"([0-9]+)", path.name.lower())
    return [int(word) if position % 2 else word for position, word in enumerate(words)], path.name


def find_images(folder: Path) -> list[Path]:
    """Image files directly in a folder, in natural order; hidden ones are left out."""
    return find_files(folder, IMAGE_SUFFIXES)


def match_depths(images: Sequence[Path], folder: Path) -> list[Path]:
    """Find the depth of every frame: the file of the same name, or of the same rank where no name is shared.

    Args:
        images: The frames in temporal order.
        folder: Folder of 16-bit PNG or TIFF files.

    Returns:
        One file for each frame.

    Raises:
        FileNotFoundError: If the folder or the depth of a frame is missing.
        ValueError: If no name is shared and the numbers of files differ.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no depth folder {folder} for the frames in {images[0].parent}.")
    found = find_files(folder, DEPTH_SUFFIXES)
    by_stem = {path.stem: path for path in found}
    missing = [path for path in images if path.stem not in by_stem]
    if not missing:
        return [by_stem[path.stem] for path in images]
    if len(missing) < len(images):
        raise FileNotFoundError(
            f"{folder} has no depth of {len(missing)} of {len(images)} frames, the first being {missing[0].name}."
        )
    if len(found) != len(images):
        raise ValueError(
            f"{folder} holds {len(found)} depth files (PNG or TIFF) and {images[0].parent} {len(images)} frames: give "
            "them the same names, or as many of the one as of the other."
        )
    return found


def find_files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Visible files of a folder with one of some suffixes, in natural order."""
    found = (
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )
    return sorted(found, key=natural_order)


def _read_image(path: Path) -> npt.NDArray[np.uint8]:
    try:
        return read_rgb(path, upright=False)
    except ValueError as error:
        raise ValueError(f"{error}; replace the frame, or end the sequence before it.") from error


def _read_depth(path: Path, units_per_metre: float) -> npt.NDArray[np.float32]:
    try:
        values = read_values(path)
    except ValueError as error:
        raise ValueError(f"{error}; replace the file, or leave depth_root unset.") from error
    return (values.astype(np.float64) / units_per_metre).astype(np.float32)
