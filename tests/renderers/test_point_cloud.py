import math

import numpy as np
import pytest
import torch

from renderers.point_cloud import BACKGROUND_GREY, depth_edges, point_cloud, side_view

K = torch.tensor([[50.0, 0, 16], [0, 60, 12], [0, 0, 1]])


def slanted_plane(normal, offset, height=24, width=32):
    """Depth along z of the plane normal . X = offset, from the ray through each pixel centre, in plain loops."""
    depth = np.zeros((1, height, width), dtype=np.float32)
    for row in range(height):
        for column in range(width):
            ray = np.array([(column + 0.5 - 16) / 50, (row + 0.5 - 12) / 60, 1.0])
            depth[0, row, column] = offset / (normal @ ray)
    return torch.from_numpy(depth)


def test_points_of_a_plane_lie_on_it_and_keep_their_colours():
    normal = np.array([0.3, -0.2, 0.9])
    depth = slanted_plane(normal, 2.0)
    image = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))
    points, colours = point_cloud(image, depth, K)
    assert points.shape == colours.shape == (24 * 32, 3)
    np.testing.assert_allclose(points.numpy() @ normal, 2.0, rtol=1e-5)
    np.testing.assert_allclose(points[:, 2], depth.flatten())
    # The first pixel's centre is half a pixel from the corner.
    np.testing.assert_allclose(points[0, 0] / points[0, 2], (0.5 - 16) / 50, rtol=1e-5)
    torch.testing.assert_close(colours, image.flatten(1).T)


def test_pixels_without_depth_or_outside_the_mask_give_no_point():
    depth = torch.ones(1, 4, 5)
    depth[0, 0, 0] = 0
    mask = torch.ones(1, 4, 5, dtype=torch.bool)
    mask[0, 3] = False
    points, _ = point_cloud(torch.rand(3, 4, 5), depth, K, mask=mask)
    assert len(points) == 20 - 1 - 5


@pytest.mark.parametrize("max_points", [1, 7, 100, 10_000])
def test_clouds_are_thinned_below_the_limit(max_points):
    points, colours = point_cloud(torch.rand(3, 24, 32), torch.ones(1, 24, 32), K, max_points=max_points)
    assert 0 < len(points) <= max_points
    assert len(colours) == len(points)
    assert max_points < 24 * 32 or len(points) == 24 * 32


def test_edges_are_both_sides_of_a_relative_jump():
    depth = torch.tensor([[1.0, 1.04, 2.0, 2.0, 2.12, 2.12], [1.0, 1.0, 2.0, 0.0, 2.12, 2.12]]).view(1, 1, 2, 6)
    edges = depth_edges(depth, max_jump=0.05)
    expected = torch.tensor([[False, True, True, True, True, False], [False, True, True, False, False, False]])
    assert torch.equal(edges[0, 0], expected)
    assert torch.equal(depth_edges(depth.mT, max_jump=0.05), edges.mT)
    assert not depth_edges(depth, max_jump=1.01).any()


def test_the_threshold_of_edges_does_not_depend_on_the_unit():
    depth = 1 + torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(3))
    assert torch.equal(depth_edges(depth, max_jump=0.3), depth_edges(depth * 8, max_jump=0.3))


def test_side_view_from_the_front_shows_the_nearest_point():
    points = torch.tensor([[-1.0, -1, 5], [1.0, 1, 5], [0, 0, 5], [0, 0, 4], [0, 0, 6]])
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 4, 0, 2, 1]):
        view = side_view(points[order], colours[order], height=41, width=41, yaw=0.0, pitch=0.0, point_size=1)
        assert view[:, 20, 20].tolist() == [1, 1, 0]
        lit = (view != BACKGROUND_GREY).any(dim=0).nonzero()
        assert len(lit) == 3
        assert view[:, *lit[0]].tolist() == [1, 0, 0]  # -x, -y is left and up
        assert view[:, *lit[-1]].tolist() == [0, 1, 0]


def test_side_view_turns_a_wall_into_a_line():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 60), torch.linspace(-1, 1, 60), indexing="ij")
    wall = torch.stack([x, y, torch.full_like(x, 3.0)], dim=-1).view(-1, 3)
    white = torch.ones_like(wall)

    def lit_columns(yaw):
        view = side_view(wall, white, height=50, width=50, yaw=yaw, pitch=0.0, point_size=1)
        return int((view[0] == 1).any(dim=0).sum())

    assert lit_columns(math.pi / 2) == 1
    assert lit_columns(0.0) > 40


@pytest.mark.parametrize(
    ("yaw", "pitch", "horizontal", "vertical"), [(math.pi / 2, 0.0, -1, 0), (0.0, math.pi / 2, 0, -1)]
)
def test_side_view_puts_what_is_far_where_the_docstring_says(yaw, pitch, horizontal, vertical):
    points = torch.tensor([[0.0, 0, 1], [0, 0, 2], [0, 0, 3]])
    view = side_view(points, torch.eye(3), height=31, width=31, yaw=yaw, pitch=pitch, point_size=1)
    near, far = ((view[channel] == 1).nonzero()[0] for channel in (0, 2))
    assert torch.sign(far - near).tolist() == [vertical, horizontal]


def test_side_view_of_no_points_is_empty():
    view = side_view(torch.zeros(0, 3), torch.zeros(0, 3), height=4, width=5)
    assert (view == BACKGROUND_GREY).all()
    assert view.shape == (3, 4, 5)


def test_points_are_squares_of_which_the_nearest_is_on_top():
    # Two corners hold the view in place; in the middle two 3 x 3 squares, the nearer one shifted by one pixel.
    points = torch.tensor([[-1.0, -1, 1], [1.0, 1, 1], [0.01, 0.01, 3], [0.06, 0.01, 2]])
    colours = torch.tensor([[1.0, 1, 1], [1, 1, 1], [1, 0, 0], [0, 1, 0]])
    view = side_view(points, colours, height=46, width=46, yaw=0.0, pitch=0.0, point_size=3)
    far, near = ((view == colour.view(3, 1, 1)).all(dim=0) for colour in colours[2:])
    assert near.sum() == 9
    assert far.sum() == 3
    rows, columns = near.nonzero().T
    assert (rows.max() - rows.min(), columns.max() - columns.min()) == (2, 2)
    assert far.nonzero()[:, 1].unique().tolist() == [int(columns.min()) - 1]
