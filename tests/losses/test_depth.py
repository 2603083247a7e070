"""Pixel-wise losses against numpy loops over the masked pixels and autograd in float64."""

import numpy as np
import pytest
import torch

from losses.depth import berhu, gradient_l1, l1, mse, rmse, scale_invariant_log


def sample(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.rand(3, 1, 5, 6, generator=generator, dtype=torch.float64) + 0.2
    target = torch.rand(3, 1, 5, 6, generator=generator, dtype=torch.float64) + 0.2
    return prediction, target, torch.rand(3, 1, 5, 6, generator=generator) > 0.3


def residuals() -> np.ndarray:
    prediction, target, mask = (t.numpy() for t in sample())
    return np.array([p - g for p, g, m in zip(prediction.flat, target.flat, mask.flat, strict=True) if m])


def value(loss, **options) -> float:
    prediction, target, mask = sample()
    return loss(prediction, target=target, mask=mask, **options).item()


def test_l1_mse_rmse():
    x = residuals()
    assert value(l1) == pytest.approx(np.abs(x).mean(), rel=1e-12)
    assert value(mse) == pytest.approx((x**2).mean(), rel=1e-12)
    assert value(rmse) == pytest.approx(np.sqrt((x**2).mean()), rel=1e-12)


@pytest.mark.parametrize("fraction", [0.2, 0.6])
def test_berhu(fraction):
    x = np.abs(residuals())
    c = fraction * x.max()
    expected = np.mean([e if e <= c else (e * e + c * c) / (2 * c) for e in x])
    assert value(berhu, threshold_fraction=fraction) == pytest.approx(expected, rel=1e-12)


def test_berhu_gradient_takes_the_threshold_as_a_constant():
    target = torch.zeros(1, 1, 1, 3)
    prediction = torch.tensor([[[[10.0, -1.0, 4.0]]]], requires_grad=True)
    loss = berhu(prediction, target=target, mask=torch.ones_like(target).bool())
    assert loss.item() == pytest.approx((104 / 4 + 1 + 20 / 4) / 3)
    (gradient,) = torch.autograd.grad(loss, prediction)
    torch.testing.assert_close(gradient, torch.tensor([[[[5.0, -1.0, 2.0]]]]) / 3)


def test_gradient_l1():
    prediction, target, mask = (t.numpy()[:, 0] for t in sample())
    x = prediction - target
    along_x, along_y = [], []
    for b in range(3):
        for row in range(5):
            for column in range(6):
                if column < 5 and mask[b, row, column] and mask[b, row, column + 1]:
                    along_x.append(abs(x[b, row, column + 1] - x[b, row, column]))
                if row < 4 and mask[b, row, column] and mask[b, row + 1, column]:
                    along_y.append(abs(x[b, row + 1, column] - x[b, row, column]))
    assert value(gradient_l1) == pytest.approx(np.mean(along_x) + np.mean(along_y), rel=1e-12)


@pytest.mark.parametrize("variance_focus", [0.0, 0.5, 0.85, 1.0])
def test_silog(variance_focus):
    prediction, target, mask = (t.numpy() for t in sample())
    per_image = []
    for b in range(3):
        d = np.log(prediction[b][mask[b]]) - np.log(target[b][mask[b]])
        per_image.append((d**2).mean() - variance_focus * d.mean() ** 2)
    assert value(scale_invariant_log, variance_focus=variance_focus) == pytest.approx(np.mean(per_image), rel=1e-12)


def test_silog_ignores_the_scale_of_each_image_only_at_lambda_one():
    prediction, target, mask = sample()
    factors = torch.tensor([1.0, 2.5, 7.0], dtype=torch.float64).view(3, 1, 1, 1)

    def loss(p, variance_focus):
        return scale_invariant_log(p, target=target, mask=mask, variance_focus=variance_focus).item()

    assert loss(factors * prediction, 1.0) == pytest.approx(loss(prediction, 1.0), rel=1e-9)
    assert loss(factors * prediction, 0.5) > 1.5 * loss(prediction, 0.5)


def test_silog_pulls_negative_predictions_back_up():
    target = torch.full((1, 1, 2, 2), 0.5)
    mask = torch.ones(1, 1, 2, 2).bool()
    prediction = torch.tensor([[[[-3.0, 0.0], [0.005, 0.5]]]], requires_grad=True)
    loss = scale_invariant_log(prediction, target=target, mask=mask, eps=0.01)
    logs = np.array([np.log(0.01) - 301, np.log(0.01) - 1, np.log(0.01) - 0.5, np.log(0.5)]) - np.log(0.5)
    assert loss.item() == pytest.approx((logs**2).mean() - 0.5 * logs.mean() ** 2, rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert gradient.isfinite().all()
    assert gradient[0, 0, 0, 0] < 0


def test_silog_continuation_is_smooth_at_eps():
    eps = 0.01

    def slope(p: float) -> tuple[float, float]:
        prediction = torch.full((1, 1, 1, 1), p, dtype=torch.float64, requires_grad=True)
        target = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        loss = scale_invariant_log(prediction, target=target, mask=target.bool(), eps=eps)
        return loss.item(), torch.autograd.grad(loss, prediction)[0].item()

    below, above = slope(eps * (1 - 1e-9)), slope(eps * (1 + 1e-9))
    assert below == pytest.approx(above, rel=1e-6)


def test_silog_leaves_out_targets_without_logarithm():
    prediction, target, mask = sample()
    smaller = mask.clone()
    smaller[0, 0, :2] = False
    target[0, 0, :2] = 0
    expected = scale_invariant_log(prediction, target=target, mask=smaller)
    assert torch.equal(scale_invariant_log(prediction, target=target, mask=mask), expected)


@pytest.mark.parametrize("loss", [l1, mse, rmse, gradient_l1, scale_invariant_log])
def test_gradcheck(loss):
    prediction, target, mask = sample()
    prediction.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p: loss(p, target=target, mask=mask), prediction)


def test_bad_constants_are_named():
    with pytest.raises(ValueError, match="threshold_fraction is 0"):
        value(berhu, threshold_fraction=0)
    with pytest.raises(ValueError, match=r"eps is -1"):
        value(scale_invariant_log, eps=-1)
