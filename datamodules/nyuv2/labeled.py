"""Data module of the labelled part of NYU Depth v2: 1449 Kinect images with filled depth, from the MATLAB file.

Silberman et al., "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012.
"""

import json
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io
import torch
from scipy.io.matlab import MatReadError

from datamodules.base import DepthDataModule, Split
from datamodules.files.hdf5 import LazyFile
from datamodules.loading.samplers import epoch_order
from datamodules.samples.frame import Frame, check_frame
from structures.batch import from_pixel_centres
from structures.safe_hdf5 import check_dataset

FILE = "nyu_depth_v2_labeled.mat"
SPLITS_FILE = "splits.mat"
FRAMES = 1449
OFFICIAL_SIZES = (795, 654)
"""Training and test frames of the official split."""
HEIGHT, WIDTH = 480, 640

NyuSplit = Literal["1111/338", "795/654"]

SEEDED_SPLIT = Path(__file__).parents[1] / "splits" / "nyuv2_1111_338.json"
"""Test indices (from 0) of the 1111/338 split; ``splits/README.md`` has the code that generated them."""

K_PIXEL_CENTRES = (
    (518.85790117450188, 0.0, 325.58244941119034),
    (0.0, 519.46961112127485, 253.73616633400465),
    (0.0, 0.0, 1.0),
)
"""K of the Kinect's colour camera from the data set's toolbox, relative to the centre of the first pixel."""

HELD_OUT_SEED = 0
"""Seed of the held-out images, independent of the seed of a run, so that runs can be compared."""

HOW_TO_GET = (
    f"download {FILE} (2.8 GB) and {SPLITS_FILE} from the NYU Depth Dataset V2 page of Nathan Silberman "
    "(cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html) and set data.init_args.root to their folder"
)


def camera() -> npt.NDArray[np.float64]:
    """Return K of the 640x480 images in the corner convention, float64 ``(3, 3)``."""
    K: npt.NDArray[np.float64] = from_pixel_centres(torch.tensor(K_PIXEL_CENTRES, dtype=torch.float64)).numpy()
    return K


def read_split(root: Path, split: NyuSplit, frames: int) -> tuple[list[int], list[int]]:
    """Return training and test indices, counted from 0.

    Args:
        root: Folder of ``splits.mat``.
        split: ``795/654`` is the official split; ``1111/338`` is seeded and included in the project.
        frames: Number of frames in the data file.

    Returns:
        Indices of the training and of the test frames, each sorted.

    Raises:
        FileNotFoundError: If the file of the official split is missing.
        ValueError: If the file is invalid or inconsistent with the data.
    """
    if split == "1111/338":
        test = json.loads(SEEDED_SPLIT.read_text())["test"]
        if frames != FRAMES:
            raise ValueError(f"The 1111/338 split belongs to {FRAMES} frames, but {root / FILE} holds {frames}.")
        return sorted(set(range(frames)) - set(test)), sorted(test)
    path = root / SPLITS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"The official split needs {path}, which does not exist: {HOW_TO_GET}.")
    try:
        content = scipy.io.loadmat(path, variable_names=("trainNdxs", "testNdxs"))
        parts = [sorted(int(i) - 1 for i in np.ravel(content[key])) for key in ("trainNdxs", "testNdxs")]
    except (MatReadError, ValueError, KeyError, TypeError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path} is not the data set's splits.mat (no trainNdxs and testNdxs in it).") from error
    both = parts[0] + parts[1]
    if not parts[0] or not parts[1] or len(set(both)) < len(both) or min(both) < 0 or max(both) >= frames:
        raise ValueError(
            f"{path} does not fit {root / FILE}: it has to split the frames 1 to {frames} without overlap."
        )
    if len(both) < frames:
        raise ValueError(
            f"{path} is not the official split: {frames - len(both)} of {frames} frames are in no part: {HOW_TO_GET}."
        )
    if frames == FRAMES and (len(parts[0]), len(parts[1])) != OFFICIAL_SIZES:
        raise ValueError(
            f"{path} is not the official split: it has {len(parts[0])} training and {len(parts[1])} test frames, not "
            f"{OFFICIAL_SIZES[0]} and {OFFICIAL_SIZES[1]}, so scores would not compare: {HOW_TO_GET}."
        )
    return parts[0], parts[1]


