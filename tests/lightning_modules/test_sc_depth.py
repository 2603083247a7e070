"""SC-Depth: the disagreement of depths against exact geometry, both directions of a pair, and its means."""

import pytest
import torch

from lightning_modules.sc_depth import SCDepth
from losses.geometry_consistency import ViewErrors, best_view
from losses.ssim import ssim_map
from losses.weighting import Averaging, GradientAwareMask, KeypointWeighting
from tests.data.make_clips import ConstantMotion, FixedDisparity, plane_clips

MIDDLE = 1


def make(batch, *, scales=(1.0, 1.0, 1.0), **changes):
    """SC-Depth that knows the depth of every frame of three, up to a factor a frame."""
    depths = batch["depths"] * torch.tensor(scales).view(1, -1, 1, 1, 1)
    arguments = {"poses": "exact", "ssim_window": 3}
    return SCDepth(depth_network=FixedDisparity(depths.flatten(0, 1)), **(arguments | changes)), depths


def forward_errors(module, batch, depths):
    """Errors of the neighbours against the target."""
    order, others = [MIDDLE, 0, 2], [0, 2]
    return module.compare(batch["frames"][:, order], depths[:, order], batch["T_frame_target"][:, others], batch["K"])


def backward_errors(module, batch, depths, neighbour):
    """Errors of the target against one neighbour, which is then the view that is explained."""
    order = [neighbour, MIDDLE]
    T_target_neighbour = torch.linalg.inv(batch["T_frame_target"][:, neighbour])[:, None]
    return module.compare(batch["frames"][:, order], depths[:, order], T_target_neighbour, batch["K"])


def test_the_paper_is_the_default():
    module = SCDepth(depth_network=FixedDisparity(torch.ones(1, 1, 8, 8)), pose_network=ConstantMotion())
    assert module.loss_weights == {"photometric": 1.0, "geometry": 0.1, "smoothness": 1e-3}
    assert module.ssim_window == 7
    assert isinstance(module.weighting, Averaging)


def test_exact_depths_agree_in_both_directions():
    batch = plane_clips(3)
    module, depths = make(batch)
    for errors in (forward_errors(module, batch, depths), backward_errors(module, batch, depths, 2)):
        assert errors.depth[errors.mask].mean() < 1e-3
        assert errors.depth.max() < 0.02
        assert errors.color[errors.mask].mean() < 0.01
    terms = module.loss_terms(batch)
    assert terms["geometry"] < 1e-3
    assert terms["photometric"] < 0.005


def test_a_neighbour_of_another_scale_disagrees_by_the_formula():
    batch = plane_clips(3)
    module, depths = make(batch, scales=(1.25, 1.0, 1.0))
    errors = forward_errors(module, batch, depths)
    first, last = errors.depth.unbind(dim=1)
    assert first[first > 0].mean() == pytest.approx(0.25 / 2.25, abs=2e-3)
    assert last.max() < 0.02
    assert module.loss_terms(batch)["geometry"] > 0.02
    # One scale for all is as good as another where the camera moves as much further.
    module, _ = make(batch, scales=(1.25, 1.25, 1.25))
    further = batch["T_frame_target"].clone()
    further[..., :3, 3] *= 1.25
    assert module.loss_terms(batch | {"T_frame_target": further})["geometry"] < 1e-3


@pytest.mark.parametrize("weighting", [Averaging(), GradientAwareMask(gamma2=10.0), KeypointWeighting()])
def test_terms_are_the_mean_of_both_directions_over_what_is_explained(weighting):
    batch = plane_clips(3, speed=3.0)
    batch["keypoints"] = torch.rand_like(batch["depth"]) < 0.3
    module, depths = make(batch, scales=(1.2, 1.0, 0.9), weighting=weighting)
    with torch.no_grad():
        terms = module.loss_terms(batch)
    forward = best_view(forward_errors(module, batch, depths))
    # Each view that is explained, by its position in the clip.
    directions = [{MIDDLE: forward}, {k: best_view(backward_errors(module, batch, depths, k)) for k in (0, 2)}]
    factor = getattr(weighting, "factor", 1.0)
    for name in terms.keys() - {"smoothness"}:
        means = []
        for views in directions:
            total, count = 0.0, 0
            for k, view in views.items():
                values, counted = view.depth, view.mask
                if name == "photometric":
                    values = factor * weighting.weights(batch["frames"][:, k], batch["keypoints"]) * view.photometric
                    counted = counted & (batch["keypoints"][:, 0] if isinstance(weighting, KeypointWeighting) else True)
                total += float(values[counted].sum())
                count += int(counted.sum())
            means.append(total / count)
        assert means[0] != pytest.approx(means[1], rel=1e-3)  # so that either alone would be seen
        assert terms[name].item() == pytest.approx(sum(means) / 2, rel=1e-5)


