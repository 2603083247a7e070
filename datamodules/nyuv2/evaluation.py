"""The 654 official test images of NYU Depth v2 in the evaluation protocol of self-supervised papers, from two layouts.

The layouts are ``nyu_depth_v2_labeled.mat`` with ``splits.mat``, as originally published, and HDF5 files with ``rgb``
and ``depth`` (and ``norm`` and ``mask``, which are not read), as published by the authors of P2Net, with one or all
images per file. In both cases the ground truth is the filled depth. Images and depth are cropped to the rows 44 to 470
and the columns 40 to 600, where depth is reliable (Eigen et al., NeurIPS 2014).
"""

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from datamodules.files.natural_order import sort_naturally
from datamodules.nyuv2.labeled import (
    FILE,
    HEIGHT,
    SPLITS_FILE,
    WIDTH,
    NyuLabeledSource,
    camera,
    count_frames,
    read_split,
)
from datamodules.samples.frame import Frame, FrameSource, check_frame
from datamodules.samples.transforms import crop
from structures.safe_hdf5 import check_dataset

TOP, BOTTOM, LEFT, RIGHT = 44, 471, 40, 601
"""Evaluated rows and columns of the 480x640 image; bottom and right are exclusive."""


class EvaluationSource:
    """480x640 frames of a source, cropped to the evaluated region; K follows.

    Args:
        source: Source of the frames.
    """

    def __init__(self, source: FrameSource) -> None:
        self.source = source

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def read(self, index: int) -> Frame:
        """Return one frame, 427x561."""
        return crop(self.source.read(index), top=TOP, left=LEFT, height=BOTTOM - TOP, width=RIGHT - LEFT)


class _Entry(NamedTuple):
    """Location of one image."""

    path: Path
    row: int | None
    """Position in a file of several images; None if the file holds one image."""
    name: str


class NyuTestSource:
    """Full frames of HDF5 files with ``rgb`` and ``depth``.

    Images are uint8, ``(3, 480, 640)`` or ``(480, 640, 3)``, depth is ``(480, 640)`` in metres; files of several images
    have an additional leading axis.

    Args:
        paths: The files, in the order of the images.

    Raises:
        ValueError: If a file is truncated, no NYU file, or has arrays of other shapes.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.K = camera()
        self.entries: list[_Entry] = []
        for path in paths:
            count = _count(path)
            if count is None:
                self.entries.append(_Entry(path, None, path.stem))
            else:
                self.entries += [_Entry(path, row, f"{path.stem}/{row + 1:04d}") for row in range(count)]

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.entries)

    def read(self, index: int) -> Frame:
        """Return one 480x640 frame.

        Raises:
            ValueError: If the frame cannot be read or holds invalid depth.
        """
        entry = self.entries[index]
        where = str(entry.path) if entry.row is None else f"{entry.path}, image {entry.row + 1}"
        part = () if entry.row is None else entry.row
        try:
            # Not kept open: 654 files for each of two splits exceed the limit of open files of a process.
            with h5py.File(entry.path, "r") as file:
                image: npt.NDArray[np.uint8] = file["rgb"][part]
                depth: npt.NDArray[np.float32] = np.asarray(file["depth"][part], dtype=np.float32)
        except OSError as error:
            raise ValueError(f"{where} cannot be read, the file is damaged: copy it again.") from error
        if image.shape[0] == 3:
            image = image.transpose(1, 2, 0)
        frame = Frame(image=np.ascontiguousarray(image), depth=depth, K=self.K.copy(), name=entry.name)
        check_frame(frame, where, data=str(entry.path.parent))
        return frame


def _count(path: Path) -> int | None:
    """Return the number of images in a file with a leading axis; None for a file with one image."""
    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in ("rgb", "depth") if name not in file]
            if missing:
                raise ValueError(f"{path} has no data set '{missing[0]}', so it holds no NYU Depth v2 test image.")
            image, depth = check_dataset(file, "rgb"), check_dataset(file, "depth")
            shape, dtype, depth_shape = image.shape, image.dtype, depth.shape
    except OSError as error:
        raise ValueError(f"{path} is truncated or no HDF5 file: copy it again.") from error
    fits = shape[-3:] in ((3, HEIGHT, WIDTH), (HEIGHT, WIDTH, 3)) and depth_shape == (*shape[:-3], HEIGHT, WIDTH)
    if not fits or len(shape) > 4 or dtype != np.uint8:
        raise ValueError(
            f"{path}: rgb is {dtype} of shape {shape} and depth has shape {depth_shape}, expected uint8 "
            f"(3, {HEIGHT}, {WIDTH}) or ({HEIGHT}, {WIDTH}, 3) and ({HEIGHT}, {WIDTH}), or the same with one more axis "
            "in front of both."
        )
    return int(shape[0]) if len(shape) == 4 else None


def open_test_images(root: Path) -> EvaluationSource:
    """Return the test images in a folder, in either of the two layouts.

    Args:
        root: Folder with ``nyu_depth_v2_labeled.mat`` and ``splits.mat``, or with ``.h5`` files.

    Raises:
        FileNotFoundError: If the folder has neither layout.
        ValueError: If a file is truncated, no NYU file or inconsistent.
    """
    if (root / FILE).is_file():
        _, test = read_split(root, "795/654", count_frames(root / FILE))
        return EvaluationSource(NyuLabeledSource(root / FILE, test))
    paths = sort_naturally(root.glob("*.h5"))
    if not paths:
        raise FileNotFoundError(
            f"{root} holds neither {FILE} (with {SPLITS_FILE}) nor .h5 files with rgb and depth: set "
            "data.init_args.test_root to the folder of the NYU Depth v2 test images."
        )
    return EvaluationSource(NyuTestSource(paths))
