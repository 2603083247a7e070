"""Rows of depth: ranges, bars, titles, and what is not there."""

import numpy as np
import pytest
import torch

from renderers.colour_bars import ColourBar
from renderers.depth_figure import depth_rows
from renderers.display import INVALID_GREY, colorize, depth_range, error_map, magma, to_uint8

GREY = round(255 * INVALID_GREY)


def rgb(picture):
    return to_uint8(picture[0]).numpy()


def test_truth_and_prediction_share_the_range_of_the_truth():
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, 8, 128, generator=generator)
    truth = 1 + torch.rand(2, 1, 8, 128, generator=generator)
    mask = torch.ones_like(truth, dtype=torch.bool)
    mask[:, :, 0] = False
    prediction = truth * 4  # beyond the range of the truth: all at the dark end
    rows = depth_rows(image, truth, mask, prediction, names=["a", "b"], scores=["AbsRel 3", ""])
    assert [(row.name, row.score) for row in rows] == [("a", "AbsRel 3"), ("b", "")]
    photo, true, predicted, error = rows[0].pictures
    np.testing.assert_array_equal(photo.pixels, rgb(image))
    assert (true.pixels[0] == GREY).all()
    np.testing.assert_array_equal(predicted.pixels, rgb(magma(torch.zeros(1, 1, 8, 128))))
    np.testing.assert_array_equal(error.pixels, rgb(error_map(prediction, target=truth, mask=mask)))
    near, far = depth_range(truth, mask=mask)
    assert true.bar == predicted.bar == ColourBar(float(near[0]), float(far[0]), unit="m")
    assert error.bar == ColourBar(-0.5, 0.5, "error")
    assert [one.of_truth for one in rows[0].pictures] == [False, True, False, True]
    assert rows[1].pictures[1].bar != true.bar


def test_without_truth_there_are_image_and_prediction_in_its_own_range():
    prediction = torch.linspace(3, 6, 64).expand(1, 1, 4, 64)
    (row,) = depth_rows(torch.rand(1, 3, 4, 64), None, None, prediction, names=["a"], units=["relative"], title="depth")
    assert [one.title for one in row.pictures] == ["image", "depth"]
    near, far = depth_range(prediction)
    assert row.pictures[1].bar == ColourBar(float(near), float(far), unit="relative")
    np.testing.assert_array_equal(row.pictures[1].pixels, rgb(colorize(prediction, near_m=near, far_m=far)))
    (given,) = depth_rows(torch.rand(1, 3, 4, 64), None, None, prediction, names=["a"], ends=(1.0, 9.0))
    assert given.pictures[1].bar == ColourBar(1.0, 9.0, unit="m")


@pytest.mark.parametrize("nothing", [float("nan"), 0.0, -1.0])
def test_an_image_without_valid_truth_or_depth_says_so(nothing):
    image, ramp = torch.rand(1, 3, 4, 64), torch.linspace(3, 6, 64).expand(1, 1, 4, 64)
    none = torch.full_like(ramp, nothing)
    (row,) = depth_rows(image, none, torch.ones_like(ramp, dtype=torch.bool), ramp, names=["a"])
    assert [one.title for one in row.pictures] == ["image", "ground truth: none", "prediction", "relative error"]
    assert [one.bar is None for one in row.pictures] == [True, True, False, True]
    assert (row.pictures[1].pixels == GREY).all()
    (row,) = depth_rows(image, ramp, ramp > 0, none, names=["a"])
    assert row.pictures[2].title == "prediction: no depth"
    assert row.pictures[2].bar is None
    (row,) = depth_rows(image, none, None, none, names=["a"])
    assert all(one.bar is None for one in row.pictures)


def test_a_part_that_is_not_finite_is_counted():
    prediction = torch.full((1, 1, 10, 100), 2.0)
    prediction[..., :25] = float("inf")
    (row,) = depth_rows(torch.rand(1, 3, 10, 100), None, None, prediction, names=["a"])
    assert row.pictures[1].title == "prediction: 25 % without depth"
    assert row.pictures[1].bar == ColourBar(2.0, 2.0, unit="m"), "of what is finite: one value"
    prediction[..., :] = 2.0
    prediction[..., 0, 0] = float("nan")
    (row,) = depth_rows(torch.rand(1, 3, 10, 100), None, None, prediction, names=["a"])
    assert row.pictures[1].title == "prediction: below 1 % without depth"


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"image has shape \(1, 3, 4, 5\) and prediction \(1, 1, 4, 6\)"):
        depth_rows(torch.rand(1, 3, 4, 5), None, None, torch.ones(1, 1, 4, 6), names=["a"])
