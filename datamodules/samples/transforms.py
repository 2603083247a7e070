"""Augmentations that keep image, depth, labels, boxes, normals, pose and K consistent.

Images are processed by albumentations, which transforms neither K nor the components of normals, and whose random draws
are not functions of (seed, epoch, index). Random numbers are therefore drawn here and passed to its deterministic
functions. All other data follow from two matrices per step: ``G`` maps pixels (corner convention) of the old image to
the new one, and ``Q`` maps points in the old camera frame to the new one, so that ``K_new = G K Q^-1``.

Depth, labels, flags and normals are sampled at the nearest pixel and never interpolated, so all values were measured.
Outside of the old image they are 0 (unknown).
"""

import os
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.samples.colours import ColourJitter, float_image
from datamodules.samples.frame import Frame

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # read at import: no look-up for newer versions

from albumentations.augmentations.crops import functional as crops
from albumentations.augmentations.geometric import functional as geometric

Matrix = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


def resize(frame: Frame, image_size: tuple[int, int]) -> Frame:
    """Return a resized frame; the image is downsampled by area averaging, maps are sampled at the nearest pixel.

    Args:
        frame: The frame; not modified.
        image_size: New height and width in pixels.

    Returns:
        The frame of the new size (the same object if it has that size already).
    """
    height, width = frame.image.shape[:2]
    new_height, new_width = image_size
    if (height, width) == (new_height, new_width):
        return frame
    shrinks = new_height <= height and new_width <= width
    image = geometric.resize(frame.image, (new_height, new_width), cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    # The old pixel that contains the centre of the new one: cv2's INTER_NEAREST_EXACT, for all dtypes.
    rows = ((np.arange(new_height) + 0.5) * height / new_height).astype(np.intp)[:, None]
    columns = ((np.arange(new_width) + 0.5) * width / new_width).astype(np.intp)[None, :]
    G = np.diag([new_width / width, new_height / height, 1.0])
    return _move(replace(frame, image=image), G, np.eye(3), rows, columns)


def crop(frame: Frame, *, top: int, left: int, height: int, width: int) -> Frame:
    """Return a window inside the frame as a frame.

    Args:
        frame: The frame; not modified.
        top: First row.
        left: First column.
        height: Rows of the window.
        width: Columns of the window.
    """
    image = crops.crop(frame.image, left, top, left + width, top + height)
    rows = np.arange(top, top + height, dtype=np.intp)[:, None]
    columns = np.arange(left, left + width, dtype=np.intp)[None, :]
    G = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top], [0.0, 0.0, 1.0]])
    return _move(replace(frame, image=image), G, np.eye(3), rows, columns)


