"""Data module of video data sets in the layout of SC-Depth.

Bian et al., "Unsupervised Scale-consistent Depth Learning from Video", https://arxiv.org/abs/2105.11610; NYU Depth v2,
KITTI and others are distributed in it::

    Training/<scene>/*.jpg     frames of one shot
    Training/<scene>/cam.txt   its 3x3 K in pixels
    Training/<scene>/depth/    16-bit PNG of the frames of a validation scene (optional)
    Training/train.txt         names of the training scenes (optional: all scenes in no other list)
    Training/val.txt           names of the validation scenes (optional)
    Validation/color, depth    single images with depth (optional, instead of val.txt)
    Testing/color, depth       single images with depth (optional; with an optional cam.txt beside the folders)

Folder names may be lower case, and ``train.txt`` and ``val.txt`` may also lie in the root.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from datamodules.base import Split
from datamodules.files.media_paths import composed, find_path
from datamodules.files.reading import FORMATS
from datamodules.image_sequences.camera_file import Camera
from datamodules.image_sequences.frame_files import find_folders, find_images, match_depths
from datamodules.image_sequences.frame_sequences import FolderSequence, SequenceSource
from datamodules.image_sequences.moving_video import MovingVideoDataModule
from datamodules.samples.clips import Window
from datamodules.samples.first_frames import check_first_frames
from datamodules.samples.frame import FrameSource
from geometry.camera_check import CameraError, check_camera_numbers
from structures.choices import KConvention
from structures.contained_paths import input_path

logger = logging.getLogger(__name__)

K_FILE = "cam.txt"


def read_k(path: Path, K_convention: KConvention) -> Camera:
    """Return the camera in a text file with the nine numbers of K.

    Args:
        path: The text file.
        K_convention: Whether K is relative to the ``centre`` of the first pixel or to the image ``corner``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it does not hold a finite K.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}: every scene needs its 3x3 K in pixels.")
    try:
        values = np.array([float(word) for word in path.read_text(encoding="utf-8-sig").replace(",", " ").split()])
    except ValueError as error:
        raise ValueError(f"{path} has to hold the nine numbers of K ({error}).") from error
    if values.size != 9 or not np.isfinite(values).all():
        raise ValueError(f"{path} has to hold the nine finite numbers of K, but it holds {values.tolist()}.")
    K = values.reshape(3, 3)
    if not np.array_equal(K[[1, 2, 2, 2], [0, 0, 1, 2]], [0, 0, 0, 1]):
        raise ValueError(f"{path} is no K, whose lower left is 0 and lower right 1, but {K.tolist()}.")
    try:
        check_camera_numbers(K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    except CameraError as error:
        raise ValueError(f"{path}: {error}.") from error
    if K_convention == "centre":
        K = K + np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    return Camera(str(path), K=K)


class ScDepthDataModule(MovingVideoDataModule):
    """Data module of a video data set in SC-Depth's layout (see the module docstring).

    Training uses clips of the scenes and testing the single images of ``Testing``. Validation uses the images of
    ``Validation``, or else the scenes of ``val.txt``. If one of the two is missing, the other replaces it with a
    warning, and ``val_is_test`` is True.

    Args:
        root: Folder of ``Training`` and ``Testing``.
        K_convention: ``centre`` if ``cam.txt`` is relative to the centre of the first pixel (OpenCV), or ``corner``.
        min_flow: Off by default, because such data sets are large and hold no static frames.
        max_flow: Off by default, see ``min_flow``.
        cache: Whether to keep frames in memory after the first read.
        base: Arguments of :class:`MovingVideoDataModule`. ``default_field_of_view_degrees`` applies to single images
            without a ``cam.txt`` beside them, if the training scenes differ in K or have another image size.
            ``depth_units_per_metre`` is 5000 in the NYU Depth v2 of SC-Depth's authors. ``evaluation`` applies to the
            scenes of ``val.txt``.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        root: str,
        *,
        K_convention: KConvention = "centre",
        min_flow: float | None = None,
        max_flow: float | None = None,
        cache: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(root, min_flow=min_flow, max_flow=max_flow, cache=cache, **base)
        if K_convention not in ("corner", "centre"):
            raise ValueError(f"K_convention '{K_convention}' is not known; choose 'corner' or 'centre'.")
        self.K_convention: KConvention = K_convention

    @property
    def assumed_field_of_view_degrees(self) -> float:
        """Horizontal field of view of single images with unknown K."""
        return self.default_field_of_view_degrees

    @property
    def val_is_test(self) -> bool:
        """Whether validation and test run on the same images, because the data have only one of the two."""
        return not (self._has_validation() and self._has_testing())

    def prepare_data(self) -> None:
        """Validate folders, lists, cameras and the first frame of every scene before training starts.

        Raises:
            FileNotFoundError: If a file or folder is missing.
            ValueError: If a file or setting is invalid.
        """
        sequences = {(s.name, s.images[0]): s for split in ("train", "val", "test") for s in self._sequences(split)}
        check_first_frames(sequences.values(), data=str(self.root), image_size=self.image_size, aspect=self.aspect)

    def make_source(self, split: Split) -> SequenceSource:
        """Return the frames of a split, scene by scene.

        Raises:
            FileNotFoundError: If a file or folder is missing.
            ValueError: If a file or setting is invalid.
        """
        return SequenceSource([(sequence, range(len(sequence))) for sequence in self._sequences(split)])

    def _sequences(self, split: Split) -> list[FolderSequence]:
        return self._scenes("train") if split == "train" else self._held_out(split)

    def make_windows(self, split: Split, source: FrameSource) -> list[Window]:
        """Return the clips of a split, or single frames if it holds single images.

        Raises:
            ValueError: If every scene is shorter than a clip, or no clip has enough motion.
        """
        assert isinstance(source, SequenceSource)  # the return type of make_source
        if split != "train" and (self.evaluation == "frames" or self._held_out_folder(split) is not None):
            return [(position,) for position in range(len(source))]
        return self.moving_clips(split, source)

    def _held_out(self, split: Split) -> list[FolderSequence]:
        if not (self._has_validation() or self._has_testing()):
            raise FileNotFoundError(
                f"{self.root} has nothing to evaluate on: it needs Testing/color and Testing/depth, Validation with "
                "the same, or Training/val.txt with the names of some scenes."
            )
        if split == "val" and not self._has_validation():
            logger.warning("%s has no scenes or images to validate on: validating on Testing.", self.root)
        if split == "test" and not self._has_testing():
            logger.warning("%s has no folder Testing: testing on what it validates on.", self.root)
        folder = self._held_out_folder(split)
        return self._scenes("val") if folder is None else [self._lone_images(folder)]

    def _held_out_folder(self, split: Split) -> Path | None:
        """Return the folder of single images of a split, or None if it uses the scenes of val.txt."""
        testing, validation = self._part("Testing"), self._part("Validation")
        if split == "test" and testing is not None:
            return testing
        if validation is not None:
            return validation
        return testing if split == "val" and self._list("val") is None else None

    def _has_testing(self) -> bool:
        return self._part("Testing") is not None

    def _has_validation(self) -> bool:
        return self._part("Validation") is not None or self._list("val") is not None

    def _part(self, name: str) -> Path | None:
        return next((path for path in (self.root / name, self.root / name.lower()) if path.is_dir()), None)

    def _training(self) -> Path:
        folder = self._part("Training")
        if folder is None:
            raise FileNotFoundError(
                f"There is no folder {self.root / 'Training'}, in which SC-Depth keeps its scenes: set "
                "data.init_args.root to the folder that holds it."
            )
        return folder

    def _list(self, name: Literal["train", "val"]) -> list[str] | None:
        """Return the scene names in train.txt or val.txt; None if the file does not exist."""
        for folder in (self._training(), self.root):
            path = folder / f"{name}.txt"
            if path.is_file():
                try:
                    lines = path.read_text(encoding="utf-8").splitlines()
                except (UnicodeDecodeError, OSError) as error:
                    raise ValueError(f"{path} cannot be read as UTF-8 text, a name of a scene on each line.") from error
                return [line.strip().rstrip("/") for line in lines if line.strip()]
        return None

    def _scenes(self, split: Literal["train", "val"]) -> list[FolderSequence]:
        training = self._training()
        names, others = self._list(split), self._list("val" if split == "train" else "train")
        shared = set(names or []) & set(others or [])
        if shared:
            raise ValueError(f"{training}: the scene '{min(shared)}' is in both train.txt and val.txt.")
        if names is None:
            elsewhere = {composed(name) for name in others or []}
            names = [path.name for path in find_folders(training) if composed(path.name) not in elsewhere]
        if not names:
            raise ValueError(f"{training} has no scene to {'train' if split == 'train' else 'validate'} on.")
        return [self._scene(training, name, with_depth=split == "val") for name in names]

    def _scene(self, training: Path, name: str, *, with_depth: bool) -> FolderSequence:
        path = input_path(training, name, where=f"{training}", what="scene", hint="take it out of train.txt or val.txt")
        folder = find_path(path) or path
        images = find_images(folder) if folder.is_dir() else []
        if not images:
            raise FileNotFoundError(f"The scene {folder} does not exist or holds no images.")
        depth = folder / "depth"
        return FolderSequence(
            name,
            images,
            camera=replace(read_k(folder / K_FILE, self.K_convention), data=str(self.root)),
            depths=match_depths(images, depth) if with_depth and depth.is_dir() else None,
            depth_units_per_metre=self.depth_units_per_metre,
        )

    def _lone_images(self, folder: Path) -> FolderSequence:
        images = find_images(folder / "color") if (folder / "color").is_dir() else []
        if not images:
            raise FileNotFoundError(f"{folder / 'color'} does not exist or holds no images.")
        return FolderSequence(
            "",
            images,
            camera=self._lone_camera(folder, images[0]),
            depths=match_depths(images, folder / "depth"),
            depth_units_per_metre=self.depth_units_per_metre,
            same_size=False,
        )

    def _lone_camera(self, folder: Path, image: Path) -> Camera:
        if (folder / K_FILE).is_file():
            return replace(read_k(folder / K_FILE, self.K_convention), data=str(self.root))
        scenes = self._scenes("train")
        first = scenes[0].camera
        if len({str(scene.camera.K) for scene in scenes}) == 1 and _size(scenes[0].images[0]) == _size(image):
            return first
        view = self.default_field_of_view_degrees
        return Camera(str(folder), field_of_view_degrees=view, data=str(self.root))


def _size(path: Path) -> tuple[int, int] | None:
    """Return width and height from the header of an image file; None if damaged, which is reported on reading."""
    try:
        with Image.open(path, formats=FORMATS) as file:
            return file.size
    except (OSError, UnidentifiedImageError):
        return None
