import math

import pytest
import torch
import torch.nn.functional as F

from geometry.camera import pixel_grid
from geometry.se3 import transform_from_axis_angle
from renderers.point_render import scene_points, view_points
from renderers.splat import SplatRenderer

K = torch.tensor([[[40.0, 0.0, 16.0], [0.0, 40.0, 12.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)


def test_points_lie_on_the_rays_of_the_pixel_centres_and_patches_cover_a_pixel():
    depth = 1 + torch.rand(1, 1, 24, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points, mask, spacing = scene_points(depth, K, edge_jump=None)
    assert mask.all()
    torch.testing.assert_close(points[:, 2:], depth.flatten(2))
    x, y = pixel_grid(24, 32, like=depth)
    torch.testing.assert_close(points[0, 0], ((x - 16) / 40 * depth[0, 0]).flatten())
    torch.testing.assert_close(points[0, 1], ((y - 12) / 40 * depth[0, 0]).flatten())
    torch.testing.assert_close(spacing * 40 / points[:, 2:], torch.ones_like(spacing))
    oblong = K.clone()
    oblong[0, 1, 1] = 90.0
    torch.testing.assert_close(scene_points(depth, oblong)[2], depth.flatten(2) / 60)


def test_missing_depth_gives_no_point_and_no_nan():
    depth = torch.full((1, 1, 4, 6), 2.0)
    depth[0, 0, 0, 0], depth[0, 0, 1, 1] = 0.0, -1.0
    depth[0, 0, 2, 2], depth[0, 0, 3, 3] = torch.nan, torch.inf
    points, mask, spacing = scene_points(depth, K.float())
    expected = torch.ones(4, 6, dtype=torch.bool)
    expected[range(4), range(4)] = False
    assert torch.equal(mask.view(4, 6), expected)
    assert points.isfinite().all()
    assert spacing.isfinite().all()


def test_flying_pixels_are_dropped():
    """A square before a wall, with a ramp of one pixel between them, as a network would smooth it."""
    depth = torch.full((1, 1, 24, 32), 2.0)
    depth[..., 6:18, 8:24] = 1.5
    depth[..., 7:17, 9:23] = 1.0
    _, mask, _ = scene_points(depth, K.float(), edge_jump=0.1)
    mask = mask.view(24, 32)
    flying = depth[0, 0] == 1.5
    assert flying.any()
    assert not mask[flying].any()
    assert mask[10, 16]
    assert mask[2, 2]
    assert not mask[5, 16]  # the wall beside the ramp
    assert scene_points(depth, K.float(), edge_jump=None)[1].all()
    assert scene_points(depth, K.float(), edge_jump=0.6)[1].all()


def oblique_wall(angle, height=24, width=32):
    """Depth of a wall that is turned about a vertical axis by ``angle``: z cos + x sin = 1."""
    x, _ = pixel_grid(height, width, like=K)
    return (1 / (math.cos(angle) + (x - 16) / 40 * math.sin(angle))).view(1, 1, height, width)


def test_patches_of_an_oblique_wall_are_longer():
    depth = oblique_wall(math.pi / 3)
    spacing = scene_points(depth, K, edge_jump=None, max_stretch=4.0)[2].view(24, 32)
    plain = scene_points(depth, K, edge_jump=None)[2].view(24, 32)
    # dz/dx = -tan(60 degrees) at the centre, so that the surface is 1 / cos(60 degrees) longer.
    torch.testing.assert_close(spacing[12, 16] / plain[12, 16], torch.tensor(2.0).double(), rtol=0.03, atol=0)
    assert (spacing / plain).max() <= 4
    assert torch.equal(scene_points(depth, K, edge_jump=None, max_stretch=1.0)[2].view(24, 32), plain)


def test_the_view_projects_the_corner_convention():
    points = torch.tensor([[[0.5, -0.25], [0.25, 0.0], [1.0, 2.0]]], dtype=torch.float64)
    T = transform_from_axis_angle(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]])).double()
    seen = view_points(points, points, K=K, T_view_source=T, mask=None)
    expected = torch.tensor([[[16 + 40 * 0.25, 16 - 40 * 0.25 / 3], [12 + 40 * 0.125, 12.0]]], dtype=torch.float64)
    torch.testing.assert_close(seen.pixels, expected)
    assert seen.kept.all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.ones(1, 2, 5)}, r"points has shape \(1, 2, 5\)"),
        ({"features": torch.ones(1, 3, 4)}, r"features has shape \(1, 3, 4\).*\(1, 3, 5\)"),
        ({"features": torch.ones(3, 5)}, r"features has shape \(3, 5\).*\(1, C, 5\)"),
        ({"K": torch.eye(3)}, r"K has shape \(3, 3\)"),
        ({"T_view_source": torch.eye(3)[None]}, r"T_view_source has shape \(1, 3, 3\)"),
        ({"mask": torch.ones(1, 5, dtype=torch.bool)}, r"mask has shape \(1, 5\)"),
        ({"mask": torch.ones(1, 1, 5)}, r"mask has type torch\.float32"),
        ({"spacing_m": torch.ones(1, 5)}, r"spacing_m has shape \(1, 5\)"),
        ({"size": (0, 4)}, r"size of the view is \(0, 4\)"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {
        "points": torch.ones(1, 3, 5),
        "features": torch.ones(1, 3, 5),
        "K": torch.eye(3)[None],
        "T_view_source": torch.eye(4)[None],
        "size": (4, 6),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        SplatRenderer()(arguments.pop("points"), arguments.pop("features"), **arguments)


def test_bad_settings_of_scenes_are_named():
    with pytest.raises(ValueError, match=r"max_stretch is 0\.5"):
        scene_points(torch.ones(1, 1, 4, 4), K.float(), max_stretch=0.5)
    with pytest.raises(ValueError, match="max_jump is 0"):
        scene_points(torch.ones(1, 1, 4, 4), K.float(), edge_jump=0)


def test_gradients_reach_depth_and_intrinsics():
    depth = F.interpolate(torch.rand(1, 1, 2, 3, dtype=torch.float64) + 1, size=(4, 6), mode="bilinear")
    leaves = [depth.requires_grad_(), K.clone().requires_grad_()]

    def run(depth, K):
        points, _, spacing = scene_points(depth, K, edge_jump=None)
        return points, spacing

    assert torch.autograd.gradcheck(run, leaves)