def crop_to_aspect(frame: Frame, image_size: tuple[int, int]) -> Frame:
    """Return the largest centred window of a frame with the aspect ratio of a size; K follows.

    Args:
        frame: The frame; not modified.
        image_size: Height and width that define the aspect ratio.

    Returns:
        The window, rounded to pixels (the same object if it is the whole frame).
    """
    height, width = frame.image.shape[:2]
    rows = min(height, max(1, round(width * image_size[0] / image_size[1])))
    columns = min(width, max(1, round(height * image_size[1] / image_size[0])))
    if (rows, columns) == (height, width):
        return frame
    return crop(frame, top=(height - rows) // 2, left=(width - columns) // 2, height=rows, width=columns)


def flip(frame: Frame) -> Frame:
    """Return a horizontally flipped frame.

    K stays a valid camera matrix and the world is mirrored instead (x -> -x in the camera frame), so normals change the
    sign of x and a pose becomes ``M T M``. Poses of frames that are all flipped remain consistent.
    """
    height, width = frame.image.shape[:2]
    image = np.ascontiguousarray(frame.image[:, ::-1])
    rows = np.arange(height, dtype=np.intp)[:, None]
    columns = np.arange(width - 1, -1, -1, dtype=np.intp)[None, :]
    G = np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    mirror = np.diag([-1.0, 1.0, 1.0])
    moved = _move(replace(frame, image=image), G, mirror, rows, columns)
    if moved.T_world_camera is not None:
        moved.T_world_camera = np.diag([-1.0, 1.0, 1.0, 1.0]) @ moved.T_world_camera
    return moved


def rotate(frame: Frame, degrees: float) -> Frame:
    """Return a frame rotated about the image centre, equivalent to a camera roll; depth along z does not change.

    A rotation S about the image centre is a roll of the camera about its optical axis and a shift of the principal
    point: ``S K = K_new Q`` with a roll Q and an upper triangular ``K_new``. With square pixels ``K_new`` is K with
    ``(cx, cy)`` rotated by S; otherwise it has a small skew, and the product ``K_new X`` is exact.

    Args:
        frame: The frame; not modified.
        degrees: Rotation angle, positive clockwise (from x towards y).

    Returns:
        The frame of the same size. Outside of the old image, the image is mirrored at its border and every map,
        including depth, is 0 (unknown).
    """
    height, width = frame.image.shape[:2]
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    to_centre = np.array([[1.0, 0.0, width / 2], [0.0, 1.0, height / 2], [0.0, 0.0, 1.0]])
    G = to_centre @ turn @ np.linalg.inv(to_centre)

    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    between_centres = np.linalg.inv(half) @ G @ half  # OpenCV's origin is the centre of the first pixel
    image = geometric.warp_affine_with_value_extension(
        frame.image, between_centres[:2], (width, height), cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101, 0
    )
    back = np.linalg.inv(G)
    x, y = np.arange(width)[None, :] + 0.5, np.arange(height)[:, None] + 0.5
    old_x = (back[0, 0] * x + back[0, 2]) + back[0, 1] * y
    old_y = (back[1, 0] * x + back[1, 2]) + back[1, 1] * y
    inside = (old_x >= 0) & (old_x < width) & (old_y >= 0) & (old_y < height)
    columns = old_x.clip(0, width - 1).astype(np.intp)
    rows = old_y.clip(0, height - 1).astype(np.intp)

    focal = (G @ frame.K)[:2, :2]  # x-y block of K_new Q; its lower row is fy_new times that of Q
    lower = focal[1] / np.hypot(focal[1, 0], focal[1, 1])
    Q = np.array([[lower[1], -lower[0], 0.0], [lower[0], lower[1], 0.0], [0.0, 0.0, 1.0]])
    moved = _move(replace(frame, image=image), G, Q, rows, columns)
    return _blank(moved, ~inside)


def _move(frame: Frame, G: Matrix, Q: Matrix, rows: Index, columns: Index) -> Frame:
    """Return the frame with all data but the image transformed: maps by (rows, columns), the rest by G and Q."""
    K = G @ frame.K @ np.linalg.inv(Q)
    K[1, 0] = 0.0  # upper triangular by construction, up to rounding
    if abs(K[0, 1]) < 1e-9 * K[0, 0]:
        K[0, 1] = 0.0
    boxes, normals, pose = frame.boxes, frame.normals, frame.T_world_camera
    if boxes is not None:
        height, width = np.broadcast_shapes(rows.shape, columns.shape)
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2) @ G[:2, :2].T + G[:2, 2]
        limits = np.array([width, height, width, height])
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).clip(0, limits).astype(np.float32)
    if normals is not None:
        normals = (normals[rows, columns] @ Q.T).astype(np.float32)
    if pose is not None:
        pose = pose.copy()
        pose[:3, :3] = pose[:3, :3] @ np.linalg.inv(Q)
    keypoints, vanishing = frame.keypoints, frame.vanishing
    if keypoints is not None:
        keypoints = (keypoints @ G[:2, :2].T + G[:2, 2]).astype(np.float32)
    if vanishing is not None:
        vanishing = vanishing @ Q.T
    return replace(
        frame,
        depth=frame.depth[rows, columns],
        K=K,
        labels={name: label[rows, columns] for name, label in frame.labels.items()},
        flags={name: flag[rows, columns] for name, flag in frame.flags.items()},
        boxes=boxes,
        normals=normals,
        T_world_camera=pose,
        keypoints=keypoints,
        vanishing=vanishing,
    )


def _blank(frame: Frame, unknown: npt.NDArray[np.bool_]) -> Frame:
    """Set every map of a frame to 0 where ``unknown`` (H, W) is True, in place."""
    for values in (frame.depth, *frame.labels.values(), *frame.flags.values()):
        values[unknown] = 0
    if frame.normals is not None:
        frame.normals[unknown] = 0
    return frame


