import math

import pytest
import torch

from geometry.camera import intrinsics_from_field_of_view, unproject
from geometry.novel_views import inner_zoom, rotation_from_yaw_pitch, turn_about, turn_direction, zoomed_intrinsics
from geometry.se3 import apply_transform


def _camera(height=48, width=64, degrees=60.0, batch=1):
    return (
        intrinsics_from_field_of_view(math.radians(degrees), height=height, width=width)
        .double()
        .expand(batch, 3, 3)
        .clone()
    )


@pytest.mark.parametrize(("yaw", "pitch"), [(0.2, 0.0), (0.0, 0.1), (-0.3, 0.2)])
def test_the_axis_of_the_view_points_where_yaw_and_pitch_say(yaw, pitch):
    R = rotation_from_yaw_pitch(torch.tensor([yaw]).double(), torch.tensor([pitch]).double())
    axis = R[0].T @ torch.tensor([0.0, 0.0, 1.0]).double()
    expected = torch.tensor([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
    torch.testing.assert_close(axis, expected.double())
    torch.testing.assert_close(R[0] @ R[0].T, torch.eye(3).double())
    assert torch.linalg.det(R[0]).item() == pytest.approx(1.0)


def test_a_pivot_stays_where_it_is_and_moves_by_the_translation():
    R = rotation_from_yaw_pitch(torch.tensor([0.3, -0.2]), torch.tensor([0.1, 0.2]))
    pivot = torch.tensor([[0.0, 0.0, 3.0], [0.5, -0.2, 2.0]])
    shift = torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.2, -0.1]])
    T = turn_about(R, pivot=pivot, translation=shift)
    moved = apply_transform(T, pivot.view(2, 3, 1, 1)).view(2, 3)
    torch.testing.assert_close(moved, pivot + shift)
    torch.testing.assert_close(T[:, :3, :3], R)


def test_without_a_pivot_the_camera_turns_about_its_centre():
    R = rotation_from_yaw_pitch(torch.tensor([0.3]), torch.tensor([0.1]))
    T = turn_about(R, pivot=torch.zeros(1, 3), translation=torch.zeros(1, 3))
    torch.testing.assert_close(T[:, :3, 3], torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("yaw", "pitch", "degrees"), [(0.14, 0.0, 60), (-0.25, 0.0, 75), (0.1, -0.12, 50), (0.0, 0.2, 60)]
)
def test_the_inner_zoom_is_the_smallest_that_keeps_the_view_in_the_photo(yaw, pitch, degrees):
    height, width = 48, 64
    K = _camera(height, width, degrees)
    K[:, 0, 2] += 3.0  # a principal point off the middle
    R = rotation_from_yaw_pitch(torch.tensor([yaw]).double(), torch.tensor([pitch]).double())
    zoom = inner_zoom(K, R, height=height, width=width)
    assert zoom.item() > 1

    def farthest_outside(factor):
        K_view = zoomed_intrinsics(K, zoom * factor)
        corners = torch.tensor([[0.0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]).double().T
        p = K[0] @ R[0].T @ torch.linalg.inv(K_view[0]) @ corners
        u = p[:2] / p[2]
        return torch.stack([-u[0], u[0] - width, -u[1], u[1] - height]).max().item()

    assert farthest_outside(1.0) == pytest.approx(0.0, abs=1e-9)  # it touches the border
    assert farthest_outside(1.01) < 0 < farthest_outside(0.99)


def test_an_unturned_view_needs_no_zoom_and_one_that_looks_away_has_none():
    K = _camera(batch=2)
    R = rotation_from_yaw_pitch(torch.tensor([0.0, 1.2]).double(), torch.zeros(2).double())
    zoom = inner_zoom(K, R, height=48, width=64)
    assert zoom[0].item() == pytest.approx(1.0)
    assert torch.isinf(zoom[1])


def test_zoomed_intrinsics_keep_the_principal_point():
    K = _camera()
    zoomed = zoomed_intrinsics(K, torch.tensor([2.0]).double())
    torch.testing.assert_close(zoomed[:, 0, 0], 2 * K[:, 0, 0])
    torch.testing.assert_close(zoomed[:, :, 2], K[:, :, 2])
    depth = torch.ones(1, 1, 48, 64).double()
    # the same pixels see half the width
    torch.testing.assert_close(unproject(depth, zoomed)[:, :2], unproject(depth, K)[:, :2] / 2)


@pytest.mark.parametrize(("yaw", "pitch"), [(0.05, 0.0), (0.0, -0.04), (0.03, 0.02)])
def test_z_changes_along_the_turn_direction(yaw, pitch):
    """To first order z of a point in the view over its z in the source is one minus the turn's direction there."""
    K = _camera()
    angles = [torch.tensor([angle]).double() for angle in (yaw, pitch)]
    R = rotation_from_yaw_pitch(*angles)
    view_rays = unproject(torch.ones(1, 1, 48, 64).double(), K)
    source_z = torch.einsum("i,ihw->hw", R[0, :, 2], view_rays[0])  # the third row of R^T
    direction = turn_direction(*angles, K=K, size=(48, 64))
    torch.testing.assert_close(source_z, 1 - direction[0, 0], rtol=0, atol=yaw**2 + pitch**2)
    assert direction.abs().max() > 4 * (yaw**2 + pitch**2)
