"""The benchmark of the mask losses: both formulations agree, and a disagreement stops it."""

import pytest
import torch

from benchmarks import pairwise as bench

SIZE = (5, 12, 16)


def test_both_formulations_give_the_same_losses_and_gradients():
    bench.check(bench.make_scene(*SIZE))  # raises where they differ: see the next test


def test_losses_that_differ_stop_the_benchmark(monkeypatch):
    ours = bench.ours
    monkeypatch.setattr(bench, "ours", lambda scene: 1.01 * ours(scene))
    with pytest.raises(RuntimeError, match="differ by"):
        bench.rows(size=SIZE, repeats=1)


def test_the_fused_loss_keeps_less_for_the_backward_pass():
    scene = bench.make_scene(*SIZE)
    kept = {}
    for losses in (bench.ours, bench.plain):
        sizes = {}

        def remember(values, sizes=sizes):
            sizes[values.untyped_storage().data_ptr()] = values.untyped_storage().nbytes()
            return values

        with torch.autograd.graph.saved_tensors_hooks(remember, lambda values: values):
            losses(scene)
        kept[losses] = sum(sizes.values())
    assert kept[bench.ours] < kept[bench.plain] / 10


def test_rows_give_speed_and_memory():
    speed, memory = bench.rows(size=SIZE, repeats=1)
    assert min(speed[1:]) > 0
    assert "memory" in memory[0]
