"""Plausibility check of intrinsics, with the probable reason if they are wrong.

All readers of intrinsics use this check, so that a camera is accepted or refused in the same way wherever it is given.
Impossible values are errors; unusual but possible ones, such as the principal point of a crop, are warnings that are
given once.

Pinhole models are used for fields of view from 5 degrees (telephoto) to 170 degrees (wide angle). The principal point
of a real camera is near the centre of the image; those of the Kinects of NYU Depth v2 are 2 and 6 % off, in the two
axes.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

MIN_FIELD_OF_VIEW_DEGREES = 5.0
MAX_FIELD_OF_VIEW_DEGREES = 170.0

USUAL_FIELD_OF_VIEW_DEGREES = 60.0
"""Horizontal field of view that is assumed for an unknown camera (LeReS)."""

NORMALISED_AT_MOST = 3.0
"""Intrinsics that are all at most this are normalised by the image size: no image in pixels is so small."""

OTHER_SIZE = (0.56, 1.45)
"""Ratios of the principal point to the image centre, in both axes, beyond which K is refused as that of an image half
or twice as large, with some tolerance for principal points that are off centre."""
OTHER_SIZE_AGREEMENT = 0.1
"""Relative difference of the two axes up to which they agree in one factor."""

NEAR_SIZE = 0.08
"""A factor farther from 1 than this is a warning if the two axes agree within ``NEAR_SIZE_AGREEMENT``."""
NEAR_SIZE_AGREEMENT = 0.05

SIMPLE_FACTORS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 8)
SIMPLE_WITHIN = 0.06
"""A factor this near to a simple one is rounded to it: the principal point may be off centre."""

TURNED_AGREEMENT = 0.08
"""Relative distance of (cx, cy) from the centre of the rotated image up to which K is taken for that image's."""
TURNED_LEAST_ASPECT = 1.15
"""Images nearer to a square cannot be distinguished from rotated ones."""

CORNER_PIXELS = 1.5
"""A principal point nearer to the left or upper border than this is missing, or normalised by the image size."""

MIDDLE_HALF = (0.25, 0.75)
PIXEL_ASPECT = (0.8, 1.25)
"""Usual ratios of fx and fy; 1 for square pixels."""

MILLIMETRES = (1.0, 600.0)
"""Focal lengths of real lenses in millimetres, from phones to telephoto lenses."""


class CameraError(ValueError):
    """Numbers that cannot be a camera; the message has no full stop and names no file."""


