import math

import pytest
import torch

from geometry.camera import intrinsics_from_field_of_view, pixel_grid
from geometry.novel_views import inner_zoom, rotation_from_yaw_pitch, zoomed_intrinsics
from renderers.turned_view import turn_view, warp_between_views

H, W = 48, 64


def _camera(batch=1):
    return intrinsics_from_field_of_view(math.radians(60), height=H, width=W).double().expand(batch, 3, 3).clone()


def _plane_depth(K, normal, offset):
    """z of the plane n . X = offset at every pixel centre, in closed form."""
    x, y = pixel_grid(H, W, like=K)
    rays = torch.stack([(x - K[0, 0, 2]) / K[0, 0, 0], (y - K[0, 1, 2]) / K[0, 1, 1], torch.ones_like(x)])
    return (offset / (normal.view(3, 1, 1) * rays).sum(dim=0)).view(1, 1, H, W)


def test_no_turn_is_the_identity():
    K = _camera()
    image = torch.rand(1, 3, H, W).double()
    depth = 1 + torch.rand(1, 1, H, W).double()
    view = turn_view(image, depth, K=K, K_view=K, R_view_source=torch.eye(3).double()[None], size=(H, W))
    torch.testing.assert_close(view.image, image)
    torch.testing.assert_close(view.depth, depth)
    assert view.visible.all()


@pytest.mark.parametrize(("yaw", "pitch"), [(0.15, 0.0), (-0.1, 0.08)])
def test_a_plane_seen_from_a_turned_camera_is_the_turned_plane(yaw, pitch):
    K = _camera()
    normal, offset = torch.tensor([0.2, -0.1, 1.0]).double(), 3.0
    R = rotation_from_yaw_pitch(torch.tensor([yaw]).double(), torch.tensor([pitch]).double())
    K_view = zoomed_intrinsics(K, inner_zoom(K, R, height=H, width=W))
    # 1 / z of a plane is linear in the pixel, so bilinear sampling of it is exact; z itself is sampled, hence 1e-3.
    view = turn_view(
        torch.zeros(1, 1, H, W).double(),
        _plane_depth(K, normal, offset),
        K=K,
        K_view=K_view,
        R_view_source=R,
        size=(H, W),
    )
    expected = _plane_depth(K_view, R[0] @ normal, offset)
    inside = view.visible.clone()
    inside[..., :2, :] = inside[..., -2:, :] = inside[..., :2] = inside[..., -2:] = False
    torch.testing.assert_close(view.depth[inside], expected[inside], rtol=1e-3, atol=0)
    assert view.visible.double().mean() > 0.999


def test_a_shifted_depth_disagrees_in_proportion_to_shift_and_sine():
    """The signal that calibration rests on: z' + s against (z + s) / p_z."""
    K = _camera()
    R = rotation_from_yaw_pitch(torch.tensor([0.1]).double(), torch.zeros(1).double())
    flat = torch.full((1, 1, H, W), 2.0).double()
    residuals = []
    for shift in (0.0, 0.3, -0.3):
        own = turn_view(flat, flat + shift, K=K, K_view=K, R_view_source=R, size=(H, W)).depth
        true = turn_view(flat, flat, K=K, K_view=K, R_view_source=R, size=(H, W)).depth
        residuals.append(true + shift - own)
    torch.testing.assert_close(residuals[0], torch.zeros_like(flat))
    torch.testing.assert_close(residuals[1], -residuals[2])
    x = (pixel_grid(H, W, like=K)[0] - K[0, 0, 2]) / K[0, 0, 0]
    p_z = math.cos(0.1) - math.sin(0.1) * x
    torch.testing.assert_close(residuals[1][0, 0], 0.3 * (1 - 1 / p_z))


def test_gradients_reach_image_and_depth():
    K = _camera()
    R = rotation_from_yaw_pitch(torch.tensor([0.1]).double(), torch.tensor([0.05]).double())
    K_view = zoomed_intrinsics(K, torch.tensor([8.0]).double())
    image = torch.rand(1, 2, H, W).double().requires_grad_()
    depth = (1 + torch.rand(1, 1, H, W).double()).requires_grad_()

    def outputs(image, depth):
        return turn_view(image, depth, K=K, K_view=K_view, R_view_source=R, size=(3, 4))[:2]

    assert torch.autograd.gradcheck(outputs, (image, depth), fast_mode=True)


def test_what_the_photo_does_not_show_is_not_visible_and_a_nan_camera_shows_nothing():
    K = _camera(2)
    R = rotation_from_yaw_pitch(torch.tensor([0.4, math.nan]).double(), torch.zeros(2).double())
    image, depth = torch.rand(2, 3, H, W).double(), torch.ones(2, 1, H, W).double()
    view = turn_view(image, depth, K=K, K_view=K, R_view_source=R, size=(H, W))
    assert not view.visible[0, :, :, -5:].any()
    assert view.visible[0, :, :, :20].any()
    assert not view.visible[1].any()


def test_shapes_that_do_not_belong_together_are_named():
    with pytest.raises(ValueError, match=r"needs \(1, 1, 48, 64\)"):
        turn_view(
            torch.rand(1, 3, H, W),
            torch.ones(1, 1, H, W - 1),
            K=_camera(),
            K_view=_camera(),
            R_view_source=_camera(),
            size=(H, W),
        )


def test_what_one_view_says_is_carried_to_the_opposite_one_as_from_the_photo():
    K = _camera()
    depth = _plane_depth(K, torch.tensor([0.2, -0.1, 1.0]).double(), 3.0)
    one, other = (
        rotation_from_yaw_pitch(torch.tensor([yaw]).double(), torch.tensor([0.0]).double()) for yaw in (0.1, -0.1)
    )
    K_view = zoomed_intrinsics(K, inner_zoom(K, one, height=H, width=W))
    first, second = (turn_view(depth, depth, K=K, K_view=K_view, R_view_source=R, size=(H, W)) for R in (one, other))
    there = torch.ones_like(first.visible)
    there[..., :20] = False  # a part of the first view that shows no photo
    between = other @ one.transpose(1, 2)
    carried = warp_between_views(first.depth, first.depth, there=there, K=K_view, R_view_source=between, size=(H, W))
    both = carried.visible & second.visible
    torch.testing.assert_close(carried.depth[both], second.depth[both], rtol=2e-3, atol=0)
    assert 0.2 < both.double().mean() < 0.8
    everything = warp_between_views(
        first.depth, first.depth, there=torch.ones_like(there), K=K_view, R_view_source=between, size=(H, W)
    )
    assert carried.visible.sum() < everything.visible.sum()
