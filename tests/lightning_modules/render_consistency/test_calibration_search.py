"""Calibration of oracles: networks with known predictions and a hidden constant."""

import math

import pytest
import torch

from geometry.camera import intrinsics_from_field_of_view, pixel_grid
from geometry.novel_views import rotation_from_yaw_pitch, turn_about
from geometry.se3 import apply_transform
from lightning_modules.render_consistency.calibration_search import Domain, find_focal, find_shift
from lightning_modules.render_consistency.calibration_views import (
    ViewPredictions,
    concatenate,
    opposite_turns,
    predict_views,
    subsample,
)
from lightning_modules.render_consistency.curve_estimates import lowest_point, trimmed_mean
from lightning_modules.render_consistency.disagreement import (
    Disagreement,
    comparable_part,
    disagreement,
    rendered_disagreement,
)
from renderers.splat import SplatRenderer

H, W, N = 48, 64, 3
K = intrinsics_from_field_of_view(math.radians(60), height=H, width=W)[None].repeat(N, 1, 1)


def painted_rooms(K):
    """Pictures whose three colours are the 3-D position of each point over 10 m: slanted walls, another for each."""
    x, y = pixel_grid(H, W, like=K)
    rays = torch.stack([(x - K[0, 0, 2]) / K[0, 0, 0], (y - K[0, 1, 2]) / K[0, 1, 1], torch.ones_like(x)])
    pictures, depths = [], []
    for index in range(len(K)):
        normal = torch.tensor([0.5 - 0.4 * index, 0.2 * index - 0.2, 1.0])
        depth = 3.0 / (normal.view(3, 1, 1) * rays).sum(dim=0)
        pictures.append(depth * rays / 20 + 0.5)
        depths.append(depth)
    return torch.stack(pictures), torch.stack(depths).unsqueeze(1)


class Oracle:
    """Predicts the true depth of a view less a hidden constant, from the rotation of the camera that the colours give.

    The colours give the points in the source's frame; the rays of the view's pixels give their directions in the
    view's. The rotation between the two is the least-squares one (Kabsch).
    """

    def __init__(self, *, lacks=0.0, kind="depth", true_K=K):
        self.lacks, self.kind, self.true_K = lacks, kind, true_K

    def __call__(self, image, K_view):
        points = (image - 0.5) * 20
        distance = points.norm(dim=1, keepdim=True)
        x, y = pixel_grid(image.shape[-2], image.shape[-1], like=K_view)
        K_view = K_view.view(-1, 3, 3)
        rays = torch.stack(
            [
                (x - K_view[:, 0, 2, None, None]) / K_view[:, 0, 0, None, None],
                (y - K_view[:, 1, 2, None, None]) / K_view[:, 1, 1, None, None],
                torch.ones(len(image), *x.shape),
            ],
            dim=1,
        )
        directions = rays / rays.norm(dim=1, keepdim=True)
        covariance = torch.einsum("bihw,bjhw->bij", directions, points / distance)
        U, _, V = torch.linalg.svd(covariance.double())
        sign = torch.linalg.det(U @ V)
        R = U @ torch.diag_embed(torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], -1)) @ V
        depth = torch.einsum("bj,bjhw->bhw", R[:, 2].float(), points).unsqueeze(1).clamp(min=0.1)
        return (depth if self.kind == "depth" else 1 / depth) - self.lacks


def domain(oracle, turns=None):
    image, _ = painted_rooms(K)
    return Domain(image, K, oracle, oracle.kind, tuple(opposite_turns([8.0], [5.0]) if turns is None else turns))


def test_the_oracle_predicts_the_depth_of_photos_and_views():
    image, depth = painted_rooms(K)
    torch.testing.assert_close(Oracle()(image, K), depth, rtol=1e-4, atol=1e-4)
    predictions = predict_views(Oracle(), image, K, opposite_turns([8.0]))
    both = predictions.visible
    torch.testing.assert_close(
        (predictions.warped / predictions.z_ratio)[both], predictions.predicted[both], rtol=1e-2, atol=0
    )
    assert 0.6 < both.float().mean() < 0.9  # opposite views overlap in part
    assert (predictions.predicted > 0.2).all()  # no view looks beyond its photo


def test_turns_that_are_no_opposite_pairs_are_refused():
    image, _ = painted_rooms(K)
    with pytest.raises(ValueError, match=r"must be followed by its opposite"):
        predict_views(Oracle(), image, K, [opposite_turns([8.0])[0], opposite_turns([6.0])[0]])


@pytest.mark.parametrize("lacks", [-0.8, 0.0, 0.9])
def test_the_hidden_constant_of_depth_is_found(lacks):
    found = find_shift(domain(Oracle(lacks=lacks)))
    assert found.signed.value == pytest.approx(lacks, abs=0.03)
    assert found.smallest.value == pytest.approx(lacks, abs=0.08)
    assert found.signed.found