def test_error_of_a_pixel_is_weighed_by_the_agreement_of_depths():
    batch = plane_clips(3)
    for window in (3, 7):
        module, depths = make(batch, scales=(1.3, 1.0, 1.0), ssim_window=window)
        errors = forward_errors(module, batch, depths)
        warped = module.synthesize(batch, depths[:, MIDDLE], batch["T_frame_target"]).image[:, 0].double()
        target = batch["image"].double()
        similarity = ssim_map(warped, target, window_size=window, window="box", padding="reflect")
        plain = (0.85 * (1 - similarity) / 2 + 0.15 * (warped - target).abs()).mean(dim=1)
        expected = plain * (1 - errors.depth[:, 0])
        torch.testing.assert_close(errors.photometric[:, 0].double(), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("weighting", [Averaging(), GradientAwareMask(gamma2=10.0), KeypointWeighting()])
def test_means_run_over_the_pixels_that_some_source_explains(weighting):
    batch = plane_clips(3)
    module, _ = make(batch, weighting=weighting)
    photometric, color, depth = torch.rand(3, 2, 2, *batch["image"].shape[-2:])
    errors = ViewErrors(photometric, color, depth, torch.rand_like(color) < 0.4)
    best = best_view(errors)
    keypoints = torch.rand_like(batch["depth"]) < 0.2
    weights = weighting.weights(batch["image"], keypoints) * getattr(weighting, "factor", 1.0)
    counted = best.mask & (keypoints[:, 0] if isinstance(weighting, KeypointWeighting) else True)
    found = module.view_terms(errors, batch["image"], keypoints)
    assert found[0].item() == pytest.approx((weights * best.photometric)[counted].mean().item(), rel=1e-5)
    assert found[1].item() == pytest.approx(best.depth[best.mask].mean().item(), rel=1e-5)
    nothing = module.view_terms(errors._replace(mask=torch.zeros_like(errors.mask)), batch["image"], keypoints)
    assert [float(value) for value in nothing] == [0, 0]


def test_key_points_have_to_be_there():
    batch = plane_clips(3)
    module, _ = make(batch, weighting=KeypointWeighting())
    with pytest.raises(ValueError, match="keypoints is None"):
        module.loss_terms(batch)


def test_smoothness_is_that_of_all_frames():
    batch = plane_clips(3)
    module, _ = make(batch)
    disparity = module.depth_network.disparity.detach()
    normalised = disparity / disparity.mean(dim=(2, 3), keepdim=True)
    expected = 0.0
    for dim in (2, 3):
        edge = batch["frames"].flatten(0, 1).diff(dim=dim).abs().mean(dim=1, keepdim=True)
        expected += (normalised.diff(dim=dim).abs() * torch.exp(-edge)).mean().item()
    assert module.loss_terms(batch)["smoothness"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("names", [("photometric",), ("geometry", "photometric"), ("smoothness",)])
def test_terms_are_those_that_have_a_weight(names):
    batch = plane_clips(3)
    module, _ = make(batch, loss_weights=dict.fromkeys(names, 1.0))
    assert set(module.loss_terms(batch)) == set(names)


@pytest.mark.parametrize("term", ["photometric", "geometry"])
def test_gradients_reach_all_depths_and_the_motion_and_are_finite(term):
    batch = plane_clips(3)
    module, _ = make(batch, scales=(1.2, 1.0, 0.9), poses="learned", pose_network=ConstantMotion())
    module.loss_terms(batch)[term].backward()
    gradient = module.depth_network.disparity.grad.view(2, 3, -1)
    assert gradient.isfinite().all()
    assert (gradient.abs().amax(dim=2) > 1e-6).all()
    assert module.pose_network.motion.grad.isfinite().all()
    assert module.pose_network.motion.grad.abs().max() > 1e-4


def test_networks_see_jittered_colours_and_errors_are_taken_on_clean_ones():
    terms, seen = [], []

    class Watched(FixedDisparity):
        def forward(self, image):
            seen.append(image)
            return super().forward(image)

    for jitter in (1.0, 0.5):
        batch = plane_clips(3, jitter=jitter)
        module = SCDepth(depth_network=Watched(batch["depths"].flatten(0, 1)), poses="exact")
        terms.append({name: term.item() for name, term in module.loss_terms(batch).items()})
        assert torch.equal(seen[-1], batch["frames_jittered"].flatten(0, 1))
    assert terms[0] == terms[1]


@pytest.mark.parametrize("weighting", [Averaging(), GradientAwareMask(gamma2=10.0), KeypointWeighting()])
def test_before_its_minimum_every_source_counts_wherever_its_warp_is_valid(weighting, monkeypatch):
    batch = plane_clips(3)
    module, depths = make(batch, weighting=weighting, minimum_from=0.5)
    # A motion that is none is worse than none nearly everywhere.
    wrong = batch | {"frames": batch["frames"][:, [MIDDLE] * 3]}
    monkeypatch.setattr(SCDepth, "progress", lambda self: 0.5)
    assert not forward_errors(module, wrong, depths).mask.any()
    monkeypatch.setattr(SCDepth, "progress", lambda self: 0.49)
    assert forward_errors(module, wrong, depths).mask.float().mean() > 0.8
    photometric, color, depth = torch.rand(3, 2, 2, *batch["image"].shape[-2:])
    errors = ViewErrors(photometric, color, depth, torch.rand_like(color) < 0.4)
    keypoints = torch.rand_like(batch["depth"]) < 0.2
    weights = weighting.weights(batch["image"], keypoints) * getattr(weighting, "factor", 1.0)
    means = []
    for source in range(2):
        counted = errors.mask[:, source]
        counted = counted & (keypoints[:, 0] if isinstance(weighting, KeypointWeighting) else True)
        means.append((weights * photometric[:, source])[counted].mean().item())
    found = module.view_terms(errors, batch["image"], keypoints)
    assert found[0].item() == pytest.approx(sum(means) / 2, rel=1e-5)
    assert found[1].item() == pytest.approx(depth[errors.mask].mean().item(), rel=1e-5)
