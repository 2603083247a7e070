"""Views of scenes whose picture and depth from the new camera follow in closed form."""

import math

import pytest
import torch

from geometry.camera import intrinsics_from_field_of_view, pixel_grid
from geometry.novel_views import Views, rotation_from_yaw_pitch, turn_about
from lightning_modules.render_consistency.novel_views import SceneViewer, scale_to
from lightning_modules.render_consistency.view_sampling import SampledViews
from renderers.splat import SplatRenderer

H, W = 32, 48
K = intrinsics_from_field_of_view(math.radians(60), height=H, width=W)[None].repeat(2, 1, 1)
ZERO = torch.zeros(4)


def make_viewer(about="scene", **options):
    options = {
        "render_scale": 1.0,
        "stride": 8,
        "edge_jump": 0.1,
        "hole_margin_px": 0,
        "detach_warped": False,
    } | options
    return SceneViewer(about, SplatRenderer(), **options)


def moved(z):
    """Cameras that do not turn, the first of each pair moved forwards and the second backwards."""
    T = torch.eye(4).repeat(4, 1, 1)
    T[:, 2, 3] = torch.tensor([-z, -z, z, z])
    return SampledViews(Views(T, K.repeat(2, 1, 1)), ZERO, ZERO)


def turned(degrees):
    yaw = torch.tensor([1.0, 1.0, -1.0, -1.0]) * math.radians(degrees)
    R = rotation_from_yaw_pitch(yaw, ZERO)
    T = turn_about(R, pivot=torch.zeros(4, 3), translation=torch.zeros(4, 3))
    return SampledViews(Views(T, K.repeat(2, 1, 1)), yaw, ZERO)


def photos():
    return torch.rand(2, 3, H, W, generator=torch.Generator().manual_seed(0))


def wall(depth=2.0):
    return torch.full((2, 1, H, W), depth)


def inside(maps):
    return maps[..., 4:-4, 4:-4]


def test_a_camera_that_stays_sees_the_photo_and_gives_it_back():
    # Splats blur what is drawn; a picture that rises evenly stays as it is but for the border.
    image = torch.linspace(0, 1, W).expand(2, 3, H, W) * torch.linspace(0.5, 1, H).view(H, 1)
    depth, sampled = wall(), moved(0.0)
    viewer = make_viewer()
    views = viewer(image, depth, K, sampled, predict=lambda picture: 3 * depth.repeat(2, 1, 1, 1))
    torch.testing.assert_close(inside(views.image), inside(image.repeat(2, 1, 1, 1)), atol=1e-3, rtol=0)
    torch.testing.assert_close(views.warped_depth, wall().repeat(2, 1, 1, 1))
    torch.testing.assert_close(views.predicted_depth, views.warped_depth)  # the factor 1/3 was taken
    assert views.visible.all()
    assert views.regressor.abs().max() == 0
    back = viewer.back(views, K, sampled.views, (H, W))
    torch.testing.assert_close(inside(back.image), inside(image.repeat(2, 1, 1, 1)), atol=1e-3, rtol=0)
    torch.testing.assert_close(back.depth, wall().repeat(2, 1, 1, 1))


def test_a_wall_is_as_much_nearer_as_the_camera_went_towards_it_and_the_way_back_undoes_it():
    sampled = moved(0.25)
    viewer = make_viewer()
    expected = torch.tensor([1.75, 1.75, 2.25, 2.25]).view(4, 1, 1, 1).expand(4, 1, H, W)
    views = viewer(photos(), wall(), K, sampled, predict=lambda picture: expected)
    torch.testing.assert_close(inside(views.warped_depth), inside(expected))
    torch.testing.assert_close(inside(views.predicted_depth), inside(expected))
    back = viewer.back(views, K, sampled.views, (H, W))
    assert inside(back.visible)[2:].all()
    torch.testing.assert_close(inside(back.depth)[2:], inside(wall().clone()))


