"""What leaves the inputs of dense losses before any arithmetic, in value and in gradient."""

import pytest
import torch

from losses.inputs import prepare


def test_nothing_outside_the_mask_is_left_in_value_or_gradient():
    prediction = torch.tensor([1.0, float("nan"), 3.0]).view(1, 1, 1, 3).requires_grad_()
    target = torch.tensor([2.0, 5.0, float("inf")]).view(1, 1, 1, 3)
    mask = torch.tensor([True, False, False]).view(1, 1, 1, 3)
    predicted, true = prepare(prediction, target, mask, fill=0.5)
    assert predicted.flatten().tolist() == [1.0, 0.5, 0.5]
    assert true.flatten().tolist() == [2.0, 0.5, 0.5]
    (predicted - true).square().sum().backward()
    assert prediction.grad.flatten().tolist() == [-2.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("given", "taken"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_half_precision_is_raised_and_double_is_kept(given, taken):
    values = torch.ones(1, 2, 3, 4, dtype=given)
    assert [each.dtype for each in prepare(values, values, values > 0)] == [taken, taken]


def test_bad_inputs_are_named():
    values = torch.ones(1, 2, 3, 4)
    with pytest.raises(ValueError, match=r"\(1, 2, 3, 4\), \(1, 2, 3, 3\) and \(1, 2, 3, 4\), but all three"):
        prepare(values, values[..., :3], values > 0)
    with pytest.raises(ValueError, match=r"must be the same \(B, C, H, W\)"):
        prepare(values[0], values[0], values[0] > 0)
    with pytest.raises(ValueError, match=r"mask has type torch\.float32, but torch\.bool"):
        prepare(values, values, values)
