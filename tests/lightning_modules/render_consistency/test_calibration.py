"""Calibration of oracles: networks whose every answer is known, and whose constant is hidden."""

import math

import pytest
import torch

from geometry.camera import intrinsics_from_field_of_view, pixel_grid
from geometry.novel_views import rotation_from_yaw_pitch, turn_about
from geometry.se3 import apply_transform
from lightning_modules.render_consistency.calibration import (
    Answers,
    Disagreement,
    ask,
    bootstrap,
    comparable,
    disagreement,
    join,
    lowest_point,
    opposite_turns,
    rendered_disagreement,
    thin_out,
    trimmed_mean,
    zero_crossing,
)
from lightning_modules.render_consistency.calibration_search import Domain, find_focal, find_shift
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
    """Answers the true depth of what it sees in a view, less a hidden constant: it finds out how the camera turned.

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


def test_the_oracle_knows_the_depth_of_photos_and_views():
    image, depth = painted_rooms(K)
    torch.testing.assert_close(Oracle()(image, K), depth, rtol=1e-4, atol=1e-4)
    answers = ask(Oracle(), image, K, opposite_turns([8.0]))
    both = answers.visible
    torch.testing.assert_close((answers.carried / answers.along)[both], answers.asked[both], rtol=1e-2, atol=0)
    assert 0.6 < both.float().mean() < 0.9  # opposite views overlap in part
    assert (answers.asked > 0.2).all()  # no view looks beyond its photo


def test_turns_that_are_no_opposite_pairs_are_refused():
    image, _ = painted_rooms(K)
    with pytest.raises(ValueError, match=r"has to be by its opposite"):
        ask(Oracle(), image, K, [opposite_turns([8.0])[0], opposite_turns([6.0])[0]])


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
    """Answers the photo first, then one view a turn of the scene about its pivot, less a hidden constant."""

    def __init__(self, depth, turns, lacks):
        self.depth, self.lacks = depth, lacks
        median = depth.flatten(1).median(dim=1).values
        pivot = torch.stack([0 * median, 0 * median, median], dim=-1)
        R = [rotation_from_yaw_pitch(*(median.new_full((N,), angle) for angle in turn)) for turn in turns]
        self.motions = iter([turn_about(rotation, pivot=pivot, translation=0 * pivot) for rotation in R])
        self.asked = False

    def __call__(self, image, K):
        if not self.asked:
            self.asked = True
            return self.depth - self.lacks
        return apply_transform(next(self.motions), (image - 0.5) * 20)[:, 2:].clamp(min=0.1) - self.lacks


def test_scenes_that_turn_and_are_rendered_tell_the_constant_too():
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
    """The oracle sees true positions, so that a wrong camera turns the scene wrongly; the right one agrees best."""
    found = find_focal(domain(Oracle(), opposite_turns([8.0])), shift=0.0)
    assert found.curves.relative.shape == (11, N)
    assert found.smallest.value == pytest.approx(60, abs=4)


def test_zero_crossings_and_lowest_points_of_closed_forms():
    grid = torch.linspace(-1, 2, 31)
    assert zero_crossing(grid, 0.55 - grid) == (pytest.approx(0.55), True)
    assert zero_crossing(grid, 5 - grid) == (2.0, False)
    assert zero_crossing(grid, -5 - grid) == (-1.0, False)
    assert lowest_point(grid, (grid - 0.37).square()) == (pytest.approx(0.37, abs=1e-4), True)
    assert lowest_point(grid, grid) == (-1.0, False)


def test_the_bootstrap_interval_holds_the_value_and_shrinks_with_more_images():
    generator = torch.Generator().manual_seed(0)
    grid = torch.linspace(-1, 2, 31)
    widths = []
    for count in (20, 320):
        curves = 0.5 - grid[:, None] + 0.4 * torch.randn(count, generator=generator)
        estimate = bootstrap(grid, curves, place=zero_crossing)
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.low < 0.5 < estimate.high
        widths.append(estimate.high - estimate.low)
    # The standard error of a mean falls with the square root of the number.
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.35)


def test_the_trimmed_mean_is_scipys():
    from scipy.stats import trim_mean

    values = torch.rand(7, 43, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(trimmed_mean(values), torch.from_numpy(trim_mean(values.numpy(), 0.1, axis=1)))


def test_shifted_output_below_zero_is_left_out_and_not_compared():
    image, _ = painted_rooms(K)
    answers = ask(Oracle(), image, K, opposite_turns([8.0]))
    far_below = disagreement(answers, -100.0, output="depth")
    assert all((values == 0).all() for values in far_below)


def test_constants_that_put_scenes_behind_the_camera_are_not_tried():
    """There an image agrees for lack of anything else: the curve falls to zero, and must not have its minimum there."""
    grid = torch.linspace(-3, 3, 13)
    compared = (grid > -1.2).float()[:, None].repeat(1, 10)
    compared[:, 9] = (grid > 2).float()  # one image that can hardly be compared
    curve = torch.where(compared > 0, (grid[:, None] - 0.5).square() + 1, 0.0)
    assert lowest_point(grid, trimmed_mean(curve))[0] == -3.0
    shifts, curves = comparable(grid, Disagreement(curve, curve, curve, compared))
    assert shifts.min() == -1.0
    assert curves.spread.shape == (9, 9)
    assert lowest_point(shifts, trimmed_mean(curves.spread)) == (pytest.approx(0.5), True)
    nothing = torch.zeros(13, 10)
    with pytest.raises(ValueError, match=r"0 of 13 constants"):
        comparable(grid, Disagreement(nothing, nothing, nothing, nothing))


def test_a_constant_is_found_beside_one_that_is_below_every_depth():
    image, _ = painted_rooms(K)
    near = Domain(
        image, K, lambda picture, K_view: 0.3 * Oracle()(picture, K_view), "depth", tuple(opposite_turns([8.0]))
    )
    assert find_shift(near, unit=3 * near.unit).smallest.value == pytest.approx(0.0, abs=0.1)


def test_answers_of_batches_join_and_thin_out():
    image, _ = painted_rooms(K)
    turns = opposite_turns([8.0])
    whole = ask(Oracle(), image, K, turns)
    parts = join([ask(Oracle(), image[i : i + 1], K[i : i + 1], turns) for i in range(N)])
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one.float(), other.float())
    assert isinstance(thin_out(whole, 2), Answers)
    assert thin_out(whole, 2).asked.shape == (2, N, 1, H // 2, W // 2)


@pytest.mark.parametrize(("yaw", "pitch"), [([], []), ([50.0], []), ([0.0], [3.0])])
def test_turns_that_show_nothing_are_refused(yaw, pitch):
    with pytest.raises(ValueError, match=r"angle"):
        opposite_turns(yaw, pitch)


def test_a_bootstrap_without_images_or_of_nan_is_refused():
    grid = torch.linspace(0, 1, 3)
    with pytest.raises(ValueError, match=r"at least one is needed"):
        bootstrap(grid, torch.zeros(3, 0), place=zero_crossing)
    with pytest.raises(ValueError, match=r"must be finite"):
        bootstrap(grid, torch.full((3, 2), math.nan), place=zero_crossing)


def test_a_network_that_says_nothing_positive_has_no_unit():
    with pytest.raises(ValueError, match=r"has to be positive"):
        find_shift(domain(Oracle(lacks=1000.0)))
