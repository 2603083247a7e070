"""Render consistency on worlds whose every view is known in closed form, so that agreement is exact."""

import math
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from geometry.camera import intrinsics_from_field_of_view, pixel_grid
from geometry.novel_views import Views, rotation_from_yaw_pitch, turn_about
from lightning_modules.render_consistency import RenderConsistency
from lightning_modules.render_consistency.view_sampling import SampledViews, ViewSampler
from renderers.pytorch3d_points import PyTorch3DRenderer
from renderers.splat import SplatRenderer
from structures.depth_kind import DepthKind

H, W = 32, 48
K = intrinsics_from_field_of_view(math.radians(60), height=H, width=W)[None].repeat(2, 1, 1)


def rays():
    x, y = pixel_grid(H, W, like=K)
    return torch.stack([(x - K[0, 0, 2]) / K[0, 0, 0], (y - K[0, 1, 2]) / K[0, 1, 1], torch.ones_like(x)])


def sphere_depth(centre_z, radius=4.0):
    """z of the inside of a sphere around a point on the optical axis, which a turn about that point does not change."""
    direction = rays()
    square, along = direction.square().sum(dim=0), centre_z
    # |d z - c|^2 = r^2 with d_z = 1
    return ((along + (along**2 - square * (centre_z**2 - radius**2)).sqrt()) / square).view(1, 1, H, W)


class SameView(ViewSampler):
    """Turns about a given point and keeps the intrinsics, so that a sphere around it looks the same."""

    pivot_z = 0.0

    def opposite(self, K, median_depth, *, yaw, pitch, shift, size):
        yaw, pitch = torch.cat([yaw, -yaw]), torch.cat([pitch, -pitch])
        R = rotation_from_yaw_pitch(yaw, pitch)
        pivot = torch.tensor([0.0, 0.0, self.pivot_z]).expand(len(R), 3)
        T = turn_about(R, pivot=pivot, translation=torch.zeros(len(R), 3))
        return SampledViews(Views(T, K.repeat(2, 1, 1)), yaw, pitch)


class Knows(nn.Module):
    """Says one depth of every picture, whatever it shows, with a constant that can be learned added to it."""

    def __init__(self, depth, shift=0.0):
        super().__init__()
        self.register_buffer("depth", depth)
        self.shift = nn.Parameter(torch.tensor(shift))
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image):
        return (self.depth + self.shift).clamp(min=1e-3).log().expand(len(image), 1, H, W) + 0 * self.norm(image).mean()


def make_module(about, shift=0.0, network=None, options_shift=0.0, **options):
    views = SameView(about, yaw_degrees=10, pitch_degrees=6, translation=0, translation_z=0)
    if about == "scene":
        views.pivot_z = 2.0
    network = Knows(sphere_depth(views.pivot_z), shift) if network is None else network
    options = {"warmup": 0.0, "ramp": 0.0, "loss_weights": {"ssi": 1.0, "forward": 1.0, "signed": 1.0}} | options
    return RenderConsistency(network=network, views=views, shift=options_shift, **options)


def make_batch(depth=None, textured=True):
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 3, H // 4, W // 4, generator=generator)
    depth = sphere_depth(0.0) if depth is None else depth
    depth = depth.expand(2, 1, H, W)
    return {
        "image": nn.functional.interpolate(image, size=(H, W), mode="bilinear")
        if textured
        else torch.zeros(2, 3, H, W),
        "depth": depth,
        "depth_mask": torch.ones(2, 1, H, W, dtype=torch.bool),
        "K": K,
        "K_known": torch.ones(2, dtype=torch.bool),
        "depth_scale_m": torch.full((2,), 10.0),
        "index": torch.arange(2),
        "name": ["a", "b"],
    }


def terms_of(module, batch=None):
    torch.manual_seed(0)
    return module.loss_terms(make_batch() if batch is None else batch)


@pytest.mark.parametrize("residual", ["relative", "spread"])
def test_a_depth_that_is_right_agrees_with_itself_when_the_camera_turns(residual):
    terms = terms_of(make_module("camera", residual=residual))
    # What is left is bilinear sampling of a curved surface; its depth has a spread of 0.14 m only.
    assert terms["forward"].item() < {"relative": 2e-4, "spread": 3e-3}[residual]
    assert terms["signed"].item() < 0.02


