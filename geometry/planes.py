"""Least-squares planes of the segments of a point map, and the depth of these planes.

A plane is the vector a with ``a^T X = 1`` for its points X: its normal divided by its distance from the camera. Sums
are computed for all segments of all images at once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from geometry.camera import unproject
from geometry.stencils import at_least_float32, fill_outside


def _check_segments(segments: Tensor, shape: tuple[int, ...]) -> None:
    if segments.shape != shape or segments.dtype is not torch.int64:
        raise ValueError(f"segments are {segments.dtype} {tuple(segments.shape)}, but torch.int64 {shape} is needed.")


def fit_planes(points: Tensor, segments: Tensor, *, ridge: float = 0.01, n_segments: int | None = None) -> Tensor:
    """Regularised least-squares planes, differentiable: ``a = (sum X X^T + ridge I)^-1 sum X`` (P2Net, StructDepth).

    Sums and inverse are computed in double precision, since the matrix of a small distant segment is ill-conditioned.

    Args:
        points: ``(B, 3, H, W)`` in the camera frame, metres; arbitrary, also NaN, outside the segments.
        segments: int64 ``(B, H, W)``: segments of each image from 1; 0 means no segment.
        ridge: added to the diagonal, square metres; positive.
        n_segments: S, at least the largest id. By default the largest id, which synchronises a GPU.

    Returns:
        ``(B, S, 3)`` in at least float32, 1 / metres: row i is the plane of segment i + 1, zero where it is empty.

    Raises:
        ValueError: if a shape or type is wrong, or ``ridge`` is not positive.
    """
    if points.ndim != 4 or points.shape[1] != 3:
        raise ValueError(f"points has shape {tuple(points.shape)}, but (B, 3, H, W) is needed.")
    _check_segments(segments, (len(points), *points.shape[-2:]))
    if not ridge > 0:
        raise ValueError(f"ridge is {ridge}, but it must be positive.")
    if n_segments is None:
        n_segments = int(segments.max()) if segments.numel() else 0
    points = fill_outside(at_least_float32(points), segments.unsqueeze(1) > 0)
    x, y, z = points.flatten(2).unbind(dim=1)
    moments = torch.stack([x * x, x * y, x * z, y * y, y * z, z * z, x, y, z], dim=1).to(torch.float64)
    index = segments.flatten(1).unsqueeze(1).expand_as(moments)
    sums = moments.new_zeros(len(points), 9, n_segments + 1).scatter_add(2, index, moments)[..., 1:]
    xx, xy, xz, yy, yz, zz, x, y, z = sums.unbind(dim=1)
    xx, yy, zz = xx + ridge, yy + ridge, zz + ridge
    # The adjugate of a symmetric matrix. Its determinant is at least ridge^3.
    c_xx, c_xy, c_xz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    c_yy, c_yz, c_zz = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    determinant = xx * c_xx + xy * c_xy + xz * c_xz
    adjugate_times_sum = torch.stack(
        [c_xx * x + c_xy * y + c_xz * z, c_xy * x + c_yy * y + c_yz * z, c_xz * x + c_yz * y + c_zz * z], dim=-1
    )
    return (adjugate_times_sum / determinant.unsqueeze(-1)).to(points.dtype)


def planar_depth(planes: Tensor, segments: Tensor, K: Tensor, *, min_depth_m: float, max_depth_m: float) -> Tensor:
    """Depth at which the ray of each pixel meets the plane of its segment, ``1 / (a^T K^-1 (x, y, 1))``.

    The inverse depth is clamped, so that the gradient of a ray parallel to the plane is zero instead of NaN. A ray that
    meets the plane behind the camera gets the largest depth, as rays close to the horizon of the plane do.

    Args:
        planes: ``(B, S, 3)``, see :func:`fit_planes`.
        segments: int64 ``(B, H, W)``: segments from 1 to S; 0 means no segment.
        K: ``(B, 3, 3)``, pixels.
        min_depth_m: smallest depth, metres.
        max_depth_m: largest depth, metres.

    Returns:
        ``(B, 1, H, W)`` in at least float32, metres, 0 outside the segments.

    Raises:
        ValueError: if a shape or type is wrong, or not ``0 < min_depth_m < max_depth_m``.
    """
    if planes.ndim != 3 or planes.shape[-1] != 3:
        raise ValueError(f"planes has shape {tuple(planes.shape)}, but (B, S, 3) is needed.")
    if segments.ndim != 3:
        raise ValueError(f"segments has shape {tuple(segments.shape)}, but (B, H, W) is needed.")
    _check_segments(segments, (len(planes), *segments.shape[1:]))
    if not 0 < min_depth_m < max_depth_m:
        raise ValueError(
            f"The depths are {min_depth_m} and {max_depth_m} m, but the first must be positive and below the second."
        )
    planes = F.pad(at_least_float32(planes).transpose(1, 2), (1, 0))
    index = segments.flatten(1).unsqueeze(1).expand(-1, 3, -1)
    rays = unproject(torch.ones_like(segments, dtype=planes.dtype).unsqueeze(1), K.to(planes.dtype))
    inverse = (planes.gather(2, index).view_as(rays) * rays).sum(dim=1, keepdim=True)
    depth = inverse.clamp(1 / max_depth_m, 1 / min_depth_m).reciprocal()
    return fill_outside(depth, segments.unsqueeze(1) > 0)
