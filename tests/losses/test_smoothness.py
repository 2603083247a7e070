"""Edge-aware smoothness against the released Monodepth2 and GAM-Depth, and values known by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from losses.smoothness import edge_aware_smoothness

GOLDEN = Path(__file__).parents[1] / "golden"


def test_equals_the_released_monodepth2():
    with np.load(GOLDEN / "md2_smooth.npz") as golden:
        disparity, image = torch.from_numpy(golden["disp"]), torch.from_numpy(golden["img"])
        raw = edge_aware_smoothness(disparity, image=image, normalise=False)
        np.testing.assert_allclose(raw.item(), golden["loss_raw"], rtol=1e-5)
        np.testing.assert_allclose(
            edge_aware_smoothness(disparity, image=image).item(), golden["loss_meannorm"], rtol=1e-5
        )


def test_equals_the_released_gam_depth():
    with np.load(GOLDEN / "gam_losses_inputs.npz") as inputs, np.load(GOLDEN / "gam_losses_scalars.npz") as scalars:
        disparity, image = torch.from_numpy(inputs["disp"]), torch.from_numpy(inputs["color_0"])
        loss = edge_aware_smoothness(disparity, image=image)
        np.testing.assert_allclose(loss.item(), scalars["smooth"], rtol=1e-5)


def test_known_values():
    disparity = torch.tensor([[1.0, 1.0, 4.0], [1.0, 1.0, 4.0]]).view(1, 1, 2, 3)
    image = torch.zeros(1, 3, 2, 3)
    # The mean is 2, so the step is 1.5; half of the horizontal pairs cross it.
    assert edge_aware_smoothness(disparity, image=image).item() == pytest.approx(0.75)
    image[0, 0, :, 2] = 0.9  # one channel of three
    assert edge_aware_smoothness(disparity, image=image).item() == pytest.approx(0.75 * np.exp(-0.3))
    turned = edge_aware_smoothness(disparity.transpose(2, 3), image=image.transpose(2, 3))
    assert turned.item() == pytest.approx(0.75 * np.exp(-0.3))


def test_each_image_is_divided_by_its_own_mean():
    disparity, image = torch.rand(2, 1, 6, 7) + 0.1, torch.rand(2, 3, 6, 7)
    both = edge_aware_smoothness(disparity, image=image)
    scaled = edge_aware_smoothness(disparity * torch.tensor([1.0, 50.0]).view(2, 1, 1, 1), image=image)
    torch.testing.assert_close(both, scaled)


def test_gradient_equals_finite_differences_and_is_finite_at_zero():
    disparity = torch.rand(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    image = torch.rand(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: edge_aware_smoothness(d, image=image), disparity)
    zero = torch.zeros(1, 1, 4, 5, requires_grad=True)
    loss = edge_aware_smoothness(zero, image=torch.rand(1, 3, 4, 5))
    loss.backward()
    assert loss.item() == 0
    assert zero.grad.isfinite().all()


def test_half_precision_and_bad_shapes():
    disparity, image = torch.rand(2, 1, 6, 7).bfloat16(), torch.rand(2, 3, 6, 7)
    assert edge_aware_smoothness(disparity, image=image).dtype is torch.float32
    for wrong in (disparity[..., :5], disparity[:1], disparity[:, 0], disparity.repeat(1, 3, 1, 1)):
        with pytest.raises(ValueError, match=r"\(B, 1, H, W\)"):
            edge_aware_smoothness(wrong, image=image)


def test_gradient_is_finite_where_a_network_has_saturated():
    tiny = torch.full((1, 1, 4, 5), 1e-30)
    tiny[..., 2:] = 3e-30
    tiny.requires_grad_()
    edge_aware_smoothness(tiny, image=torch.rand(1, 3, 4, 5)).backward()
    assert tiny.grad.isfinite().all()
