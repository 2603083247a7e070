"""Cross-entropy with proxy labels, against a sum over the labelled pixels."""

import math

import pytest
import torch

from losses.semantic import proxy_cross_entropy


def test_equals_a_sum_over_the_labelled_pixels():
    logits, labels = torch.randn(2, 5, 4, 6, dtype=torch.float64), torch.randint(0, 5, (2, 4, 6))
    values = [
        logits[b, :, y, x].exp().sum().log() - logits[b, labels[b, y, x], y, x]
        for b in range(2)
        for y in range(4)
        for x in range(6)
        if labels[b, y, x] != 0
    ]
    assert 0 < len(values) < labels.numel()
    torch.testing.assert_close(proxy_cross_entropy(logits, labels=labels), sum(values) / len(values))


def test_known_values():
    logits, labels = torch.zeros(1, 41, 2, 2), torch.tensor([[[3, 0], [40, 7]]])
    assert proxy_cross_entropy(logits, labels=labels).item() == pytest.approx(math.log(41))
    logits[0, :, 0, 1] = 100 * torch.randn(41)  # ignored
    assert proxy_cross_entropy(logits, labels=labels).item() == pytest.approx(math.log(41))
    sure = 50 * torch.nn.functional.one_hot(labels, 41).permute(0, 3, 1, 2).float()
    # Far below 2.73, where the loss on probabilities would stop.
    assert proxy_cross_entropy(sure, labels=labels).item() < 1e-6


def test_any_id_may_be_the_ignored_one():
    logits, labels = torch.randn(1, 4, 3, 3), torch.full((1, 3, 3), 255)
    labels[0, 0, 0] = 0
    expected = torch.nn.functional.cross_entropy(logits[:, :, 0, 0], torch.tensor([0]))
    torch.testing.assert_close(proxy_cross_entropy(logits, labels=labels, ignore_index=255), expected)


def test_no_label_at_all_is_a_zero_in_the_graph():
    logits = torch.randn(2, 5, 4, 6, requires_grad=True)
    loss = proxy_cross_entropy(logits, labels=torch.zeros(2, 4, 6, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()


def test_gradient_and_precision():
    logits = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 4, (1, 3, 3))
    assert torch.autograd.gradcheck(lambda values: proxy_cross_entropy(values, labels=labels), logits)
    half = logits.detach().bfloat16()
    loss = proxy_cross_entropy(half, labels=labels)
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, proxy_cross_entropy(half.float(), labels=labels))


def test_bad_input_is_named():
    logits, labels = torch.randn(2, 5, 4, 6), torch.ones(2, 4, 6, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"labels \(2, 4, 5\)"):
        proxy_cross_entropy(logits, labels=labels[..., :5])
    with pytest.raises(ValueError, match=r"torch\.int64 is needed"):
        proxy_cross_entropy(logits, labels=labels.int())
    for wrong in (5, -1):
        labels[0, 0, 0] = wrong
        with pytest.raises(ValueError, match=f"A label is {wrong}, but the logits have the classes 0 to 4"):
            proxy_cross_entropy(logits, labels=labels)
