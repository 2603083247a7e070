"""Depth in another unit than it is said to be."""

import pytest
import torch

from structures.depth_units import summarise, why_doubtful, why_impossible

ROOM = torch.linspace(1.0, 4.0, 101).view(1, 1, 1, 101)


def summary(factor, **limits):
    return summarise(ROOM * factor, ROOM > 0, **limits)


def test_metres_are_fine():
    found = summary(1.0, near_m=1e-3, far_m=10.0)
    assert found.median_m == pytest.approx(2.5)
    assert found.outside == 0
    assert why_impossible(found) is None
    assert why_doubtful(found) is None


def test_only_what_was_measured_counts():
    mask = ROOM < 1.5
    found = summarise(torch.where(mask, ROOM, 1e6), mask)
    assert found.median_m == pytest.approx(1.24, abs=0.02)
    assert summarise(ROOM, torch.zeros_like(mask)) is None


def test_millimetres_read_as_metres_are_impossible():
    reason = why_impossible(summary(1000.0))
    assert "median of the measured depth is 2500 m" in reason
    assert "1000 times as many give 2.5 m (millimetres)" in reason
    assert "depth_scale" in reason


def test_metres_read_as_millimetres_are_impossible():
    reason = why_impossible(summary(1e-3))
    assert "is 0.0025 m" in reason
    assert "1000 times fewer give 2.5 m" in reason


def test_what_lies_outside_of_the_range_is_said_with_its_share():
    reason = why_doubtful(summary(100.0, near_m=1e-3, far_m=10.0))
    assert "100% of the measured depth lie outside 0.001 to 10 m" in reason
    assert "median is 250 m" in reason
    assert why_doubtful(summary(1.0, near_m=1e-3, far_m=3.5)) is None  # a sixth
    assert "34%" in why_doubtful(summary(1.0, near_m=1e-3, far_m=3.0))


def test_one_far_value_apart_from_all_other_depth_is_doubtful():
    """What a tool writes for "too far": 65535 mm, 10 m or 1000 m, in a file of floating-point numbers for one."""
    for value in (65.535, 10.0, 1000.0):
        depth = torch.where(ROOM < 1.1, value, ROOM)
        reason = why_doubtful(summarise(depth, depth > 0))
        assert f"4% of the measured depth are exactly {value:.5g} m" in reason
        assert "at most 4 m" in reason


@pytest.mark.parametrize(
    "depth",
    [
        ROOM.clamp(max=3.0),  # a wall, or a sensor that ends there
        torch.where(ROOM < 1.1, 5.0, ROOM),  # something a little farther away
        torch.where(ROOM < 2.0, 1.0, 10.0),  # two planes
        torch.full_like(ROOM, 2.0),
    ],
)
def test_a_wall_is_no_value_apart(depth):
    assert why_doubtful(summarise(depth, depth > 0)) is None
