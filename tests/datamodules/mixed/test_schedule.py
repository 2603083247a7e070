"""Shares of samples by weight, and passes over small and large sources."""

from collections import Counter

import numpy as np
import pytest

from datamodules.mixed.schedule import Mixture, frames_of_epoch, share_counts


@pytest.mark.parametrize(
    ("weights", "total", "expected"),
    [
        ([1.0, 1.0, 1.0, 1.0], 100, [25, 25, 25, 25]),
        ([1.0, 2.0, 1.0], 10, [3, 5, 2]),
        ([0.1, 0.1, 0.1], 10, [4, 3, 3]),
        ([3.0], 7, [7]),
        ([1.0, 999.0], 100, [0, 100]),
    ],
)
def test_shares_are_exact_and_sum_up(weights: list[float], total: int, expected: list[int]) -> None:
    assert share_counts(weights, total) == expected


def test_no_share_is_off_by_a_whole_sample() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        weights = generator.uniform(0.01, 5.0, generator.integers(1, 8)).tolist()
        total = int(generator.integers(1, 5000))
        counts = share_counts(weights, total)
        assert sum(counts) == total
        assert np.abs(np.array(counts) - np.array(weights) / sum(weights) * total).max() < 1


@pytest.mark.parametrize(("size", "count"), [(7, 3), (7, 7), (5, 17), (1, 4), (10, 9)])
def test_every_frame_comes_equally_often_up_to_one(size: int, count: int) -> None:
    seen: Counter[int] = Counter()
    for epoch in range(11):
        frames = frames_of_epoch(size, count, source=2, seed=5, epoch=epoch).tolist()
        assert len(frames) == count
        seen.update(frames)
        counts = [seen[frame] for frame in range(size)]
        assert max(counts) - min(counts) <= 1
    assert set(seen) == set(range(size))


def test_epochs_follow_each_other_as_one_stream() -> None:
    # The stream of an independent oracle: permutation after permutation, cut into pieces of 3.
    whole = np.concatenate([np.random.default_rng((3, 9, 1, number)).permutation(7) for number in range(5)])
    cut = [frames_of_epoch(7, 3, source=1, seed=9, epoch=epoch) for epoch in range(11)]
    np.testing.assert_array_equal(np.concatenate(cut), whole[:33])


def test_seed_source_and_epoch_change_the_frames() -> None:
    frames = frames_of_epoch(50, 20, source=0, seed=0, epoch=0).tolist()
    assert frames == frames_of_epoch(50, 20, source=0, seed=0, epoch=0).tolist()
    for other in ({"source": 1}, {"seed": 1}, {"epoch": 1}):
        assert frames != frames_of_epoch(50, 20, **({"source": 0, "seed": 0, "epoch": 0} | other)).tolist()


def test_slots_do_not_depend_on_which_epoch_was_asked_before() -> None:
    mixture, fresh = Mixture([4, 9], [6, 5], seed=1), Mixture([4, 9], [6, 5], seed=1)
    before = [mixture.frame(3, slot) for slot in range(11)]
    assert [mixture.frame(0, slot) for slot in range(11)] != before
    assert [fresh.frame(3, slot) for slot in reversed(range(11))][::-1] == before
    assert all(frame < 4 for frame in before[:6])
    assert all(4 <= frame < 13 for frame in before[6:])
