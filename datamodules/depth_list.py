"""Evaluation images with depth from a list: the subsets of ScanNet and InteriorNet that papers test on.

A line holds the path of an image, or the paths of an image and its depth (16-bit PNG), relative to the root. If the
depth is not given, its path follows from the layout of the data set:

``scannet``
    ``scene0011_00/color/1860.jpg`` has ``scene0011_00/depth/1860.png`` (533 lines in P2Net's list). Flat file names,
    ``scene0011_00_color_1860.jpg``, are found as well.
``interiornet``
    ``3FO4IF0OYUX0_Study/cam0/data/1.png`` has ``3FO4IF0OYUX0_Study/depth0/data/1.png`` (540 lines in StructDepth's
    list).

Nothing is cropped. Images are rotated upright according to their EXIF entries, and depth and K with them. The ground
truth is valid where it is not 0. It is sampled at the nearest pixel of ``image_size``; the papers upsample the
prediction to the size of the ground truth instead. As in the papers, values are depth along z.
"""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from datamodules.base import DepthDataModule, Split
from datamodules.files.media_paths import find_path
from datamodules.files.metric_depth import to_metres
from datamodules.files.orientation import Companions
from datamodules.files.reading import read_stored, read_values, turn
from datamodules.files.version import files_version
from datamodules.samples.aspect import MAX_HEADERS, header_size, warn_stretched
from datamodules.samples.frame import Frame, FrameSource, check_frame, default_intrinsics
from geometry.camera_check import check_camera_numbers
from structures.contained_paths import input_path

Layout = Literal["scannet", "interiornet", "pairs"]

FOLDERS: dict[Layout, tuple[str, str]] = {
    "scannet": ("color", "depth"),
    "interiornet": ("cam0", "depth0"),
}
"""Folder of the images and the folder of the depth that replaces it in the path; ``pairs`` lists both files."""

ASPECT_TOLERANCE = 0.02
"""Largest relative difference of aspect ratio between depth and image: ScanNet has 640x480 and 1296x968."""


@dataclass(frozen=True)
class Pair:
    """One line of the list.

    Attributes:
        where: List and line, for messages.
        image: Path of the image.
        depth: Path of the depth.
        name: Path of the image in the list, without its extension.
    """

    where: str
    image: Path
    depth: Path
    name: str


