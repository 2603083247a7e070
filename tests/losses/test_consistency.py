"""Agreement of views: closed forms, numpy's least squares, and what a shift does to a turned view."""

import math

import numpy as np
import pytest
import torch

from losses.consistency import (
    image_consistency,
    relative_difference,
    signed_inconsistency,
    signed_slope,
    spread_difference,
)
from losses.ssim import ssim_map


def sample(channels: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.rand(3, channels, 10, 13, generator=generator, dtype=torch.float64) * 0.9 + 0.05 for _ in range(2))
    mask = torch.ones(3, 1, 10, 13, dtype=torch.bool)
    mask[0, :, 2:4, 3:6] = False
    mask[1, :, :, 8:] = False
    return a, b, mask


def test_relative_differences_equal_numpy():
    a, b, mask = sample()
    x, y = a[mask].numpy(), b[mask].numpy()
    assert relative_difference(a, b, mask=mask).item() == pytest.approx(np.mean(np.abs(x - y) / (x + y)), rel=1e-12)


def test_the_spread_form_equals_numpy_and_batches_divide_sums():
    a, b, mask = sample()
    errors, spreads = [], []
    for x, y, m in zip(a.numpy(), b.numpy(), mask.numpy(), strict=True):
        median = np.median(y[m])
        errors.append(np.mean(np.abs(x[m] - y[m])) / median)
        spreads.append(np.mean(np.abs(y[m] - median)) / median)
    assert spread_difference(a, b, mask=mask).item() == pytest.approx(sum(errors) / sum(spreads), rel=1e-12)


def test_the_spread_form_does_not_change_with_a_constant_and_the_bounded_one_falls():
    a, b, mask = (values[:1] for values in sample())
    spread = [spread_difference(a + c, b + c, mask=mask).item() for c in (0.0, 5.0)]
    bounded = [relative_difference(a + c, b + c, mask=mask).item() for c in (0.0, 5.0)]
    assert spread[0] == pytest.approx(spread[1], rel=1e-9)
    assert bounded[1] < bounded[0] / 3


def test_the_spread_form_gains_nothing_from_a_smaller_depth():
    a, b, mask = sample()
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(spread_difference(scale * a, scale * b, mask=mask), scale)
    assert gradient.item() == pytest.approx(0.0, abs=1e-10)


def test_a_flat_wall_and_an_empty_mask_give_finite_spread_differences():
    flat = torch.full((1, 1, 4, 4), 2.0, requires_grad=True)
    assert torch.isfinite(spread_difference(flat + 1, flat, mask=torch.ones(1, 1, 4, 4, dtype=torch.bool)))
    unknown = torch.full((1, 1, 4, 4), float("nan"))
    nothing = spread_difference(flat, unknown, mask=torch.zeros(1, 1, 4, 4, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(nothing, flat)
    assert nothing.item() == 0
    assert torch.isfinite(gradient).all()


def test_the_bounded_form_is_symmetric():
    one, three = torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 2), 3.0)
    mask = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert relative_difference(one, three, mask=mask) == relative_difference(three, one, mask=mask) == 0.5


def test_image_consistency_counts_only_whole_windows():
    rendered, image, mask = sample(3)
    similarity = ssim_map(rendered, image, window_size=3, window="box")
    values = []
    for i in range(3):
        for y in range(8):
            for x in range(11):
                if mask[i, 0, y : y + 3, x : x + 3].all():
                    values.append((1 - similarity[i, :, y, x]) / 2)
    ssim = torch.stack(values).mean()
    difference = (rendered - image).abs().permute(0, 2, 3, 1)[mask[:, 0]].mean()
    loss = image_consistency(rendered, image=image, mask=mask)
    torch.testing.assert_close(loss, 0.85 * ssim + 0.15 * difference)
    torch.testing.assert_close(image_consistency(rendered, image=image, mask=mask, ssim_weight=0), difference)
    assert image_consistency(image, image=image, mask=mask).item() == pytest.approx(0, abs=1e-12)