class Doubt(NamedTuple):
    """An unusual but possible property of a camera."""

    kind: str
    """Short name, equal for all cameras with the same property."""
    message: str
    """Description and possible reason, without a full stop."""


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point.

    Attributes:
        fx: Focal length along x, pixels.
        fy: Focal length along y, pixels.
        cx: Principal point, pixels from the left edge (corner convention).
        cy: Principal point, pixels from the upper edge.
    """

    fx: float
    fy: float
    cx: float
    cy: float


def check_field_of_view(degrees: float, name: str = "the field of view") -> None:
    """Raise an error for a horizontal field of view that no camera has.

    Args:
        degrees: The angle.
        name: Name in the message.

    Raises:
        CameraError: If it is not a number from 5 to 170.
    """
    if math.isfinite(degrees) and MIN_FIELD_OF_VIEW_DEGREES <= degrees <= MAX_FIELD_OF_VIEW_DEGREES:
        return
    reason = ""
    if MIN_FIELD_OF_VIEW_DEGREES <= math.degrees(degrees) <= MAX_FIELD_OF_VIEW_DEGREES:
        reason = f" (in radians? {degrees:g} rad are {math.degrees(degrees):.1f} degrees)"
    raise CameraError(
        f"{name} is {degrees:g} degrees, but has to lie between {MIN_FIELD_OF_VIEW_DEGREES:g} and "
        f"{MAX_FIELD_OF_VIEW_DEGREES:g}{reason}"
    )


def check_camera_numbers(fx: float, fy: float, cx: float, cy: float, name: str = "") -> None:
    """Raise an error for intrinsics that are wrong for any image size; cx and cy may be in either pixel convention.

    Args:
        fx: Focal length along x, pixels.
        fy: Focal length along y, pixels.
        cx: Principal point along x, pixels.
        cy: Principal point along y, pixels.
        name: Prefix of the message.

    Raises:
        CameraError: If a number is not finite, a focal length not positive, or all are in units of the image.
    """
    numbers = f"fx={fx:g}, fy={fy:g}, cx={cx:g}, cy={cy:g}"
    name = f"{name}: " if name else ""
    if not all(map(math.isfinite, (fx, fy, cx, cy))):
        raise CameraError(f"{name}intrinsics have to be finite numbers, but they are {numbers}")
    if fx <= 0 or fy <= 0:
        raise CameraError(f"{name}focal lengths are in pixels and positive, but fx={fx:g} and fy={fy:g}")
    if max(fx, fy, abs(cx), abs(cy)) <= NORMALISED_AT_MOST:
        raise CameraError(
            f"{name}intrinsics are in pixels, but {numbers}: normalised by the image size? Multiply fx and cx by the "
            "width and fy and cy by the height"
        )


def check_camera(camera: Intrinsics, *, width: int, height: int) -> list[Doubt]:
    """Warnings about the camera of an image.

    Args:
        camera: Its intrinsics, corner convention.
        width: Columns of the image.
        height: Rows of the image.

    Returns:
        Warnings, the most informative first; empty for a usual camera.

    Raises:
        CameraError: If it cannot be the camera of that image; the message gives the probable reason.
    """
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    check_camera_numbers(fx, fy, cx, cy)
    size, point = f"{width}x{height} image", f"principal point ({cx:g}, {cy:g})"
    if 0 <= min(cx, cy) <= CORNER_PIXELS < min(width, height) / 4:
        where = "in the corner" if max(cx, cy) <= CORNER_PIXELS else "on the border"
        raise CameraError(
            f"the {point} lies {where} of the {size}: normalised by the image size, or not filled in? cx and cy "
            "are in pixels, about half of the width and height"
        )
    factor = _factor(camera, width, height, OTHER_SIZE_AGREEMENT)
    outside = not (0 <= cx <= width and 0 <= cy <= height)
    if _is_turned(camera, width, height):
        raise CameraError(
            f"the {point} lies where the middle of a {height}x{width} image would be, but this is a {size}: K of the "
            "image before it was turned by 90 degrees? Give fx, fy, cx and cy of the image as it is stored"
        )
    if factor is not None and not OTHER_SIZE[0] < factor < OTHER_SIZE[1]:
        where = "outside" if outside else "far from the middle of"
        raise CameraError(f"the {point} lies {where} the {size}: K {_of_another_size(factor, width, height)}")
    if outside:
        raise CameraError(
            f"the {point} lies outside the {size}; K has to be given in pixels of this image size"
            f"{_other_middle(camera, width, height)}"
        )
    _check_angles(camera, width, height)
    doubts: list[Doubt] = []
    factor = _factor(camera, width, height, NEAR_SIZE_AGREEMENT)
    if factor is not None and abs(factor - 1) > NEAR_SIZE:
        doubts.append(
            Doubt("size", f"the {point} lies off the middle of the {size} by one factor in both axes: K "
                          f"{_of_another_size(factor, width, height)}")
        )  # fmt: skip
    elif not all(MIDDLE_HALF[0] < part < MIDDLE_HALF[1] for part in (cx / width, cy / height)):
        doubts.append(
            Doubt("crop", f"the {point} lies outside the middle half of the {size}, which is right only for a crop"
                          f"{_other_middle(camera, width, height)}")
        )  # fmt: skip
    if not PIXEL_ASPECT[0] <= fx / fy <= PIXEL_ASPECT[1]:
        doubts.append(
            Doubt("pixels", f"fx={fx:g} and fy={fy:g} differ by a factor of {fx / fy:.3g}, which is right only for an "
                            "image that was stretched")
        )  # fmt: skip
    return doubts


def _factor(camera: Intrinsics, width: int, height: int, agreement: float) -> float | None:
    """Size of the image whose centre is the principal point, relative to the image; None if the axes disagree."""
    x, y = 2 * camera.cx / width, 2 * camera.cy / height
    if x <= 0 or y <= 0 or abs(x / y - 1) > agreement or abs(y / x - 1) > agreement:
        return None
    return math.sqrt(x * y)


def _of_another_size(factor: float, width: int, height: int) -> str:
    simple = min(SIMPLE_FACTORS, key=lambda value: abs(factor / value - 1))
    if abs(factor / simple - 1) < SIMPLE_WITHIN:
        factor = simple
    larger = f"{round(width * factor)}x{round(height * factor)}"
    change = f"divide fx, fy, cx and cy by {factor:.3g}" if factor > 1 else f"multiply them by {1 / factor:.3g}"
    return f"of another image size, about {larger} ({factor:.3g} times as large)? Then {change}"


def _is_turned(camera: Intrinsics, width: int, height: int) -> bool:
    if max(width, height) / min(width, height) < TURNED_LEAST_ASPECT:
        return False
    off_turned = max(abs(2 * camera.cx / height - 1), abs(2 * camera.cy / width - 1))
    off_middle = max(abs(2 * camera.cx / width - 1), abs(2 * camera.cy / height - 1))
    return off_turned < TURNED_AGREEMENT and off_middle > TURNED_AGREEMENT


def _other_middle(camera: Intrinsics, width: int, height: int) -> str:
    """The image whose centre is the principal point, if it is larger, or smaller, in both axes."""
    x, y = 2 * camera.cx / width, 2 * camera.cy / height
    if min(x, y) > 1 or 0 < min(x, y) <= max(x, y) < 1:
        return f" (of another image size? It would be the middle of {2 * camera.cx:.0f}x{2 * camera.cy:.0f})"
    return ""


def _check_angles(camera: Intrinsics, width: int, height: int) -> None:
    for focal, name, length, axis in (
        (camera.fx, "fx", width, "horizontal"),
        (camera.fy, "fy", height, "vertical"),
    ):
        degrees = math.degrees(2 * math.atan(length / (2 * focal)))
        if MIN_FIELD_OF_VIEW_DEGREES <= degrees <= MAX_FIELD_OF_VIEW_DEGREES:
            continue
        if focal <= NORMALISED_AT_MOST:
            reason = "normalised by the image size? Multiply fx by the width and fy by the height"
        elif degrees > MAX_FIELD_OF_VIEW_DEGREES and MILLIMETRES[0] <= focal <= MILLIMETRES[1]:
            reason = "in millimetres? Multiply by the width of the image and divide by that of the sensor in mm"
        else:
            reason = "perhaps of another image size, or in another unit than pixels"
        raise CameraError(
            f"{name}={focal:g} means a {axis} field of view of {degrees:.3g} degrees of the {width}x{height} image, "
            f"but {MIN_FIELD_OF_VIEW_DEGREES:g} to {MAX_FIELD_OF_VIEW_DEGREES:g} are possible: {reason}"
        )
