"""Depth from written numbers: units, inverse depth, what is no measurement."""

import pytest
import torch

from geometry.written_depth import MIN_INVERSE_FRACTION, depth_from_inverse, depth_from_values


def as_map(*values):
    return torch.tensor(values).view(1, 1, 1, -1)


def test_a_unit_makes_metres_and_what_is_no_depth_becomes_zero():
    values = as_map(1500.0, 0.0, -3.0, float("nan"), float("inf"), 250.0)
    depth = depth_from_values(values, units_per_metre=1000)
    torch.testing.assert_close(depth, as_map(1.5, 0.0, 0.0, 0.0, 0.0, 0.25))
    assert depth.dtype == torch.float32
    inverse = depth_from_values(values, units_per_metre=1000, inverse=True)
    torch.testing.assert_close(inverse, as_map(1000 / 1500, 0.0, 0.0, 0.0, 0.0, 4.0))


def test_without_a_unit_depth_keeps_its_numbers():
    torch.testing.assert_close(depth_from_values(as_map(7.0, -1.0, 3.5), units_per_metre=None), as_map(7.0, 0.0, 3.5))


def test_relative_inverse_depth_begins_at_one_and_its_zero_is_the_far_end():
    values = as_map(8.0, 2.0, 0.0, -1.0, float("nan"))
    depth = depth_from_values(values, units_per_metre=None, inverse=True)
    far = 1 / MIN_INVERSE_FRACTION
    torch.testing.assert_close(depth, as_map(1.0, 4.0, far, far, 0.0))
    common = depth_from_values(values, units_per_metre=None, inverse=True, common_unit=True)
    torch.testing.assert_close(common, as_map(1 / 8, 1 / 2, far / 8, far / 8, 0.0))


def test_each_image_has_a_unit_of_its_own_and_an_empty_one_has_no_depth():
    inverse = torch.tensor([[4.0, 1.0], [0.5, 0.25], [0.0, 0.0]]).view(3, 1, 1, 2)
    expected = torch.tensor([[1.0, 4.0], [1.0, 2.0], [0.0, 0.0]]).view(3, 1, 1, 2)
    torch.testing.assert_close(depth_from_inverse(inverse), expected)


@pytest.mark.parametrize("unit", [0.0, -1000.0, float("inf"), float("nan")])
def test_a_unit_that_is_none_is_refused(unit):
    with pytest.raises(ValueError, match="units in a metre, but a positive number is needed"):
        depth_from_values(as_map(1.0), units_per_metre=unit)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but \(B, 1, H, W\)"):
        depth_from_values(torch.ones(2, 3), units_per_metre=1.0)
