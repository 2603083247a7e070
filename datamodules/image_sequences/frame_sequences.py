"""Frame sequences from a folder of images, with or without depth, or from a video file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.files.metric_depth import to_metres
from datamodules.files.orientation import Companions, Size, swaps_sides, turn_k
from datamodules.files.reading import StoredImage, read_orientation, read_stored, read_values, turn
from datamodules.files.video import read_video
from datamodules.image_sequences.camera_file import Camera, FrameCamera
from datamodules.samples.downsampled import covering_size
from datamodules.samples.frame import Frame, check_frame


class FrameSequence(Protocol):
    """Frames of one shot of one camera, in temporal order."""

    name: str

    @property
    def assumed_field_of_view_degrees(self) -> float | None:
        """Horizontal field of view from which K is derived; None if K is known."""
        ...

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def read(self, index: int) -> Frame:
        """Return one frame."""
        ...


class _CameraSequence:
    """Common part of sequences with one camera: number of frames and assumed field of view."""

    camera: Camera
    images: Sequence[Path] | Sequence[npt.NDArray[np.uint8]]

    @property
    def assumed_field_of_view_degrees(self) -> float | None:
        """Horizontal field of view from which K is derived; None if K is known."""
        return self.camera.assumed_field_of_view_degrees

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.images)


class FolderSequence(_CameraSequence):
    """Image files in temporal order, read from disk on each access and rotated upright by their EXIF entries.

    Depth and K are rotated with the images if they have the stored orientation
    (``datamodules/files/orientation.py``).

    Args:
        name: Prefix of the frame names, followed by a slash; empty for none.
        images: The files, at least one.
        camera: Camera of the images.
        depths: A 16-bit PNG or TIFF per image, or None for unknown depth (0); None if all are unknown.
        depth_units_per_metre: File units of depth per metre.
        same_size: Whether all frames need the same size, as in clips.

    Raises:
        ValueError: If two frames have the same name.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[Path],
        *,
        camera: Camera,
        depths: Sequence[Path | None] | None = None,
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
        self.images: list[Path] = list(images)
        self.names = [f"{name}/{path.stem}" if name else path.stem for path in images]
        self.camera = camera
        self.depths = depths
        self.depth_units_per_metre = depth_units_per_metre
        self.same_size = same_size
        self._cameras: dict[Size, FrameCamera] = {}
        self._size: Size | None = None
        beside: Sequence[Path | None] = [None] * len(self.images) if depths is None else depths
        self._companions = Companions(str(self.images[0].parent), self.images, beside)

    def read(self, index: int) -> Frame:
        """Return one frame at full size, undistorted.

        Raises:
            ValueError: If a file is damaged or holds invalid values, or the frame size differs from the first frame.
        """
        path = self.images[index]
        stored = _read_image(path)
        height, width = _upright_size(stored.pixels.shape[:2], stored.orientation)
        self._check_size(path, (height, width))
        camera, turned = self._camera(stored)
        # Undistort in the orientation in which the camera was calibrated.
        image = stored.pixels if turned else turn(stored.pixels, stored.orientation)
        image = camera.undistort(image)
        frame = Frame(
            image=turn(image, stored.orientation) if turned else image,
            depth=np.zeros((height, width), dtype=np.float32),
            K=turn_k(camera.K, stored) if turned else camera.K.copy(),
            name=self.names[index],
            K_known=camera.known,
        )
        depth_path = None if self.depths is None else self.depths[index]
        if depth_path is not None:
            depth = self._companions.upright(
                _read_depth(depth_path, self.depth_units_per_metre, data=self.camera.data), stored
            )
            if depth.shape == (height, width):
                depth = turn(depth, stored.orientation, back=True) if turned else depth
                depth = camera.undistort_depth(depth)
                depth = turn(depth, stored.orientation) if turned else depth
            # Depth of another size is kept, and refused by check_frame.
            frame.depth = depth
            # A frame without any measured depth is valid; dropping it would cut the video.
            if frame.depth.shape != (height, width) or frame.depth.any():
                check_frame(frame, str(depth_path), data=self.camera.data)
        return frame

    def _check_size(self, path: Path, size: Size) -> None:
        if not self.same_size:
            return
        if self._size is None:
            orientation, stored = read_orientation(self.images[0])
            self._size = _upright_size(stored, orientation)
        if size != self._size:
            raise ValueError(
                f"{path} is {size[1]}x{size[0]}, but {self.images[0].name} is {self._size[1]}x{self._size[0]}: all "
                "frames of a sequence have one size."
            )

    def _camera(self, image: StoredImage) -> tuple[FrameCamera, bool]:
        """Return the camera of an image, and whether it belongs to the stored rather than the upright image."""
        size: Size = (image.pixels.shape[0], image.pixels.shape[1])
        K = self.camera.K
        stored = K is not None and self._companions.k_is_stored(K, image, self.camera.size)
        if not stored:
            size = _upright_size(size, image.orientation)
        if size not in self._cameras:
            self._cameras[size] = self.camera.for_frames(*size)
        return self._cameras[size], stored


def _upright_size(size: tuple[int, ...], orientation: int) -> Size:
    return (size[1], size[0]) if swaps_sides(orientation) else (size[0], size[1])


class VideoFileSequence(_CameraSequence):
    """Frames of a video file, decoded once and kept in memory at reduced resolution.

    Args:
        path: The video.
        camera: Camera of the video.
        image_size: Height and width of the samples.
        oversampling: Frames are kept at this multiple of ``image_size``, with their aspect ratio; None keeps full size.
        max_frames: Maximum number of frames.

    Raises:
        ValueError: If the video cannot be read completely or has more frames.
    """

    def __init__(
        self, path: Path, *, camera: Camera, image_size: tuple[int, int], oversampling: float | None, max_frames: int
    ) -> None:
        self.name = ""
        self.path = path
        self.camera = camera
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

    def read(self, index: int) -> Frame:
        """Return one frame at reduced resolution; its name is its number, counted from 0."""
        image = self.images[index]
        depth = np.zeros(image.shape[:2], dtype=np.float32)
        return Frame(image=image, depth=depth, K=self.K.copy(), name=f"{index:06d}", K_known=self.known)


class SequenceSource:
    """Concatenation of selected frames of several sequences.

    Args:
        parts: Sequences with the positions of their selected frames, ascending.
    """

    def __init__(self, parts: Sequence[tuple[FrameSequence, Sequence[int]]]) -> None:
        self.frames: list[tuple[FrameSequence, int]] = []
        self.runs: list[list[int]] = []
        """Positions of consecutive frames without a gap; a clip must lie inside one run."""
        for sequence, chosen in parts:
            previous = None
            for index in chosen:
                if previous is None or index != previous + 1:
                    self.runs.append([])
                self.runs[-1].append(len(self.frames))
                self.frames.append((sequence, index))
                previous = index

    def __len__(self) -> int:
        """Return the number of selected frames."""
        return len(self.frames)

    def read(self, index: int) -> Frame:
        """Return one frame."""
        sequence, position = self.frames[index]
        return sequence.read(position)


def _read_image(path: Path) -> StoredImage:
    try:
        return read_stored(path)
    except ValueError as error:
        raise ValueError(f"{error}; replace the frame, or end the sequence before it.") from error


def _read_depth(path: Path, units_per_metre: float, *, data: str | None) -> npt.NDArray[np.float32]:
    try:
        values = read_values(path)
    except ValueError as error:
        raise ValueError(f"{error}; replace the file, or leave depth_root unset.") from error
    return to_metres(values, units_per_metre, path=path, data=data)
