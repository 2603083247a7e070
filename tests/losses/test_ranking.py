"""The ranking loss against a loop over pairs, and what it does and does not see."""

import math

import pytest
import torch

from losses.pixel_pairs import PixelPairs, random_pairs
from losses.ranking import ranking


def sample() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, PixelPairs]:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(2, 1, 6, 8, generator=generator, dtype=torch.float64)
    target = torch.rand(2, 1, 6, 8, generator=generator, dtype=torch.float64) * 0.2 + 0.9
    mask = torch.rand(2, 1, 6, 8, generator=generator) > 0.2
    # Also pairs outside of the mask, which must not count.
    pairs = random_pairs(torch.ones_like(mask), 120, generator=generator)
    return prediction, target, mask, pairs


def test_equals_a_loop():
    prediction, target, mask, pairs = sample()
    means, equal = [], 0
    for i in range(2):
        p, g, m = (v[i].flatten().tolist() for v in (prediction, target, mask))
        values = []
        for a, b, valid in zip(pairs.first[i].tolist(), pairs.second[i].tolist(), pairs.valid[i].tolist(), strict=True):
            if not (valid and m[a] and m[b]):
                continue
            ratio = (g[a] + 1e-6) / (g[b] + 1e-6)
            if 1 / 1.03 <= ratio <= 1.03:
                values.append((p[a] - p[b]) ** 2)
                equal += 1
            else:
                values.append(math.log(1 + math.exp(-math.copysign(1, ratio - 1) * (p[a] - p[b]))))
        means.append(sum(values) / len(values))
    assert equal > 20
    loss = ranking(prediction, target=target, mask=mask, pairs=pairs)
    assert loss.item() == pytest.approx(sum(means) / 2, rel=1e-12)


def test_right_order_is_better_than_wrong_order():
    _, target, mask, pairs = sample()

    def loss(p):
        return ranking(p, target=target, mask=mask, pairs=pairs, equal_ratio=1.0).item()

    assert loss(100 * target) < loss(target) < math.log(2) < loss(-target)
    assert loss(torch.zeros_like(target)) == pytest.approx(math.log(2))
    assert loss(5 + target) == pytest.approx(loss(target))


def test_only_the_order_counts_where_only_equal_is_equal():
    prediction, target, mask, pairs = sample()
    expected = ranking(prediction, target=target, mask=mask, pairs=pairs, equal_ratio=1.0)
    curved = ranking(prediction, target=target.pow(5) - 3, mask=mask, pairs=pairs, equal_ratio=1.0)
    assert torch.equal(curved, expected)
    tiny = ranking(prediction, target=(target * 1e-20), mask=mask, pairs=pairs, equal_ratio=1.0)
    assert torch.equal(tiny, expected)


def test_zero_and_nearly_zero_are_equal():
    target = torch.tensor([[[[0.0, 1e-8]]]])
    prediction = torch.tensor([[[[1.0, 3.0]]]])
    pairs = PixelPairs(torch.tensor([[0]]), torch.tensor([[1]]), torch.tensor([[True]]))
    mask = torch.ones_like(target, dtype=torch.bool)
    assert ranking(prediction, target=target, mask=mask, pairs=pairs) == 4


def test_large_differences_do_not_overflow():
    target = torch.tensor([[[[1.0, 2.0]]]])
    prediction = torch.tensor([[[[1e4, 0.0]]]], requires_grad=True)
    pairs = PixelPairs(torch.tensor([[0]]), torch.tensor([[1]]), torch.tensor([[True]]))
    loss = ranking(prediction, target=target, mask=torch.ones_like(target, dtype=torch.bool), pairs=pairs)
    assert loss == 1e4
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert gradient.flatten().tolist() == [1, -1]


def test_gradcheck():
    prediction, target, mask, pairs = sample()
    prediction.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p: ranking(p, target=target, mask=mask, pairs=pairs), prediction)


def test_what_is_not_measured_reaches_neither_value_nor_gradient():
    prediction, target, mask, pairs = sample()
    results = []
    for value in (1.0, float("nan"), float("inf")):
        p = prediction.masked_fill(~mask, value).requires_grad_(True)
        loss = ranking(p, target=target.masked_fill(~mask, value), mask=mask, pairs=pairs)
        (gradient,) = torch.autograd.grad(loss, p)
        assert torch.equal(gradient[~mask], torch.zeros_like(gradient[~mask]))
        results.append((loss, gradient))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


def test_no_pair_is_a_zero_in_the_graph():
    prediction, target, mask, pairs = sample()
    prediction.requires_grad_(True)
    loss = ranking(prediction, target=target, mask=torch.zeros_like(mask), pairs=pairs)
    assert loss == 0
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert torch.equal(gradient, torch.zeros_like(prediction))


def test_half_precision_is_computed_in_float32():
    prediction, target, mask, pairs = sample()
    prediction, target = prediction.bfloat16(), target.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = ranking(prediction, target=target, mask=mask, pairs=pairs)
    assert loss.dtype is torch.float32
    assert loss == ranking(prediction.float(), target=target.float(), mask=mask, pairs=pairs)


def test_a_ratio_below_one_is_refused():
    prediction, target, mask, pairs = sample()
    with pytest.raises(ValueError, match=r"equal_ratio is 0\.9"):
        ranking(prediction, target=target, mask=mask, pairs=pairs, equal_ratio=0.9)
