"""Reading of a ``camera.yaml`` and the resulting intrinsics and undistortion for frames of a given size.

The file describes either a calibrated camera::

    fx: 525.0              # in pixels of frames with this width and height
    fy: 525.0
    cx: 319.5
    cy: 239.5
    width: 640
    height: 480
    pixel_centres: true    # optional: cx and cy are relative to the centre of the first pixel, as in OpenCV (default)
    distortion: [0, 0, 0, 0, 0]    # optional: OpenCV's k1, k2, p1, p2, k3

or an assumed field of view, which makes the ratio of depth to width and height an assumption too::

    field_of_view_degrees: 60      # horizontal
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from datamodules.samples.frame import check_intrinsics, default_intrinsics
from geometry.camera_check import USUAL_FIELD_OF_VIEW_DEGREES, CameraError, check_camera_numbers, check_field_of_view

CAMERA_FILE = "camera.yaml"
CALIBRATION = ("fx", "fy", "cx", "cy", "width", "height")
OPTIONAL = ("pixel_centres", "distortion")
DISTORTION = ("k1", "k2", "p1", "p2", "k3")
FIELD_OF_VIEW = "field_of_view_degrees"

PROPORTION_TOLERANCE = 0.01
"""Largest relative difference between the horizontal and vertical scale from the calibrated to the frame size."""


@dataclass(frozen=True)
class FrameCamera:
    """Intrinsics and undistortion for frames of one size.

    Attributes:
        K: float64 ``(3, 3)``, pixels of the undistorted frames, corner convention.
        known: False if K is derived from an assumed field of view.
        maps: Position in the distorted frame of each undistorted pixel, float32 ``(H, W)`` x and y in OpenCV's
            convention; None without distortion.
    """

    K: npt.NDArray[np.float64]
    known: bool
    maps: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None

    def undistort(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return an undistorted image ``(H, W, 3)``, bilinear."""
        if self.maps is None:
            return image
        straight = cv2.remap(image, *self.maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(straight, dtype=np.uint8)

    def undistort_depth(self, depth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return undistorted depth ``(H, W)``, sampled at the nearest pixel so that values do not mix."""
        if self.maps is None:
            return depth
        straight = cv2.remap(depth, *self.maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT)
        return np.asarray(straight, dtype=np.float32)


@dataclass(frozen=True)
class Camera:
    """A camera as specified by the user, for frames of any size with its aspect ratio.

    Attributes:
        where: Source file, for messages.
        K: float64 ``(3, 3)``, corner convention, pixels of ``size``; None if only the field of view is given.
        size: Height and width that K belongs to; None applies K to frames of any size.
        distortion: OpenCV's ``k1, k2, p1, p2, k3``, or None.
        field_of_view_degrees: Horizontal field of view, used without K.
        data: Data set of the frames, for warnings that are logged once; None uses ``where``.
    """

    where: str
    K: npt.NDArray[np.float64] | None = None
    size: tuple[int, int] | None = None
    distortion: tuple[float, ...] | None = None
    field_of_view_degrees: float = USUAL_FIELD_OF_VIEW_DEGREES
    data: str | None = None

    @property
    def assumed_field_of_view_degrees(self) -> float | None:
        """Horizontal field of view from which K is derived; None if K is known."""
        return self.field_of_view_degrees if self.K is None else None

    def for_frames(self, height: int, width: int) -> FrameCamera:
        """Return the camera for frames of a given size.

        K is scaled with the frames. Undistorted frames have a slightly narrower field of view, so that every pixel has
        a value.

        Args:
            height: Rows of the frames.
            width: Columns of the frames.

        Raises:
            ValueError: If the aspect ratio of the frames differs from the calibration, or K is implausible for them.
        """
        if self.K is None:
            field_of_view = self.field_of_view_degrees
            K = default_intrinsics(width=width, height=height, field_of_view_degrees=field_of_view)
            return FrameCamera(K, known=False)
        K = self.K
        if self.size is not None:
            scale_x, scale_y = width / self.size[1], height / self.size[0]
            if abs(scale_x / scale_y - 1) > PROPORTION_TOLERANCE:
                raise ValueError(
                    f"{self.where} is the camera of {self.size[1]}x{self.size[0]} frames, but these are "
                    f"{width}x{height}, which is no scaled version of that: calibrate at their size, or correct cx and "
                    "cy for what was cropped."
                )
            K = np.diag([scale_x, scale_y, 1.0]) @ K
        check_intrinsics(K, width=width, height=height, where=self.where, data=self.data)
        if self.distortion is None:
            return FrameCamera(K, known=True)
        half = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
        coefficients = np.array(self.distortion)
        # OpenCV's origin is the centre of the first pixel; alpha = 0 keeps only valid pixels.
        new_K, _ = cv2.getOptimalNewCameraMatrix(K - half, coefficients, (width, height), 0.0)
        x, y = cv2.initUndistortRectifyMap(K - half, coefficients, np.eye(3), new_K, (width, height), cv2.CV_32FC1)
        new_K = np.asarray(new_K, dtype=np.float64) + half
        where = f"{self.where} without its distortion"
        check_intrinsics(new_K, width=width, height=height, where=where, data=self.data)
        return FrameCamera(new_K, known=True, maps=(np.asarray(x, np.float32), np.asarray(y, np.float32)))


def read_camera(path: Path, data: str | None = None) -> Camera:
    """Return the camera in a file; see the module docstring for the format.

    Args:
        path: The file.
        data: Data set for warnings that are logged once; None uses the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a key is missing or unknown, or a value is invalid.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no camera file {path}: write fx, fy, cx, cy, width and height into it, or unset camera."
        )
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} has to hold lines such as 'fx: 525.0', but it holds {content!r}.")
    known = CALIBRATION + OPTIONAL + (FIELD_OF_VIEW,)
    unknown = [str(key) for key in content if key not in known]
    if unknown:
        raise ValueError(f"{path}: '{unknown[0]}' is not known; the keys are {', '.join(known)}.")
    if FIELD_OF_VIEW in content:
        if len(content) > 1:
            raise ValueError(f"{path}: {FIELD_OF_VIEW} stands alone; give it or fx, fy, cx and cy, not both.")
        angle = _number(content, FIELD_OF_VIEW, path)
        try:
            check_field_of_view(angle, FIELD_OF_VIEW)
        except CameraError as error:
            raise ValueError(f"{path}: {error}.") from error
        return Camera(str(path), field_of_view_degrees=angle)
    missing = [key for key in CALIBRATION if key not in content]
    if missing:
        raise ValueError(f"{path}: {', '.join(missing)} missing; give {', '.join(CALIBRATION)}, or {FIELD_OF_VIEW}.")
    fx, fy, cx, cy, width, height = (_number(content, key, path) for key in CALIBRATION)
    if min(width, height) < 1 or width != int(width) or height != int(height):
        raise ValueError(f"{path}: width and height are whole pixels, but they are {width:g} and {height:g}.")
    centres = content.get("pixel_centres", True)
    if not isinstance(centres, bool):
        raise ValueError(f"{path}: pixel_centres is true or false, but it is {centres!r}.")
    try:
        check_camera_numbers(fx, fy, cx, cy)
    except CameraError as error:
        raise ValueError(f"{path}: {error}.") from error
    shift = 0.5 if centres else 0.0
    K = np.array([[fx, 0, cx + shift], [0, fy, cy + shift], [0, 0, 1]], dtype=np.float64)
    check_intrinsics(K, width=int(width), height=int(height), where=str(path), data=data)
    return Camera(str(path), K=K, size=(int(height), int(width)), distortion=_distortion(content, path), data=data)


def _number(content: dict[str, Any], key: str, path: Path) -> float:
    value = content[key]
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # also '1e3', which YAML reads as text
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{path}: {key} has to be a finite number, but it is {value!r}.")
    return number


def _distortion(content: dict[str, Any], path: Path) -> tuple[float, ...] | None:
    if "distortion" not in content:
        return None
    values = content["distortion"]
    if not isinstance(values, list) or len(values) != len(DISTORTION):
        raise ValueError(f"{path}: distortion is a list of {', '.join(DISTORTION)}, but it is {values!r}.")
    named = dict(zip(DISTORTION, values, strict=True))
    numbers = tuple(_number(named, name, path) for name in DISTORTION)
    return numbers if any(numbers) else None