@pytest.mark.parametrize("shift", [-0.8, 0.8])
def test_a_shift_disagrees_and_learning_takes_it_away(shift):
    module = make_module("camera", shift)
    right, wrong = terms_of(make_module("camera")), terms_of(module)
    assert wrong["forward"] > 5 * right["forward"]
    assert wrong["signed"] > 100 * right["signed"]
    for term in ("signed", "forward"):
        (gradient,) = torch.autograd.grad(terms_of(module)[term], module.network.shift)
        assert gradient.item() * shift > 0, f"{term} pushes the shift away from zero"


def test_the_slope_has_the_sign_of_the_shift_whichever_way_the_camera_turns():
    for shift, sign in ((0.5, -1), (-0.5, 1)):
        module = make_module("camera", shift)
        batch = make_batch()
        sampled = module.views.draw(K, torch.ones(2), size=(H, W))
        views = module.novel_views(batch["image"], module.raw_depth(batch["image"]), K, sampled)
        slopes = module.signed_slopes(views)
        assert (slopes * sign > 0).all()


def test_the_scene_turned_about_its_pivot_agrees_with_itself_and_can_be_rendered_back():
    weights = {"ssi": 1.0, "forward": 1.0, "back_depth": 1.0, "back_image": 1.0}
    right = terms_of(make_module("scene", loss_weights=weights))
    wrong = terms_of(make_module("scene", 1.0, loss_weights=weights))
    assert right["forward"].item() < 5e-3
    assert right["back_depth"].item() < 1e-2
    assert right["back_image"].item() < 0.1
    assert wrong["forward"] > 2 * right["forward"]
    assert wrong["back_depth"] > 2 * right["back_depth"]


def test_both_renderers_train_alike():
    """One step with each: the loss and the direction of its gradient agree."""
    found = {}
    for name, renderer in (("splat", SplatRenderer()), ("pytorch3d", PyTorch3DRenderer())):
        torch.manual_seed(3)
        network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 3, padding=1))
        weights = {"ssi": 1.0, "forward": 1.0, "back_depth": 1.0, "back_image": 1.0}
        module = make_module("scene", network=network, renderer=renderer, loss_weights=weights)
        loss = sum(module.weighted(terms_of(module)).values())
        gradient = torch.autograd.grad(loss, list(network.parameters()))
        found[name] = loss.item(), torch.cat([part.flatten() for part in gradient])
    assert found["splat"][0] == pytest.approx(found["pytorch3d"][0], rel=0.05)
    assert torch.cosine_similarity(found["splat"][1], found["pytorch3d"][1], dim=0) > 0.9


def test_views_leave_the_running_statistics_alone_unless_they_are_to_count():
    for statistics, updates in (("running", 1), ("batch", 2)):
        module = make_module("camera", view_statistics=statistics).train()
        terms_of(module)
        assert module.network.norm.num_batches_tracked.item() == updates
        assert module.network.norm.training


def test_before_the_end_of_the_warm_up_the_consistency_terms_are_zero_and_then_they_rise(monkeypatch):
    module = make_module("camera", 0.5, warmup=0.4, ramp=0.2)
    strengths = []
    for progress in (0.0, 0.39, 0.5, 0.6, 1.0):
        monkeypatch.setattr(module, "progress", lambda progress=progress: progress)
        strengths.append(module.strength())
        terms = terms_of(module)
        assert (terms["forward"].item() > 0) == (progress >= 0.4)
        assert module.weighted(terms)["forward"].item() == pytest.approx(strengths[-1] * terms["forward"].item())
    assert strengths == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


def test_uncertainty_learns_a_factor_for_each_consistency_term_and_for_no_other():
    module = make_module("camera", 0.5, weighting="uncertainty")
    assert module.uncertainty.names == ("forward", "signed")
    terms = terms_of(module)
    weighted = module.weighted(terms)
    assert weighted["ssi"].item() == pytest.approx(terms["ssi"].item())
    sum(weighted.values()).backward()
    assert (module.uncertainty.log_variance.grad != 0).all()


def test_every_parameter_has_a_gradient_in_the_warm_up_too():
    module = make_module("camera", 0.5, weighting="uncertainty", warmup=0.5, learn_shift=True)
    sum(module.weighted(terms_of(module)).values()).backward()
    assert all(parameter.grad is not None for parameter in module.parameters() if parameter.requires_grad)