def test_the_network_gets_the_view_with_grey_holes_and_without_gradient():
    pictures = []
    # 0.5 m back from the wall the photo covers 4/5 of the view, the rest is a hole.
    depth = wall().requires_grad_(True)
    views = make_viewer(hole_margin_px=2)(
        photos().requires_grad_(True),
        depth,
        K,
        moved(0.5),
        predict=lambda picture: pictures.append(picture) or picture[:, :1],
    )
    picture = pictures[0]
    assert not picture.requires_grad
    assert torch.equal(picture[2:, :, 0, 0], torch.full((2, 3), 0.5))
    assert not views.visible[2:, :, 0, 0].any()
    assert torch.equal(views.image, picture)


@pytest.mark.parametrize("detach", [False, True])
def test_warped_depth_has_a_gradient_unless_it_is_detached(detach):
    depth = wall().requires_grad_(True)
    views = make_viewer(detach_warped=detach)(photos(), depth, K, moved(0.1), predict=lambda picture: picture[:, :1])
    assert views.warped_depth.requires_grad is not detach


@pytest.mark.parametrize("detach", [False, True])
def test_the_warped_prediction_of_the_opposite_view_has_a_gradient_unless_it_is_detached(detach):
    depth = torch.full((4, 1, H, W), 2.0, requires_grad=True)
    views = make_viewer("camera", detach_warped=detach)(photos(), wall(), K, turned(6), predict=lambda picture: depth)
    assert views.warped_depth.requires_grad is not detach
    assert views.predicted_depth.requires_grad


def test_about_the_camera_views_of_a_wall_agree_with_their_opposite_and_turn_twice_as_far():
    degrees = 6.0
    sampled = turned(degrees)
    x = (pixel_grid(H, W, like=K)[0] - K[0, 0, 2]) / K[0, 0, 0]
    # The plane z = 2 in a camera that turned by yaw: n = R e_z, depth = 2 / (n . ray).
    normal = rotation_from_yaw_pitch(sampled.yaw, sampled.pitch)[:, :, 2]
    y = (pixel_grid(H, W, like=K)[1] - K[0, 1, 2]) / K[0, 1, 1]
    ray = torch.stack([x, y, torch.ones_like(x)]).view(3, H, W)
    truth = 2 / torch.einsum("vc,chw->vhw", normal, ray).unsqueeze(1)
    views = make_viewer("camera")(photos(), wall(), K, sampled, predict=lambda picture: 5 * truth)
    assert views.visible.float().mean() > 0.5
    ratio = (views.predicted_depth / views.warped_depth)[views.visible]
    torch.testing.assert_close(ratio, torch.ones_like(ratio), atol=2e-3, rtol=0)
    expected = math.sin(math.radians(2 * degrees)) * x.view(H, W)
    torch.testing.assert_close(views.regressor[0, 0], expected)
    torch.testing.assert_close(views.regressor[2, 0], -expected)


def test_smaller_views_have_sides_in_multiples_of_the_stride_and_intrinsics_to_match():
    viewer = make_viewer(render_scale=0.6)
    views = viewer(photos(), wall(), K, moved(0.0), predict=lambda picture: picture[:, :1] + 1)
    assert views.image.shape == (4, 3, 16, 32)  # 19.2 and 28.8 pixels, in multiples of 8
    views = views._replace(predicted_depth=torch.full_like(views.warped_depth, 2.0))
    back = viewer.back(views, K, moved(0.0).views, (H, W))
    assert back.image.shape == (4, 3, H, W)
    torch.testing.assert_close(inside(views.warped_depth), torch.full_like(inside(views.warped_depth), 2.0))
    scaled = scale_to(K, (H, W), (16, 32))[0]
    torch.testing.assert_close(scaled[0], K[0, 0] * 32 / 48)
    torch.testing.assert_close(scaled[1], K[0, 1] / 2)
