"""The weightings of the photometric error: OpenCV's gradient, the released mask and losses, and counting by hand."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from losses.weighting import Averaging, GradientAwareMask, KeypointWeighting, gradient_magnitude

GOLDEN = Path(__file__).parents[1] / "golden"


def cv2_gradient(grey: np.ndarray) -> np.ndarray:
    blurred = cv2.GaussianBlur(grey, (5, 5), 0)
    return np.hypot(cv2.Sobel(blurred, cv2.CV_64F, 1, 0), cv2.Sobel(blurred, cv2.CV_64F, 0, 1))


def released_gradient(rgb: np.ndarray) -> torch.Tensor:
    """The released variant: red and blue change places, and grey and blurred values are rounded to 8 bits."""
    grey = np.rint(0.114 * rgb[..., 0] + 0.587 * rgb[..., 1] + 0.299 * rgb[..., 2]).astype(np.uint8)
    return torch.from_numpy(np.stack([cv2_gradient(image) for image in grey]))


@pytest.mark.parametrize("size", [(12, 17), (3, 4)])
def test_magnitude_equals_opencv_on_floats(size):
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    expected = cv2_gradient(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) * 255)
    ours = gradient_magnitude(torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0).double())
    np.testing.assert_allclose(ours[0, 0], expected, rtol=1e-4, atol=1e-3)


def test_magnitude_equals_the_released_gam_depth_but_for_its_rounding_and_channel_order():
    with np.load(GOLDEN / "gam_gradmag.npz") as golden:
        rgb = golden["rgb_uint8"]
        variant = released_gradient(rgb)
        difference = (variant - torch.from_numpy(golden["magnitude"][:, 0])).abs()
        # One OpenCV differs from another by one grey level in a few pixels, that is by up to 8 here.
        assert difference.max() <= 8
        assert difference.gt(1e-3).double().mean() < 0.01
        swapped = torch.from_numpy(rgb[..., ::-1].copy()).permute(0, 3, 1, 2) / 255
        ours = gradient_magnitude(swapped)[:, 0]
        # Two roundings by half a level, each worth up to 4 sqrt(2) in the Sobel gradient.
        assert (ours - torch.from_numpy(golden["magnitude"][:, 0])).abs().max() < 8 * 2**0.5
        mask = GradientAwareMask().curve(torch.from_numpy(golden["magnitude"]))
        np.testing.assert_allclose(mask, golden["mask"], rtol=1e-9)
        curve = GradientAwareMask().curve(torch.from_numpy(golden["curve_m"]))
        np.testing.assert_allclose(curve, golden["curve_mask"], rtol=1e-9)


def test_magnitude_of_known_images():
    ramp = torch.arange(12.0).expand(1, 3, 8, 12) / 255
    torch.testing.assert_close(gradient_magnitude(ramp)[..., 3:-3], torch.full((1, 1, 8, 6), 8.0), rtol=1e-4, atol=0)
    assert gradient_magnitude(torch.full((1, 3, 8, 8), 0.3)).abs().max() < 1e-3
    green = torch.zeros(1, 3, 8, 12)
    green[:, 1, :, 6:] = 1
    # The blur leaves 10/16 of a step between the two pixels beside a pixel at the step.
    expected = 0.587 * 255 * 4 * 10 / 16
    torch.testing.assert_close(gradient_magnitude(green)[0, 0, :, 5:7], torch.full((8, 2), expected))


def test_weighted_losses_equal_the_released_gam_depth():
    with (
        np.load(GOLDEN / "gam_losses_inputs.npz") as inputs,
        np.load(GOLDEN / "gam_losses_outputs.npz") as outputs,
        np.load(GOLDEN / "gam_losses_scalars.npz") as scalars,
    ):
        error, image = torch.from_numpy(outputs["combined_min"]), torch.from_numpy(inputs["color_0"])
        averaging = Averaging()(error, image=image)
        np.testing.assert_allclose(averaging.item(), scalars["photo_averaging"], rtol=1e-5)
        keypoints = torch.from_numpy(inputs["svo_map"]).bool().unsqueeze(1)
        at_keypoints = KeypointWeighting()(error, image=image, keypoints=keypoints)
        np.testing.assert_allclose(at_keypoints.item(), scalars["photo_keypoints"], rtol=1e-5)
        magnitude = torch.from_numpy(inputs["magnitude"])
        mask = GradientAwareMask()
        intended = mask.factor * (error * mask.curve(magnitude)[:, 0]).mean()
        np.testing.assert_allclose(intended.item(), scalars["photo_GAM_per_image_intended"], rtol=1e-5)
        # With our gradient, which neither rounds nor swaps channels, the loss is the same to a few percent.
        np.testing.assert_allclose(mask(error, image=image).item(), scalars["photo_GAM_per_image_intended"], rtol=0.05)


def test_each_image_has_its_own_mask():
    image = torch.zeros(2, 3, 8, 12)
    image[1, :, :, 6:] = 1
    error = torch.stack([torch.full((8, 12), 2.0), torch.zeros(8, 12)])
    # All error lies in the image without an edge: 10 * 2 * 0.1, averaged with the zero of the other image.
    assert GradientAwareMask()(error, image=image).item() == pytest.approx(1.0, rel=1e-4)
    weights = GradientAwareMask().weights(image)
    assert weights.shape == (2, 8, 12)
    assert weights[0].max() == pytest.approx(0.1)
    assert weights[1, :, 5:7].min() > 0.99


def test_the_constants_do_what_they_say():
    magnitude = torch.tensor([0.0, 200.0, 1e4])
    curve = GradientAwareMask(beta=0.2, gamma1=0.5, gamma2=100.0).curve(magnitude)
    torch.testing.assert_close(curve, torch.tensor([0.2, 0.6, 1.0]))
    image, error = torch.rand(1, 3, 6, 6), torch.rand(1, 6, 6)
    one = GradientAwareMask(factor=1.0)(error, image=image)
    torch.testing.assert_close(GradientAwareMask(factor=3.0)(error, image=image), 3 * one)
    torch.testing.assert_close(GradientAwareMask(beta=1.0, factor=1.0)(error, image=image), error.mean())


def test_keypoints_average_over_the_batch():
    error = torch.arange(8.0).view(2, 2, 2).requires_grad_()
    keypoints = torch.zeros(2, 1, 2, 2).bool()
    keypoints[0, 0, 0, 1] = keypoints[1, 0, 1, 0] = keypoints[1, 0, 1, 1] = True
    image = torch.zeros(2, 3, 2, 2)
    loss = KeypointWeighting()(error, image=image, keypoints=keypoints)
    loss.backward()
    assert loss.item() == pytest.approx((1 + 6 + 7) / 3)
    torch.testing.assert_close(error.grad, keypoints[:, 0] / 3)
    assert torch.equal(KeypointWeighting().weights(image, keypoints), keypoints[:, 0].float())


def test_no_keypoint_at_all_is_a_zero_in_the_graph():
    error = torch.rand(2, 4, 4, requires_grad=True)
    none = torch.zeros(2, 1, 4, 4).bool()
    loss = KeypointWeighting()(error, image=torch.rand(2, 3, 4, 4), keypoints=none)
    loss.backward()
    assert loss.item() == 0
    assert error.grad.eq(0).all()


@pytest.mark.parametrize("weighting", [Averaging(), KeypointWeighting(), GradientAwareMask()])
def test_gradients_equal_finite_differences(weighting):
    error = torch.rand(2, 5, 6, dtype=torch.float64, requires_grad=True)
    image, keypoints = torch.rand(2, 3, 5, 6, dtype=torch.float64), torch.rand(2, 1, 5, 6) > 0.5
    assert torch.autograd.gradcheck(lambda e: weighting(e, image=image, keypoints=keypoints), error)
    assert weighting.weights(image, keypoints).shape == (2, 5, 6)
    assert not list(weighting.parameters())
    with pytest.raises(ValueError, match=r"error has the shape \(2, 1, 5, 6\)"):
        weighting(error.unsqueeze(1), image=image, keypoints=keypoints)


def test_half_precision_is_averaged_in_float32():
    error, image = torch.rand(2, 64, 64).bfloat16(), torch.rand(2, 3, 64, 64).bfloat16()
    for weighting in (Averaging(), GradientAwareMask()):
        loss = weighting(error, image=image)
        assert loss.dtype is torch.float32
        torch.testing.assert_close(loss, weighting(error.float(), image=image.float()))


def test_bad_input_is_named():
    error, image = torch.rand(2, 4, 4), torch.rand(2, 3, 4, 4)
    with pytest.raises(ValueError, match="keypoints is None"):
        KeypointWeighting()(error, image=image)
    with pytest.raises(ValueError, match=r"keypoints are torch.float32 .* bool \(2, 1, 4, 4\)"):
        KeypointWeighting()(error, image=image, keypoints=torch.ones(2, 1, 4, 4))
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        gradient_magnitude(image[:, :1])


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"beta": 1.5}, "beta is 1.5"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"gamma1": 0.0}, "gamma1 is 0.0"),
        ({"gamma2": -1.0}, "gamma2 is -1.0"),
        ({"factor": 0.0}, "factor is 0.0"),
    ],
)
def test_constants_out_of_range_are_refused(constants, message):
    with pytest.raises(ValueError, match=message):
        GradientAwareMask(**constants)


@pytest.mark.parametrize("weighting", [Averaging(), KeypointWeighting(), GradientAwareMask(gamma2=2.0)])
def test_masked_pixels_count_neither_above_nor_below_the_line(weighting):
    image, error = torch.rand(2, 3, 6, 8), torch.rand(2, 6, 8)
    keypoints, mask = torch.rand(2, 1, 6, 8) > 0.5, torch.rand(2, 6, 8) > 0.4
    weights = getattr(weighting, "factor", 1.0) * weighting.weights(image, keypoints)
    counted = mask & keypoints[:, 0] if isinstance(weighting, KeypointWeighting) else mask
    expected = (weights * error)[mask].sum() / counted.sum()
    found = weighting(error.masked_fill(~mask, torch.nan), image=image, keypoints=keypoints, mask=mask)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(ValueError, match=r"mask is torch\.float32"):
        weighting(error, image=image, keypoints=keypoints, mask=mask.float())
