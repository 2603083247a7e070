"""The colours of bars are those of the maps, at the values that their numbers name."""

import numpy as np
import pytest
import torch
from PIL import Image

from renderers import colour_bars
from renderers.colour_bars import ColourBar, depth_bar, draw_bar
from renderers.display import colorize, error_map, scalar_map, to_uint8


def one(picture):
    return to_uint8(picture[0]).numpy()[0, 0]


def drawn(bar, width=256):
    picture = Image.new("RGB", (width + 20, colour_bars.HEIGHT + 10), "white")
    draw_bar(picture, bar, left=10, top=5, width=width)
    return np.asarray(picture)


@pytest.mark.parametrize("metres", [0.5, 1.0, 2.0, 4.0, 8.0])
def test_a_depth_has_its_colour_at_its_place_of_a_logarithmic_bar(metres):
    bar = drawn(ColourBar(0.5, 8.0))[5 : 5 + colour_bars.BAR_HEIGHT, 10:-10]
    column = min(round(np.log(metres / 0.5) / np.log(16) * 256), 255)
    expected = one(colorize(torch.full((1, 1, 1, 1), metres), near_m=0.5, far_m=8.0))
    for row in bar:
        np.testing.assert_allclose(row[column].astype(int), expected, atol=5)


@pytest.mark.parametrize(("value", "column"), [(-0.5, 0), (-0.25, 64), (0.0, 128), (0.25, 192), (0.5, 255)])
def test_an_error_has_its_colour_at_its_place(value, column):
    ones = torch.ones(1, 1, 1, 1)
    expected = one(error_map((1 + value) * ones, target=ones, mask=ones > 0))
    found = drawn(ColourBar(-0.5, 0.5, "error"))[8, 10 + column]
    np.testing.assert_allclose(found.astype(int), expected, atol=3)


def test_a_scalar_has_its_colour_at_its_place():
    bar = ColourBar(0.0, 2.0, "scalar").colours(200)
    for value in (0.005, 0.505, 1.005, 1.995):
        expected = one(scalar_map(torch.full((1, 1, 1, 1), value), low=0, high=2))
        np.testing.assert_allclose(bar[round(100 * value - 0.5)].astype(int), expected, atol=1)


def test_numbers_stand_at_their_values():
    numbers = ColourBar(1.0, 16.0, unit="m").numbers()
    assert numbers == [(0.0, "1.00"), (0.25, "2.00"), (0.5, "4.00"), (0.75, "8.00"), (1.0, "16.0 m")]
    assert [text for _, text in ColourBar(-0.5, 0.5, "error").numbers()] == ["-50 % too near", "0", "too far +50 %"]


@pytest.mark.parametrize("kind", ["depth", "scalar"])
def test_a_map_of_one_value_has_one_colour_and_one_number(kind):
    bar = ColourBar(2.5, 2.5, kind, unit="m")
    assert (bar.colours(50) == bar.colours(50)[0]).all()
    assert bar.numbers() == [(0.5, "2.50 m")]
    assert (drawn(bar)[5 + colour_bars.BAR_HEIGHT + 2 :] < 200).any()


def test_the_colour_of_a_constant_depth_is_that_of_the_map():
    depth = torch.full((1, 1, 1, 1), 2.5)
    assert (ColourBar(2.5, 2.5).colours(9) == one(colorize(depth, near_m=2.5, far_m=2.5))).all()


@pytest.mark.parametrize("width", [1, 30, 96, 256, 600])
def test_numbers_never_overlap_and_stay_below_the_bar(width):
    placed = colour_bars._placed(ColourBar(0.461, 3.93, unit="m").numbers(), width)
    ends = [start + colour_bars.width_of(text, colour_bars.NUMBER_SIZE) for start, text in placed]
    assert all(start >= end + 10 for end, (start, _) in zip(ends, placed[1:], strict=False))
    if width >= 96:
        assert ends[-1] <= width
    assert len(placed) == {1: 1, 30: 1, 96: 2, 256: 5, 600: 5}[width]


@pytest.mark.parametrize(
    ("low", "high", "kind"), [(0.0, 1.0, "depth"), (2.0, 1.0, "scalar"), (float("nan"), 1.0, "scalar")]
)
def test_ends_that_are_none_are_refused(low, high, kind):
    with pytest.raises(ValueError, match="colour bar"):
        ColourBar(low, high, kind)
    assert depth_bar(low, high) is None


def test_a_range_of_depth_has_a_bar():
    assert depth_bar(1.0, 2.0, "relative") == ColourBar(1.0, 2.0, unit="relative")
