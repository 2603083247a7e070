"""The frame type of all depth data sets, its validation, and its conversion to a sample."""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from datamodules.loading.notices import warn_once
from geometry.camera_check import (
    USUAL_FIELD_OF_VIEW_DEGREES,
    CameraError,
    Intrinsics,
    check_camera,
    check_field_of_view,
)
from structures.batch import PADDING_INDEX

Array = npt.NDArray[np.generic]

Sample = dict[str, torch.Tensor | str]
"""One sample before collating; the keys are those of ``structures.batch.DepthBatch``."""

DepthScale = Literal["10m", "image_max"]
"""Depth that corresponds to the scaled depth 1.0: ten metres, or the largest depth of the image."""

FIXED_SCALE_M = 10.0
"""Metres of the scaled depth 1.0 for ``depth_scale: 10m``; the Kinect of NYU Depth v2 measures up to 10 m."""


@dataclass
class Frame:
    """One image with depth and all data that geometric transforms change, as numpy arrays of equal height and width.

    Attributes:
        image: ``(H, W, 3)`` RGB, uint8 or float32 in [0, 1].
        depth: float32 ``(H, W)``, metres along z, 0 where unknown.
        K: float64 ``(3, 3)``, pixels, corner convention.
        name: Unique in the split and usable as a file stem.
        K_known: False if K is derived from a default field of view.
        labels: Integer maps ``(H, W)`` by name, 0 where unknown.
        flags: Bool maps ``(H, W)`` by name.
        boxes: float32 ``(N, 4)`` xyxy pixels, or None.
        normals: float32 ``(H, W, 3)`` unit vectors in the camera frame, zero where unknown, or None.
        T_world_camera: float64 ``(4, 4)``, metres, or None.
        keypoints: float32 ``(P, 2)``, x and y of key points, corner convention, or None.
        vanishing: float64 ``(3, 3)``, rows are the unit vectors of a Manhattan frame in the camera frame (zero if none
            was found), or None.
    """

    image: Array
    depth: npt.NDArray[np.float32]
    K: npt.NDArray[np.float64]
    name: str
    K_known: bool = True
    labels: dict[str, Array] = field(default_factory=dict)
    flags: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    boxes: npt.NDArray[np.float32] | None = None
    normals: npt.NDArray[np.float32] | None = None
    T_world_camera: npt.NDArray[np.float64] | None = None
    keypoints: npt.NDArray[np.float32] | None = None
    vanishing: npt.NDArray[np.float64] | None = None


class FrameSource(Protocol):
    """Interface of a source of frames: a length and frames by position. Reading must be safe in worker processes."""

    def __len__(self) -> int:
        """Return the number of frames of the split."""
        ...

    def read(self, index: int) -> Frame:
        """Return one frame; the caller may modify its attributes but not its arrays."""
        ...


def check_frame(frame: Frame, where: str, data: str | None = None) -> None:
    """Raise an error for a frame with invalid image, depth or intrinsics.

    Args:
        frame: The frame as read, before any augmentation.
        where: Name in messages, e.g. file and row.
        data: Data set under which warnings about cameras are logged once; None uses ``where``.

    Raises:
        ValueError: If the image is no ``(H, W, 3)`` array, depth is empty or of another size, depth is not finite,
            negative or zero everywhere, or K is implausible for the image (``geometry/camera_check.py``).
    """
    if frame.image.ndim != 3 or frame.image.shape[2] != 3:
        raise ValueError(f"{where}: the image has shape {frame.image.shape}, expected (height, width, 3).")
    height, width = frame.image.shape[:2]
    if frame.depth.size == 0:
        raise ValueError(f"{where}: the depth is an empty array of shape {frame.depth.shape}.")
    if frame.depth.shape != (height, width):
        raise ValueError(
            f"{where}: the image is {width}x{height} but the depth has shape {frame.depth.shape}; both need the same "
            "size, so resize the depth with nearest-neighbour sampling or crop the image."
        )
    check_depth(frame.depth, where)
    check_intrinsics(frame.K, width=width, height=height, where=where, data=data)


