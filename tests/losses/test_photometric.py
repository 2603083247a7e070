"""The photometric error against a plain arrangement of its formula, the released codes, and finite differences."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from losses.photometric import Photometric, minimum_error, photometric_error

GOLDEN = Path(__file__).parents[1] / "golden"


def plain_error(image: torch.Tensor, target: torch.Tensor, ssim_weight: float = 0.85) -> torch.Tensor:
    """One candidate ``(B, C, H, W)``, with means over windows of padded images and variances as ``E[x^2] - E[x]^2``."""

    def mean(values):
        return F.avg_pool2d(F.pad(values, [1] * 4, mode="reflect"), 3, stride=1)

    x, y = mean(image), mean(target)
    var_x, var_y, cov = mean(image**2) - x**2, mean(target**2) - y**2, mean(image * target) - x * y
    ssim = (2 * x * y + 1e-4) * (2 * cov + 9e-4) / ((x**2 + y**2 + 1e-4) * (var_x + var_y + 9e-4))
    l1 = (image - target).abs()
    return (ssim_weight * ((1 - ssim) / 2).clamp(0, 1) + (1 - ssim_weight) * l1).mean(dim=1)


def clip(n_images=2, n_sources=3, height=7, width=9, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(n_images, 3, height, width, generator=generator, dtype=dtype)
    noise = torch.rand(n_images, n_sources, 3, height, width, generator=generator, dtype=dtype)
    return 0.6 * target.unsqueeze(1) + 0.4 * noise, target


@pytest.mark.parametrize("size", [(2, 2), (2, 5), (5, 2), (3, 3), (7, 9), (16, 31)])
@pytest.mark.parametrize("ssim_weight", [0.0, 0.85, 1.0])
def test_error_and_gradient_equal_the_plain_arrangement(size, ssim_weight):
    images, target = clip(height=size[0], width=size[1])
    images.requires_grad_()
    ours = photometric_error(images, target=target, ssim_weight=ssim_weight)
    plain = torch.stack([plain_error(images[:, s], target, ssim_weight) for s in range(3)], dim=1)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
    upstream = torch.randn_like(plain)
    torch.testing.assert_close(
        torch.autograd.grad(ours, images, upstream)[0],
        torch.autograd.grad(plain, images, upstream)[0],
        rtol=1e-9,
        atol=1e-12,
    )


def test_any_memory_layout_and_number_of_channels():
    images, target = clip()
    for pick in (slice(0, 1), slice(0, 2)):
        some, aim = images[:, :, pick].transpose(3, 4), target[:, pick].transpose(2, 3)
        some = some.detach().requires_grad_()
        ours = photometric_error(some, target=aim)
        plain = torch.stack([plain_error(some[:, s], aim) for s in range(3)], dim=1)
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
        expanded = torch.ones(()).double().expand_as(ours)  # the gradient of a sum: no memory of its own
        torch.testing.assert_close(
            torch.autograd.grad(ours, some, expanded)[0], torch.autograd.grad(plain, some, expanded)[0]
        )


@pytest.mark.parametrize("ssim_weight", [0.0, 0.85, 1.0])
def test_gradcheck(ssim_weight):
    images, target = clip(n_sources=2, height=4, width=5)
    error = Photometric(target, ssim_weight=ssim_weight)
    assert torch.autograd.gradcheck(error, images.requires_grad_(), atol=1e-6)


def test_gradcheck_in_flat_and_equal_regions():
    images, target = clip(n_sources=2, height=5, width=6)
    target[..., :3] = 0.5
    images[:, 0, :, :, :3] = 0.5
    images[:, 1] = target
    # Without the absolute value, which has a kink there, the error is smooth where candidate and target are equal.
    error = Photometric(target, ssim_weight=1.0)
    assert torch.autograd.gradcheck(error, images.requires_grad_(), atol=1e-6)


def test_equal_images_have_no_error_and_no_gradient():
    target = torch.rand(2, 3, 8, 9)
    images = target.unsqueeze(1).repeat(1, 2, 1, 1, 1).requires_grad_()
    error = photometric_error(images, target=target)
    error.sum().backward()
    assert error.eq(0).all()
    assert images.grad.eq(0).all()


def test_rounding_stays_small_in_plain_and_nearly_equal_regions():
    generator = torch.Generator().manual_seed(0)
    target = 0.7 + 1e-3 * torch.rand(2, 3, 32, 32, generator=generator)
    for difference in (1e-4, 1e-2):
        image = target + difference * torch.rand(2, 3, 32, 32, generator=generator)
        exact = plain_error(image.double(), target.double())
        single = photometric_error(image.unsqueeze(1), target=target)[:, 0]
        torch.testing.assert_close(single.double(), exact, rtol=0, atol=2e-6)


def test_error_stays_between_zero_and_one():
    black, white = torch.zeros(1, 3, 6, 6), torch.ones(1, 3, 6, 6)
    checkers = (torch.arange(6) + torch.arange(6).unsqueeze(1)).remainder(2).float().expand(1, 3, 6, 6)
    for target in (black, white, checkers):
        error = photometric_error(torch.stack([black, white, checkers, 1 - checkers], dim=1), target=target)
        assert error.ge(0).all()
        assert error.le(1 + 1e-6).all()
    assert photometric_error(white.unsqueeze(1), target=black).min() > 0.57  # (1 - ssim) / 2 is 1/2 at most here


def test_half_precision_is_raised_and_autocast_changes_nothing():
    images, target = clip(dtype=torch.float32)
    half = images.to(torch.bfloat16).requires_grad_()
    error = photometric_error(half, target=target)
    assert error.dtype is torch.float32
    torch.testing.assert_close(error, photometric_error(half.float(), target=target))
    error.sum().backward()
    assert half.grad.dtype is torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(photometric_error(images, target=target), photometric_error(images, target=target))
        inside = photometric_error(images, target=target)
    assert torch.equal(inside, photometric_error(images, target=target))


def test_what_is_not_there_is_said():
    images, target = clip()
    assert not photometric_error(images, target=target).requires_grad
    error = photometric_error(images.requires_grad_(), target=target)
    (gradient,) = torch.autograd.grad(error.square().sum(), images, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
    with pytest.raises(ValueError, match="detach"):
        Photometric(target.clone().requires_grad_())


def test_statistics_are_taken_once():
    images, target = clip()
    error = Photometric(target)
    expected = error(images)
    target.zero_()
    # The window statistics are not taken again, whatever else is read of the target.
    assert torch.equal(error._statistics.contrast, Photometric(clip()[1])._statistics.contrast)
    assert expected.isfinite().all()


@pytest.mark.parametrize(
    ("images", "target", "weight", "message"),
    [
        ((2, 3, 3, 8, 8), (2, 3, 8, 9), 0.85, r"images have the shape \(2, 3, 3, 8, 8\)"),
        ((2, 3, 8, 8), (2, 3, 8, 8), 0.85, r"\(B, S, C, H, W\)"),
        ((2, 0, 3, 8, 8), (2, 3, 8, 8), 0.85, "at least one candidate"),
        ((2, 3, 3, 1, 8), (2, 3, 1, 8), 0.85, "at least 2x2"),
        ((2, 3, 3, 8, 8), (2, 3, 8, 8), 1.5, r"ssim_weight is 1.5, but it must lie in \[0, 1\]"),
    ],
)
def test_bad_input_is_named(images, target, weight, message):
    with pytest.raises(ValueError, match=message):
        photometric_error(torch.rand(images), target=torch.rand(target), ssim_weight=weight)


def test_types_must_agree():
    with pytest.raises(ValueError, match="float64"):
        photometric_error(torch.rand(1, 1, 3, 4, 4).double(), target=torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match="floating point"):
        Photometric(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


def test_equals_the_released_monodepth2():
    with np.load(GOLDEN / "md2_photometric.npz") as golden:
        images = torch.stack([torch.from_numpy(golden[name]) for name in ("pred0", "pred1")], dim=1)
        target = torch.from_numpy(golden["target"])
        error = photometric_error(images, target=target)
        np.testing.assert_allclose(error, golden["loss_0p85ssim_0p15l1"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(error.amin(dim=1), golden["min_over_pred"], rtol=1e-4, atol=1e-5)
        l1 = photometric_error(images, target=target, ssim_weight=0.0)
        np.testing.assert_allclose(l1, golden["loss_l1only"], rtol=1e-4, atol=1e-5)


def test_minimum_equals_the_released_gam_depth():
    with np.load(GOLDEN / "gam_losses_inputs.npz") as inputs, np.load(GOLDEN / "gam_losses_outputs.npz") as outputs:
        names = ("m2", "m1", "p1", "p2")
        sources = torch.stack([torch.from_numpy(inputs[f"color_{name}"]) for name in names], dim=1)
        warped = torch.stack([torch.from_numpy(outputs[f"warped_{name}"]) for name in names], dim=1)
        target = torch.from_numpy(inputs["color_0"])
        error = Photometric(target)
        warped_error, identity_error = error(warped), error(sources)
        for images, ours, golden in ((warped, warped_error, "reprojection_4"), (sources, identity_error, "identity_4")):
            # In nearly flat windows the golden float32 numbers are off by up to 6e-5, as the same arithmetic shows.
            single, exact = (
                torch.stack([plain_error(image.to(dtype), target.to(dtype)) for image in images.unbind(1)], dim=1)
                for dtype in (torch.float32, torch.float64)
            )
            np.testing.assert_allclose(single, outputs[golden], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-5)
            np.testing.assert_allclose(ours, outputs[golden], rtol=1e-4, atol=1e-4)
        noise = 1e-5 * torch.from_numpy(inputs["identity_noise"])
        smallest, winner = minimum_error(warped_error, identity_error, noise=noise)
        np.testing.assert_allclose(smallest, outputs["combined_min"], rtol=1e-4, atol=1e-4)
        assert np.mean(winner.numpy() != outputs["combined_argmin"]) <= 1e-3


def test_minimum_and_its_gradient_equal_torch_min():
    generator = torch.Generator().manual_seed(0)
    warped, identity, noise = torch.rand(3, 2, 4, 9, 10, generator=generator, dtype=torch.float64)
    noise = 1e-2 * noise
    warped.requires_grad_()
    identity.requires_grad_()
    error, winner = minimum_error(warped, identity, noise=noise)
    expected = torch.cat([identity + noise, warped], dim=1).min(dim=1)
    assert torch.equal(error, expected.values)
    assert torch.equal(winner, expected.indices)
    assert winner.unique().tolist() == list(range(8))
    for name in (warped, identity):
        (ours,) = torch.autograd.grad(error.square().sum(), name, retain_graph=True)
        (plain,) = torch.autograd.grad(expected.values.square().sum(), name, retain_graph=True)
        assert torch.equal(ours, plain)
    assert torch.autograd.gradcheck(lambda w, i: minimum_error(w, i)[0], (warped, identity))


def test_first_of_equals_wins_and_a_moving_pixel_gives_no_gradient():
    warped, identity = torch.full((1, 2, 1, 3), 0.5, requires_grad=True), torch.full((1, 2, 1, 3), 0.5)
    identity[0, :, 0, 1] = 0.7
    identity[0, 1, 0, 2] = 0.1
    error, winner = minimum_error(warped, identity)
    error.sum().backward()
    assert winner.tolist() == [[[0, 2, 1]]]
    assert warped.grad.tolist() == [[[[0, 1, 0]], [[0, 0, 0]]]]


def test_an_invalid_warp_cannot_win():
    warped, identity = torch.zeros(1, 2, 1, 3), torch.ones(1, 2, 1, 3)
    warped[0, 1] = 0.5
    valid = torch.tensor([[True, False, False], [True, True, False]]).view(1, 2, 1, 3)
    warped.requires_grad_()
    error, winner = minimum_error(warped, identity, valid=valid)
    error.sum().backward()
    assert winner.tolist() == [[[2, 3, 0]]]
    assert error.tolist() == [[[0, 0.5, 1]]]
    assert warped.grad.tolist() == [[[[1, 0, 0]], [[0, 1, 0]]]]


def test_a_nan_is_not_hidden():
    warped, identity = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    warped[0, 0, 0, 1] = float("nan")
    assert minimum_error(warped, identity)[0].isnan().tolist() == [[[False, True]]]


def test_gradient_through_minimum_and_error_equals_the_plain_arrangement():
    images, target = clip(n_sources=2, height=8, width=8)
    warped = (0.3 * images + 0.7 * images.flip(1)).requires_grad_()
    error = Photometric(target)
    (ours,) = torch.autograd.grad(minimum_error(error(warped), error(images))[0].mean(), warped)
    candidates = [*images.unbind(1), *warped.unbind(1)]
    plain = torch.stack([plain_error(image, target) for image in candidates], dim=1).amin(dim=1).mean()
    torch.testing.assert_close(ours, torch.autograd.grad(plain, warped)[0])
    assert 0 < ours.count_nonzero() < ours.numel()


def test_minimum_names_bad_input():
    error = torch.rand(2, 3, 4, 5)
    with pytest.raises(ValueError, match=r"identity_error has the shape \(2, 2, 4, 5\)"):
        minimum_error(error, error[:, :2])
    with pytest.raises(ValueError, match="noise has the shape"):
        minimum_error(error, error, noise=error[:1])
    with pytest.raises(ValueError, match=r"valid has type torch.float32"):
        minimum_error(error, error, valid=torch.ones_like(error))
    with pytest.raises(ValueError, match="at least one"):
        minimum_error(error[:, :0], error[:, :0])
