"""Panels of predicted images, and their redrawing with another range."""

import cv2
import numpy as np
import pytest
import torch

from lightning_modules.callbacks.prediction_panel import PANEL_WIDTH, depth_picture, draw_again, shown_size, write_panel
from renderers.colour_bars import ColourBar
from renderers.display import colorize, to_uint8


def read(path):
    return cv2.imread(str(path))[..., ::-1]


def colours(depth, near, far):
    return to_uint8(colorize(depth[None], near_m=near, far_m=far)[0]).numpy()


@pytest.mark.parametrize("size", [(48, 64), (97, 131), (480, 640), (1200, 1600), (30, 900), (700, 40), (1, 1)])
def test_a_panel_that_is_drawn_again_equals_one_with_that_range(tmp_path, size):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, *size, generator=generator)
    depth = 1 + torch.rand(1, *size, generator=generator)
    place = write_panel(tmp_path / "a.png", image, depth, name="a", unit="m")
    assert place[2:] == shown_size(size)
    before = read(tmp_path / "a.png")
    assert before.shape[1] <= PANEL_WIDTH
    draw_again(tmp_path / "a.png", place, colours(depth, 0.5, 9.0), 0.5, 9.0, name="a", unit="m")
    write_panel(tmp_path / "b.png", image, depth, name="a", unit="m", ends=(0.5, 9.0))
    np.testing.assert_array_equal(read(tmp_path / "a.png"), read(tmp_path / "b.png"))
    assert (read(tmp_path / "a.png") != before).any()


def test_truth_and_error_stand_beside_the_depth_where_they_are_known(tmp_path):
    image, depth = torch.rand(3, 48, 64), torch.full((1, 48, 64), 2.0)
    write_panel(tmp_path / "a.png", image, depth, name="a", unit="m", truth=depth, mask=depth > 0)
    write_panel(tmp_path / "b.png", image, depth, name="a", unit="m", truth=depth, mask=depth < 0)
    write_panel(tmp_path / "c.png", image, depth, name="a", unit="m")
    four, two, plain = (read(tmp_path / f"{name}.png") for name in "abc")
    assert four.shape[1] > 4 * 64 * 5
    np.testing.assert_array_equal(two, plain)


def test_a_panel_that_is_gone_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.png' was written and is gone"):
        draw_again(tmp_path / "a.png", (0, 0, 2, 2), np.zeros((2, 2, 3), np.uint8), 1, 2, name="a", unit="m")


def test_depth_has_its_colours_and_bar():
    depth = torch.tensor([[[1.0, 2.0, 4.0]]])
    picture = depth_picture(depth, 1.0, 4.0, unit="relative")
    np.testing.assert_array_equal(picture.pixels, colours(depth, 1.0, 4.0))
    assert picture.bar == ColourBar(1.0, 4.0, unit="relative")
