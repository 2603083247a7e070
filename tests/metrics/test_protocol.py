"""The record of how depth is compared: range, crop, alignment, names."""

import pytest
import torch

from metrics.protocol import EIGEN_CROP, DepthProtocol


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alignment": "mean"}, "alignment is 'mean', but it must be one of none, median, least_squares"),
        ({"average": "batch"}, "average is 'batch', but it must be one of image, pixel"),
        ({"min_depth_m": 0.0}, "0 < min_depth_m < max_depth_m"),
        ({"min_depth_m": 3.0, "max_depth_m": 3.0}, r"3\.0 to 3\.0 m"),
        ({"edge_jump": 0.0}, r"edge_jump is 0\.0, but it must be positive"),
        ({"edge_tolerance_px": -1.0}, "edge_tolerance_px"),
        ({"crop": (0.5, 0.5, 0.0, 1.0)}, "top < bottom"),
        ({"crop": (0.0, 1.1, 0.0, 1.0)}, "top < bottom"),
    ],
)
def test_what_is_out_of_range_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        DepthProtocol(**settings)


def test_both_ends_of_the_range_count_and_the_crop_is_about_pixel_centres():
    target = torch.tensor([0.4, 0.5, 4.0, 4.1]).view(1, 1, 1, 4)
    mask = torch.tensor([True, True, True, True]).view(1, 1, 1, 4)
    protocol = DepthProtocol(min_depth_m=0.5, max_depth_m=4.0)
    assert protocol.valid(target, mask).flatten().tolist() == [False, True, True, False]
    # Centres of four columns lie at 1/8, 3/8, 5/8 and 7/8: a left end counts, a right end does not.
    cropped = DepthProtocol(min_depth_m=0.1, crop=(0.0, 1.0, 3 / 8, 7 / 8))
    assert cropped.valid(target, mask).flatten().tolist() == [False, True, True, False]


def test_the_crop_of_eigen_keeps_its_rows_and_columns():
    mask = torch.ones(1, 1, 480, 640, dtype=torch.bool)
    inside = DepthProtocol(crop=EIGEN_CROP).valid(torch.ones_like(mask).float(), mask)[0, 0]
    expected = torch.zeros(480, 640, dtype=torch.bool)
    expected[44:471, 40:601] = True
    assert torch.equal(inside, expected)


@pytest.mark.parametrize(
    ("alignment", "expected"), [("none", [1.0, 2.0, 3.0]), ("median", [2.0, 4.0, 6.0]), ("least_squares", [2, 5, 8])]
)
def test_alignment_is_fitted_over_valid_pixels_alone(alignment, expected):
    prediction = torch.tensor([1.0, 2.0, 3.0, 99.0]).view(1, 1, 1, 4)
    target = torch.tensor(expected if alignment == "least_squares" else [2.0, 4.0, 6.0]).float()
    target = torch.cat([target, torch.tensor([0.0])]).view(1, 1, 1, 4)
    valid = torch.tensor([True, True, True, False]).view(1, 1, 1, 4)
    aligned = DepthProtocol(alignment, min_depth_m=0.25).align(prediction, target, valid)
    assert aligned.flatten().tolist() == pytest.approx([*expected, 0.25], abs=1e-5)


def test_names_carry_average_and_alignment():
    assert DepthProtocol().suffix == "_img"
    assert DepthProtocol("median", average="pixel").suffix == "_px_median"
    assert DepthProtocol("least_squares").suffix == "_img_lsq"
