import pytest
import torch

from renderers.curves import plot_curves


def test_a_curve_is_drawn_where_its_values_are():
    """The pixels of the curve's colour rise with the values, in the frame of the plot."""
    picture = plot_curves([0.0, 1.0, 2.0], {"rising": [0.0, 1.0, 2.0]}, title="t", x_label="x", height=200, width=300)
    assert picture.shape == (3, 200, 300)
    blue = (picture - torch.tensor([31, 119, 180]).view(3, 1, 1) / 255).abs().amax(dim=0) < 0.02
    rows, columns = blue[60:].nonzero().T  # below the name
    left, right = rows[columns < 150].float().mean(), rows[columns > 200].float().mean()
    assert left > right + 20


def test_marks_bands_and_gaps_are_drawn_and_what_does_not_fit_is_refused():
    values = {"one": [1.0, float("nan"), 2.0], "other": [0.0, -1.0, 1.0]}
    plain = plot_curves([0, 1, 2], values, title="t", x_label="x")
    marked = plot_curves([0, 1, 2], values, title="t", x_label="x", marks={"here": 1.0}, band=(0.5, 9.0))
    assert (plain != marked).any()
    assert torch.isfinite(marked).all()
    plot_curves([0, 1], {"flat": [3.0, 3.0]}, title="t", x_label="x")
    with pytest.raises(ValueError, match=r"do not fit to 3 abscissae"):
        plot_curves([0, 1, 2], {"short": [1.0]}, title="t", x_label="x")
