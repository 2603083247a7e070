"""The baseline of one learned number."""

import torch

from networks.constant import ConstantDepth


def test_every_pixel_has_the_number_and_its_gradient_is_their_sum():
    network = ConstantDepth(initial=0.25)
    depth = network(torch.rand(2, 3, 5, 7))
    assert depth.shape == (2, 1, 5, 7)
    assert (depth == 0.25).all()
    depth.sum().backward()
    assert network.depth.grad.item() == 2 * 5 * 7


def test_the_best_constant_is_the_mean_for_squares_and_the_median_for_absolute_values():
    target = torch.tensor([1.0, 2.0, 6.0]).view(1, 1, 1, 3)
    for error, best in ((torch.square, 3.0), (torch.abs, 2.0)):
        losses = {}
        for value in (1.0, 2.0, 3.0, 6.0):
            losses[value] = error(ConstantDepth(initial=value)(torch.zeros(1, 3, 1, 3)) - target).mean().item()
        assert min(losses, key=losses.get) == best
