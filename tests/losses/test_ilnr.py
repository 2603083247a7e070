"""LeReS' normalised regression against the released code, and what the normalisation means."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geometry.stencils import trimmed_moments_per_image
from losses.ilnr import ilnr, multi_scale_gradient_ilnr, normalise_truth

GOLDEN = Path(__file__).parents[1] / "golden"
LOSSES = [ilnr, multi_scale_gradient_ilnr]


def golden(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        values = {key: torch.from_numpy(file[key]) for key in file.files}
    values["mask"] = (values["gt"] > -1e-8) & (values["gt"] < 1e8)
    return values


def sample() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(2, 1, 13, 15, generator=generator, dtype=torch.float64)
    target = torch.rand(2, 1, 13, 15, generator=generator, dtype=torch.float64) + 0.5
    return prediction, target, torch.rand(2, 1, 13, 15, generator=generator) > 0.2


def test_ilnr_equals_the_released_code():
    values = golden("leres_ilnr")
    prediction, target, mask = values["pred"].requires_grad_(True), values["gt"], values["mask"]
    mean, deviation = trimmed_moments_per_image(target, mask & (target > 0), trim=0.1)
    torch.testing.assert_close(mean, values["trim_mean"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(deviation, values["trim_std"], rtol=1e-5, atol=1e-6)
    loss = ilnr(prediction, target=target, mask=mask)
    torch.testing.assert_close(loss, values["loss"], rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(loss, prediction)
    torch.testing.assert_close(gradient, values["grad"], rtol=1e-4, atol=1e-8)
    for i, name in enumerate(("loss_first_image_only", "loss_second_image_only")):
        alone = ilnr(*(v[i : i + 1] for v in (prediction,)), target=target[i : i + 1], mask=mask[i : i + 1])
        torch.testing.assert_close(alone, values[name], rtol=1e-5, atol=1e-6)


def test_multi_scale_gradients_equal_the_released_code():
    values = golden("leres_msgil")
    prediction, target, mask = values["pred"].requires_grad_(True), values["gt"], values["mask"]
    upto = [multi_scale_gradient_ilnr(prediction, target=target, mask=mask, scales=k).item() for k in range(1, 5)]
    np.testing.assert_allclose(np.diff([0, *upto]), [values[f"scale{k}"] for k in range(4)], rtol=1e-5)
    loss = multi_scale_gradient_ilnr(prediction, target=target, mask=mask)
    torch.testing.assert_close(loss, values["loss"], rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(loss, prediction)
    torch.testing.assert_close(gradient, values["grad"], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
def test_blind_to_the_unit_of_the_truth_but_not_of_the_prediction(loss):
    prediction, target, mask = sample()
    expected = loss(prediction, target=target, mask=mask).item()
    assert loss(prediction, target=30 * target + 4, mask=mask).item() == pytest.approx(expected, rel=1e-6)
    assert loss(normalise_truth(target, mask), target=target, mask=mask).item() == pytest.approx(0, abs=1e-12)
    assert loss(2 * prediction, target=target, mask=mask).item() != pytest.approx(expected, rel=1e-2)


def test_outliers_and_a_sky_of_zero_do_not_reach_the_statistics():
    _, target, mask = sample()
    plain = normalise_truth(target, mask)
    top = target * mask >= target.masked_fill(~mask, 0).amax(dim=(1, 2, 3), keepdim=True)
    spoilt = normalise_truth(target.masked_fill(top, 1e6), mask)
    torch.testing.assert_close(spoilt[~top], plain[~top])
    sky = target.clone()
    sky[..., 0, :] = 0
    with_sky, without = normalise_truth(sky, mask), normalise_truth(sky, mask & (sky > 0))
    torch.testing.assert_close(with_sky[..., 1:, :], without[..., 1:, :])
    assert (with_sky[..., 0, :][mask[..., 0, :]] < -1).all()


def test_images_with_few_pixels_do_not_count():
    prediction, target, mask = sample()
    mask[1, ..., 3:] = False
    torch.testing.assert_close(
        ilnr(prediction, target=target, mask=mask), ilnr(prediction[:1], target=target[:1], mask=mask[:1])
    )
    few = mask[1].sum().item()
    both = ilnr(prediction, target=target, mask=mask, min_pixels=few - 1)
    assert both != ilnr(prediction, target=target, mask=mask, min_pixels=few)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck(loss):
    prediction, target, mask = sample()
    prediction.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda p: loss(p, target=target, mask=mask), prediction)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_not_measured_reaches_neither_value_nor_gradient(loss):
    prediction, target, mask = sample()
    results = []
    for value in (1.0, float("nan")):
        p = prediction.masked_fill(~mask, value).requires_grad_(True)
        result = loss(p, target=target.masked_fill(~mask, value), mask=mask)
        (gradient,) = torch.autograd.grad(result, p)
        assert torch.equal(gradient[~mask], torch.zeros_like(gradient[~mask]))
        results.append((result, gradient))
    torch.testing.assert_close(*results, rtol=0, atol=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_empty_masks_and_constant_truth_have_finite_gradients(loss):
    prediction, target, mask = sample()
    prediction = prediction.float().requires_grad_(True)
    empty = loss(prediction, target=target.float(), mask=torch.zeros_like(mask))
    assert empty == 0
    (gradient,) = torch.autograd.grad(empty, prediction)
    assert not gradient.any()
    constant = loss(prediction, target=torch.full_like(prediction, 3.0), mask=mask)
    (gradient,) = torch.autograd.grad(constant, prediction)
    assert gradient.isfinite().all()
    assert constant < 10


def test_truth_that_is_equal_but_for_its_extremes_does_not_explode():
    target = torch.full((1, 1, 10, 10), 2.0)
    target[..., 0, :3] = 5.0
    assert normalise_truth(target, torch.ones_like(target, dtype=torch.bool)).max() == 3


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_float32(loss):
    prediction, target, mask = sample()
    prediction, target = prediction.bfloat16(), target.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = loss(prediction, target=target, mask=mask)
    assert result.dtype is torch.float32
    assert result == loss(prediction.float(), target=target.float(), mask=mask)
