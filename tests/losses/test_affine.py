"""MiDaS losses against the released code, a numpy loop, and their invariances."""

from pathlib import Path

import numpy as np
import pytest
import torch

from losses.affine import multi_scale_gradient_matching, scale_and_shift_invariant

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
