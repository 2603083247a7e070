"""Random streams survive a file, and those of several processes differ."""

import random

import numpy as np
import pytest
import torch

from lightning_modules.runs.random_state import RandomState, seed_streams

CPU = torch.device("cpu")


def draws():
    return [
        float(torch.rand(())),
        float(torch.randn(3).sum()),
        np.random.rand(),
        np.random.randn(),
        random.random(),
        random.gauss(0, 1),
    ]


@pytest.mark.parametrize("drawn", [0, 1, 700])
def test_all_streams_go_on_after_a_round_trip_through_a_file(tmp_path, drawn):
    seed_streams(1, rank=0, epoch=0, batch=0)
    for _ in range(drawn):
        draws()
    np.random.randn()  # numpy and Python keep the second of two normal numbers
    random.gauss(0, 1)
    torch.save(RandomState.now(CPU).as_plain(), tmp_path / "state.pt")
    expected = [draws() for _ in range(3)]
    seed_streams(2, rank=0, epoch=0, batch=0)
    assert draws() != expected[0]
    RandomState.from_plain(torch.load(tmp_path / "state.pt", weights_only=True)).restore(CPU)
    assert [draws() for _ in range(3)] == expected


def test_a_state_is_not_changed_by_later_draws():
    state = RandomState.now(CPU)
    expected = draws()
    for _ in range(2):
        state.restore(CPU)
        assert draws() == expected


def test_streams_differ_in_every_argument_and_repeat_with_equal_ones():
    def first(**arguments):
        seed_streams(**{"seed": 0, "rank": 0, "epoch": 0, "batch": 0, **arguments})
        return draws()

    alike = [first(), first()]
    assert alike[0] == alike[1]
    others = [first(seed=1), first(rank=1), first(epoch=1), first(batch=1), first(rank=2), first(batch=2)]
    for stream in range(len(alike[0])):
        assert len({values[stream] for values in [alike[0], *others]}) == 7


@pytest.mark.gpu
def test_the_stream_of_a_gpu_goes_on():
    device = torch.device("cuda", torch.cuda.current_device())
    torch.rand(5, device=device)
    state = RandomState.from_plain(RandomState.now(device).as_plain())
    expected = torch.rand(5, device=device)
    torch.rand(5, device=device)
    state.restore(device)
    assert torch.equal(torch.rand(5, device=device), expected)