def test_truth_of_mixed_kinds_is_used_and_metres_are_not_needed():
    module = make_module("camera", loss_weights={"ssi": 1.0, "ranking": 1.0})
    batch = make_batch()
    depth = batch["depth"]
    batch |= {
        "truth": torch.stack([3 * depth[0] - 1, 2 / depth[1] + 0.3]),
        "truth_mask": batch["depth_mask"],
        "kind": torch.tensor([int(DepthKind.AFFINE_DEPTH), int(DepthKind.AFFINE_DISPARITY)]),
        "depth": torch.zeros_like(depth),
        "depth_mask": torch.zeros_like(batch["depth_mask"]),
    }
    assert terms_of(module, batch)["ssi"].item() < 1e-4


def test_the_constant_that_was_found_is_added_wherever_depth_is_asked_for():
    plain, shifted = make_module("camera"), make_module("camera", options_shift=0.5)
    image = make_batch()["image"]
    torch.testing.assert_close(shifted(image), plain(image) + 0.5)
    assert not shifted.scaled_shift.requires_grad
    assert "scaled_shift" in shifted.state_dict()


@pytest.mark.parametrize("term", ["signed", "forward"])
@pytest.mark.parametrize("lacking", [-0.6, 0.6])
def test_a_learned_constant_finds_what_the_network_lacks_and_leaves_the_network_alone(lacking, term):
    weights = {"ssi": 0.0, term: 1.0}
    module = make_module("camera", lacking, learn_shift=True, loss_weights=weights, residual="spread")
    optimizer = torch.optim.Adam([module.scaled_shift, module.network.shift], lr=3e-3)
    for _ in range(150):
        loss = sum(module.weighted(module.loss_terms(make_batch())).values())
        optimizer.zero_grad()
        loss.backward()
        assert module.network.shift.grad is None or module.network.shift.grad.item() == 0
        optimizer.step()
    assert module.shift.item() == pytest.approx(-lacking, abs=0.1)


def test_truth_in_disparity_does_not_train_the_constant():
    module = make_module("camera", learn_shift=True, loss_weights={"ssi": 1.0, "forward": 1.0}, warmup=0.5)
    batch = make_batch()
    batch |= {
        "truth": 2 / (batch["depth"] + 1),
        "truth_mask": batch["depth_mask"],
        "kind": torch.full((2,), int(DepthKind.AFFINE_DISPARITY)),
    }
    module.loss_terms(batch)["ssi"].backward()
    assert module.network.shift.grad.abs() > 0
    assert module.scaled_shift.grad is None


def test_a_constant_far_below_zero_leaves_depth_positive():
    module = make_module("camera", options_shift=-100.0)
    depth = module(make_batch()["image"])
    assert (depth > 0).all()


def test_it_reports_shape_beside_depth():
    module = make_module("camera")
    batch = make_batch() | {"plane": torch.zeros(2, H, W, dtype=torch.int64)}
    module.update_metrics("val", batch)
    values = module.stage_metrics("val")
    assert values["score"].item() == pytest.approx(0.0, abs=1e-4)
    assert values["chamfer_m"].item() == pytest.approx(0.0, abs=1e-4)
    assert values["residual_shift"].item() == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("about", ["camera", "scene"])
def test_its_pictures_show_the_view_and_the_predictions_for_it(about):
    pictures = make_module(about).eval().pictures(make_batch())
    assert {
        "image",
        "truth",
        "depth",
        "view",
        "visible",
        "warped depth",
        "predicted depth",
        "back",
        "back depth",
    } == set(pictures)
    assert all(picture.shape == (2, 3, H, W) for picture in pictures.values())
    difference = (pictures["warped depth"] - pictures["predicted depth"]).abs()[:, :, 4:-4, 8:-8]
    assert difference.mean() < 0.05


def test_smaller_views_cost_less_and_say_the_same():
    class Sized(nn.Module):
        stride = 16

        def forward(self, image):
            sphere = sphere_depth(0.0)
            resized = nn.functional.interpolate(sphere, size=image.shape[-2:], mode="bilinear", antialias=True)
            return resized.log().expand(len(image), -1, -1, -1)

    module = make_module("camera", network=Sized(), render_scale=0.5)
    assert terms_of(module)["forward"].item() < 1e-2


