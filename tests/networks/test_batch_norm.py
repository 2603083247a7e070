"""Batch norms with running statistics for a while, and with the statistics of two processes."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from geometry.processes import global_batch
from networks.batch_norm import SynchronisedBatchNorm, running_statistics, synchronise_batch_norms
from tests.two_processes import WORLD_SIZE, in_two_processes


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


def layers():
    """A convolution between two norms, the second one timm's with an activation, in double precision."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3, momentum=None), nn.Conv2d(3, 4, 3), BatchNormAct2d(4, act_layer=nn.SiLU))
    nn.init.uniform_(net[0].weight)
    nn.init.uniform_(net[2].bias)
    return net.double().train()


def step(rank, world_size, synchronised):
    """Output, gradients and statistics after two steps on one process's samples of a batch of six."""
    net = synchronise_batch_norms(layers()) if synchronised else layers()
    images = 3 + torch.linspace(0, 1, 6).view(6, 1, 1, 1) * torch.randn(6, 3, 5, 6, dtype=torch.float64)
    own = images[rank::world_size]
    for _ in range(2):
        net.zero_grad()
        with global_batch():
            output = net(own)
        (output.square().sum() * world_size / len(images)).backward()
    return {
        "output": output.tolist(),
        "gradients": [p.grad.tolist() for p in net.parameters()],
        "statistics": {name: value.tolist() for name, value in net.named_buffers()},
        "evaluated": net.eval()(images).tolist(),
    }


def test_two_processes_have_the_statistics_outputs_and_gradients_of_one(tmp_path):
    one = step(0, 1, False)
    two = in_two_processes(step, tmp_path, WORLD_SIZE, True)
    for rank, found in enumerate(two):
        assert found["statistics"].keys() == one["statistics"].keys()
        for name, value in one["statistics"].items():
            torch.testing.assert_close(torch.tensor(found["statistics"][name]), torch.tensor(value))
        torch.testing.assert_close(torch.tensor(found["output"]), torch.tensor(one["output"][rank::WORLD_SIZE]))
        torch.testing.assert_close(torch.tensor(found["evaluated"]), torch.tensor(one["evaluated"]))
    for wanted, *parts in zip(one["gradients"], *(found["gradients"] for found in two), strict=True):
        mean = sum(torch.tensor(part) for part in parts) / WORLD_SIZE
        torch.testing.assert_close(mean, torch.tensor(wanted), rtol=1e-4, atol=1e-6)


def test_a_single_process_keeps_its_numbers_and_the_names_of_its_weights():
    image = torch.randn(2, 3, 6, 7)
    net, synchronised = layers().float(), synchronise_batch_norms(layers().float())
    assert [type(m) for m in synchronised] == [SynchronisedBatchNorm, nn.Conv2d, SynchronisedBatchNorm]
    with global_batch():
        assert torch.equal(net(image), synchronised(image))
    states = net.state_dict(), synchronised.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not synchronise_batch_norms(layers().eval())[2].training
    with pytest.raises(ValueError, match="1 dimensions"):
        synchronised[0](torch.zeros(3))
