"""Errors of camera trajectories: similarity alignment (Umeyama 1991), absolute trajectory error, rotation error."""

import math

import torch
from torch import Tensor

from geometry.se3 import rotation_angle


def align_similarity(points: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Closed-form ``argmin_(s, R, t) sum |s R p + t - q|^2`` over similarities without reflection (Umeyama, eq. 34-43).

    Args:
        points: ``(N, 3)``, positions p.
        target: ``(N, 3)``, the corresponding positions q.

    Returns:
        float64 scale ``()``, rotation ``(3, 3)`` and translation ``(3,)``. If all points coincide the scale is
        undetermined and set to 1; if they lie on a line the rotation about it is undetermined.

    Raises:
        ValueError: if the shapes are not the same ``(N, 3)`` with N of at least 2.
    """
    if points.ndim != 2 or points.shape[1] != 3 or target.shape != points.shape or len(points) < 2:
        raise ValueError(
            f"points and target have the shapes {tuple(points.shape)} and {tuple(target.shape)}, but both must be the "
            "same (N, 3) with at least 2 points."
        )
    points, target = points.to(torch.float64), target.to(torch.float64)
    mean_points, mean_target = points.mean(dim=0), target.mean(dim=0)
    centred_points, centred_target = points - mean_points, target - mean_target
    variance = centred_points.square().sum()
    U, singular, Vt = torch.linalg.svd(centred_target.mT @ centred_points)
    sign = torch.ones_like(singular)
    sign[2] = torch.where(torch.linalg.det(U @ Vt) < 0, -1.0, 1.0)
    R = (U * sign) @ Vt
    # Due to rounding, coinciding points have a variance of (eps * value)^2 each.
    rounding = (10 * torch.finfo(torch.float64).eps) ** 2 * points.square().sum()
    moves = variance > rounding
    scale = torch.where(moves, (singular * sign).sum() / torch.where(moves, variance, 1.0), 1.0)
    return scale, R, mean_target - scale * (R @ mean_points)


def trajectory_error(T_world_camera: Tensor, *, true_T_world_camera: Tensor) -> dict[str, Tensor]:
    """Errors of a path of camera poses against the true one.

    Args:
        T_world_camera: ``(N, 4, 4)``, the path in any world frame and of any scale.
        true_T_world_camera: ``(N, 4, 4)``, the true poses of the same frames, metres.

    Returns:
        float64 scalars: ``ate_rmse_m``, the root mean square distance of the camera centres after the best similarity
        alignment, metres; ``scale``, the factor of that alignment; ``rotation_error_deg``, the mean angle between the
        predicted and the true rotation from each frame to the next, degrees.

    Raises:
        ValueError: if the shapes are not the same ``(N, 4, 4)`` with N of at least 2.
    """
    shape = tuple(true_T_world_camera.shape)
    if len(shape) != 3 or shape[1:] != (4, 4) or shape[0] < 2 or tuple(T_world_camera.shape) != shape:
        raise ValueError(
            f"T_world_camera and true_T_world_camera have the shapes {tuple(T_world_camera.shape)} and {shape}, but "
            "both must be the same (N, 4, 4) with at least 2 poses."
        )
    predicted, true = (T.detach().to(torch.float64) for T in (T_world_camera, true_T_world_camera))
    scale, R, t = align_similarity(predicted[:, :3, 3], true[:, :3, 3])
    distances = scale * predicted[:, :3, 3] @ R.mT + t - true[:, :3, 3]
    steps, true_steps = (T[:-1, :3, :3].mT @ T[1:, :3, :3] for T in (predicted, true))
    angles = rotation_angle(steps.mT @ true_steps)
    return {
        "ate_rmse_m": distances.square().sum(dim=1).mean().sqrt(),
        "scale": scale,
        "rotation_error_deg": angles.mean() * (180 / math.pi),
    }
