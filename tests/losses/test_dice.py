"""Dice loss against the released CondInst and closed forms."""

from pathlib import Path

import numpy as np
import pytest
import torch

from losses.dice import dice_loss

GOLDEN = Path(__file__).parents[1] / "golden"


def test_equals_the_released_condinst():
    with np.load(GOLDEN / "boxinst_dice.npz") as golden:
        found = dice_loss(torch.from_numpy(golden["x"]), target=torch.from_numpy(golden["target"]))
        np.testing.assert_allclose(found, golden["loss"], rtol=1e-5, atol=1e-6)


def test_known_values():
    x = torch.tensor([[1.0, 1, 0, 0], [1, 1, 0, 0], [0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0]])
    target = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]).bool()
    found = dice_loss(x, target=target)
    np.testing.assert_allclose(found, [0, 1, 1 - 2 * 2 / (1 + 4), 1], atol=1e-5)


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 1, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.rand(3, 1, 4, 5, generator=generator) > 0.5
    assert torch.autograd.gradcheck(lambda x: dice_loss(x, target=target), x)


def test_half_precision_is_summed_in_single():
    x = torch.ones(1, 1, 300, 300, dtype=torch.float16)
    found = dice_loss(x, target=torch.ones_like(x, dtype=torch.bool))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(0, abs=1e-6)  # 90000 is no float16


def test_no_instances_stay_in_the_graph():
    x = torch.zeros(0, 1, 4, 5, requires_grad=True)
    loss = dice_loss(x, target=torch.zeros(0, 1, 4, 5)).sum()
    loss.backward()
    assert loss.item() == 0
    assert x.grad.shape == x.shape


def test_other_shapes_are_named():
    with pytest.raises(ValueError, match=r"shapes \(2, 3\) and \(2, 4\)"):
        dice_loss(torch.zeros(2, 3), target=torch.zeros(2, 4))
