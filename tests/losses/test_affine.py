"""MiDaS losses against the released code, a numpy loop, and their invariances."""

from pathlib import Path

import numpy as np
import pytest
import torch

from losses.affine import (
    multi_scale_gradient_matching,
    scale_and_shift_invariant,
    trimmed_scale_and_shift_invariant,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "midas_ssi_mse_gradmatch.npz"


def sample() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(2, 1, 9, 11, generator=generator, dtype=torch.float64)
    target = torch.randn(2, 1, 9, 11, generator=generator, dtype=torch.float64)
    return prediction, target, torch.rand(2, 1, 9, 11, generator=generator) > 0.25


def test_equals_the_released_midas():
    with np.load(GOLDEN) as golden:
        prediction, target, mask = (torch.from_numpy(golden[k]).unsqueeze(1) for k in ("prediction", "target", "mask"))
        prediction.requires_grad_(True)
        data = scale_and_shift_invariant(prediction, target=target, mask=mask.bool())
        gradient = multi_scale_gradient_matching(prediction, target=target, mask=mask.bool())
        np.testing.assert_allclose(data.item(), golden["batch_mse"], rtol=1e-4)
        np.testing.assert_allclose(gradient.item(), golden["batch_gradmatch_4scales"], rtol=1e-4)
        total = data + 0.5 * gradient
        np.testing.assert_allclose(total.item(), golden["batch_ssi_alpha0p5"], rtol=1e-4)
        total.backward()
        np.testing.assert_allclose(prediction.grad[:, 0], golden["batch_grad"], rtol=1e-3, atol=1e-6)


def test_equals_a_numpy_loop():
    prediction, target, mask = sample()
    squares, pairs = 0.0, np.zeros(3)
    for p, g, m in zip(*(t.numpy()[:, 0] for t in (prediction, target, mask)), strict=True):
        slope, intercept = np.polyfit(p[m], g[m], 1)
        r = slope * p + intercept - g
        squares += (r[m] ** 2).sum()
        for k in range(3):
            rk, mk = r[:: 2**k, :: 2**k], m[:: 2**k, :: 2**k]
            for row in range(rk.shape[0]):
                for column in range(rk.shape[1]):
                    for other in ((row + 1, column), (row, column + 1)):
                        if other[0] < rk.shape[0] and other[1] < rk.shape[1] and mk[row, column] and mk[other]:
                            pairs[k] += abs(rk[other] - rk[row, column])
    counts = np.array([mask[..., :: 2**k, :: 2**k].sum().item() for k in range(3)])
    data = scale_and_shift_invariant(prediction, target=target, mask=mask)
    gradient = multi_scale_gradient_matching(prediction, target=target, mask=mask, scales=3)
    assert data.item() == pytest.approx(squares / (2 * counts[0]), rel=1e-9)
    assert gradient.item() == pytest.approx((pairs / counts).sum(), rel=1e-9)


@pytest.mark.parametrize("loss", [scale_and_shift_invariant, multi_scale_gradient_matching])
def test_blind_to_an_affine_change_of_each_prediction(loss):
    prediction, target, mask = sample()
    scale = torch.tensor([3.0, -0.2], dtype=torch.float64).view(2, 1, 1, 1)
    shift = torch.tensor([-7.0, 40.0], dtype=torch.float64).view(2, 1, 1, 1)
    expected = loss(prediction, target=target, mask=mask).item()
    assert loss(scale * prediction + shift, target=target, mask=mask).item() == pytest.approx(expected, rel=1e-9)
    assert loss(scale * target + shift, target=target, mask=mask).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("loss", [scale_and_shift_invariant, multi_scale_gradient_matching])
def test_gradcheck(loss):
    prediction, target, mask = sample()
    prediction.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p: loss(p, target=target, mask=mask), prediction)


def test_without_alignment_the_prediction_counts_as_it_is():
    _, target, mask = sample()

    def loss(p):
        return multi_scale_gradient_matching(p, target=target, mask=mask, scales=1, align=False).item()

    assert loss(target + 5) == pytest.approx(0, abs=1e-12)
    assert loss(2 * target) == pytest.approx(loss(torch.zeros_like(target)), rel=1e-12)
    assert loss(2 * target) > 0.1


def positive_scale(loss, prediction, target, mask):
    scale = torch.tensor([3.0, 0.2], dtype=torch.float64).view(2, 1, 1, 1)
    shift = torch.tensor([-7.0, 40.0], dtype=torch.float64).view(2, 1, 1, 1)
    return loss(scale * prediction + shift, target=target, mask=mask).item()


def test_trimmed_loss_equals_numpy():
    prediction, target, mask = sample()
    images = []
    for p, g, m in zip(*(t.numpy()[:, 0] for t in (prediction, target, mask)), strict=True):
        p, g = ((v - np.median(v)) / np.abs(v - np.median(v)).mean() for v in (p[m], g[m]))
        residual = np.sort(np.abs(p - g))
        images.append(residual[: int(0.8 * len(residual))].sum() / (2 * len(residual)))
    loss = trimmed_scale_and_shift_invariant(prediction, target=target, mask=mask)
    assert loss.item() == pytest.approx(np.mean(images), rel=1e-9)


def test_trimmed_loss_is_blind_to_positive_scale_and_shift_only():
    prediction, target, mask = sample()
    expected = trimmed_scale_and_shift_invariant(prediction, target=target, mask=mask).item()
    assert positive_scale(trimmed_scale_and_shift_invariant, prediction, target, mask) == pytest.approx(expected)
    assert positive_scale(trimmed_scale_and_shift_invariant, target, target, mask) == pytest.approx(0, abs=1e-9)
    assert trimmed_scale_and_shift_invariant(-target, target=target, mask=mask) > expected


def test_trimmed_gradcheck():
    prediction, target, mask = sample()
    prediction.requires_grad_(True)
    assert torch.autograd.gradcheck(
        lambda p: trimmed_scale_and_shift_invariant(p, target=target, mask=mask), prediction
    )


def test_trimmed_loss_of_nothing_or_of_a_constant():
    prediction, target, mask = sample()
    prediction = prediction.float().requires_grad_(True)
    constant = torch.full_like(target, 1 / 3).float()
    for truth, truth_mask in ((target.float(), torch.zeros_like(mask)), (constant, mask)):
        loss = trimmed_scale_and_shift_invariant(prediction, target=truth, mask=truth_mask)
        assert loss == 0
        (gradient,) = torch.autograd.grad(loss, prediction)
        assert not gradient.any()
    flat = constant.requires_grad_(True)
    (gradient,) = torch.autograd.grad(trimmed_scale_and_shift_invariant(flat, target=target.float(), mask=mask), flat)
    assert gradient.isfinite().all()


def test_what_is_not_measured_does_not_reach_the_trimmed_loss():
    prediction, target, mask = sample()
    results = []
    for value in (1.0, float("nan")):
        p = prediction.masked_fill(~mask, value).requires_grad_(True)
        loss = trimmed_scale_and_shift_invariant(p, target=target.masked_fill(~mask, value), mask=mask)
        results.append((loss, *torch.autograd.grad(loss, p)))
    torch.testing.assert_close(*results, rtol=0, atol=0)
    assert not results[1][1][~mask].any()