def test_a_scene_of_which_nothing_is_visible_gives_finite_zero_terms():
    views = ViewSampler("scene", yaw_degrees=80, smallest=1.0, pitch_degrees=0, translation=0, curriculum=0)
    module = RenderConsistency(
        network=Knows(torch.full((1, 1, H, W), 5.0)),
        views=views,
        loss_weights={"ssi": 1.0, "forward": 1.0, "back_depth": 1.0, "back_image": 1.0},
        warmup=0.0,
        ramp=0.0,
        hole_margin_px=40,
    )
    terms = terms_of(module)
    assert terms["forward"].item() == 0.0
    loss = sum(module.weighted(terms).values())
    loss.backward()
    assert torch.isfinite(module.network.shift.grad)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"loss_weights": {"ssi": 1.0, "nonsense": 1.0}}, r"'nonsense' is not known"),
        ({"loss_weights": {"ssi": 1.0, "back_image": 1.0}}, r"needs views.about: scene"),
        ({"loss_weights": {"ssi": 1.0, "back_depth": 1.0}}, r"'back_depth' needs"),
        ({"weighting": "guess"}, r"weighting is 'guess'"),
        ({"residual": "square"}, r"residual is 'square'"),
        ({"view_statistics": "none"}, r"view_statistics is 'none'"),
        ({"learn_shift": True, "loss_weights": {"ssi": 1.0}}, r"learn_shift needs one of the terms"),
        ({"warmup": 1.5}, r"warmup \(1.5\)"),
        ({"view_share": 0.0}, r"view_share \(0.0\)"),
        ({"hole_margin_px": -1}, r"hole_margin_px \(-1\)"),
    ],
)
def test_choices_that_are_none_are_refused_with_a_sentence(options, said):
    with pytest.raises(ValueError, match=said):
        make_module("camera", **options)


def test_the_normal_term_counts_samples_in_metres_with_known_intrinsics_alone():
    module = make_module("camera", shift=0.5, loss_weights={"normal": 1.0, "forward": 1.0})
    batch = make_batch()
    both = terms_of(module, batch)["normal"]
    assert both > 0
    unknown = terms_of(module, batch | {"K_known": torch.zeros(2, dtype=torch.bool)})["normal"]
    affine = terms_of(module, batch | {"depth_mask": torch.zeros_like(batch["depth_mask"])})["normal"]
    assert unknown == affine == 0
    torch.autograd.backward(unknown)  # stays in the graph
    assert "normal" not in terms_of(make_module("camera", loss_weights={"ssi": 1.0}), batch)


@pytest.mark.parametrize("about", ["camera", "scene"])
def test_inconsistency_is_zero_for_consistent_depth_and_may_be_the_score(about):
    scores = {}
    for shift in (0.0, 0.5):
        module = make_module(about, shift, select_by="inconsistency").eval()
        with torch.no_grad():
            module.update_metrics("val", make_batch(sphere_depth(module.views.pivot_z)))
        metrics = module.stage_metrics("val")
        assert metrics["score"] == metrics["inconsistency"]
        scores[shift] = float(metrics["score"])
        module.reset_metrics("val")
        assert bool(module._inconsistency("val").compute().isnan())
    assert scores[0.0] < 0.02
    assert scores[0.5] > 3 * scores[0.0]


@pytest.mark.parametrize(("progress", "later"), [(0.0, 10.0), (0.79, 10.0), (0.81, 10.0), (0.83, 0.0), (1.0, 0.0)])
def test_checkpoints_before_the_consistency_terms_are_not_chosen_over_later_ones(monkeypatch, progress, later):
    module = make_module("camera", select_by="inconsistency", warmup=0.8, ramp=0.02).eval()
    monkeypatch.setattr(module, "progress", lambda: progress)
    monkeypatch.setattr(module, "_trainer", SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.FITTING)))
    for stage, added in (("val", later), ("test", 0.0)):
        with torch.no_grad():
            module.update_metrics(stage, make_batch(sphere_depth(module.views.pivot_z)))
        metrics = module.stage_metrics(stage)
        assert metrics["score"] - metrics["inconsistency"] == pytest.approx(added)


def test_a_metric_to_select_by_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="select_by is 'chamfer', but must be 'abs_rel' or 'inconsistency'"):
        make_module("scene", select_by="chamfer")