@pytest.mark.parametrize("lacks", [-0.15, 0.12])
def test_the_hidden_constant_of_disparity_is_found(lacks):
    found = find_shift(domain(Oracle(lacks=lacks, kind="disparity")))
    assert found.signed.value == pytest.approx(lacks, abs=0.01)


class KnowsTheTurns:
    """Predicts the photo first, then one view for each turn of the scene about its pivot, less a hidden constant."""

    def __init__(self, depth, turns, lacks):
        self.depth, self.lacks = depth, lacks
        median = depth.flatten(1).median(dim=1).values
        pivot = torch.stack([0 * median, 0 * median, median], dim=-1)
        R = [rotation_from_yaw_pitch(*(median.new_full((N,), angle) for angle in turn)) for turn in turns]
        self.motions = iter([turn_about(rotation, pivot=pivot, translation=0 * pivot) for rotation in R])
        self.photo_done = False

    def __call__(self, image, K):
        if not self.photo_done:
            self.photo_done = True
            return self.depth - self.lacks
        return apply_transform(next(self.motions), (image - 0.5) * 20)[:, 2:].clamp(min=0.1) - self.lacks


def test_scenes_that_turn_and_are_rendered_give_the_constant_too():
    image, depth = painted_rooms(K)
    turns = opposite_turns([8.0])

    def found(shift):
        return rendered_disagreement(
            KnowsTheTurns(depth, turns, 0.6), SplatRenderer("bilinear"), image, K, turns, shift, output="depth"
        )

    right, above, below = (found(shift) for shift in (0.6, 1.4, -0.2))
    assert right.relative.mean().item() < 2e-3
    assert min(above.relative.mean().item(), below.relative.mean().item()) > 3 * right.relative.mean().item()
    assert above.slope.mean() < -5 * right.slope.mean().abs()
    assert below.slope.mean() > 5 * right.slope.mean().abs()


def test_the_field_of_view_is_found_where_the_oracle_is_exact():
    """The oracle uses true positions, so that a wrong camera rotates the scene wrongly; the right one agrees best."""
    found = find_focal(domain(Oracle(), opposite_turns([8.0])), shift=0.0)
    assert found.curves.relative.shape == (11, N)
    assert found.smallest.value == pytest.approx(60, abs=4)


def test_shifted_output_below_zero_is_left_out_and_not_compared():
    image, _ = painted_rooms(K)
    predictions = predict_views(Oracle(), image, K, opposite_turns([8.0]))
    far_below = disagreement(predictions, -100.0, output="depth")
    assert all((values == 0).all() for values in far_below)


def test_constants_that_put_scenes_behind_the_camera_are_not_tried():
    """There the few pixels left agree trivially: the curve falls to zero, and must not have its minimum there."""
    grid = torch.linspace(-3, 3, 13)
    compared = (grid > -1.2).float()[:, None].repeat(1, 10)
    compared[:, 9] = (grid > 2).float()  # one image that can hardly be compared
    curve = torch.where(compared > 0, (grid[:, None] - 0.5).square() + 1, 0.0)
    assert lowest_point(grid, trimmed_mean(curve))[0] == -3.0
    shifts, curves = comparable_part(grid, Disagreement(curve, curve, curve, compared))
    assert shifts.min() == -1.0
    assert curves.spread.shape == (9, 9)
    assert lowest_point(shifts, trimmed_mean(curves.spread)) == (pytest.approx(0.5), True)
    nothing = torch.zeros(13, 10)
    with pytest.raises(ValueError, match=r"0 of 13 constants"):
        comparable_part(grid, Disagreement(nothing, nothing, nothing, nothing))


def test_a_constant_is_found_beside_one_that_is_below_every_depth():
    image, _ = painted_rooms(K)
    near = Domain(
        image, K, lambda picture, K_view: 0.3 * Oracle()(picture, K_view), "depth", tuple(opposite_turns([8.0]))
    )
    assert find_shift(near, unit=3 * near.unit).smallest.value == pytest.approx(0.0, abs=0.1)


def test_predictions_of_batches_are_concatenated_and_subsampled():
    image, _ = painted_rooms(K)
    turns = opposite_turns([8.0])
    whole = predict_views(Oracle(), image, K, turns)
    parts = concatenate([predict_views(Oracle(), image[i : i + 1], K[i : i + 1], turns) for i in range(N)])
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one.float(), other.float())
    assert isinstance(subsample(whole, 2), ViewPredictions)
    assert subsample(whole, 2).predicted.shape == (2, N, 1, H // 2, W // 2)


@pytest.mark.parametrize(("yaw", "pitch"), [([], []), ([50.0], []), ([0.0], [3.0])])
def test_turns_that_show_nothing_are_refused(yaw, pitch):
    with pytest.raises(ValueError, match=r"angle"):
        opposite_turns(yaw, pitch)


def test_a_network_without_positive_output_has_no_unit():
    with pytest.raises(ValueError, match=r"must be positive"):
        find_shift(domain(Oracle(lacks=1000.0)))