class DepthAugmentation:
    """Training augmentation of one frame: rotation, crop, flip, resize, colour jitter and noise.

    The defaults are those of the report on seven supervised models (rotation by up to 5 degrees, a random 480x480
    window of a 640x480 image, brightness, horizontal flip). Its FCN uses a flip and noise alone:
    ``rotation_degrees=0, crop=None, brightness=(1, 1), noise_std=0.02``.

    Args:
        rotation_degrees: The rotation angle is uniform in ``[-rotation_degrees, rotation_degrees]``.
        crop: Height and width in pixels of a random window of the frame, or None.
        crop_scale: Alternative to ``crop``: range of the window's side as a fraction of the frame's, inside (0, 1].
        flip: Probability of a horizontal flip.
        brightness: Range of the brightness factor.
        contrast: Range of the contrast factor (1: unchanged).
        saturation: Range of the saturation factor (1: unchanged).
        hue: Largest hue shift as a fraction of the colour circle, inside [0, 0.5].
        noise_std: Standard deviation of zero-mean Gaussian noise, for colours in [0, 1].

    Raises:
        ValueError: If a range is reversed or out of bounds, or both kinds of crop are given.
    """

    def __init__(
        self,
        *,
        rotation_degrees: float = 5.0,
        crop: tuple[int, int] | None = (480, 480),
        crop_scale: tuple[float, float] | None = None,
        flip: float = 0.5,
        brightness: tuple[float, float] = (0.8, 1.2),
        contrast: tuple[float, float] = (1.0, 1.0),
        saturation: tuple[float, float] = (1.0, 1.0),
        hue: float = 0.0,
        noise_std: float = 0.0,
    ) -> None:
        if crop is not None and crop_scale is not None:
            raise ValueError(f"Give either crop ({crop}) or crop_scale ({crop_scale}) and set the other one to null.")
        if crop_scale is not None and not 0 < crop_scale[0] <= crop_scale[1] <= 1:
            raise ValueError(f"crop_scale is a range inside (0, 1], lower end first, got {crop_scale}.")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip is a probability, got {flip}.")
        if rotation_degrees < 0 or noise_std < 0:
            raise ValueError(f"rotation_degrees ({rotation_degrees}) and noise_std ({noise_std}) must not be negative.")
        self.rotation_degrees = rotation_degrees
        self.crop = crop
        self.crop_scale = crop_scale
        self.flip = flip
        self.colours = ColourJitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
        self.noise_std = noise_std

    def __call__(self, frame: Frame, generator: np.random.Generator, *, image_size: tuple[int, int]) -> Frame:
        """Return an augmented frame.

        Args:
            frame: The frame; not modified.
            generator: Random generator.
            image_size: Height and width of the result.

        Returns:
            The frame of the given size, with a float32 image in [0, 1].

        Raises:
            ValueError: If the frame is smaller than ``crop``.
        """
        frame = self._geometry(frame, generator)
        return self._colours(resize(frame, image_size), generator)

    def _geometry(self, frame: Frame, generator: np.random.Generator) -> Frame:
        if self.rotation_degrees > 0:
            frame = rotate(frame, generator.uniform(-self.rotation_degrees, self.rotation_degrees))
        height, width = frame.image.shape[:2]
        size = self.crop
        if self.crop_scale is not None:
            scale = generator.uniform(*self.crop_scale)
            size = max(1, round(scale * height)), max(1, round(scale * width))
        if size is not None:
            if size[0] > height or size[1] > width:
                raise ValueError(
                    f"The augmentation crops {size[0]}x{size[1]} (height x width) pixels, but {frame.name} has only "
                    f"{height}x{width}: set crop to null, to a smaller size, or use crop_scale."
                )
            top = int(generator.integers(0, height - size[0] + 1))
            left = int(generator.integers(0, width - size[1] + 1))
            frame = crop(frame, top=top, left=left, height=size[0], width=size[1])
        if generator.random() < self.flip:
            frame = flip(frame)
        return frame

    def _colours(self, frame: Frame, generator: np.random.Generator) -> Frame:
        change = self.colours.draw(generator)
        image = change(float_image(frame.image))
        if self.noise_std > 0:
            image = image + generator.standard_normal(image.shape, dtype=np.float32) * np.float32(self.noise_std)
        return replace(frame, image=image.clip(0, 1).astype(np.float32))
