"""Pinhole camera maths on the corner-convention pixel grid.

Pixel ``(0, 0)`` is the top-left corner of the first pixel and centres lie at +0.5. Camera x right, y down, z forward.
``K`` is ``[[fx, skew, cx], [0, fy, cy], [0, 0, 1]]`` in pixels. Products are written out, because autocast would
compute a ``matmul`` in half precision.
"""

import math

import torch
from torch import Tensor


def pixel_grid(height: int, width: int, *, like: Tensor) -> Tensor:
    """Coordinates of the pixel centres.

    Args:
        height: rows.
        width: columns.
        like: a floating-point tensor that gives the type and the device.

    Returns:
        ``(2, H, W)``: x from 0.5 to W - 0.5, then y from 0.5 to H - 0.5.
    """
    x = torch.arange(width, dtype=like.dtype, device=like.device) + 0.5
    y = torch.arange(height, dtype=like.dtype, device=like.device) + 0.5
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x, grid_y])


def _entries(K: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    if K.ndim != 3 or K.shape[-2:] != (3, 3):
        raise ValueError(f"K has shape {tuple(K.shape)}, but (B, 3, 3) is needed.")
    fx, skew, cx, fy, cy = (K[:, i, j].view(-1, 1, 1) for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
    return fx, skew, cx, fy, cy


def unproject(depth: Tensor, K: Tensor) -> Tensor:
    """Points of the pixel centres at their depths: ``X = depth * K^-1 (x, y, 1)``.

    Args:
        depth: ``(B, 1, H, W)``, metres along z; pixels without a measurement (0) give the camera centre.
        K: ``(B, 3, 3)``, pixels.

    Returns:
        ``(B, 3, H, W)`` points in the camera frame, metres.

    Raises:
        ValueError: if ``depth`` or ``K`` has another shape.
    """
    if depth.ndim != 4 or depth.shape[1] != 1:
        raise ValueError(f"depth has shape {tuple(depth.shape)}, but (B, 1, H, W) is needed.")
    fx, skew, cx, fy, cy = _entries(K)
    x, y = pixel_grid(depth.shape[-2], depth.shape[-1], like=K)
    ray_y = (y - cy) / fy
    ray_x = (x - cx - skew * ray_y) / fx
    rays = torch.stack([ray_x, ray_y, torch.ones_like(ray_x)], dim=1)
    return depth * rays


def project(points: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates of points, and whether they are in front of the camera.

    Args:
        points: ``(B, 3, H, W)`` in the camera frame, metres.
        K: ``(B, 3, 3)``, pixels.

    Returns:
        ``(B, 2, H, W)`` pixel coordinates (x, y), and bool ``(B, 1, H, W)``, True for points in front of the camera
        (z > 0). Where it is False the coordinates are arbitrary finite values without a gradient of z.

    Raises:
        ValueError: if ``points`` or ``K`` has another shape.
    """
    if points.ndim != 4 or points.shape[1] != 3:
        raise ValueError(f"points has shape {tuple(points.shape)}, but (B, 3, H, W) is needed.")
    fx, skew, cx, fy, cy = _entries(K)
    x, y, z = points.unbind(dim=1)
    in_front = z > 0
    safe_z = torch.where(in_front, z, torch.ones_like(z))
    normalised_x, normalised_y = x / safe_z, y / safe_z
    pixels = torch.stack([fx * normalised_x + skew * normalised_y + cx, fy * normalised_y + cy], dim=1)
    return pixels, in_front.unsqueeze(1)


def scale_intrinsics(K: Tensor, *, scale_x: float, scale_y: float) -> Tensor:
    """Intrinsics of the image resized by the given factors; pure scaling in the corner convention.

    Args:
        K: ``(..., 3, 3)``, pixels.
        scale_x: new width / old width.
        scale_y: new height / old height.

    Returns:
        ``(..., 3, 3)``; the input is not modified.

    Raises:
        ValueError: if a factor is not positive.
    """
    if scale_x <= 0 or scale_y <= 0:
        raise ValueError(f"The resize factors are {scale_x} and {scale_y}, but both must be positive.")
    return K * torch.tensor([scale_x, scale_y, 1.0], dtype=K.dtype, device=K.device).unsqueeze(-1)


def turn_intrinsics(K: Tensor, orientation: int, *, height: int, width: int) -> Tensor:
    """Intrinsics of an image that is rotated upright according to its EXIF orientation.

    The camera frame is rotated with the image, so that x stays right and y down; the mirrored orientations (2, 4, 5, 7)
    are those of a mirrored scene.

    Args:
        K: ``(..., 3, 3)``, pixels of the stored image, without skew.
        orientation: EXIF's number, 1 to 8.
        height: rows of the stored image.
        width: columns of the stored image.

    Returns:
        ``(..., 3, 3)``; the input is not modified.

    Raises:
        ValueError: if the orientation is no number from 1 to 8, or K has a skew.
    """
    if orientation not in range(1, 9):
        raise ValueError(f"EXIF's orientation is a number from 1 to 8, got {orientation}.")
    if bool((K[..., 0, 1] != 0).any()):
        raise ValueError("K with a skew cannot be turned.")
    turned = K.clone()
    fx, fy, cx, cy = K[..., 0, 0], K[..., 1, 1], K[..., 0, 2], K[..., 1, 2]
    if orientation in (2, 3, 7, 8):
        cx = width - cx
    if orientation in (3, 4, 6, 7):
        cy = height - cy
    if orientation >= 5:
        fx, fy, cx, cy = fy, fx, cy, cx
    turned[..., 0, 0], turned[..., 1, 1], turned[..., 0, 2], turned[..., 1, 2] = fx, fy, cx, cy
    return turned


def focal_from_field_of_view(field_of_view: float, size: float) -> float:
    """Focal length in pixels of a camera with a given field of view.

    Args:
        field_of_view: full angle in radians, between 0 and pi.
        size: image width (horizontal angle) or height (vertical angle) in pixels.

    Returns:
        ``size / (2 tan(field_of_view / 2))``.

    Raises:
        ValueError: if the angle is not between 0 and pi or the size not positive.

    >>> round(focal_from_field_of_view(math.pi / 2, 640), 6)
    320.0
    """
    if not 0 < field_of_view < math.pi:
        raise ValueError(f"The field of view is {field_of_view} rad, but it must lie between 0 and pi.")
    if size <= 0:
        raise ValueError(f"The image size is {size} pixels, but it must be positive.")
    return size / (2 * math.tan(field_of_view / 2))


def field_of_view_from_focal(focal: float, size: float) -> float:
    """Field of view of an image of ``size`` pixels; the inverse of :func:`focal_from_field_of_view`.

    Args:
        focal: focal length in pixels.
        size: image width or height in pixels.

    Returns:
        The full angle in radians.

    Raises:
        ValueError: if the focal length or the size is not positive.
    """
    if focal <= 0 or size <= 0:
        raise ValueError(f"The focal length is {focal} and the image size {size} pixels, but both must be positive.")
    return 2 * math.atan(size / (2 * focal))


def intrinsics_from_field_of_view(field_of_view: float, *, height: int, width: int) -> Tensor:
    """Intrinsics with square pixels and the principal point at the centre of the image.

    Args:
        field_of_view: full horizontal angle in radians.
        height: rows.
        width: columns.

    Returns:
        float32 ``(3, 3)``, pixels.

    Raises:
        ValueError: if the angle is not between 0 and pi.
    """
    focal = focal_from_field_of_view(field_of_view, width)
    return torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])
