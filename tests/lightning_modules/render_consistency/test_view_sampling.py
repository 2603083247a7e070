import math

import pytest
import torch

from geometry.camera import intrinsics_from_field_of_view, unproject
from geometry.se3 import apply_transform
from lightning_modules.render_consistency.view_sampling import ViewSampler

K = intrinsics_from_field_of_view(math.radians(60), height=48, width=64)[None].repeat(3, 1, 1)
MEDIAN = torch.tensor([1.0, 2.0, 3.0])


def test_views_come_in_opposite_pairs_within_the_limits():
    torch.manual_seed(0)
    sampler = ViewSampler("camera", yaw_degrees=10, pitch_degrees=4, smallest=0.5)
    for _ in range(20):
        sampled = sampler.draw(K, MEDIAN, size=(48, 64))
        torch.testing.assert_close(sampled.yaw[:3], -sampled.yaw[3:])
        torch.testing.assert_close(sampled.pitch[:3], -sampled.pitch[3:])
        assert (sampled.yaw.abs() <= math.radians(10) + 1e-6).all()
        assert (sampled.yaw.abs() >= math.radians(5) - 1e-6).all()
        assert (sampled.pitch.abs() <= math.radians(4) + 1e-6).all()


def test_a_camera_that_turns_stays_where_it_is_and_sees_nothing_but_the_photo():
    torch.manual_seed(0)
    sampled = ViewSampler("camera", yaw_degrees=12, pitch_degrees=8).draw(K, MEDIAN, size=(48, 64))
    T, K_view = sampled.views
    assert (T[:, :3, 3] == 0).all()
    assert (K_view[:3] == K_view[3:]).all()  # one zoom for a pair
    corners = unproject(torch.ones(6, 1, 48, 64), K_view)
    source = apply_transform(torch.linalg.inv(T), corners)
    pixels = torch.einsum("bij,bjhw->bihw", K.repeat(2, 1, 1), source / source[:, 2:])
    assert pixels[:, 0].min() > 0
    assert pixels[:, 0].max() < 64
    assert pixels[:, 1].min() > 0
    assert pixels[:, 1].max() < 48


def test_a_scene_turns_about_its_pivot_and_moves_by_at_most_the_limits():
    torch.manual_seed(0)
    sampler = ViewSampler("scene", translation=0.05, translation_z=0.1)
    T, K_view = sampler.draw(K, MEDIAN, size=(48, 64)).views
    torch.testing.assert_close(K_view, K.repeat(2, 1, 1))
    depth = MEDIAN.repeat(2)
    pivot = torch.stack([torch.zeros(6), torch.zeros(6), depth], dim=-1).view(6, 3, 1, 1)
    moved = (apply_transform(T, pivot) - pivot).view(6, 3) / depth.unsqueeze(-1)
    assert (moved.abs() <= torch.tensor([0.05, 0.05, 0.1]) + 1e-5).all()
    assert (moved.abs() > 0).all()


def test_the_curriculum_grows_from_half_of_the_angles_to_all():
    sampler = ViewSampler("scene", curriculum=0.4)
    assert [sampler.reach(p) for p in (0.0, 0.2, 0.4, 1.0)] == pytest.approx([0.5, 0.75, 1.0, 1.0])
    assert ViewSampler("scene", curriculum=0).reach(0.0) == 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"about": "axis"}, r"about is 'axis'"),
        ({"yaw_degrees": 95.0}, r"yaw_degrees is 95.0"),
        ({"yaw_degrees": 0.0, "pitch_degrees": 0.0}, r"carries no signal"),
        ({"smallest": 1.5}, r"smallest is 1.5"),
        ({"translation": -1.0}, r"must not be negative"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        ViewSampler(**options)
