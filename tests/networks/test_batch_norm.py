"""Batch norms with running statistics for a while: nothing is learned, and the modes come back."""

import pytest
import torch
from torch import nn

from networks.batch_norm import running_statistics


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.BatchNorm2d(4).eval())


def test_statistics_are_used_and_left_alone_while_gradients_flow():
    net = network().train()
    net[3].eval()
    image = 5 + torch.randn(2, 3, 4, 4)
    before = net[1].running_mean.clone()
    with running_statistics(net):
        assert [module.training for module in net] == [True, False, True, False]
        torch.testing.assert_close(net[1](net[0](image)), net[0](image) / (1 + net[1].eps) ** 0.5)
        net(image).sum().backward()
    assert torch.equal(net[1].running_mean, before)
    assert net[0].weight.grad.abs().sum() > 0
    assert [module.training for module in net] == [True, True, True, False]
    net(image)
    assert not torch.equal(net[1].running_mean, before)


def test_the_modes_come_back_after_an_error():
    net = network().train()
    with pytest.raises(RuntimeError, match="expected input"), running_statistics(net):
        net(torch.zeros(1, 2, 4, 4))
    assert net[1].training
