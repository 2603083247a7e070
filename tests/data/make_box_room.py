"""The inside of a box in closed form: depth, plane ids and intrinsics."""

import math

import torch
from torch import Tensor

from geometry.camera import unproject

BOX_PLANES = ((0.5, 0, 0), (-0.5, 0, 0), (0, 1 / 1.2, 0), (0, -1 / 1.5, 0), (0, 0, 1 / 4.5))
"""Planes ``a . X = 1``: the walls at 2 m to both sides and 4.5 m ahead, the floor at 1.2 m and the ceiling at 1.5 m."""


def box_room(height: int = 24, width: int = 32, *, yaw: float = 0.3) -> tuple[Tensor, Tensor, Tensor]:
    """What a camera in the middle sees, turned to its right by ``yaw`` radians.

    Returns:
        Depth float64 ``(1, 1, H, W)`` in metres, plane ids int64 ``(1, H, W)`` from 1, and K float64 ``(1, 3, 3)``.
    """
    focal = 0.6 * width
    K = torch.tensor([[[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]], dtype=torch.float64)
    rays = unproject(torch.ones(1, 1, height, width, dtype=torch.float64), K)
    c, s = math.cos(yaw), math.sin(yaw)
    R_room_camera = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
    planes = torch.tensor(BOX_PLANES, dtype=torch.float64) @ R_room_camera
    inverse_depth, plane = torch.einsum("pc,bchw->bphw", planes, rays).max(dim=1, keepdim=True)
    return 1 / inverse_depth, plane[:, 0] + 1, K
