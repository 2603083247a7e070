"""The order by shards: a permutation, few shards at a time, shares of ranks that are disjoint and complete."""

import numpy as np
import pytest

from datamodules.loading.samplers import TrainSampler
from datamodules.shards.order import shard_order

SHARDS = np.repeat(np.arange(40), np.random.default_rng(0).integers(5, 25, 40))


def order(lanes: int = 8, block: int = 30, seed: int = 0, epoch: int = 0) -> np.ndarray:
    return shard_order(SHARDS, lanes=lanes, block=block, seed=seed, epoch=epoch)


@pytest.mark.parametrize("lanes", [1, 3, 8, 2000])
@pytest.mark.parametrize("block", [1, 30, 10_000])
def test_order_is_a_permutation(lanes: int, block: int) -> None:
    assert np.array_equal(np.sort(order(lanes, block)), np.arange(len(SHARDS)))


def test_order_differs_between_epochs_and_seeds_and_repeats_itself() -> None:
    assert np.array_equal(order(), order())
    assert not np.array_equal(order(), order(epoch=1))
    assert not np.array_equal(order(), order(seed=1))


def test_a_lane_reads_its_shards_one_after_another() -> None:
    for lane in range(8):
        read = SHARDS[order()[lane::8]]
        for start in range(0, len(read), 30):  # a block of 30 samples lies in 30 consecutive samples of shards
            assert len(set(read[start : start + 30])) <= 30 // 5 + 2
        assert len(set(read)) < 40 / 8 * 2


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_ranks_share_samples_and_shards(world_size: int) -> None:
    size, used = len(SHARDS), []
    for rank in range(world_size):
        sampler = TrainSampler(
            range(size), batch_size=2, rank=rank, world_size=world_size, order=lambda epoch: order(epoch=epoch)
        )
        used.append([index for _, index in sampler])
    everything = [index for share in used for index in share]
    assert len(everything) == len(set(everything)) == size // (2 * world_size) * 2 * world_size
    shards = sum(len(set(SHARDS[share])) for share in used)
    assert shards <= 40 + 8  # each shard is read by one rank, or by two at the edge of a lane


def test_a_resumed_epoch_goes_on_where_it_was() -> None:
    whole = list(TrainSampler(range(len(SHARDS)), batch_size=3, epoch=2, order=lambda epoch: order(epoch=epoch)))
    rest = TrainSampler(
        range(len(SHARDS)), batch_size=3, epoch=2, skip_batches=5, order=lambda epoch: order(epoch=epoch)
    )
    assert list(rest) == whole[15:]
    assert [index for _, index in whole] == order(epoch=2)[: len(whole)].tolist()
