"""Normals against planes and a sphere in closed form, and the released GAM-Depth."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from geometry.camera import pixel_grid, unproject
from geometry.normals import normals_from_points

GOLDEN = Path(__file__).parents[1] / "golden"
K = torch.tensor([[[40.0, 0.0, 10.0], [0.0, 38.0, 8.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)


def plane_points(normal: torch.Tensor, distance: float) -> torch.Tensor:
    """Points at which the rays of a 16x20 camera meet ``normal . X = distance``."""
    rays = unproject(torch.ones(1, 1, 16, 20, dtype=torch.float64), K)
    return rays * distance / (normal.view(1, 3, 1, 1) * rays).sum(dim=1, keepdim=True)


def rough_points(height: int = 9, width: int = 10) -> torch.Tensor:
    depth = 1 + torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return unproject(depth, K)


def test_normals_equal_the_released_gam_depth():
    with np.load(GOLDEN / "gam_depth2norm.npz") as golden:
        normals, mask = normals_from_points(torch.from_numpy(golden["cam_points_xyz"]), radius=int(golden["nei"]))
        # It keeps the normal of (y, x) at (y + 3, x - 3), and zeros in the upper six rows and the right six columns.
        np.testing.assert_allclose(normals[..., 3:-3, 3:-3], golden["normal"][..., 6:, :-6], rtol=1e-3, atol=1e-4)
    assert mask[..., 3:-3, 3:-3].all()
    assert mask.sum() == mask[..., 3:-3, 3:-3].numel()
    assert torch.equal(normals == 0, ~mask.expand_as(normals))


@pytest.mark.parametrize("radius", [1, 3])
@pytest.mark.parametrize("direction", [(0.0, 0.0, 1.0), (0.3, -0.2, 0.9), (-0.6, 0.1, 0.7), (0.0, 0.9, 0.3)])
def test_a_plane_has_its_own_normal_everywhere(direction, radius):
    normal = F.normalize(torch.tensor(direction, dtype=torch.float64), dim=0)
    points = plane_points(normal, 2.0)
    points = torch.where(points[:, 2:] > 0, points, 0.0)  # a floor is seen below the horizon only
    normals, mask = normals_from_points(points, radius=radius)
    assert mask.any()
    torch.testing.assert_close(normals, torch.where(mask, normal.view(1, 3, 1, 1).expand_as(normals), 0.0))


def test_a_sphere_has_radial_normals_at_their_own_pixel():
    x, y = pixel_grid(16, 20, like=K) - torch.tensor([10.0, 8.0], dtype=torch.float64).view(2, 1, 1)
    rays = torch.stack([x / 400, y / 380, torch.ones_like(x)])[None]
    # |s rays - c| = 0.5 with c on the axis at 3 m; the near side.
    square = (rays * rays).sum(dim=1, keepdim=True)
    s = (3 - (9 - square * (9 - 0.25)).sqrt()) / square
    points = s * rays
    centre = torch.tensor([0.0, 0.0, 3.0], dtype=torch.float64).view(1, 3, 1, 1)
    normals, mask = normals_from_points(points, radius=1)
    # The outside of a sphere faces the camera, so away from the camera is inwards.
    expected = F.normalize(centre - points, dim=1)
    torch.testing.assert_close(normals, torch.where(mask, expected, 0.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize("missing", [(0.0, 0.0, 0.0), (1e9, float("nan"), 0.0), (0.1, 0.1, -1.0)])
def test_a_missing_point_takes_its_neighbours_normals_and_nothing_else(missing):
    points = rough_points()
    full, _ = normals_from_points(points, radius=1)
    points[:, :, 4, 5] = torch.tensor(missing, dtype=torch.float64)
    normals, mask = normals_from_points(points, radius=1)
    expected = torch.zeros(9, 10).bool()
    expected[1:-1, 1:-1] = True
    expected[3:6, 4:7] = False
    assert torch.equal(mask[0, 0], expected)
    assert torch.equal(normals, torch.where(mask, full, 0.0))


def test_degenerate_points_are_masked_with_finite_gradients():
    points = rough_points()
    points[:, :, :7, :7] = torch.tensor([0.1, 0.2, 1.0], dtype=torch.float64).view(3, 1, 1)
    # Points on a line: not zero, but without area.
    points[:, :, 8] = points[:, :, 7] = torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64).view(3, 1)
    for dtype in (torch.float32, torch.float64):
        leaf = points.to(dtype).requires_grad_()
        normals, mask = normals_from_points(leaf, radius=1)
        assert not mask[0, 0, 1:6, 1:6].any()
        assert (normals[0, :, 1:6, 1:6] == 0).all()
        assert mask.any()
        (gradient,) = torch.autograd.grad(normals.sum(), leaf)
        assert gradient.isfinite().all()
        assert (gradient[0, :, 1:4, 1:4] == 0).all()


def test_gradients():
    points = rough_points(5, 6).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: normals_from_points(p, radius=1)[0], points)


def test_the_scale_does_not_matter_and_autocast_does_not_round():
    points = rough_points().float()
    normals, _ = normals_from_points(points, radius=2)
    for scale in (1e-3, 1e6):
        torch.testing.assert_close(normals_from_points(points * scale, radius=2)[0], normals, rtol=0, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(normals_from_points(points, radius=2)[0], normals)


@pytest.mark.parametrize(
    ("shape", "radius", "message"),
    [((1, 2, 9, 9), 1, "points has shape"), ((1, 3, 9, 9), 0, "radius is 0"), ((1, 3, 6, 9), 3, "map of 6x9")],
)
def test_bad_input_is_named(shape, radius, message):
    with pytest.raises(ValueError, match=message):
        normals_from_points(torch.ones(shape), radius=radius)
