"""Which blocks of a network FSDP gathers one at a time; two processes are in ``tests/test_strategies.py``."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn

from lightning_modules.runs.sharded_strategy import FullySharded, is_sharded, large_blocks, shard
from lightning_modules.supervised_depth import SupervisedDepth
from tests.helpers import Affine


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.Linear(1, 1))


def test_the_innermost_repeated_layers_with_many_parameters_are_blocks():
    stage = nn.Sequential(Block(30), Block(2), nn.ModuleList([nn.Linear(40, 40)]))
    net = nn.ModuleDict({"stem": nn.Linear(50, 50), "stage": stage})
    blocks = large_blocks(net, least=500)
    # Not the stem, which is no repeated layer, and neither the block of few parameters nor what holds a block.
    assert blocks == [stage[0].layers[0], stage[2][0]]
    assert large_blocks(net, least=5000) == []
    assert large_blocks(net, least=1700) == []  # a list of one layer of 1640 parameters is no block of its own
    assert large_blocks(net, least=1600) == [stage[2][0]]


def test_a_swin_is_gathered_block_by_block():
    import timm

    swin = timm.create_model("swin_tiny_patch4_window7_224", features_only=True)
    names = {type(block).__name__ for block in large_blocks(swin)}
    assert names == {"SwinTransformerBlock"}
    assert len(large_blocks(swin)) == 8  # those of its two widest stages


def test_a_trained_scalar_is_refused_in_one_sentence():
    module = SupervisedDepth(Affine())
    module.scaled_shift = nn.Parameter(torch.tensor(0.5))
    with pytest.raises(ValueError, match="the parameter 'scaled_shift' is a single number, which FSDP cannot divide"):
        shard(module, None)
    assert not is_sharded(module)


def test_checkpoints_are_whole_files():
    strategy = FullySharded()
    assert strategy._save_distributed_checkpoint is False
    assert strategy._tensor_parallel_size == 1


def test_evaluation_is_not_in_inference_mode(monkeypatch):
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    seen = []
    monkeypatch.setattr(ModelParallelStrategy, "setup", lambda self, given: seen.append(given))
    FullySharded().setup(trainer)
    assert seen == [trainer]
    validations = (trainer.fit_loop.epoch_loop.val_loop, trainer.validate_loop)
    assert not any(loop.inference_mode for loop in (*validations, trainer.test_loop, trainer.predict_loop))
