"""SSIM against scikit-image, the released Monodepth2 code, and a loop over windows for the masked loss."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from losses.ssim import ssim_loss, ssim_map

GOLDEN = Path(__file__).parents[1] / "golden"


def images(height: int = 20, width: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(2, 1, height, width, generator=generator, dtype=torch.float64)
    return first, 0.7 * first + 0.3 * torch.rand(2, 1, height, width, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("data_range", [1.0, 10.0])
def test_gaussian_window_equals_skimage(data_range):
    first, second = images()
    ours = ssim_map(first, second, data_range=data_range)
    for i in range(2):
        # A truncation of 3.5 gives skimage the radius int(3.5 * 1.5 + 0.5) = 5, that is 11 pixels.
        _, full = structural_similarity(
            first[i, 0].numpy(),
            second[i, 0].numpy(),
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        np.testing.assert_allclose(ours[i, 0].numpy(), full[5:-5, 5:-5], rtol=1e-9)


def test_box_window_equals_skimage():
    first, second = images()
    ours = ssim_map(first, second, window="box", window_size=7)
    _, full = structural_similarity(
        first[0, 0].numpy(), second[0, 0].numpy(), data_range=1.0, win_size=7, use_sample_covariance=False, full=True
    )
    np.testing.assert_allclose(ours[0, 0].numpy(), full[3:-3, 3:-3], rtol=1e-9)


def test_reflected_box_equals_the_released_monodepth2():
    with np.load(GOLDEN / "md2_ssim.npz") as golden:
        x, y = torch.from_numpy(golden["x"]), torch.from_numpy(golden["y"])
        exact = ssim_map(x.double(), y.double(), window="box", window_size=3, padding="reflect")
        # The reference's own float32 rounding, E[x^2] - E[x]^2 in nearly flat windows, is 8.3e-5.
        np.testing.assert_allclose(((1 - exact) / 2).clamp(0, 1), golden["out"], rtol=0, atol=1e-4)
        single = ssim_map(x, y, window="box", window_size=3, padding="reflect")
        np.testing.assert_allclose(single, exact, rtol=0, atol=2e-4)


def test_known_values():
    first, _ = images()
    assert torch.equal(ssim_map(first, first), torch.ones(2, 1, 10, 14, dtype=torch.float64))
    # Two constants differ only in the luminance term.
    a, b = torch.full((1, 1, 11, 11), 0.2), torch.full((1, 1, 11, 11), 0.8)
    assert ssim_map(a, b).item() == pytest.approx((2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4), rel=1e-3)


def test_only_whole_windows_count():
    first, second = images(9, 10)
    mask = torch.ones(2, 1, 9, 10).bool()
    mask[0, 0, 2, 3] = False
    mask[1, 0, :5] = False
    full = ssim_map(first, second, window="box", window_size=3)
    counted = [
        (1 - full[b, 0, row, column].item()) / 2
        for b in range(2)
        for row in range(7)
        for column in range(8)
        if mask[b, 0, row : row + 3, column : column + 3].all()
    ]
    assert 0 < len(counted) < full.numel()
    loss = ssim_loss(first, target=second, mask=mask, window="box", window_size=3)
    assert loss.item() == pytest.approx(np.mean(counted), rel=1e-12)


def test_nothing_leaks_from_outside_the_mask():
    first, second = images()
    mask = torch.ones(2, 1, 20, 24).bool()
    mask[:, :, 4, 6] = False
    expected = ssim_loss(first, target=second, mask=mask, window_size=5)
    changed = ssim_loss(
        first.masked_fill(~mask, 99.0), target=second.masked_fill(~mask, float("nan")), mask=mask, window_size=5
    )
    assert torch.equal(expected, changed)


def test_no_whole_window_is_a_zero_in_the_graph():
    first, second = images()
    first.requires_grad_(True)
    mask = torch.zeros(2, 1, 20, 24).bool()
    mask[:, :, ::3, ::3] = True
    loss = ssim_loss(first, target=second, mask=mask)
    (gradient,) = torch.autograd.grad(loss, first)
    assert loss.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_gradcheck():
    first, second = images(6, 7)
    first = first.clone().requires_grad_(True)
    mask = torch.ones(2, 1, 6, 7).bool()
    mask[0, 0, 0, 0] = False
    assert torch.autograd.gradcheck(
        lambda p: ssim_loss(p, target=second, mask=mask, window_size=5), first, fast_mode=True
    )


def test_autocast_does_not_round():
    first, second = (image.float() for image in images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = ssim_map(first, second)
    torch.testing.assert_close(inside, ssim_map(first, second), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_size": 4}, "window_size is 4"),
        ({"window_size": 21}, "does not fit"),
        ({"window": "disc"}, "window is 'disc'"),
        ({"padding": "zero"}, "padding is 'zero'"),
        ({"data_range": 0.0}, "data_range is 0.0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ssim_map(*images(), **options)
