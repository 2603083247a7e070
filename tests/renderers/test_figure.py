"""Where pictures stand in a figure, what is written around them, and odd shapes and names."""

import numpy as np
import pytest

from renderers.colour_bars import ColourBar
from renderers.figure import WIDTH, Maps, Picture, PictureRow, column_width, draw_figure, fitted, resized


def picture(title="map", size=(96, 128), bar=None, **more):
    pixels = np.random.default_rng(len(title)).integers(0, 200, (*size, 3), dtype=np.uint8)
    return Picture(title, pixels, bar, **more)


def crop(figure, place):
    top, left, height, width = place
    return figure.pixels[top : top + height, left : left + width]


def test_thumbnails_are_enlarged_by_whole_pixels_and_fill_the_width():
    row = PictureRow("a", tuple(picture(f"map {k}") for k in range(4)))
    figure = draw_figure([row, row])
    assert 1000 < figure.pixels.shape[1] <= WIDTH
    for places in figure.places:
        for place, one in zip(places, row.pictures, strict=True):
            np.testing.assert_array_equal(crop(figure, place), one.pixels.repeat(2, axis=0).repeat(2, axis=1))
    first, second = figure.places
    assert [place[1] for place in first] == [place[1] for place in second]
    assert second[0][0] > first[0][0] + first[0][2]


def test_large_pictures_are_reduced_to_the_mean():
    pixels = np.zeros((1200, 1600, 3), np.uint8)
    pixels[:, ::2] = 200
    figure = draw_figure([PictureRow("a", (Picture("a", pixels), Picture("b", pixels)))])
    assert figure.pixels.shape[1] <= WIDTH
    assert abs(int(crop(figure, figure.places[0][0]).mean()) - 100) <= 2


def test_titles_names_scores_and_bars_change_their_pixels_alone():
    bare = draw_figure([PictureRow("", (picture(""), picture("")))])
    plain, above = bare.pixels, bare.places[0][0][0]
    shape = plain.shape
    for row in (
        PictureRow("room/3", (picture(""), picture(""))),
        PictureRow("", (picture(""), picture("")), "AbsRel 0.1"),
        PictureRow("", (Picture("title", picture("").pixels), picture(""))),
    ):
        changed = draw_figure([row]).pixels
        assert changed.shape == shape
        assert (changed[:above] != plain[:above]).any()
        np.testing.assert_array_equal(changed[above:], plain[above:])
    with_bar = draw_figure([PictureRow("", (picture("", bar=ColourBar(1, 2)), picture("")))])
    assert with_bar.pixels.shape[0] > shape[0]
    place = with_bar.bars[0][0]
    np.testing.assert_array_equal(crop(with_bar, place)[0], ColourBar(1, 2).colours(place[3]))
    assert with_bar.bars[0][1] is None


def test_many_pictures_stand_in_several_lines_and_a_line_can_be_begun():
    row = PictureRow("a", (*(picture(f"m{k}") for k in range(9)), picture("section", starts_line=True), picture("end")))
    tops = [place[0] for place in draw_figure([row]).places[0]]
    assert len(set(tops)) == 3
    assert tops[:5] == [tops[0]] * 5
    assert tops[5:9] == [tops[5]] * 4
    assert tops[9] == tops[10] > tops[5]


@pytest.mark.parametrize("size", [(1, 1), (4, 4000), (4000, 4), (1, 3000), (700, 100), (375, 1242), (2160, 3840)])
def test_pictures_of_any_shape_stay_inside_a_figure_of_usable_size(size):
    row = PictureRow("x", tuple(picture(f"{k}", size=size, bar=ColourBar(1.0, 3.0)) for k in range(4)), "score 1")
    figure = draw_figure([row])
    height, width = figure.pixels.shape[:2]
    assert width <= WIDTH
    assert height < 2500
    for top, left, high, wide in (*figure.places[0], *figure.bars[0]):
        assert min(high, wide) >= 1
        assert top + high <= height
        assert left + wide <= width


def test_pictures_of_different_sizes_stand_in_one_figure():
    figure = draw_figure([PictureRow("a", (picture("a"),)), PictureRow("b", (picture("b", size=(300, 50)),))])
    assert [place[2:] for row in figure.places for place in row] == [(480, 640), (480, 80)]


def test_a_very_long_name_leaves_room_for_the_score():
    def line(name):
        return draw_figure([PictureRow(name, (picture(""), picture("")), "AbsRel 0.123")]).pixels[:30]

    score = (np.abs(line("n" * 500).astype(int) - (16, 90, 170)).sum(axis=2) == 0).any(axis=0)
    assert score[:-8].any()
    assert not score[-8:].any()
    assert (line("n" * 500) != line("n")).any()


def test_a_row_without_truth_keeps_the_other_pictures():
    row = PictureRow("a", (picture("image"), picture("truth", of_truth=True)), "score")
    assert [one.title for one in row.without_truth().pictures] == ["image"]
    assert row.without_truth().caption == "a  score"


def test_what_is_no_picture_is_named():
    with pytest.raises(ValueError, match="a figure needs at least one picture"):
        draw_figure([PictureRow("a", ())])
    with pytest.raises(ValueError, match=r"picture 'x' is float64 \(2, 2, 3\), but uint8"):
        draw_figure([PictureRow("a", (Picture("x", np.zeros((2, 2, 3))),))])


def test_a_picture_that_was_fitted_once_keeps_its_size():
    for size in [(64, 64), (96, 128), (480, 640), (1, 1), (375, 1242), (3000, 4000), (50, 71)]:
        once = fitted(size, width=column_width(2, size, width=1600))
        assert fitted(once, width=column_width(2, once, width=1600)) == once


def test_enlarged_pictures_have_the_colours_of_their_pixels():
    pixels = picture().pixels
    larger = resized(pixels, (131, 177))
    assert {tuple(colour) for colour in larger.reshape(-1, 3)} <= {tuple(colour) for colour in pixels.reshape(-1, 3)}


def test_maps_are_a_dict_with_bars_and_titles():
    maps = Maps({}, bars={"depth": [None]}, titles={"depth": "prediction"})
    assert (maps.bars, maps.titles, len(maps)) == ({"depth": [None]}, {"depth": "prediction"}, 0)
    assert Maps({}).bars == {}
