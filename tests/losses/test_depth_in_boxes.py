"""Depth regression in boxes against a loop over instances."""

import numpy as np
import pytest
import torch

from losses.depth_in_boxes import depth_regression_loss


def case(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(3, 1, 6, 7, generator=generator, dtype=dtype)
    pseudo = torch.rand(3, 1, 6, 7, generator=generator, dtype=dtype)
    box = torch.zeros(3, 1, 6, 7, dtype=torch.bool)
    box[0, 0, 1:3, 2:5] = True
    box[1, 0, 0:6, 0:6] = True
    return probability, pseudo, box  # the third box is empty


def test_is_the_mean_over_instances_of_the_mean_over_pixels():
    probability, pseudo, box = case()
    means = [((probability[i] - pseudo[i])[box[i]] ** 2).mean().item() for i in range(2)]
    found = depth_regression_loss(probability, pseudo_depth=pseudo, box_masks=box)
    assert found.item() == pytest.approx((np.sum(means)) / 3, rel=1e-6)
    assert means[0] != pytest.approx(means[1], rel=0.05)


def test_nothing_outside_of_the_boxes_counts():
    probability, pseudo, box = case()
    expected = depth_regression_loss(probability, pseudo_depth=pseudo, box_masks=box)
    probability = probability.clone().requires_grad_()
    found = depth_regression_loss(probability, pseudo_depth=pseudo.masked_fill(~box, float("nan")), box_masks=box)
    found.backward()
    assert torch.equal(found, expected)
    assert torch.equal(probability.grad != 0, box)


def test_gradcheck():
    probability, pseudo, box = case(torch.float64)
    assert torch.autograd.gradcheck(
        lambda p: depth_regression_loss(p, pseudo_depth=pseudo, box_masks=box), probability.requires_grad_()
    )


def test_half_precision_is_raised():
    probability, pseudo, box = case()
    found = depth_regression_loss(probability.half(), pseudo_depth=pseudo.half(), box_masks=box)
    assert found.dtype == torch.float32
    exact = depth_regression_loss(probability.half().float(), pseudo_depth=pseudo.half().float(), box_masks=box)
    assert torch.equal(found, exact)


def test_no_instances_are_a_zero_in_the_graph():
    probability = torch.zeros(0, 1, 6, 7, requires_grad=True)
    box = torch.zeros(0, 1, 6, 7, dtype=torch.bool)
    loss = depth_regression_loss(probability, pseudo_depth=torch.zeros(0, 1, 6, 7), box_masks=box)
    loss.backward()
    assert loss.item() == 0
    assert probability.grad.shape == probability.shape


def test_bad_shapes_are_named():
    probability, pseudo, box = case()
    with pytest.raises(ValueError, match=r"\(3, 1, 6, 7\), \(2, 1, 6, 7\)"):
        depth_regression_loss(probability, pseudo_depth=pseudo[:2], box_masks=box)
