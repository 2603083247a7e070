"""Cameras of novel views, rotated about their own centre or about a pivot in the scene, and their zoom.

A view has a rotation ``R_view_source``, a transform of points ``T_view_source`` and intrinsics. Yaw is a rotation about
the y axis (down), pitch about the x axis (right).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from geometry.camera import pixel_grid
from geometry.se3 import matrix_product


class Views(NamedTuple):
    """One new camera for each image."""

    T_view_source: Tensor
    """``(B, 4, 4)``, maps points of the source camera into the view's."""
    K_view: Tensor
    """``(B, 3, 3)``, pixels of the view."""


def rotation_from_yaw_pitch(yaw: Tensor, pitch: Tensor) -> Tensor:
    """``R_view_source`` of a rotated camera.

    With a positive yaw the camera looks to the right (x), with a positive pitch down (y): the point on the optical axis
    of the *view* has the direction ``(sin(yaw) cos(pitch), sin(pitch), cos(yaw) cos(pitch))`` in the source's frame.

    Args:
        yaw: ``(B,)``, radians.
        pitch: ``(B,)``, radians.

    Returns:
        ``(B, 3, 3)``.
    """
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    turn_right = torch.stack(
        [yaw.cos(), zero, -yaw.sin(), zero, one, zero, yaw.sin(), zero, yaw.cos()], dim=-1
    ).unflatten(-1, (3, 3))
    turn_down = torch.stack(
        [one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos()], dim=-1
    ).unflatten(-1, (3, 3))
    return matrix_product(turn_down, turn_right)


def turn_direction(yaw: Tensor, pitch: Tensor, *, K: Tensor, size: tuple[int, int]) -> Tensor:
    """``sin(yaw) x / f + sin(pitch) y / f``: relative change of z of the pixels under a rotation, to first order.

    ``z' / z`` is about one minus this. The depth of a rotated view differs from the rotated depth in proportion to it
    if the depth has a constant error.

    Args:
        yaw: ``(B,)``, radians.
        pitch: ``(B,)``, radians.
        K: ``(B, 3, 3)``, pixels of the rotated view; the skew is ignored.
        size: height and width of the view.

    Returns:
        ``(B, 1, H, W)``.
    """
    x, y = pixel_grid(*size, like=K)
    ray_x = (x - K[:, 0, 2].view(-1, 1, 1)) / K[:, 0, 0].view(-1, 1, 1)
    ray_y = (y - K[:, 1, 2].view(-1, 1, 1)) / K[:, 1, 1].view(-1, 1, 1)
    return (yaw.sin().view(-1, 1, 1) * ray_x + pitch.sin().view(-1, 1, 1) * ray_y).unsqueeze(1)


def turn_about(R_view_source: Tensor, *, pivot: Tensor, translation: Tensor) -> Tensor:
    """Transform ``X' = R (X - c) + c + t``: a rotation about a pivot, then a translation.

    Args:
        R_view_source: ``(B, 3, 3)``.
        pivot: ``(B, 3)``, the fixed point c for t = 0; the origin is the camera centre.
        translation: ``(B, 3)``, t, in the unit of the pivot.

    Returns:
        ``T_view_source`` ``(B, 4, 4)``.
    """
    moved = pivot + translation - (R_view_source * pivot.unsqueeze(-2)).sum(dim=-1)
    last = R_view_source.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(len(R_view_source), 1, 4)
    return torch.cat([torch.cat([R_view_source, moved.unsqueeze(-1)], dim=-1), last], dim=-2)


def zoomed_intrinsics(K: Tensor, zoom: Tensor) -> Tensor:
    """Intrinsics with focal lengths multiplied by a factor ``(B,)`` and the same principal point."""
    factors = torch.ones_like(K)
    factors[:, 0, 0] = factors[:, 1, 1] = factors[:, 0, 1] = zoom
    return K * factors


def inner_zoom(K: Tensor, R_view_source: Tensor, *, height: int, width: int) -> Tensor:
    """Smallest factor of the focal length for which the view of a rotated camera lies inside the photo.

    A view lies inside the photo if its four corners do, since a homography preserves convexity. A corner
    ``(x u, y u, 1)`` with ``u = 1 / zoom`` maps to ``p = R^T (x u, y u, 1)``; the condition that p is inside is linear
    in u.

    Args:
        K: ``(B, 3, 3)``, pixels of the photo; the skew is ignored.
        R_view_source: ``(B, 3, 3)``.
        height: rows of the photo.
        width: columns of the photo.

    Returns:
        ``(B,)``, at least 1; infinite where the optical axis of the view is outside the photo.
    """
    left, right = -K[:, 0, 2] / K[:, 0, 0], (width - K[:, 0, 2]) / K[:, 0, 0]
    top, bottom = -K[:, 1, 2] / K[:, 1, 1], (height - K[:, 1, 2]) / K[:, 1, 1]
    x = torch.stack([left, right, left, right], dim=1)  # (B, corner)
    y = torch.stack([top, top, bottom, bottom], dim=1)
    # p = u * growing + axis, each (B, 3, corner) and (B, 3): columns of R^T are rows of R.
    growing = R_view_source[:, 0, :, None] * x[:, None] + R_view_source[:, 1, :, None] * y[:, None]
    axis = R_view_source[:, 2]
    # bound_x p_z - p_x has one sign inside for either bound; likewise for y. slack + u * slope >= 0 is needed.
    slopes, slacks = [], []
    for dim, bounds in ((0, (left, right)), (1, (top, bottom))):
        for sign, bound in zip((-1.0, 1.0), bounds, strict=True):
            slopes.append(sign * (bound[:, None] * growing[:, 2] - growing[:, dim]))
            slacks.append((sign * (bound * axis[:, 2] - axis[:, dim]))[:, None].expand_as(x))
    slope, slack = torch.cat(slopes, dim=1), torch.cat(slacks, dim=1)
    needed = torch.where(slack > 0, -slope / slack.clamp(min=torch.finfo(K.dtype).tiny), torch.inf)
    return needed.amax(dim=1).clamp(min=1.0)