def test_slope_equals_numpy():
    residual, regressor, mask = sample()
    weight = sample(seed=1)[0]
    plain = signed_slope(residual, regressor=regressor, mask=mask)
    weighted = signed_slope(residual, regressor=regressor, mask=mask, weight=weight)
    for i in range(3):
        x, y, w = (v[i][mask[i]].numpy() for v in (regressor, residual, weight))
        assert plain[i].item() == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-9)
        assert weighted[i].item() == pytest.approx(np.polyfit(x, y, 1, w=np.sqrt(w))[0], rel=1e-9)
    ones = signed_slope(residual, regressor=regressor, mask=mask, weight=torch.full_like(residual, 5.0))
    torch.testing.assert_close(ones, plain)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_regressor_without_contrast_has_the_slope_zero(weighted):
    residual, regressor, mask = sample()
    regressor[0] = 0.3
    mask[1] = False
    weight = torch.ones_like(residual) if weighted else None
    residual, regressor = residual.float().requires_grad_(True), regressor.float()
    slope = signed_slope(residual, regressor=regressor, mask=mask, weight=None if weight is None else weight.float())
    assert slope[0] == slope[1] == 0 != slope[2]
    (gradient,) = torch.autograd.grad(slope.sum(), residual)
    assert gradient.isfinite().all()
    assert not gradient[:2].any()
    assert gradient[2].any()


def turned(shift: float, bias: float, angle: float) -> torch.Tensor:
    """Slope seen on a wall at 2 m whose depth is ``shift`` too large, by a network with an error that is always alike.

    A yaw about the camera's centre keeps every ray: the depth ``D`` of a ray ``(x, 1)`` becomes ``D (cos - x sin)``.
    The network is asked again and answers the depth of the new view, equally shifted and with a bias along x.
    """
    x = torch.linspace(-0.5, 0.5, 41, dtype=torch.float64).view(1, 1, 1, -1)
    depth = torch.full_like(x, 2.0)  # along the rays of the new view's pixels, told in the old camera
    new_z = math.cos(angle) - x * math.sin(angle)
    carried = (depth + shift) * new_z
    predicted = depth * new_z + shift + bias * x
    # The scale is aligned over x = 0.
    scale = carried[..., 20:21] / predicted[..., 20:21]
    mask = torch.ones_like(x, dtype=torch.bool)
    return signed_slope(scale * predicted - carried, regressor=math.sin(angle) * x, mask=mask)


def test_the_slope_over_both_turns_is_the_shift_and_an_even_bias_cancels():
    angle = math.radians(8)
    for bias in (0.0, 0.2):
        slopes = torch.stack([turned(0.5, bias, angle), turned(0.5, bias, -angle)])
        assert slopes.mean().item() == pytest.approx(0.5, rel=0.02)
        assert signed_inconsistency(slopes, limit=1e6).item() == pytest.approx(0.25, rel=0.04)
        right = torch.stack([turned(0.0, bias, angle), turned(0.0, bias, -angle)])
        assert signed_inconsistency(right, limit=1e6).item() == pytest.approx(0, abs=1e-10)
        if bias:
            assert right.abs().min() > 1  # far larger than the signal, were the signs not used


def test_the_product_of_different_images_has_no_part_of_noise():
    """Mean over many batches of the unbiased square against the closed form of both."""
    generator = torch.Generator().manual_seed(0)
    mean, deviation, count, batches = 0.3, 0.8, 8, 20_000
    slopes = mean + deviation * torch.randn(batches, 1, count, generator=generator, dtype=torch.float64)
    ours = torch.stack([signed_inconsistency(batch, limit=1e6) for batch in slopes])
    plain = slopes.mean(dim=2).square()
    assert ours.mean().item() == pytest.approx(mean**2, abs=0.01)
    assert plain.mean().item() == pytest.approx(mean**2 + deviation**2 / count, abs=0.01)


