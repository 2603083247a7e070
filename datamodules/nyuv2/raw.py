"""Data module of the raw video of NYU Depth v2, with the clip list of P2Net, StructDepth and GAM-Depth.

Every line of the list holds nine paths relative to the root, separated by blanks: a frame and its neighbours at the
offsets 0, -4, -3, -2, -1, 1, 2, 3, 4, in this order; one step is ten frames of the Kinect's video. The raw colour
frames (640x480) have lens distortion, which is removed here.

Deviations from the released pipeline: frames are downsampled by area averaging (theirs: Lanczos), the principal point
of K is in the corner convention before scaling, and the ground truth of the test images is sampled at the nearest pixel
of ``image_size``, where theirs upsamples the prediction to the 427x561 pixels of the ground truth.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.base import Split
from datamodules.files.media_paths import composed, find_path
from datamodules.files.reading import read_stored
from datamodules.nyuv2.evaluation import open_test_images
from datamodules.nyuv2.labeled import HEIGHT, K_PIXEL_CENTRES, WIDTH, camera
from datamodules.samples.clips import Window
from datamodules.samples.frame import Frame, FrameSource
from datamodules.samples.transforms import crop
from datamodules.video import VideoDataModule
from structures.contained_paths import input_path

OFFSETS = (0, -4, -3, -2, -1, 1, 2, 3, 4)
"""Offsets of the frames of a line from its first frame, in steps of the video."""

DISTORTION = (2.0796615318809061e-01, -5.8613825163911781e-01, 7.2231363135888329e-04, 1.0479627195765181e-03,
              4.9856986684705107e-01)  # fmt: skip
"""k1, k2, p1, p2, k3 of the Kinect's colour camera, from the data set's toolbox (OpenCV's order)."""

BORDER = 16
"""Pixels cropped at each side after undistortion, because the outermost ones have no data."""


@dataclass(frozen=True)
class Listed:
    """One line of the list.

    Attributes:
        where: List and line, for messages.
        paths: Path of the frame at each offset, relative to the root.
    """

    where: str
    paths: dict[int, str]


def read_list(path: Path) -> list[Listed]:
    """Return the lines of a list of frames and their neighbours; empty lines are skipped.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is empty or no text, or a line does not hold nine paths.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no list of training frames at {path}: set data.init_args.frame_list to a text file with "
            f"{len(OFFSETS)} paths a line, as P2Net and StructDepth hand it out (splits/)."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"The list {path} is no UTF-8 text.") from error
    lines = []
    for number, line in enumerate(text.splitlines(), start=1):
        paths = line.split()
        if not paths:
            continue
        if len(paths) != len(OFFSETS):
            raise ValueError(
                f"{path}, line {number}: it holds {len(paths)} paths, expected {len(OFFSETS)}: the frames at the "
                f"offsets {', '.join(map(str, OFFSETS))}."
            )
        where = f"{path}, line {number}"
        for name in paths:
            input_path(path.parent, name, where=where, what="frame", hint="paths start at data.init_args.root")
        lines.append(Listed(where, dict(zip(OFFSETS, paths, strict=True))))
    if not lines:
        raise ValueError(f"The list {path} is empty.")
    return lines


@cache
def _undistortion() -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the position in the distorted image of each undistorted pixel, in OpenCV's fixed-point format."""
    K = np.array(K_PIXEL_CENTRES)
    coarse, fine = cv2.initUndistortRectifyMap(K, np.array(DISTORTION), None, K, (WIDTH, HEIGHT), cv2.CV_16SC2)
    return coarse, fine


def undistort(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a raw 480x640 image without lens distortion; K does not change.

    Args:
        image: uint8 ``(480, 640, 3)``.

    Returns:
        uint8 ``(480, 640, 3)``, bilinear, black outside of the field of view.
    """
    undistorted: npt.NDArray[Any] = cv2.remap(image, *_undistortion(), interpolation=cv2.INTER_LINEAR)
    return undistorted


class NyuRawSource:
    """Undistorted and cropped frames of the raw video, 448x608, without depth.

    Args:
        root: Folder that the paths of the list are relative to.
        paths: The frames.
        where: List and line of each frame, for messages.
    """

    def __init__(self, root: Path, paths: list[str], where: list[str]) -> None:
        self.root = root
        self.paths = paths
        self.where = where
        self.K = camera()

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.paths)

    def read(self, index: int) -> Frame:
        """Return one frame.

        Raises:
            ValueError: If its file is missing, truncated or of another size.
        """
        path = self.root / self.paths[index]
        try:
            stored = read_stored(find_path(path) or path)
        except ValueError as error:
            raise ValueError(f"{self.where[index]}: {error}; copy the file again or take the line out.") from error
        image = stored.pixels
        if stored.orientation != 1:
            raise ValueError(
                f"{self.where[index]}: {path} has the EXIF orientation {stored.orientation}, "
                "which no frame of the Kinect has, and the lens is known for the stored orientation only: copy the "
                "file again."
            )
        if image.shape != (HEIGHT, WIDTH, 3):
            raise ValueError(
                f"{self.where[index]}: {path} is {image.shape[1]}x{image.shape[0]}, but the "
                f"raw frames have {WIDTH}x{HEIGHT} pixels, and the lens is known for that size only."
            )
        frame = Frame(
            image=undistort(image),
            depth=np.zeros((HEIGHT, WIDTH), dtype=np.float32),
            K=self.K.copy(),
            name=Path(self.paths[index]).with_suffix("").as_posix(),
        )
        return crop(frame, top=BORDER, left=BORDER, height=HEIGHT - 2 * BORDER, width=WIDTH - 2 * BORDER)


class NyuV2RawDataModule(VideoDataModule):
    """Data module of raw NYU Depth v2 clips for training and the 654 official test images for evaluation.

    Training frames have no depth. Validation and test samples are single images, cropped as in the papers' evaluation,
    with the filled depth as ground truth. As in the papers, which had no validation set, validation runs on the test
    images, so a checkpoint selected by its validation score is selected on them (``val_is_test``).

    Args:
        root: Folder that the paths of the list are relative to.
        frame_list: The list of training frames (nine paths per line, see the module docstring), relative to ``root``.
        test_root: Folder of the test images (see ``datamodules/nyuv2/evaluation.py``), relative to ``root``.
        window: Odd number of frames of a clip: 5 uses the offsets -2 to 2, 3 the nearest two.
        stride: Steps of the list from one frame of a clip to the next; a clip reaches at most 4 steps from its target.
        batch_size: Clips per batch and process (GAM-Depth: 4).
        image_size: Height and width of the samples (GAM-Depth: 288x384).
        oversampling: Frames are first downsampled to this multiple of ``image_size``; None resizes them once.
        cache: Whether to keep frames in memory after the first read; recommended only with ``oversampling`` 1 and a
            part of the list.
        base: Arguments of :class:`VideoDataModule`.

    Raises:
        ValueError: If clips would extend beyond the neighbours in the list.
    """

    def __init__(
        self,
        root: str,
        *,
        frame_list: str = "train.txt",
        test_root: str = "test",
        window: int = 5,
        stride: int = 1,
        batch_size: int = 4,
        image_size: tuple[int, int] = (288, 384),
        oversampling: float | None = None,
        cache: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(
            window=window,
            stride=stride,
            batch_size=batch_size,
            image_size=image_size,
            oversampling=oversampling,
            cache=cache,
            **base,
        )
        reach = window // 2 * stride
        if reach > max(OFFSETS):
            raise ValueError(
                f"A clip of {window} frames with stride {stride} reaches {reach} steps from its target, but the list "
                f"has neighbours up to {max(OFFSETS)} steps away: lower window or stride."
            )
        self.root = Path(root)
        self.frame_list = self.root / frame_list
        self.test_root = self.root / test_root
        self.offsets = tuple(range(-reach, reach + 1, stride))
        self._windows: list[Window] = []

    @property
    def val_is_test(self) -> bool:
        """Whether validation runs on the test images: always True."""
        return True

    def make_source(self, split: Split) -> FrameSource:
        """Return the frames of a split; a training frame occurs once, even if it is part of several clips.

        Raises:
            FileNotFoundError: If the list, a frame that it names, or the test images are missing.
            ValueError: If the list or the test images are invalid.
        """
        if split != "train":
            return open_test_images(self.test_root)
        positions: dict[str, int] = {}
        where: list[str] = []
        self._windows = []
        folders: dict[Path, set[str]] = {}
        for listed in read_list(self.frame_list):
            for offset in self.offsets:
                path = listed.paths[offset]
                if path not in positions:
                    positions[path] = len(where)
                    where.append(listed.where)
                    _check_exists(self.root / path, folders, listed.where)
            self._windows.append(tuple(positions[listed.paths[offset]] for offset in self.offsets))
        return NyuRawSource(self.root, list(positions), where)

    def make_windows(self, split: Split, source: FrameSource) -> list[Window]:
        """Return the clips of the list, or the single test images."""
        return self._windows if split == "train" else [(index,) for index in range(len(source))]


def _check_exists(path: Path, folders: dict[Path, set[str]], where: str) -> None:
    """Raise an error for a missing file; folders are listed once, because single look-ups are slow on a network."""
    if path.parent not in folders:
        folder = find_path(path.parent)
        names = folder.iterdir() if folder is not None and folder.is_dir() else ()
        folders[path.parent] = {composed(file.name) for file in names}
    if composed(path.name) not in folders[path.parent]:
        raise FileNotFoundError(
            f"{where}: {path} does not exist: download the raw part of NYU Depth v2 and set data.init_args.root to the "
            "folder that the paths of the list start at."
        )
