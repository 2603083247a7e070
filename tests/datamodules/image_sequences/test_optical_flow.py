"""Optical flow between frames and selection of clips by flow."""

import numpy as np
import pytest

from datamodules.image_sequences.optical_flow import (
    FlowMeter,
    Motion,
    median_flow,
    moving_clips,
    moving_windows,
    small_grey,
    strided_windows,
)
from tests.data.make_frames_video import WIDTH, true_image


@pytest.mark.parametrize("pixels", [0.0, 1.0, 3.0, 6.0])
def test_flow_of_a_panned_picture_is_its_shift(pixels: float) -> None:
    first, second = (small_grey(true_image(frame, speed=pixels)) for frame in (1, 2))
    assert median_flow(first, second) == pytest.approx(pixels / WIDTH, rel=0.03, abs=2e-4)


def test_flow_does_not_depend_on_the_size_of_the_frames() -> None:
    pair = [true_image(frame, speed=3.0) for frame in (0, 1)]
    large = [image.repeat(5, axis=0).repeat(5, axis=1) for image in pair]
    small = median_flow(*(small_grey(image) for image in pair))
    assert median_flow(*(small_grey(image) for image in large)) == pytest.approx(small, rel=0.05)
    assert small_grey(large[0]).shape == (120, 160)


def test_independently_moving_objects_do_not_affect_the_flow() -> None:
    still = true_image(0)
    moved = still.copy()
    moved[:20] = true_image(3)[:20]
    assert median_flow(small_grey(still), small_grey(moved)) < 0.05 * 6 / WIDTH


def test_every_frame_is_read_once_and_every_pair_measured_once() -> None:
    reads = []

    def read(position: int) -> np.ndarray:
        reads.append(position)
        return true_image(position)

    meter = FlowMeter(read)
    assert meter(0, 1) == meter(1, 0)
    assert meter(1, 2) == pytest.approx(2 / WIDTH, rel=0.03)
    assert reads == [0, 1, 2]


def even(first: int, second: int) -> float:
    """Return a flow of one hundredth of the width per frame."""
    return 0.01 * abs(first - second)


def test_windows_that_move_too_little_or_too_much_are_left_out_and_counted() -> None:
    places = [0.0, 0.001, 0.002, 0.022, 0.042, 0.3, 0.6]

    def flow(first: int, second: int) -> float:
        return abs(places[first] - places[second])

    windows = [(i - 1, i, i + 1) for i in range(1, 6)]
    moving = moving_windows(windows, flow, Motion(min_flow=0.003, max_flow=0.15))
    # Means of the two neighbours: 0.001, 0.0105, 0.02, 0.139, 0.279.
    assert moving.windows == [(1, 2, 3), (2, 3, 4), (3, 4, 5)]
    assert (moving.too_slow, moving.too_fast) == (1, 1)
    np.testing.assert_allclose(moving.flows, [0.0105, 0.02, 0.139])
    assert moving.largest_flow == pytest.approx(0.279)
    assert moving_windows(windows, flow, Motion()).windows == windows


def test_stride_is_the_smallest_that_moves_enough_and_stays_inside() -> None:
    motion = Motion(target_flow=0.03, max_stride=10)
    windows = strided_windows([range(20)], even, motion, window=3, stride=1)
    assert [window[1] for window in windows] == list(range(1, 19))  # every target that has neighbours
    assert [window[1] - window[0] for window in windows] == [1, 2] + [3] * 14 + [2, 1]
    assert all(window[2] - window[1] == window[1] - window[0] for window in windows)
    five = strided_windows([range(20)], even, motion, window=5, stride=1)
    assert (4, 7, 10, 13, 16) in five
    assert all(window[0] >= 0 and window[-1] < 20 for window in five)


def test_stride_stops_at_its_limit_and_begins_at_the_least_one() -> None:
    limited = strided_windows([range(30)], even, Motion(target_flow=0.08, max_stride=4), window=3, stride=1)
    assert max(window[1] - window[0] for window in limited) == 4
    wide = strided_windows([range(30)], even, Motion(target_flow=0.01, max_stride=4), window=3, stride=2)
    assert {window[1] - window[0] for window in wide} == {2}
    assert strided_windows([range(5)], even, Motion(target_flow=0.01), window=1, stride=1) == [(i,) for i in range(5)]


def test_windows_stay_in_their_sequence() -> None:
    windows = strided_windows([range(8), range(8, 16)], even, Motion(target_flow=0.05), window=3, stride=1)
    assert all((window[0] < 8) == (window[-1] < 8) for window in windows)


def never(position: int) -> np.ndarray:
    raise AssertionError(f"frame {position} was read")


def test_no_frame_is_read_without_need() -> None:
    assert len(moving_clips([range(6)], never, Motion(), window=3, stride=1, leave_out=True, where="x")) == 4
    lone = moving_clips([range(6)], never, Motion(min_flow=0.01), window=1, stride=1, leave_out=True, where="x")
    assert len(lone) == 6
    evaluated = moving_clips([range(6)], never, Motion(min_flow=0.01), window=3, stride=1, leave_out=False, where="x")
    assert len(evaluated) == 4


def test_counts_stand_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def read(position: int) -> np.ndarray:
        return true_image(max(0, position - 4))  # static at first

    clips = moving_clips([range(10)], read, Motion(min_flow=0.003), window=3, stride=1, leave_out=True, where="Train")
    assert len(clips) == 5
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(
        "Train: 5 of 8 clips kept, 3 move too little (min_flow), 0 too much (max_flow)"
    )


def test_no_remaining_clip_is_an_error_of_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"Train: nothing moves, .* at most 0.0000 image widths in all 6 clips"):
        moving_clips(
            [range(8)],
            lambda _: true_image(0),
            Motion(min_flow=0.003),
            window=3,
            stride=1,
            leave_out=True,
            where="Train",
        )
    with pytest.raises(
        ValueError, match=r"of 6 clips 0 move less than min_flow=0.003 and 6 more than max_flow=0.01, so"
    ):
        moving_clips(
            [range(8)],
            true_image,
            Motion(min_flow=0.003, max_flow=0.01),
            window=3,
            stride=1,
            leave_out=True,
            where="Train",
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_flow": 0.0}, "min_flow is a fraction of the image width between 0 and 1, or null, got 0"),
        ({"target_flow": 3.0}, "target_flow is a fraction"),
        ({"max_flow": float("nan")}, "max_flow is a fraction"),
        ({"min_flow": 0.2, "max_flow": 0.1}, "min_flow=0.2 has to be below max_flow=0.1"),
        ({"max_stride": 0}, "max_stride has to be at least 1 frame, got 0"),
    ],
)
def test_wrong_limits_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Motion(**arguments)  # type: ignore[arg-type]
