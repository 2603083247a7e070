"""Data module of a user's images and videos for prediction."""

import itertools
import math
from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.distributed
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from datamodules.base import ProjectDataModule
from datamodules.files.media_paths import MediaFile, find_media
from datamodules.files.reading import read_rgb
from datamodules.files.video import frame_rate, read_video
from datamodules.loading.notices import warn_once
from datamodules.samples.instance_transforms import fitting_size
from geometry.camera import intrinsics_from_field_of_view
from geometry.camera_check import (
    USUAL_FIELD_OF_VIEW_DEGREES,
    Intrinsics,
    check_camera,
    check_camera_numbers,
    check_field_of_view,
)

LARGEST_SIDE = 16_384
"""Largest height or width of the network's input, pixels: a float image of twice the side has 13 GB."""

Fit = Literal["pixels", "sides"]
"""Meaning of ``image_size``: ``pixels`` is the number of pixels, ``sides`` the shorter side and limit of the longer."""


def working_size(height: int, width: int, *, image_size: tuple[int, int]) -> tuple[int, int]:
    """Return a size with the aspect ratio of the image and about as many pixels as ``image_size``.

    >>> working_size(480, 640, image_size=(96, 128))
    (96, 128)
    >>> working_size(640, 480, image_size=(96, 128))
    (128, 96)
    """
    scale = math.sqrt(image_size[0] * image_size[1] / (height * width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def prepare(
    pixels: npt.NDArray[np.uint8], *, image_size: tuple[int, int], divisor: int, fit: Fit = "pixels"
) -> tuple[Tensor, tuple[int, int]]:
    """Return an image at its working size, padded at the right and bottom to multiples of the divisor.

    Args:
        pixels: uint8 ``(H0, W0, 3)``, RGB.
        image_size: See :func:`working_size`, or for ``sides`` the shorter side and the limit of the longer one.
        divisor: Divisor of the padded height and width.
        fit: Meaning of ``image_size``. Padding replicates the border for ``pixels`` and is black for ``sides``, as in
            the evaluation of each task.

    Returns:
        float32 ``(3, H, W)`` in [0, 1], and its numbers of rows and columns without padding.
    """
    if fit == "sides":
        size = (pixels.shape[0], pixels.shape[1])
        height, width = fitting_size(size, short_side=image_size[0], max_long_side=image_size[1])
    else:
        height, width = working_size(*pixels.shape[:2], image_size=image_size)
    shrinks = height * width < pixels.shape[0] * pixels.shape[1]
    # Linear interpolation would alias when downsampling; both filters follow the corner convention.
    resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    border = cv2.BORDER_CONSTANT if fit == "sides" else cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(resized, 0, -height % divisor, 0, -width % divisor, border)
    return torch.from_numpy(padded).permute(2, 0, 1).float() / 255, (height, width)


def intrinsics_for(
    height: int,
    width: int,
    *,
    intrinsics: tuple[float, float, float, float] | None,
    field_of_view_degrees: float | None,
) -> Tensor | None:
    """Return K ``(3, 3)`` of an image in its own pixels, corner convention, or None if the camera is unknown.

    Args:
        height: Rows.
        width: Columns.
        intrinsics: ``fx, fy, cx, cy`` in pixels, corner convention.
        field_of_view_degrees: Horizontal field of view, with the principal point in the image centre.

    Raises:
        ValueError: If the camera is implausible for an image of this size (``geometry/camera_check.py``).
    """
    if intrinsics is not None:
        fx, fy, cx, cy = intrinsics
        for doubt in check_camera(Intrinsics(fx, fy, cx, cy), width=width, height=height):
            warn_once(f"K {intrinsics}", doubt.kind, f"{doubt.message}.")
        return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float32)
    if field_of_view_degrees is not None:
        return intrinsics_from_field_of_view(math.radians(field_of_view_degrees), height=height, width=width)
    return None


class MediaDataset(IterableDataset[dict[str, Tensor | str | bool | float]]):
    """Images and video frames in the order of the files, each as an item of ``ImageFileBatch``.

    Args:
        files: Files to read.
        image_size: See :class:`ImageFiles`.
        divisor: See :class:`ImageFiles`.
        intrinsics: See :class:`ImageFiles`.
        field_of_view_degrees: See :class:`ImageFiles`.
        assumed_field_of_view_degrees: See :class:`ImageFiles`.
        fit: See :class:`ImageFiles`.
    """

    def __init__(
        self,
        files: list[MediaFile],
        *,
        image_size: tuple[int, int],
        divisor: int,
        intrinsics: tuple[float, float, float, float] | None,
        field_of_view_degrees: float | None,
        assumed_field_of_view_degrees: float = USUAL_FIELD_OF_VIEW_DEGREES,
        fit: Fit = "pixels",
    ) -> None:
        self.files = files
        self.assumed_field_of_view_degrees = assumed_field_of_view_degrees
        self.image_size = image_size
        self.divisor = divisor
        self.intrinsics = intrinsics
        self.field_of_view_degrees = field_of_view_degrees
        self.fit: Fit = fit

    def __iter__(self) -> Iterator[dict[str, Tensor | str | bool | float]]:
        """Yield the items of the files of this process; every file is read by one worker of one rank."""
        worker = get_worker_info()
        workers, worker_id = (1, 0) if worker is None else (worker.num_workers, worker.id)
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        ranks, rank = (torch.distributed.get_world_size(), torch.distributed.get_rank()) if distributed else (1, 0)
        for file in itertools.islice(self.files, rank * workers + worker_id, None, ranks * workers):
            if file.is_video:
                yield from self._frames(file)
            else:
                yield self._image(file)

    def _image(self, file: MediaFile) -> dict[str, Tensor | str | bool | float]:
        try:
            return self.item(read_rgb(file.path, upright=True), file.name)
        except ValueError as error:
            return self._failure(file.name, str(error))

    def _frames(self, file: MediaFile) -> Iterator[dict[str, Tensor | str | bool | float]]:
        try:
            rate = frame_rate(file.path)
            for number, frame in enumerate(read_video(file.path)):
                yield self.item(frame, f"{file.name}/{number:06d}", video=file.name, rate=rate)
        except ValueError as error:
            yield self._failure(file.name, str(error))

    def item(
        self, pixels: npt.NDArray[np.uint8], name: str, video: str = "", rate: float = 0.0
    ) -> dict[str, Tensor | str | bool | float]:
        """An image as an item of ``ImageFileBatch``.

        Args:
            pixels: uint8 ``(H0, W0, 3)``, RGB, upright.
            name: Name of its results.
            video: Name of the video that it is a frame of, or "".
            rate: Frames a second of that video, 0 if unknown.

        Raises:
            ValueError: If the camera is implausible for an image of this size.
        """
        image, (height, width) = prepare(pixels, image_size=self.image_size, divisor=self.divisor, fit=self.fit)
        try:
            K = intrinsics_for(
                *pixels.shape[:2], intrinsics=self.intrinsics, field_of_view_degrees=self.field_of_view_degrees
            )
        except ValueError as error:
            raise ValueError(f"'{name}': {error}") from error
        K_known = K is not None
        if K is None:
            view = math.radians(self.assumed_field_of_view_degrees)
            K = intrinsics_from_field_of_view(view, height=pixels.shape[0], width=pixels.shape[1])
        scale = torch.tensor([width / pixels.shape[1], height / pixels.shape[0], 1.0])
        return {
            "image": image,
            "content_size": torch.tensor([height, width]),
            "K": scale[:, None] * K,
            "K_known": K_known,
            "original_image": torch.from_numpy(pixels).permute(2, 0, 1),
            "name": name,
            "video": video,
            "frame_rate": rate,
            "error": "",
        }

    def _failure(self, name: str, error: str) -> dict[str, Tensor | str | bool | float]:
        return {
            "image": torch.zeros(3, self.divisor, self.divisor),
            "content_size": torch.tensor([self.divisor, self.divisor]),
            "K": torch.eye(3),
            "K_known": False,
            "original_image": torch.zeros(3, self.divisor, self.divisor, dtype=torch.uint8),
            "name": name,
            "video": "",
            "frame_rate": 0.0,
            "error": error,
        }


class ImageFiles(ProjectDataModule):
    """Data module of images for ``predict``: one file, a folder with its subfolders, a glob, or a video.

    A file that cannot be read becomes an item with an ``error``, so that prediction continues with the other files.

    Args:
        path: Image, video, folder, or glob (``**`` is recursive).
        image_size: Height and width whose product is the number of pixels of the network input, ideally as in training.
            The aspect ratio of each image is kept.
        divisor: Height and width are padded to multiples of it.
        field_of_view_degrees: Horizontal field of view in (0, 180), which determines the shape of point clouds.
        intrinsics: ``fx, fy, cx, cy`` in pixels of the full-size images, relative to the corner of the first pixel
            (OpenCV's ``cx, cy`` plus 0.5); an alternative to the field of view.
        num_workers: Number of loader processes.
        assumed_field_of_view_degrees: Horizontal field of view from which K is derived if no camera is given
            (``K_known`` is False then); that of the network's training.
        fit: ``pixels``, or ``sides`` for instances: ``image_size`` is then the length of the shorter side and the limit
            of the longer one, as in :class:`~datamodules.instances.InstanceDataModule`.

    Raises:
        ValueError: If an argument is out of its range, or both ways of giving the camera are used.
    """

    def __init__(
        self,
        path: str,
        image_size: tuple[int, int] = (96, 128),
        divisor: int = 32,
        field_of_view_degrees: float | None = None,
        intrinsics: tuple[float, float, float, float] | None = None,
        num_workers: int = 0,
        assumed_field_of_view_degrees: float = USUAL_FIELD_OF_VIEW_DEGREES,
        fit: Fit = "pixels",
    ) -> None:
        super().__init__()
        if min(image_size) < 1 or divisor < 1 or num_workers < 0:
            raise ValueError(
                f"image_size={image_size}, divisor={divisor} and num_workers={num_workers}: "
                "sizes must be at least 1 and workers at least 0"
            )
        if max(image_size) > LARGEST_SIDE:
            raise ValueError(f"image_size={image_size}: sizes above {LARGEST_SIDE} pixels do not fit into memory")
        if field_of_view_degrees is not None and intrinsics is not None:
            raise ValueError("both field_of_view_degrees and intrinsics are given: give one of them")
        if field_of_view_degrees is not None:
            check_field_of_view(field_of_view_degrees, "field_of_view_degrees")
        check_field_of_view(assumed_field_of_view_degrees, "assumed_field_of_view_degrees")
        if intrinsics is not None:
            check_camera_numbers(*intrinsics, name="intrinsics")
        self.path = path
        self.image_size = image_size
        self.divisor = divisor
        self.field_of_view_degrees = field_of_view_degrees
        self.intrinsics = intrinsics
        self.assumed_field_of_view_degrees = assumed_field_of_view_degrees
        self.num_workers = num_workers
        self.fit: Fit = fit
        self.files: list[MediaFile] = []

    def setup(self, stage: str) -> None:
        """Search for the files.

        Raises:
            FileNotFoundError: If the path does not exist.
            ValueError: If the path contains no image and no video.
        """
        self.files = find_media(self.path)

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor | str | bool | float]]:
        """Return the loader of batches of one item, in the order of the files."""
        return DataLoader(self.dataset(self.files), batch_size=1, num_workers=self.num_workers)

    def dataset(self, files: list[MediaFile]) -> MediaDataset:
        """Images and video frames of some files, with the settings of this data module."""
        return MediaDataset(
            files,
            image_size=self.image_size,
            divisor=self.divisor,
            intrinsics=self.intrinsics,
            field_of_view_degrees=self.field_of_view_degrees,
            assumed_field_of_view_degrees=self.assumed_field_of_view_degrees,
            fit=self.fit,
        )