def read_pairs(path: Path, root: Path, layout: Layout) -> list[Pair]:
    """Return the files of a list, without reading the images; empty lines are skipped.

    Args:
        path: The list.
        root: Folder that its paths are relative to.
        layout: Rule that gives the depth path of an image.

    Raises:
        FileNotFoundError: If the list or a file that it names is missing.
        ValueError: If the list is empty or no text, or a line has a wrong number of paths or an unexpected folder.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no list of test images at {path}: set data.init_args.frame_list to a text file with one image a "
            "line."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"The list {path} is no UTF-8 text.") from error
    pairs: list[Pair] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        where, paths = f"{path}, line {number}", line.split()
        if not paths:
            continue
        if len(paths) > 2 or (len(paths) == 1 and layout == "pairs"):
            allowed = "an image and its depth" if layout == "pairs" else "an image, or an image and its depth"
            raise ValueError(f"{where}: it holds {len(paths)} paths, expected {allowed}.")
        image, depth = paths if len(paths) == 2 else (paths[0], _depth_of(paths[0], layout, where))
        name = Path(image).with_suffix("").as_posix()
        if name in lines:
            raise ValueError(f"{where}: the image {image} stands in line {lines[name]} already.")
        lines[name] = number
        pairs.append(Pair(where, _find(root, image, where), _find(root, depth, where), name))
    if not pairs:
        raise ValueError(f"The list {path} is empty.")
    return pairs


def _depth_of(image: str, layout: Layout, where: str) -> str:
    """Return the path of the depth of an image in the layout of its data set."""
    folder, other = FOLDERS[layout]
    parts = Path(image).with_suffix(".png").parts
    if folder not in parts[:-1]:
        raise ValueError(f"{where}: {image} lies in no folder '{folder}', in whose place '{other}' has the depth.")
    return Path(*(other if part == folder else part for part in parts)).as_posix()


def _find(root: Path, path: str, where: str) -> Path:
    """Return the path of a file, nested in folders or flat with the folder names as prefix."""
    nested = input_path(root, path, where=where, what="path", hint="set data.init_args.root to a folder of all files")
    for candidate in (nested, root / path.replace("/", "_")):
        found = find_path(candidate)
        if found is not None and found.is_file():
            return found
    raise FileNotFoundError(
        f"{where}: {root / path} does not exist: set data.init_args.root to the folder that the paths of the list "
        "start at."
    )


class DepthListSource:
    """Frames of a list at full image size.

    Args:
        pairs: The files.
        units_per_metre: Units of the depth files per metre.
        intrinsics: ``(fx, fy, cx, cy)`` in pixels of the images, relative to the centre of the first pixel, or None if
            unknown.
    """

    def __init__(
        self, pairs: list[Pair], *, units_per_metre: float, intrinsics: tuple[float, float, float, float] | None
    ) -> None:
        self.pairs = pairs
        self.units_per_metre = units_per_metre
        self.intrinsics = intrinsics
        where = pairs[0].where.rpartition(", line")[0] if pairs else "The list"
        self.companions = Companions(where, [pair.image for pair in pairs], [pair.depth for pair in pairs])
        self.data = pairs[0].where.rpartition(", line ")[0] if pairs else ""

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.pairs)

    def read(self, index: int) -> Frame:
        """Return one frame; depth of another size is resized by nearest-neighbour sampling.

        Raises:
            ValueError: If a file is damaged or holds invalid values, or the depth has another aspect ratio.
        """
        pair = self.pairs[index]
        try:
            stored = read_stored(pair.image)
            values = read_values(pair.depth)
        except ValueError as error:
            raise ValueError(f"{pair.where}: {error}; copy the file again.") from error
        image = turn(stored.pixels, stored.orientation)
        depth = to_metres(values, self.units_per_metre, path=pair.depth, data=self.data)
        depth = self.companions.upright(depth, stored)
        height, width = image.shape[:2]
        if abs(depth.shape[1] * height / (depth.shape[0] * width) - 1) > ASPECT_TOLERANCE:
            raise ValueError(
                f"{pair.where}: the image is {width}x{height} and the depth {depth.shape[1]}x{depth.shape[0]}; they "
                "need the same proportions."
            )
        if depth.shape != (height, width):
            rows = ((np.arange(height) + 0.5) * depth.shape[0] / height).astype(np.intp)
            columns = ((np.arange(width) + 0.5) * depth.shape[1] / width).astype(np.intp)
            depth = depth[np.ix_(rows, columns)]
        if self.intrinsics is None:
            K = default_intrinsics(width=width, height=height)
        else:
            fx, fy, cx, cy = self.intrinsics
            K = np.array([[fx, 0, cx + 0.5], [0, fy, cy + 0.5], [0, 0, 1]], dtype=np.float64)
            K = self.companions.upright_k(K, stored)
        frame = Frame(image=image, depth=depth, K=K, name=pair.name, K_known=self.intrinsics is not None)
        check_frame(frame, f"{pair.where} ({pair.depth.name})", data=self.data)
        return frame


class DepthListDataModule(DepthDataModule):
    """Data module of a list of images with depth, for validation and test only.

    Args:
        root: Folder that the paths of the list are relative to.
        layout: Rule for the depth path: that of ``scannet`` or ``interiornet``, or ``pairs`` if the list gives both.
        frame_list: The list (see the module docstring), relative to ``root``.
        file_units_per_metre: Units of the depth files per metre.
        intrinsics: ``(fx, fy, cx, cy)`` in pixels of the images, relative to the centre of the first pixel (OpenCV), or
            None if unknown; depth metrics do not need them.
        batch_size: Samples per batch and process.
        image_size: Height and width of the samples in pixels.
        base: Arguments of :class:`DepthDataModule`.

    Raises:
        ValueError: If the layout is unknown, the units are not positive, or the intrinsics are not in pixels.
    """

    def __init__(
        self,
        root: str,
        *,
        layout: Layout,
        frame_list: str = "test.txt",
        file_units_per_metre: float = 1000.0,
        intrinsics: tuple[float, float, float, float] | None = None,
        batch_size: int = 4,
        image_size: tuple[int, int] = (288, 384),
        **base: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, image_size=image_size, **base)
        if layout not in get_args(Layout):
            raise ValueError(f"Layout '{layout}' is not known; choose one of {', '.join(get_args(Layout))}.")
        if not (math.isfinite(file_units_per_metre) and file_units_per_metre > 0):
            raise ValueError(f"file_units_per_metre has to be positive and finite, got {file_units_per_metre}.")
        if intrinsics is not None:
            check_camera_numbers(*intrinsics, name="data.init_args.intrinsics")
        self.root = Path(root)
        self.layout: Layout = layout
        self.frame_list = self.root / frame_list
        self.file_units_per_metre = file_units_per_metre
        self.intrinsics = intrinsics

    @property
    def data_version(self) -> str | None:
        """Hash of the list; a file that it names may be replaced without a change of it."""
        return files_version("list", [self.frame_list])

    @property
    def val_is_test(self) -> bool:
        """Whether validation runs on the test images: always True."""
        return True

    def make_source(self, split: Split) -> FrameSource:
        """Return the frames of the list, for validation or test.

        Raises:
            FileNotFoundError: If the list or a file that it names is missing.
            ValueError: If the list is invalid, or the split is ``train``.
        """
        if split == "train":
            raise ValueError(
                f"The images of {self.frame_list} are there to evaluate on: use validate or test, and train on other "
                "data."
            )
        pairs = read_pairs(self.frame_list, self.root, self.layout)
        if self.aspect == "stretch":
            looked_at = pairs[:: max(1, len(pairs) // MAX_HEADERS)]
            sizes = Counter(size for pair in looked_at if (size := header_size(pair.image, upright=True)) is not None)
            warn_stretched(str(self.frame_list), sizes, self.image_size)
        return DepthListSource(
            pairs,
            units_per_metre=self.file_units_per_metre,
            intrinsics=self.intrinsics,
        )
