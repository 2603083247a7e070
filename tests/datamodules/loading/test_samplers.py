"""Samplers of several ranks against one process, and of a resumed run against an uninterrupted epoch."""

import pytest

from datamodules.loading.samplers import EvaluationSampler, TrainSampler, epoch_order, sample_generator
from structures.batch import PADDING_INDEX


def batches(sampler: TrainSampler, size: int) -> list[list[tuple[int, int]]]:
    keys = list(sampler)
    assert len(keys) % size == 0
    return [keys[i : i + size] for i in range(0, len(keys), size)]


@pytest.mark.parametrize(("size", "world_size", "batch_size"), [(23, 2, 3), (24, 3, 2), (12, 4, 3)])
def test_ranks_together_see_the_batches_of_one_process(size: int, world_size: int, batch_size: int) -> None:
    data = range(size)
    one = TrainSampler(data, batch_size=world_size * batch_size, seed=5, epoch=2)
    shares = [
        batches(TrainSampler(data, batch_size=batch_size, seed=5, rank=r, world_size=world_size, epoch=2), batch_size)
        for r in range(world_size)
    ]
    whole = batches(one, world_size * batch_size)
    assert len(whole) == size // (world_size * batch_size)
    for step, batch in enumerate(whole):
        assert sorted(batch) == sorted(key for share in shares for key in share[step])


def test_order_is_a_permutation_that_changes_with_epoch_and_seed_only() -> None:
    first = epoch_order(50, seed=1, epoch=0)
    assert sorted(first) == list(range(50))
    assert (first == epoch_order(50, seed=1, epoch=0)).all()
    assert (first != epoch_order(50, seed=1, epoch=1)).any()
    assert (first != epoch_order(50, seed=2, epoch=0)).any()


def test_draws_differ_between_samples_epochs_and_seeds() -> None:
    draws = {sample_generator(s, e, i).random() for s in range(4) for e in range(4) for i in range(4)}
    assert len(draws) == 64
    assert sample_generator(1, 2, 3).random() == sample_generator(1, 2, 3).random()


def test_only_the_resumed_epoch_is_shortened() -> None:
    data = range(10)
    resumed = TrainSampler(data, batch_size=3, seed=0, epoch=4, skip_batches=2)
    assert len(resumed) == 9
    assert list(resumed) == list(TrainSampler(data, batch_size=3, seed=0, epoch=4))[6:]
    resumed.set_epoch(5)
    assert list(resumed) == list(TrainSampler(data, batch_size=3, seed=0, epoch=5))
    assert {epoch for epoch, _ in resumed} == {5}


def test_too_little_data_is_refused_in_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"holds 7 samples, fewer than one batch of 8 .*at most 3"):
        TrainSampler(range(7), batch_size=4, world_size=2)


@pytest.mark.parametrize(("size", "world_size"), [(7, 1), (7, 2), (8, 2), (1, 3)])
def test_evaluation_counts_every_sample_once_and_pads_to_equal_shares(size: int, world_size: int) -> None:
    shares = [list(EvaluationSampler(range(size), rank=r, world_size=world_size)) for r in range(world_size)]
    assert {len(share) for share in shares} == {-(-size // world_size)}
    assert sorted(i for share in shares for i in share if i != PADDING_INDEX) == list(range(size))
