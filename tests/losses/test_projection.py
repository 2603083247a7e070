"""Projection loss against the released BoxInst and closed forms."""

from pathlib import Path

import numpy as np
import pytest
import torch

from losses.dice import dice_loss
from losses.projection import projection_loss

GOLDEN = Path(__file__).parents[1] / "golden"


def golden() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / "boxinst_project.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_value_and_gradient_equal_the_released_boxinst():
    expected = golden()
    logits = expected["mask_logits"].requires_grad_()
    loss = projection_loss(logits, box_masks=expected["box_bitmasks"].bool())
    loss.backward()
    np.testing.assert_allclose(loss.detach(), expected["loss"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits.grad, expected["grad_logits"], rtol=1e-4, atol=1e-7)


def test_each_axis_equals_the_released_boxinst():
    expected = golden()
    for i in range(4):
        loss = projection_loss(expected["mask_logits"][i : i + 1], box_masks=expected["box_bitmasks"][i : i + 1].bool())
        both = expected["dice_rows_max_over_width"][i] + expected["dice_cols_max_over_height"][i]
        assert loss.item() == pytest.approx(both.item(), rel=1e-4)


def test_a_mask_that_touches_all_sides_of_its_box_costs_nothing():
    box = torch.zeros(1, 1, 10, 12, dtype=torch.bool)
    box[..., 2:7, 3:8] = True
    mask = torch.zeros_like(box)
    mask[0, 0, torch.arange(2, 7), torch.arange(3, 8)] = True  # a diagonal
    assert projection_loss(100 * (mask.float() - 0.5), box_masks=box).item() == pytest.approx(0, abs=1e-5)
    mask[0, 0, 8, 3] = True  # one pixel below the box
    found = projection_loss(100 * (mask.float() - 0.5), box_masks=box).item()
    assert found == pytest.approx(1 - 2 * 5 / (5 + 6), abs=1e-5)


def test_only_the_largest_of_each_row_and_column_gets_a_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 5, 7, generator=generator).requires_grad_()
    box = torch.ones(2, 1, 5, 7, dtype=torch.bool)
    projection_loss(logits, box_masks=box).backward()
    largest = (logits == logits.amax(2, keepdim=True)) | (logits == logits.amax(3, keepdim=True))
    assert torch.equal(logits.grad != 0, largest)


def test_gradcheck():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    box = torch.rand(2, 1, 5, 6, generator=generator) > 0.6
    assert torch.autograd.gradcheck(lambda x: projection_loss(x, box_masks=box), logits)


def test_is_the_mean_over_instances():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 5, 6, generator=generator)
    box = torch.rand(3, 1, 5, 6, generator=generator) > 0.6
    mask = logits.sigmoid()
    expected = sum(dice_loss(mask.amax(dim), target=box.amax(dim)) for dim in (2, 3)).mean()
    assert projection_loss(logits, box_masks=box).item() == pytest.approx(expected.item(), rel=1e-6)


def test_half_precision_is_raised():
    logits = torch.randn(2, 1, 5, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    box = torch.ones(2, 1, 5, 6, dtype=torch.bool)
    assert torch.equal(projection_loss(logits, box_masks=box), projection_loss(logits.float(), box_masks=box))


def test_no_instances_are_a_zero_in_the_graph():
    logits = torch.zeros(0, 1, 5, 6, requires_grad=True)
    loss = projection_loss(logits, box_masks=torch.zeros(0, 1, 5, 6, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.shape == logits.shape


@pytest.mark.parametrize(
    "masks", [torch.ones(2, 1, 5, 7, dtype=torch.bool), torch.ones(2, 1, 5, 6), torch.ones(2, 5, 6, dtype=torch.bool)]
)
def test_bad_masks_are_named(masks):
    with pytest.raises(ValueError, match=r"box_masks are \(2, 1, 5, 6\) and torch"):
        projection_loss(torch.zeros(2, 1, 5, 6), box_masks=masks)
