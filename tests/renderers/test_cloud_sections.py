"""Sections of a room whose walls are known: straight lines where depth is right, curves where it is shifted."""

import numpy as np
import pytest
import torch

from renderers.cloud_sections import BACKGROUND_GREY, CAMERA_COLOUR, PREDICTION_COLOUR, TRUTH_COLOUR, cloud_sections
from tests.data.make_box_room import box_room


def places(picture, colour):
    """Columns and rows ``(N, 2)`` of the pixels of a colour."""
    hit = (picture - torch.tensor(colour).view(3, 1, 1)).abs().amax(dim=0) < 1e-6
    return np.argwhere(hit.numpy())[:, ::-1]


def bow(points, axis):
    """How far points stray from their best line, in pixels."""
    a, b = points[:, axis].astype(float), points[:, 1 - axis].astype(float)
    return np.abs(np.polyval(np.polyfit(a, b, 1), a) - b).max()


def test_walls_and_floor_stand_where_they_are():
    depth, _, K = box_room(96, 128, yaw=0.0)
    top, side = cloud_sections(depth, K, truth=depth * 0, size=(200, 300))
    for picture in (top, side):
        assert picture.shape == (1, 3, 200, 300)
        assert len(places(picture[0], TRUTH_COLOUR)) == 0
    # From above: side walls at -2 and 2 m as two columns, the wall ahead at 4.5 m as a row between them.
    spot, points = places(top[0], CAMERA_COLOUR).mean(axis=0), places(top[0], PREDICTION_COLOUR)
    left, right = points[:, 0].min(), points[:, 0].max()
    metre = (right - left) / 4
    assert spot[0] == pytest.approx((left + right) / 2, abs=1)
    assert (spot[1] - points[:, 1].min()) / metre == pytest.approx(4.5, abs=2 / metre)
    ahead = points[points[:, 1] == points[:, 1].min()]
    assert np.ptp(ahead[:, 0]) > 3.5 * metre
    # From the side: floor 1.2 m below the camera and ceiling 1.5 m above it, the wall to the right.
    spot, points = places(side[0], CAMERA_COLOUR).mean(axis=0), places(side[0], PREDICTION_COLOUR)
    metre = (points[:, 1].max() - points[:, 1].min()) / 2.7
    assert (points[:, 1].max() - spot[1]) / metre == pytest.approx(1.2, abs=2 / metre)
    assert (points[:, 0].max() - spot[0]) / metre == pytest.approx(4.5, abs=2 / metre)
    inside = np.abs(picture[0].numpy() - BACKGROUND_GREY).max(axis=0) > 0.01
    assert inside.any(axis=0).sum() < 300
    assert not inside[0].any()


def test_a_shift_bows_the_side_walls_and_a_scale_changes_nothing():
    depth, _, K = box_room(96, 128, yaw=0.0)
    everything = {"truth": depth, "size": (384, 512)}
    right, scaled, shifted = (
        cloud_sections(prediction, K, **everything)[0][0] for prediction in (depth, 7 * depth, depth - 1.0)
    )
    torch.testing.assert_close(right, scaled)
    assert len(places(right, TRUTH_COLOUR)) == 0  # all of it is covered by the prediction
    assert len(places(shifted, TRUTH_COLOUR)) > 50

    def right_wall(points):
        return points[(points[:, 0] > 256) & (points[:, 1] > points[:, 1].min() + 12)]

    assert bow(right_wall(places(right, PREDICTION_COLOUR)), axis=1) < 0.6
    assert bow(right_wall(places(shifted, PREDICTION_COLOUR)), axis=1) > 3


def test_all_predictions_of_an_image_are_shown_in_the_metres_of_its_truth():
    depth, _, K = box_room(96, 128, yaw=0.2)
    for noise in (0.0, 0.5, 3.0):
        spoilt = depth * (1 + noise * torch.rand(depth.shape, generator=torch.Generator().manual_seed(0)))
        top, side = cloud_sections(spoilt, K, truth=depth)
        if noise == 0:
            spots = [places(view[0], CAMERA_COLOUR).tolist() for view in (top, side)]
        assert spots == [places(view[0], CAMERA_COLOUR).tolist() for view in (top, side)]
    assert top.shape == (1, 3, 96, 128)


def test_depth_that_is_none_and_pixels_outside_the_mask_are_not_drawn():
    depth, _, K = box_room(20, 30)
    bad = torch.tensor([torch.nan, torch.inf, 0.0, -1.0]).repeat(150).view(1, 1, 20, 30)
    for view in cloud_sections(bad, K, truth=depth, mask=torch.zeros_like(depth, dtype=torch.bool)):
        assert view.isfinite().all()
        assert len(places(view[0], PREDICTION_COLOUR)) == len(places(view[0], TRUTH_COLOUR)) == 0
        assert len(places(view[0], CAMERA_COLOUR)) == 9
    half = torch.zeros_like(depth, dtype=torch.bool)
    half[..., 15:] = True
    top, _ = cloud_sections(bad, K, truth=depth, mask=half)
    spot = places(top[0], CAMERA_COLOUR).mean(axis=0)
    assert (places(top[0], TRUTH_COLOUR)[:, 0] >= spot[0] - 1).all()
    two = cloud_sections(torch.cat([depth, bad.to(depth)]), K.expand(2, 3, 3), truth=depth.expand(2, -1, -1, -1))
    torch.testing.assert_close(two[0][:1], cloud_sections(depth, K, truth=depth)[0])


def test_bad_arguments_are_named():
    depth, _, K = box_room(20, 30)
    with pytest.raises(ValueError, match=r"\(1, 1, 20, 30\), \(1, 1, 20, 29\), None, but"):
        cloud_sections(depth, K, truth=depth[..., 1:])
    with pytest.raises(ValueError, match=r"size is \(0, 5\)"):
        cloud_sections(depth, K, size=(0, 5))
