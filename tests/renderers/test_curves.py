import pytest
import torch

from renderers.curves import _COLOURS, plot_curves, round_values


def test_a_curve_is_drawn_where_its_values_are():
    """The pixels of the curve's colour rise with the values, in the frame of the plot."""
    picture = plot_curves([0.0, 1.0, 2.0], {"rising": [0.0, 1.0, 2.0]}, title="t", x_label="x", height=200, width=300)
    assert picture.shape == (3, 200, 300)
    blue = (picture - torch.tensor([31, 119, 180]).view(3, 1, 1) / 255).abs().amax(dim=0) < 0.02
    rows, columns = blue[60:].nonzero().T  # below the name
    left, right = rows[columns < 150].float().mean(), rows[columns > 200].float().mean()
    assert left > right + 20


ONE = [1.0, 1.5, 1.2, 1.6]


def test_marks_bands_and_gaps_are_drawn_and_what_does_not_fit_is_refused():
    def plot(one, **extra):
        return plot_curves([0, 1, 2, 3], {"one": one, "other": [0.0, -1.0, 1.0, 2.0]}, title="t", x_label="x", **extra)

    plain = plot(ONE)

    def changed_columns(picture):
        assert torch.isfinite(picture).all()
        columns = (picture != plain).any(dim=0).any(dim=0).nonzero()
        return columns.min().item(), columns.max().item()

    # The axis is 466 columns wide and begins at column 78: the values 0, 1, 2 and 3 lie at 78, 233, 389 and 544.
    assert changed_columns(plot(ONE, band=(1.5, 9.0))) == pytest.approx((311, 544), abs=2)
    first, last = changed_columns(plot(ONE, marks={"here": 1.0}))
    assert first == pytest.approx(233, abs=2)
    assert last < 280  # the name is written beside the line
    # A missing point takes the two lines to it away.
    gap = plot([*ONE[:2], float("nan"), ONE[3]])
    assert changed_columns(gap) == pytest.approx((233, 544), abs=3)
    blue = torch.tensor(_COLOURS[0]).view(3, 1, 1)
    drawn, left = (((255 * picture[..., 240:540]).round() == blue).all(dim=0).sum() for picture in (plain, gap))
    assert drawn > 300
    assert left == 0
    for value in (3.0, 0.0, 1e17):  # adding 0.5 does not change the last
        plot_curves([0, 1], {"flat": [value, value]}, title="t", x_label="x")
    with pytest.raises(ValueError, match=r"do not fit to 3 abscissae"):
        plot_curves([0, 1, 2], {"short": [1.0]}, title="t", x_label="x")


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (9, 609, 7, [100, 200, 300, 400, 500, 600]),
        (0.0252, 0.301, 5, [0.1, 0.2, 0.3]),
        (0, 12000, 7, [0, 2000, 4000, 6000, 8000, 10000, 12000]),
        (-0.5, 0.5, 5, [-0.4, -0.2, 0, 0.2, 0.4]),
        (3.0, 3.0001, 5, [3, 3.00005, 3.0001]),
    ],
)
def test_the_marks_of_an_axis_are_round(low, high, most, expected):
    assert round_values(low, high, most) == expected


def test_several_values_at_one_step_are_a_plot():
    assert torch.isfinite(plot_curves([5, 5], {"a": [1.0, 2.0]}, title="t", x_label="x")).all()