class NyuLabeledSource:
    """Frames of the MATLAB file (an HDF5 file with reversed axes).

    Args:
        path: The file.
        indices: Indices of the frames, counted from 0.
        depth: HDF5 data set of the depth.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is truncated, another file, or has arrays of other shapes.
    """

    def __init__(self, path: Path, indices: list[int], *, depth: Literal["depths", "rawDepths"] = "depths") -> None:
        self.indices = indices
        self.depth = depth
        self.K = camera()
        self._file = LazyFile(path)
        count_frames(path, depth)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.indices)

    def read(self, index: int) -> Frame:
        """Return one 480x640 frame; its name is the frame number in papers, counted from 1.

        Raises:
            ValueError: If the frame cannot be read or holds invalid depth.
        """
        number = self.indices[index]
        where = f"{self._file.path}, frame {number + 1}"
        try:
            file = self._file.open()
            image = file["images"][number].transpose(2, 1, 0)
            depth = file[self.depth][number].T
        except OSError as error:
            raise ValueError(f"{where} cannot be read, the file is damaged: {HOW_TO_GET}.") from error
        frame = Frame(
            image=np.ascontiguousarray(image),
            depth=np.ascontiguousarray(depth, dtype=np.float32),
            K=self.K.copy(),
            name=f"{number + 1:04d}",
        )
        check_frame(frame, where, data=str(self._file.path))
        return frame


def count_frames(path: Path, depth: str = "depths") -> int:
    """Return the number of frames of a file after validating its layout.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is truncated, another file, or has arrays of other shapes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}: {HOW_TO_GET}.")
    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in ("images", depth) if name not in file]
            if missing:
                raise ValueError(f"{path} has no data set '{missing[0]}', so it is not {FILE}: {HOW_TO_GET}.")
            images, depths = check_dataset(file, "images").shape, check_dataset(file, depth).shape
    except OSError as error:
        raise ValueError(f"{path} is truncated or no HDF5 file (MATLAB 7.3): {HOW_TO_GET}.") from error
    if images[1:] != (3, WIDTH, HEIGHT) or depths != (images[0], WIDTH, HEIGHT):
        raise ValueError(
            f"{path}: images have shape {images} and {depth} {depths}, expected (frames, 3, {WIDTH}, {HEIGHT}) and "
            f"(frames, {WIDTH}, {HEIGHT}) as in the original file."
        )
    return int(images[0])


class NyuV2LabeledDataModule(DepthDataModule):
    """Data module of the labelled images of NYU Depth v2, in the protocol of the report on seven supervised models.

    The report trained on 1111 random images, tested on 338, and had no validation set. This is the default: ``val`` is
    the test split unless ``held_out`` removes images from training, and ``val_is_test`` is True. A checkpoint
    selected by its validation score is then selected on the test images, so test the last weights instead.

    Args:
        root: Folder of ``nyu_depth_v2_labeled.mat`` (and ``splits.mat`` for the official split).
        split: ``1111/338`` (seeded, committed) or ``795/654`` (official, from ``splits.mat``).
        held_out: Number of training images used for validation instead of the test split; a fixed selection.
        raw_depth: Whether to use the raw sensor depth with holes instead of the filled depth.
        batch_size: Samples per batch and process (report: 64).
        image_size: Height and width of the samples (report: 128x128).
        base: Arguments of :class:`DepthDataModule`.

    Raises:
        ValueError: If the split is unknown.
    """

    def __init__(
        self,
        root: str,
        *,
        split: NyuSplit = "1111/338",
        held_out: int = 0,
        raw_depth: bool = False,
        batch_size: int = 64,
        image_size: tuple[int, int] = (128, 128),
        **base: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, image_size=image_size, **base)
        if split not in get_args(NyuSplit):
            raise ValueError(f"Split '{split}' is not known; choose one of {', '.join(get_args(NyuSplit))}.")
        self.root = Path(root)
        self.split: NyuSplit = split
        self.held_out = held_out
        self.depth: Literal["depths", "rawDepths"] = "rawDepths" if raw_depth else "depths"

    @property
    def val_is_test(self) -> bool:
        """Whether validation runs on the test split: True if no image is held out."""
        return self.held_out == 0

    def prepare_data(self) -> None:
        """Check that the files exist and can be opened."""
        self._indices("test")

    def _indices(self, part: Split) -> list[int]:
        path = self.root / FILE
        train, test = read_split(self.root, self.split, count_frames(path, self.depth))
        if not 0 <= self.held_out < len(train):
            raise ValueError(
                f"held_out has to lie between 0 and {len(train) - 1} training images, got {self.held_out}."
            )
        if part == "test" or (part == "val" and self.held_out == 0):
            return test
        order = epoch_order(len(train), seed=HELD_OUT_SEED, epoch=0).tolist()
        chosen = order[: self.held_out] if part == "val" else order[self.held_out :]
        return sorted(train[i] for i in chosen)

    def make_source(self, split: Split) -> NyuLabeledSource:
        """Return the frames of a split.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is truncated, another file or inconsistent.
        """
        return NyuLabeledSource(self.root / FILE, self._indices(split), depth=self.depth)
