"""Alignment and path errors against SciPy's optimiser and rotations, and made similarities."""

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from geometry.trajectory import align_similarity, trajectory_error


def path(n: int = 20, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    T = np.tile(np.eye(4), (n, 1, 1))
    T[:, :3, :3] = Rotation.from_rotvec(np.cumsum(rng.normal(0, 0.1, (n, 3)), axis=0)).as_matrix()
    T[:, :3, 3] = np.cumsum(rng.normal(0, 0.2, (n, 3)), axis=0)
    return torch.from_numpy(T)


def seen_from_elsewhere(T: torch.Tensor, scale: float) -> torch.Tensor:
    """The same path in a turned, moved and scaled world."""
    world = torch.eye(4, dtype=torch.float64)
    world[:3, :3] = torch.from_numpy(Rotation.from_rotvec([0.4, -1.0, 2.0]).as_matrix())
    world[:3, 3] = torch.tensor([3.0, -1.0, 7.0])
    moved = world @ T
    moved[:, :3, 3] *= scale
    return moved


def noisy(T: torch.Tensor) -> torch.Tensor:
    rng = np.random.default_rng(5)
    out = T.clone()
    out[:, :3, 3] += torch.from_numpy(rng.normal(0, 0.05, (len(T), 3)))
    out[:, :3, :3] = out[:, :3, :3] @ torch.from_numpy(
        Rotation.from_rotvec(rng.normal(0, 0.02, (len(T), 3))).as_matrix()
    )
    return out


def test_a_similarity_is_found_exactly():
    true = path()
    predicted = seen_from_elsewhere(true, 0.2)
    scale, R, t = align_similarity(predicted[:, :3, 3], true[:, :3, 3])
    assert scale.item() == pytest.approx(5)
    torch.testing.assert_close(R, torch.from_numpy(Rotation.from_rotvec([-0.4, 1.0, -2.0]).as_matrix()))
    torch.testing.assert_close(scale * predicted[:, :3, 3] @ R.mT + t, true[:, :3, 3])
    errors = trajectory_error(predicted, true_T_world_camera=true)
    assert errors["scale"].item() == pytest.approx(5)
    assert errors["ate_rmse_m"].item() == pytest.approx(0, abs=1e-12)
    assert errors["rotation_error_deg"].item() == pytest.approx(0, abs=1e-6)


def test_alignment_is_the_least_squares_solution():
    true = path()
    predicted = noisy(seen_from_elsewhere(true, 0.5))
    points, target = predicted[:, :3, 3].numpy(), true[:, :3, 3].numpy()

    def residuals(p: np.ndarray) -> np.ndarray:
        return (np.exp(p[0]) * points @ Rotation.from_rotvec(p[1:4]).as_matrix().T + p[4:] - target).ravel()

    starts = np.random.default_rng(0).normal(size=(5, 7))
    best = min((least_squares(residuals, start, xtol=1e-12, ftol=1e-12) for start in starts), key=lambda fit: fit.cost)
    scale, R, t = align_similarity(predicted[:, :3, 3], true[:, :3, 3])
    assert scale.item() == pytest.approx(np.exp(best.x[0]), rel=1e-5)
    np.testing.assert_allclose(R, Rotation.from_rotvec(best.x[1:4]).as_matrix(), atol=1e-5)
    np.testing.assert_allclose(t, best.x[4:], atol=1e-4)
    errors = trajectory_error(predicted, true_T_world_camera=true)
    rmse = np.sqrt((best.fun.reshape(-1, 3) ** 2).sum(axis=1).mean())
    assert rmse > 0.01
    assert errors["ate_rmse_m"].item() == pytest.approx(rmse, rel=1e-6)


def test_a_mirror_image_is_not_turned_into_itself():
    target = torch.from_numpy(np.random.default_rng(0).normal(size=(10, 3)))
    mirrored = target * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    scale, R, _ = align_similarity(mirrored, target)
    assert torch.linalg.det(R).item() == pytest.approx(1)
    turned = (mirrored - mirrored.mean(dim=0)) @ R.mT
    best = (turned * (target - target.mean(dim=0))).sum() / turned.square().sum()
    assert scale.item() == pytest.approx(best.item())
    assert 0 < scale < 1


def test_points_on_a_line_or_in_one_place():
    line = torch.arange(5.0, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    scale, R, t = align_similarity(line.flip(1), 3 * line)
    torch.testing.assert_close(scale * line.flip(1) @ R.mT + t, 3 * line)
    scale, R, t = align_similarity(torch.full((5, 3), 0.1), line)
    assert scale == 1
    torch.testing.assert_close(scale * R @ torch.full((3,), 0.1, dtype=torch.float64) + t, line.mean(dim=0))


def test_rotation_error_is_that_of_the_steps():
    true = path()
    predicted = noisy(true)
    R, R_true = (Rotation.from_matrix(T[:, :3, :3].numpy()) for T in (predicted, true))
    difference = (R[:-1].inv() * R[1:]).inv() * (R_true[:-1].inv() * R_true[1:])
    errors = trajectory_error(predicted.float(), true_T_world_camera=true)
    assert errors["rotation_error_deg"].item() == pytest.approx(np.rad2deg(difference.magnitude()).mean(), rel=1e-4)
    assert set(errors) == {"ate_rmse_m", "scale", "rotation_error_deg"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: align_similarity(torch.zeros(4, 2), torch.zeros(4, 2)), r"\(4, 2\) and \(4, 2\)"),
        (lambda: align_similarity(torch.zeros(1, 3), torch.zeros(1, 3)), "at least 2"),
        (lambda: align_similarity(torch.zeros(4, 3), torch.zeros(5, 3)), r"\(4, 3\) and \(5, 3\)"),
        (lambda: trajectory_error(path(3), true_T_world_camera=path(4)), r"\(3, 4, 4\) and \(4, 4, 4\)"),
        (lambda: trajectory_error(path(1), true_T_world_camera=path(1)), "at least 2 poses"),
    ],
)
def test_bad_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
