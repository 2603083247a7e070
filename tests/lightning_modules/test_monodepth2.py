"""Monodepth2: its two terms in closed form, what its networks see, and where its gradients go."""

import pytest
import torch

from lightning_modules.monodepth2 import Monodepth2
from losses.weighting import Averaging, GradientAwareMask
from tests.data.make_clips import ConstantMotion, ExactPoses, FixedDisparity, edge_aware_smoothness, plane_clips


def test_the_paper_is_the_default():
    module = Monodepth2(FixedDisparity(torch.ones(1, 1, 8, 8)), ConstantMotion())
    assert module.loss_weights == {"photometric": 1.0, "smoothness": 1e-3}
    assert isinstance(module.weighting, Averaging)


@pytest.mark.parametrize("names", [("photometric",), ("smoothness",), ("smoothness", "photometric")])
def test_terms_are_those_that_have_a_weight(names):
    batch = plane_clips(3)
    module = Monodepth2(FixedDisparity(batch["depth"]), poses="exact", loss_weights=dict.fromkeys(names, 2.0))
    assert set(module.loss_terms(batch)) == set(names)


@pytest.mark.parametrize("n_frames", [3, 5])
def test_terms_are_what_their_formulas_say(n_frames):
    batch = plane_clips(n_frames)
    module = Monodepth2(FixedDisparity(1.3 * batch["depth"]), poses="exact")
    with torch.no_grad():
        terms = module.loss_terms(batch)
    warped = module.synthesize(batch, 1.3 * batch["depth"], batch["T_frame_target"]).image
    error, winner = module.candidates(batch, warped, noise=False)
    assert (winner < n_frames - 1).any()
    assert (winner >= n_frames - 1).any()
    assert terms["photometric"].item() == pytest.approx(error.mean().item(), rel=1e-3)  # up to the noise

    smoothness = edge_aware_smoothness(module.depth_network.disparity.detach(), batch["image"])
    assert terms["smoothness"].item() == pytest.approx(smoothness, rel=1e-4)


def test_exact_depth_and_motion_cost_next_to_nothing():
    batch = plane_clips(3)
    exact = Monodepth2(FixedDisparity(batch["depth"]), ExactPoses(batch))
    wrong = Monodepth2(FixedDisparity(1.5 * batch["depth"]), ExactPoses(batch))
    assert exact.loss_terms(batch)["photometric"] < 0.3 * wrong.loss_terms(batch)["photometric"]


def test_networks_see_jittered_colours_and_errors_are_taken_on_clean_ones():
    seen = []

    class Watched(FixedDisparity):
        def forward(self, image):
            seen.append(image)
            return super().forward(image)

    errors = []
    for jitter in (1.0, 0.5):
        batch = plane_clips(3, jitter=jitter)
        network = ExactPoses(batch)  # finds its pairs among the jittered frames
        module = Monodepth2(Watched(1.2 * batch["depth"]), network)
        torch.manual_seed(0)
        errors.append(module.loss_terms(batch)["photometric"].item())
        assert torch.equal(seen[-1], batch["frames_jittered"][:, 1])
        assert len(network.pairs) == 1
    assert errors[0] == pytest.approx(errors[1], rel=1e-5)


def test_the_weighting_is_one_argument():
    batch = plane_clips(3)
    mask = GradientAwareMask(gamma2=10.0)
    module = Monodepth2(FixedDisparity(1.3 * batch["depth"]), poses="exact", weighting=mask)
    warped = module.synthesize(batch, 1.3 * batch["depth"], batch["T_frame_target"]).image
    error, _ = module.candidates(batch, warped, noise=False)
    expected = 10 * (error * mask.weights(batch["image"])).mean()
    with torch.no_grad():
        found = module.loss_terms(batch)["photometric"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)
    torch.testing.assert_close(found, module.weigh(batch, error).detach(), rtol=1e-3, atol=0)


def test_gradients_reach_depth_and_motion_and_are_finite():
    batch = plane_clips(3)
    module = Monodepth2(FixedDisparity(1.3 * batch["depth"]), ConstantMotion())
    module.loss_terms(batch)["photometric"].backward()
    for parameter in module.parameters():
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().max() > 1e-6