def check_depth(depth: npt.NDArray[np.floating], where: str) -> None:
    """Raise ValueError if depth (metres) is not finite, negative, or zero everywhere."""
    low, high = float(depth.min()), float(depth.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(np.count_nonzero(~np.isfinite(depth)))
        raise ValueError(f"{where}: the depth holds {bad} NaN or infinite pixels; mark unknown depth with 0.")
    if low < 0:
        raise ValueError(f"{where}: the depth goes down to {low:g} m, but depth is never negative; 0 means unknown.")
    if high == 0:
        raise ValueError(f"{where}: the depth is 0 (unknown) in every pixel, so the frame is useless; drop it.")


def check_intrinsics(
    K: npt.NDArray[np.floating], *, width: int, height: int, where: str, data: str | None = None
) -> None:
    """Raise an error for K (3x3, corner convention) that is implausible for the image size; log doubts once.

    Args:
        K: The matrix.
        width: Columns of the image.
        height: Rows of the image.
        where: Name in messages.
        data: Data set under which doubts are logged once; None uses ``where``.

    Raises:
        ValueError: One sentence with the likely cause (``geometry/camera_check.py``).
    """
    if K.shape != (3, 3) or not np.isfinite(K).all():
        raise ValueError(f"{where}: K has to be a finite 3x3 matrix, but it is {K.tolist()}.")
    camera = Intrinsics(float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    try:
        doubts = check_camera(camera, width=width, height=height)
    except CameraError as error:
        raise ValueError(f"{where}: {error}.") from error
    for doubt in doubts:
        warn_once(where if data is None else data, f"camera {doubt.kind}", f"{where}: {doubt.message}.")


def default_intrinsics(
    *, width: int, height: int, field_of_view_degrees: float = USUAL_FIELD_OF_VIEW_DEGREES
) -> npt.NDArray[np.float64]:
    """Return a default K for an image of unknown camera.

    Args:
        width: Image width in pixels.
        height: Image height in pixels.
        field_of_view_degrees: Horizontal field of view, 5 to 170.

    Returns:
        float64 ``(3, 3)``, corner convention, principal point in the image centre, square pixels.

    Raises:
        ValueError: If the field of view is out of range.
    """
    check_field_of_view(field_of_view_degrees)
    focal = width / 2 / np.tan(np.radians(field_of_view_degrees) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=np.float64)


def to_sample(frame: Frame, *, index: int, depth_scale: DepthScale) -> Sample:
    """Return a frame as the tensors of a sample.

    Args:
        frame: The frame at its final size.
        index: Position in the split, or ``PADDING_INDEX`` for a sample without valid depth.
        depth_scale: Depth that corresponds to the scaled depth 1.0: ten metres, or the largest depth of this frame
            after augmentation (ten metres if no valid depth is left).

    Returns:
        The sample; see ``structures.batch``.
    """
    image = frame.image
    if image.dtype == np.uint8:
        image = image.astype(np.float32) / np.float32(255)
    depth = np.zeros_like(frame.depth) if index == PADDING_INDEX else frame.depth
    scale_m = FIXED_SCALE_M
    if depth_scale == "image_max" and depth.any():
        scale_m = float(depth.max())
    sample: Sample = {
        "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)),
        "depth": torch.from_numpy(np.array(depth, dtype=np.float32)[None]),
        "depth_mask": torch.from_numpy((depth > 0)[None]),
        "K": torch.from_numpy(frame.K.astype(np.float32)),
        "K_known": torch.tensor(frame.K_known),
        "depth_scale_m": torch.tensor(scale_m, dtype=torch.float32),
        "index": torch.tensor(index, dtype=torch.int64),
        "name": "padding" if index == PADDING_INDEX else frame.name,
    }
    for name, label in frame.labels.items():
        sample[name] = torch.from_numpy(label.astype(np.int64))
    for name, flag in frame.flags.items():
        sample[name] = torch.from_numpy(np.array(flag, dtype=np.bool_)[None])
    if frame.boxes is not None:
        sample["boxes"] = torch.from_numpy(frame.boxes.astype(np.float32))
    if frame.normals is not None:
        sample["normals"] = torch.from_numpy(np.ascontiguousarray(frame.normals.transpose(2, 0, 1)))
    if frame.T_world_camera is not None:
        sample["T_world_camera"] = torch.from_numpy(frame.T_world_camera.astype(np.float32))
    if frame.keypoints is not None:
        sample["keypoints"] = torch.from_numpy(_mark(frame.keypoints, frame.depth.shape)[None])
    if frame.vanishing is not None:
        sample["vanishing"] = torch.from_numpy(frame.vanishing.astype(np.float32))
    return sample


def _mark(points: npt.NDArray[np.float32], shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return a bool map of a shape, True in pixels that contain a point; points outside are dropped."""
    marked = np.zeros(shape, dtype=np.bool_)
    columns, rows = np.floor(points).astype(np.intp).T
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    marked[rows[inside], columns[inside]] = True
    return marked
