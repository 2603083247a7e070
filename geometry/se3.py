"""Rotations and rigid transforms. Products are written out, because autocast and TF32 would round a ``matmul``.

``T_a_b`` maps points of frame b into frame a; points are columns. Angles are radians.
"""

import math

import torch
from torch import Tensor

from geometry.stencils import at_least_float32

_SERIES_BELOW = 0.25
"""Squared angle below which sin(x) / x is computed from its series; 7 terms are exact in float64 there."""
_SERIES = [(-1) ** k / math.factorial(2 * k + 1) for k in range(7)]


def _sinc_of_square(square: Tensor) -> Tensor:
    """``sin(x) / x`` as a function of ``x^2``, in which it is smooth: no derivative divides by a zero angle."""
    small = square < _SERIES_BELOW
    near = torch.where(small, square, torch.zeros_like(square))
    series = torch.full_like(square, _SERIES[-1])
    for coefficient in reversed(_SERIES[:-1]):
        series = series * near + coefficient
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    return torch.where(small, series, angle.sin() / angle)


def matrix_product(first: Tensor, second: Tensor) -> Tensor:
    """Product of small matrices in the precision of its factors, independent of autocast and TF32.

    Args:
        first: ``(..., M, N)``.
        second: ``(..., N, P)``; leading dimensions broadcast.

    Returns:
        ``(..., M, P)``.
    """
    return (first.unsqueeze(-1) * second.unsqueeze(-3)).sum(dim=-2)


def _check_transform(T: Tensor, name: str) -> None:
    if T.shape[-2:] != (4, 4):
        raise ValueError(f"{name} has shape {tuple(T.shape)}, but (..., 4, 4) is needed.")


def rotation_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Rotation matrices of rotation vectors (Rodrigues): ``I + a [v]x + b (v v^T - |v|^2 I)``.

    ``a = sin(x) / x`` and ``b = (1 - cos(x)) / x^2 = (sin(x / 2) / (x / 2))^2 / 2`` for the angle ``x = |v|``. All
    derivatives are correct at zero rotation, and there is no cancellation near it.

    Args:
        axis_angle: ``(..., 3)``, axis times angle in radians.

    Returns:
        ``(..., 3, 3)`` in at least float32.

    Raises:
        ValueError: if the last dimension is not 3.
    """
    if axis_angle.ndim < 1 or axis_angle.shape[-1] != 3:
        raise ValueError(f"axis_angle has shape {tuple(axis_angle.shape)}, but (..., 3) is needed.")
    v = at_least_float32(axis_angle)
    square = v.square().sum(dim=-1)[..., None, None]
    x, y, z = v.unbind(dim=-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=v.dtype, device=v.device)
    outer = v.unsqueeze(-1) * v.unsqueeze(-2)
    half = _sinc_of_square(square / 4)
    return identity + _sinc_of_square(square) * cross + half.square() / 2 * (outer - square * identity)


def transform_from_rotation(R: Tensor, translation: Tensor) -> Tensor:
    """``Trans(t) Rot(R)``: rotate first, then move.

    Args:
        R: ``(..., 3, 3)``.
        translation: ``(..., 3)``.

    Returns:
        ``(..., 4, 4)``.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if R.shape[-2:] != (3, 3) or translation.shape != R.shape[:-1]:
        raise ValueError(
            f"R has shape {tuple(R.shape)} and translation {tuple(translation.shape)}, but (..., 3, 3) and (..., 3) "
            "are needed."
        )
    upper = torch.cat([R, translation.unsqueeze(-1).to(R.dtype)], dim=-1)
    lower = torch.zeros_like(upper[..., :1, :])
    lower[..., 3] = 1
    return torch.cat([upper, lower], dim=-2)


def transform_from_axis_angle(axis_angle: Tensor, translation: Tensor) -> Tensor:
    """``Trans(t) Rot(v)`` of a rotation vector and a translation, the output of pose networks.

    Args:
        axis_angle: ``(..., 3)``, axis times angle in radians.
        translation: ``(..., 3)``, in the unit of the scene.

    Returns:
        ``(..., 4, 4)`` in at least float32.

    Raises:
        ValueError: if a shape is wrong.
    """
    return transform_from_rotation(rotation_from_axis_angle(axis_angle), translation)


def invert_transform(T: Tensor) -> Tensor:
    """Inverse of rigid transforms, ``[R^T, -R^T t]``: ``T_b_a`` from ``T_a_b``.

    Args:
        T: ``(..., 4, 4)`` with orthonormal rotations.

    Returns:
        ``(..., 4, 4)`` in at least float32.

    Raises:
        ValueError: if the shape is wrong.
    """
    _check_transform(T, "T")
    T = at_least_float32(T)
    R, t = T[..., :3, :3], T[..., :3, 3]
    return transform_from_rotation(R.mT, -(R * t.unsqueeze(-1)).sum(dim=-2))


def compose_transforms(T_a_b: Tensor, T_b_c: Tensor) -> Tensor:
    """``T_a_c = T_a_b T_b_c`` without the rounding of a ``matmul`` under autocast.

    Args:
        T_a_b: ``(..., 4, 4)``.
        T_b_c: ``(..., 4, 4)``; leading dimensions broadcast.

    Returns:
        ``(..., 4, 4)`` in at least float32.

    Raises:
        ValueError: if a shape is wrong.
    """
    _check_transform(T_a_b, "T_a_b")
    _check_transform(T_b_c, "T_b_c")
    return matrix_product(at_least_float32(T_a_b), at_least_float32(T_b_c))


def apply_transform(T: Tensor, points: Tensor) -> Tensor:
    """Transformed point map: ``R X + t``.

    Args:
        T: ``(B, 4, 4)``.
        points: ``(B, 3, H, W)``.

    Returns:
        ``(B, 3, H, W)`` in at least float32.

    Raises:
        ValueError: if a shape is wrong.
    """
    if points.ndim != 4 or points.shape[1] != 3 or T.shape != (len(points), 4, 4):
        raise ValueError(
            f"T has shape {tuple(T.shape)} and points {tuple(points.shape)}, but (B, 4, 4) and (B, 3, H, W) are needed."
        )
    T, points = at_least_float32(T), at_least_float32(points)
    moved = T[:, :3, 3, None, None]
    for axis in range(3):
        moved = torch.addcmul(moved, T[:, :3, axis, None, None], points[:, axis : axis + 1])
    return moved


def rotation_angle(R: Tensor) -> Tensor:
    """Angle of rotation matrices, from sine and cosine, since the arc cosine alone loses half the digits near 0.

    Args:
        R: ``(..., 3, 3)``.

    Returns:
        ``(...)``, radians in [0, pi].

    Raises:
        ValueError: if the shape is wrong.
    """
    if R.shape[-2:] != (3, 3):
        raise ValueError(f"R has shape {tuple(R.shape)}, but (..., 3, 3) is needed.")
    axis = torch.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], dim=-1)
    trace = R[..., 0, 0] + R[..., 1, 1] + R[..., 2, 2]
    return torch.atan2(axis.norm(dim=-1), trace - 1)  # both are twice the sine and the cosine
