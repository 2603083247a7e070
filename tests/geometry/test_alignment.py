"""Alignment against numpy's least squares and medians, the released MiDaS code, and known affine maps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geometry.alignment import (
    increasing_scale_and_shift,
    least_absolute_scale,
    least_squares_scale,
    median_scale,
    scale_and_shift,
)

GOLDEN = Path(__file__).parents[1] / "golden"


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.rand(3, 1, 6, 8, generator=generator, dtype=torch.float64) + 0.5
    target = torch.rand(3, 1, 6, 8, generator=generator, dtype=torch.float64) * 4 + 1
    return prediction, target, torch.rand(3, 1, 6, 8, generator=generator) > 0.3


def test_least_squares_equals_numpy():
    prediction, target, mask = pair()
    scale, shift = scale_and_shift(prediction, target=target, mask=mask)
    for i in range(3):
        p, g = prediction[i][mask[i]].numpy(), target[i][mask[i]].numpy()
        solution = np.linalg.lstsq(np.stack([p, np.ones_like(p)], axis=1), g, rcond=None)[0]
        np.testing.assert_allclose([scale[i], shift[i]], solution, rtol=1e-10)


def test_least_squares_equals_the_released_midas():
    with np.load(GOLDEN / "midas_ssi_mse_gradmatch.npz") as golden:
        prediction, target, mask = (torch.from_numpy(golden[k]).unsqueeze(1) for k in ("prediction", "target", "mask"))
        scale, shift = scale_and_shift(prediction, target=target, mask=mask.bool())
        np.testing.assert_allclose(scale, golden["scale"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(shift, golden["shift"], rtol=1e-4, atol=1e-5)


def test_recovers_an_affine_map_far_from_zero():
    # 1000 +- 0.5: the uncentred normal equations lose every digit of this in float32.
    prediction = 1000 + pair()[0].float()
    scale, shift = scale_and_shift(prediction, target=2 * prediction - 1997, mask=torch.ones(3, 1, 6, 8).bool())
    torch.testing.assert_close(scale, torch.full((3,), 2.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(scale * 1000 + shift, torch.full((3,), 3.0), rtol=0, atol=1e-2)


def test_gradient_through_the_solution():
    prediction, target, mask = pair()
    prediction.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p: scale_and_shift(p, target=target, mask=mask), prediction)


def test_degenerate_least_squares():
    _, target, mask = pair()
    mask[0] = False
    mask[1] = False
    mask[1, 0, 2, 3] = True
    constant = torch.full((3, 1, 6, 8), 0.1, requires_grad=True)
    scale, shift = scale_and_shift(constant, target=target.float(), mask=mask)
    assert torch.equal(scale, torch.zeros(3))
    expected = torch.stack([torch.zeros(()), target[1, 0, 2, 3].float(), target[2][mask[2]].mean().float()])
    torch.testing.assert_close(shift, expected)
    (gradient,) = torch.autograd.grad((scale + shift).sum(), constant)
    assert torch.equal(gradient, torch.zeros_like(constant))


def test_a_scale_that_is_not_positive_gives_way_to_the_ratio_of_means():
    _, target, mask = pair()
    prediction = torch.stack([2 * target[0] + 1, 20 - target[1], -target[2]])
    scale, shift = increasing_scale_and_shift(
        prediction.masked_fill(~mask, float("nan")), target=target.masked_fill(~mask, float("nan")), mask=mask
    )
    mean = [values[1][mask[1]].numpy().mean() for values in (target, prediction)]
    torch.testing.assert_close(scale, torch.tensor([0.5, mean[0] / mean[1], 1.0], dtype=torch.float64))
    torch.testing.assert_close(shift, torch.tensor([-0.5, 0.0, 0.0], dtype=torch.float64))
    # The plain fit, which losses take, keeps its sign.
    assert scale_and_shift(prediction, target=target, mask=mask)[0].sign().tolist() == [1, -1, -1]


def test_a_constant_prediction_becomes_the_mean_and_a_nan_stays():
    _, target, mask = pair()
    prediction = torch.full_like(target, 4.0)
    mask[1], prediction[2, 0, 2, 3] = False, float("nan")
    mask[2, 0, 2, 3] = True
    scale, shift = increasing_scale_and_shift(prediction, target=target, mask=mask)
    assert scale[0].item() == pytest.approx(target[0][mask[0]].mean().item() / 4)
    assert (scale[1].item(), shift[:2].tolist()) == (1, [0, 0])
    assert scale[2].isnan()


def test_median_scale_equals_numpy_and_ignores_the_rest():
    prediction, target, mask = pair()
    scale = median_scale(
        prediction.masked_fill(~mask, float("nan")), target=target.masked_fill(~mask, float("nan")), mask=mask
    )
    for i in range(3):
        assert scale[i] == np.median(target[i][mask[i]].numpy()) / np.median(prediction[i][mask[i]].numpy())


def test_degenerate_median_scale_is_one():
    prediction, target, mask = pair()
    mask[0] = False
    prediction[1] = -prediction[1]
    prediction[2] = 0
    assert torch.equal(median_scale(prediction, target=target, mask=mask), torch.ones(3, dtype=torch.float64))


def test_nan_prediction_stays_visible():
    prediction, target, mask = pair()
    prediction[1] = float("nan")
    scale, _ = scale_and_shift(prediction, target=target, mask=mask)
    assert scale.isnan().tolist() == [False, True, False]
    assert median_scale(prediction, target=target, mask=mask).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 3.7, 142.857])
def test_rounding_is_not_contrast(value):
    # The float32 mean of such a constant differs from it in the last digit, which leaves a variance above zero.
    generator = torch.Generator().manual_seed(5)
    target = torch.rand(4, 1, 37, 53, generator=generator) + 1
    mask = torch.rand(4, 1, 37, 53, generator=generator) > 0.3
    scale, shift = scale_and_shift(torch.full_like(target, value), target=target, mask=mask)
    assert torch.equal(scale, torch.zeros(4))
    torch.testing.assert_close(shift, torch.stack([target[i][mask[i]].mean() for i in range(4)]))


def test_weak_contrast_is_still_contrast():
    target = pair()[1].float()
    scale, _ = scale_and_shift(1 + 1e-4 * target, target=target, mask=torch.ones_like(target).bool())
    torch.testing.assert_close(scale, torch.full((3,), 1e4), rtol=1e-2, atol=0)


def test_least_squares_scale_equals_numpy():
    prediction, target, mask = pair()
    scale = least_squares_scale(
        prediction.masked_fill(~mask, float("nan")), target=target.masked_fill(~mask, float("nan")), mask=mask
    )
    for i in range(3):
        p, g = prediction[i][mask[i]].numpy(), target[i][mask[i]].numpy()
        assert scale[i].item() == pytest.approx(np.linalg.lstsq(p[:, None], g, rcond=None)[0].item(), rel=1e-10)
    prediction.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p: least_squares_scale(p, target=target, mask=mask), prediction)


def test_least_absolute_scale_is_the_best_of_all_ratios():
    prediction, target, mask = pair()
    prediction[1] -= 1  # of both signs
    scale = least_absolute_scale(
        prediction.masked_fill(~mask, float("nan")), target=target.masked_fill(~mask, float("nan")), mask=mask
    )
    for i in range(3):
        p, g = prediction[i][mask[i]].numpy(), target[i][mask[i]].numpy()
        # The sum is piecewise linear in the factor, with its corners at the ratios.
        sums = {a: np.abs(a * p - g).sum() for a in g / p}
        assert scale[i].item() == pytest.approx(min(sums, key=sums.get), rel=1e-12)
        assert scale[i] > 0


def test_least_absolute_scale_weighs_by_the_prediction():
    # Ratios 1, 2, 3 with the weights 1, 1, 5: the plain median would be 2. Of 1 and 2 with equal weights, 1.
    prediction = torch.tensor([[1.0, 1.0, 5.0], [4.0, 4.0, 0.0]]).view(2, 1, 1, 3)
    target = torch.tensor([[1.0, 2.0, 15.0], [4.0, 8.0, 100.0]]).view(2, 1, 1, 3)
    mask = torch.ones(2, 1, 1, 3, dtype=torch.bool)
    assert least_absolute_scale(prediction, target=target, mask=mask).tolist() == [3, 1]


def test_least_absolute_scale_is_not_moved_by_outliers():
    target = pair()[1]
    prediction = target / 2.5
    target[..., :2] = 1000
    mask = torch.ones_like(target, dtype=torch.bool)
    torch.testing.assert_close(
        least_absolute_scale(prediction, target=target, mask=mask), torch.full((3,), 2.5, dtype=torch.float64)
    )


@pytest.mark.parametrize("function", [least_absolute_scale, least_squares_scale])
def test_degenerate_scales_are_one(function):
    prediction, target, mask = pair()
    mask[0] = False
    prediction[1] = 0
    if function is least_absolute_scale:
        prediction[2] = -prediction[2]
    prediction.requires_grad_(True)
    scale = function(prediction, target=target, mask=mask)
    assert scale[0] == scale[1] == 1
    assert (scale[2] == 1) == (function is least_absolute_scale)
    assert scale.requires_grad is (function is least_squares_scale)
    if scale.requires_grad:
        (gradient,) = torch.autograd.grad(scale.sum(), prediction)
        assert gradient.isfinite().all()
        assert not gradient[:2].any()


@pytest.mark.parametrize("function", [least_absolute_scale, least_squares_scale])
def test_a_nan_inside_the_mask_stays_visible_in_a_scale(function):
    prediction, target, mask = pair()
    mask[..., 0, 0] = True
    prediction[1, 0, 0, 0] = float("nan")
    assert function(prediction, target=target, mask=mask).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("function", [least_absolute_scale, least_squares_scale])
def test_scales_of_half_precision_are_computed_in_float32(function):
    prediction, target, mask = pair()
    prediction, target = prediction.half(), (1000 * target).half()
    scale = function(prediction, target=target, mask=mask)
    assert scale.dtype is torch.float32
    torch.testing.assert_close(scale, function(prediction.float(), target=target.float(), mask=mask))
