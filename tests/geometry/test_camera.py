"""Camera maths against closed forms, matrix products in float64 and the resize identity of the corner convention."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from geometry.camera import (
    field_of_view_from_focal,
    focal_from_field_of_view,
    intrinsics_from_field_of_view,
    pixel_grid,
    project,
    scale_intrinsics,
    turn_intrinsics,
    unproject,
)

K = torch.tensor([[[50.0, 0.3, 8.25], [0.0, 60.0, 5.5], [0.0, 0.0, 1.0]]] * 2, dtype=torch.float64)
K[1, 0, 0] = 70.0


def depth(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 1, 5, 7, generator=generator, dtype=torch.float64) * 3 + 0.5


def test_grid_counts_from_the_corner():
    grid = pixel_grid(2, 3, like=torch.zeros(1))
    assert grid[0].tolist() == [[0.5, 1.5, 2.5], [0.5, 1.5, 2.5]]
    assert grid[1].tolist() == [[0.5, 0.5, 0.5], [1.5, 1.5, 1.5]]


def test_unproject_equals_the_inverse_matrix():
    z = depth()
    points = unproject(z, K)
    for b in range(2):
        inverse = torch.linalg.inv(K[b])
        for row in range(5):
            for column in range(7):
                ray = inverse @ torch.tensor([column + 0.5, row + 0.5, 1.0], dtype=torch.float64)
                torch.testing.assert_close(points[b, :, row, column], z[b, 0, row, column] * ray)


def test_project_undoes_unproject():
    pixels, in_front = project(unproject(depth(), K), K)
    torch.testing.assert_close(pixels, pixel_grid(5, 7, like=pixels).expand(2, -1, -1, -1))
    assert in_front.all()


def test_principal_ray_has_no_sideways_part():
    camera = torch.tensor([[[100.0, 0.0, 3.5], [0.0, 100.0, 2.5], [0.0, 0.0, 1.0]]])
    point = unproject(torch.full((1, 1, 5, 7), 2.0), camera)[0, :, 2, 3]
    assert point.tolist() == [0.0, 0.0, 2.0]


def test_points_behind_are_flagged_and_finite():
    points = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, -2.0], [1.0, 1.0, 2.0]]).T.reshape(1, 3, 1, 3).requires_grad_()
    pixels, in_front = project(points, K[:1].float())
    assert in_front.flatten().tolist() == [False, False, True]
    (gradient,) = torch.autograd.grad(pixels.sum(), points)
    assert pixels.isfinite().all()
    assert gradient.isfinite().all()
    assert gradient[0, 2, 0, :2].tolist() == [0.0, 0.0]


def test_gradients():
    z = depth()[:, :, :2, :2].clone().requires_grad_()
    camera = K.clone().requires_grad_()
    assert torch.autograd.gradcheck(unproject, (z, camera))
    points = unproject(z, camera).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda p, k: project(p, k)[0], (points, camera))


def test_autocast_does_not_round():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        points = unproject(depth().float(), K.float())
    assert points.dtype is torch.float32
    torch.testing.assert_close(points.double(), unproject(depth(), K), rtol=1e-6, atol=1e-6)


def test_resized_camera_sees_the_same_rays():
    # Averaging 2x2 blocks puts a new centre on the corner that four old pixels share.
    half = scale_intrinsics(K, scale_x=0.5, scale_y=0.5)
    large = unproject(torch.ones(2, 1, 4, 6, dtype=torch.float64), K)
    small = unproject(torch.ones(2, 1, 2, 3, dtype=torch.float64), half)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(large, 2), small)
    stretched = scale_intrinsics(K, scale_x=2.0, scale_y=3.0)[1]
    assert stretched.tolist() == [[140.0, 0.6, 16.5], [0.0, 180.0, 16.5], [0.0, 0.0, 1.0]]


def test_field_of_view_and_focal():
    assert focal_from_field_of_view(math.pi / 2, 640) == pytest.approx(320)
    assert field_of_view_from_focal(320, 640) == pytest.approx(math.pi / 2)
    for angle in (0.2, 1.0, 2.5):
        assert field_of_view_from_focal(focal_from_field_of_view(angle, 99), 99) == pytest.approx(angle)
    camera = intrinsics_from_field_of_view(math.pi / 2, height=4, width=8)
    assert camera.tolist() == [[4.0, 0.0, 4.0], [0.0, 4.0, 2.0], [0.0, 0.0, 1.0]]
    # The left border of the image is half the angle away from the axis.
    assert math.atan((0 - camera[0, 2]) / camera[0, 0]) == pytest.approx(-math.pi / 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: focal_from_field_of_view(3.2, 10), "field of view is 3.2"),
        (lambda: focal_from_field_of_view(1.0, 0), "size is 0"),
        (lambda: field_of_view_from_focal(-1, 10), "focal length is -1"),
        (lambda: scale_intrinsics(K, scale_x=0, scale_y=1), "factors are 0"),
        (lambda: unproject(torch.ones(2, 5, 7), K), r"depth has shape \(2, 5, 7\)"),
        (lambda: unproject(depth(), K[0]), r"K has shape \(3, 3\)"),
        (lambda: project(torch.ones(2, 2, 5, 7), K), "points has shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


AXES = {
    1: (lambda x, y: (x, y)), 2: (lambda x, y: (-x, y)), 3: (lambda x, y: (-x, -y)), 4: (lambda x, y: (x, -y)),
    5: (lambda x, y: (y, x)), 6: (lambda x, y: (-y, x)), 7: (lambda x, y: (-y, -x)), 8: (lambda x, y: (y, -x)),
}  # fmt: skip
"""Where the right and the down of the stored image point once Pillow has turned it."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_k_projects_points_to_where_the_turned_image_shows_them(orientation: int) -> None:
    height, width = 5, 7
    straight = torch.tensor([[50.0, 0.0, 2.25], [0.0, 60.0, 3.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    image = Image.fromarray(np.arange(height * width, dtype=np.uint8).reshape(height, width))
    image.getexif()[0x0112] = orientation
    shown = np.array(ImageOps.exif_transpose(image))
    turned = turn_intrinsics(straight, orientation, height=height, width=width)
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5 - 2.25) / 50, (row + 0.5 - 3.5) / 60
            point = torch.tensor([*AXES[orientation](x, y), 1.0], dtype=torch.float64)
            x_shown, y_shown, _ = (turned @ point).tolist()
            assert shown[math.floor(y_shown), math.floor(x_shown)] == row * width + column
            assert (x_shown % 1, y_shown % 1) == pytest.approx((0.5, 0.5))


def test_what_cannot_be_turned_is_refused():
    with pytest.raises(ValueError, match="number from 1 to 8, got 9"):
        turn_intrinsics(K, 9, height=5, width=7)
    with pytest.raises(ValueError, match="skew cannot be turned"):
        turn_intrinsics(K, 6, height=5, width=7)