def test_outliers_are_squashed_and_a_single_image_gives_its_square():
    assert signed_inconsistency(torch.tensor([[1e6], [1e6]])).item() == pytest.approx(4.0)
    assert signed_inconsistency(torch.tensor([[0.01], [0.03]])).item() == pytest.approx(0.0004, rel=1e-3)
    slopes = torch.tensor([[0.01, -0.03], [0.01, -0.03]], requires_grad=True)
    loss = signed_inconsistency(slopes)
    assert loss.item() == pytest.approx(-0.0003, rel=1e-3)
    (gradient,) = torch.autograd.grad(loss, slopes)
    torch.testing.assert_close(gradient, torch.tensor([[-0.015, 0.005], [-0.015, 0.005]]), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("shape", "limit", "said"),
    [((3,), 2.0, r"shape \(3,\)"), ((2, 0), 2.0, r"at least one"), ((2, 1), 0.0, r"limit is 0.0")],
)
def test_slopes_without_images_and_limits_of_nothing_are_refused(shape, limit, said):
    with pytest.raises(ValueError, match=said):
        signed_inconsistency(torch.zeros(shape), limit=limit)


def losses(channels: int = 1):
    return {
        "relative": lambda a, b, mask: relative_difference(a, b, mask=mask),
        "spread": lambda a, b, mask: spread_difference(a, b, mask=mask),
        "image": lambda a, b, mask: image_consistency(a, image=b, mask=mask),
        "slope": lambda a, b, mask: signed_inconsistency(signed_slope(a, regressor=b, mask=mask).view(1, -1)),
        "weighted": lambda a, b, mask: signed_slope(a, regressor=b, mask=mask, weight=torch.ones_like(a)).sum(),
    }


@pytest.mark.parametrize("name", losses())
def test_gradcheck(name):
    a, b, mask = sample()
    assert torch.autograd.gradcheck(lambda x, y: losses()[name](x, y, mask), (a.requires_grad_(), b.requires_grad_()))


@pytest.mark.parametrize("name", losses())
def test_holes_reach_neither_value_nor_gradient(name):
    a, b, mask = sample()
    results = []
    for value in (0.5, float("nan"), -1.0):
        x, y = (v.masked_fill(~mask, value).requires_grad_(True) for v in (a, b))
        loss = losses()[name](x, y, mask)
        gradients = torch.autograd.grad(loss, (x, y))
        assert all(torch.equal(g[~mask], torch.zeros_like(g[~mask])) for g in gradients)
        results.append((loss, *gradients))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


@pytest.mark.parametrize("name", losses())
def test_an_empty_mask_is_a_zero_in_the_graph(name):
    a, b, mask = sample()
    a.requires_grad_(True)
    loss = losses()[name](a, b, torch.zeros_like(mask))
    assert loss == 0
    (gradient,) = torch.autograd.grad(loss, a)
    assert torch.equal(gradient, torch.zeros_like(a))


@pytest.mark.parametrize("name", losses())
def test_half_precision_is_computed_in_float32(name):
    a, b, mask = sample()
    a, b = a.bfloat16(), b.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = losses()[name](a, b, mask)
    assert loss.dtype is torch.float32
    assert loss == losses()[name](a.float(), b.float(), mask)


def test_wrong_shapes_are_refused():
    a, b, mask = sample(3)
    with pytest.raises(ValueError, match="rendered and mask have the shapes"):
        image_consistency(a, image=b, mask=mask.expand_as(a))
    with pytest.raises(ValueError, match="ssim_weight is 2"):
        image_consistency(a, image=b, mask=mask, ssim_weight=2)
    with pytest.raises(ValueError, match="weight has the shape"):
        signed_slope(a[:, :1], regressor=b[:, :1], mask=mask, weight=a)
    with pytest.raises(ValueError, match="must be the same"):
        relative_difference(a, b[:, :1], mask=mask)
