"""Pair-wise normals in closed form: walls that meet at a known angle, planes that are bent."""

import math

import pytest
import torch

from geometry.camera import intrinsics_from_field_of_view, unproject
from losses.pairwise_normal import PixelTriplets, pairwise_normal_edge, pairwise_normal_plane, plane_triplets
from losses.pixel_pairs import PixelPairs

HEIGHT, WIDTH = 24, 32
K = intrinsics_from_field_of_view(1.0, height=HEIGHT, width=WIDTH).double().view(1, 3, 3)
RAYS = unproject(torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.float64), K)
EVERYWHERE = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
CENTRE = WIDTH // 2


def wall(angle: float) -> torch.Tensor:
    """Depth of a vertical wall through (0, 0, 3), turned about the vertical by an angle; 0 faces the camera."""
    return 3 / (1 + RAYS[:, :1] * math.tan(angle))


def corner(angle: float) -> torch.Tensor:
    """Two walls that meet in the middle column, each turned away by the angle: normals 2 * angle apart."""
    return torch.where(RAYS[:, :1] < 0, wall(-angle), wall(angle))


def across(count: int = 40, apart: int = 10) -> PixelPairs:
    """Pairs from the left of the middle to the right of it."""
    rows = torch.randint(3, HEIGHT - 3, (1, count), generator=torch.Generator().manual_seed(0))
    return PixelPairs(
        rows * WIDTH + CENTRE - apart // 2, rows * WIDTH + CENTRE + apart // 2, torch.ones(1, count, dtype=torch.bool)
    )


def beside(count: int = 40) -> PixelPairs:
    """Pairs that lie both on the left."""
    pairs = across(count)
    return PixelPairs(pairs.first, pairs.first - 6, pairs.valid)


def edge(prediction, target, pairs=None, **options):
    pairs = across() if pairs is None else pairs
    return pairwise_normal_edge(prediction, target=target, mask=EVERYWHERE, K=K, edge_pairs=pairs, **options).item()


def test_edge_form_is_the_difference_of_the_cosines():
    right_angle, obtuse = corner(math.radians(45)), corner(math.radians(20))
    # The truth is 0 across the corner; the prediction's normals are 40 degrees apart.
    assert edge(obtuse, right_angle, align=False) == pytest.approx(math.cos(math.radians(40)), abs=1e-9)
    flat = torch.full_like(right_angle, 3.0)
    assert edge(flat, right_angle) == pytest.approx(1, abs=1e-9)
    # A flat truth and a prediction with a crease, pairs in the group of one face.
    assert edge(obtuse, flat, align=False) == pytest.approx(1 - math.cos(math.radians(40)), abs=1e-9)
    # Truth of 40 degrees is neither: such pairs do not count as edge pairs, but do as random ones.
    assert edge(flat, obtuse, align=False) == 0
    random = pairwise_normal_edge(
        flat, target=obtuse, mask=EVERYWHERE, K=K, edge_pairs=across(), random_pairs=across(), align=False
    )
    assert random.item() == pytest.approx(1 - math.cos(math.radians(40)), abs=1e-9)


def test_edge_form_does_not_see_the_side_of_a_normal():
    # Normals 100 and 80 degrees apart: the walls meet at the same angle.
    assert edge(corner(math.radians(40)), corner(math.radians(50)), align=False) == pytest.approx(0, abs=1e-9)


def test_edge_form_averages_its_groups_apart():
    truth, prediction = corner(math.radians(45)), corner(math.radians(20))
    pairs = PixelPairs(*(torch.cat([a, b], dim=1) for a, b in zip(across(10), beside(70), strict=True)))
    # The pairs on one face are right, and their number does not dilute the others.
    assert edge(prediction, truth, pairs, align=False) == pytest.approx(math.cos(math.radians(40)), abs=1e-9)


@pytest.mark.parametrize("align", [True, False])
def test_exact_depth_has_no_edge_loss(align):
    truth = corner(math.radians(45))
    assert edge(truth, truth, align=align) == pytest.approx(0, abs=1e-9)
    assert edge(2.5 * truth, truth, align=align) == pytest.approx(0, abs=1e-9)
    shifted = edge(2.5 * truth + 1, truth, align=align)
    assert shifted == pytest.approx(0, abs=1e-9) if align else shifted > 1e-2


def triplets_of(*columns: tuple[int, int, int]) -> PixelTriplets:
    """One plane with a triplet for each choice of columns, on rows that make a proper triangle."""
    pixels = torch.tensor([[4 * WIDTH + a, 20 * WIDTH + b, 12 * WIDTH + c] for a, b, c in columns]).view(1, 1, -1, 3)
    return PixelTriplets(pixels, torch.ones(pixels.shape[:3], dtype=torch.bool))


def plane(prediction, target, triplets, mask=EVERYWHERE, **options):
    return pairwise_normal_plane(prediction, target=target, mask=mask, K=K, triplets=triplets, **options).item()


def test_plane_form_is_the_angle_to_the_mean_normal():
    # One triplet on each of two walls that were thought to be one plane: both are off the mean by half their angle.
    triplets = triplets_of((3, 3, 13), (28, 28, 19))
    assert plane(corner(math.radians(20)), wall(0), triplets, align=False) == pytest.approx(
        1 - math.cos(math.radians(20)), abs=1e-9
    )
    # With two on the right their mean normal leans to the right: (sin, 0, 3 cos) before it is normalised.
    three = triplets_of((3, 3, 13), (28, 28, 19), (27, 27, 18))
    sine, cosine = math.sin(math.radians(20)), math.cos(math.radians(20))
    left, right = (3 * cosine**2 + sign * sine**2 for sign in (-1, 1))
    expected = 1 - (left + 2 * right) / 3 / math.hypot(sine, 3 * cosine)
    assert plane(corner(math.radians(20)), wall(0), three, align=False) == pytest.approx(expected, abs=1e-9)


def test_plane_form_does_not_depend_on_the_order_of_the_points():
    triplets = triplets_of((3, 3, 13), (28, 28, 19))
    swapped = PixelTriplets(triplets.pixels[..., [1, 0, 2]], triplets.valid)
    mixed = PixelTriplets(torch.stack([triplets.pixels[:, :, 0], swapped.pixels[:, :, 1]], dim=2), triplets.valid)
    bent = corner(math.radians(20))
    assert plane(bent, wall(0), mixed) == pytest.approx(plane(bent, wall(0), triplets), abs=1e-12)


@pytest.mark.parametrize("align", [True, False])
def test_a_bent_plane_costs_and_a_flat_one_does_not(align):
    truth = wall(math.radians(30))
    triplets = plane_triplets(EVERYWHERE.long(), 200, number_of_planes=2, generator=torch.Generator().manual_seed(0))
    assert plane(truth, truth, triplets, align=align) == pytest.approx(0, abs=1e-9)
    assert plane(3 * truth, truth, triplets, align=align) == pytest.approx(0, abs=1e-9)
    bent = [plane(truth + bow * RAYS[:, :1].square(), truth, triplets, align=align) for bow in (0.0, 0.5, 1.0)]
    assert bent[0] < 1e-9 < 1e-3 < bent[1] < bent[2]
    # A shift bends what is not parallel to the image; the alignment takes it back.
    shifted = plane(truth + 2, truth, triplets, align=align)
    assert shifted == pytest.approx(0, abs=1e-9) if align else shifted > 1e-4


def test_poorly_shaped_triplets_and_what_is_not_measured_do_not_count():
    bent, flat = corner(math.radians(20)), wall(0)
    good = triplets_of((3, 3, 13), (28, 28, 19))
    line = torch.tensor([[5 * WIDTH + 3, 5 * WIDTH + 15, 6 * WIDTH + 28], [0, WIDTH, 2 * WIDTH]])
    one_pixel = torch.tensor([[5 * WIDTH + 20, 5 * WIDTH + 20, 20 * WIDTH + 20]])
    pixels = torch.cat([good.pixels[0, 0], line, one_pixel]).view(1, 1, -1, 3)
    more = PixelTriplets(pixels, torch.ones(pixels.shape[:3], dtype=torch.bool))
    expected = plane(bent, flat, good, align=False)
    assert plane(bent, flat, more, align=False) == pytest.approx(expected, abs=1e-12)
    mask = EVERYWHERE.clone()
    mask[..., 20, 28] = False
    assert plane(bent, flat, good, mask, align=False) == pytest.approx(0, abs=1e-12)  # one is left, it is its own mean
    wide = triplets_of((3, 3, 13), (3, 16, 28))
    mask = EVERYWHERE.clone()
    mask[..., 20, 16] = False
    assert plane(bent, flat, wide, align=False) > 1e-3
    assert plane(bent, flat, wide, mask, align=False) == pytest.approx(0, abs=1e-12)
    far_apart = K * torch.tensor([2000.0, 2000.0, 1.0], dtype=torch.float64).view(1, 3, 1)  # tiny angles between pixels
    near = pairwise_normal_plane(bent, target=flat, mask=EVERYWHERE, K=far_apart, triplets=good, align=False)
    assert near == 0


def test_a_predicted_triplet_without_area_does_not_count():
    collapsed = torch.zeros_like(wall(0)).requires_grad_(True)
    loss = pairwise_normal_plane(
        collapsed, target=wall(0), mask=EVERYWHERE, K=K, triplets=triplets_of((3, 3, 13), (28, 28, 19)), align=False
    )
    assert loss == 0
    (gradient,) = torch.autograd.grad(loss, collapsed)
    assert not gradient.any()


def test_triplets_are_drawn_uniformly_from_their_plane():
    planes = torch.zeros(2, 1, 4, 5, dtype=torch.int64)
    planes[0].view(-1)[[3, 8, 9, 17]] = 1
    planes[0].view(-1)[[0, 1, 2]] = 3
    planes[1].view(-1)[[5, 6]] = 2
    planes[1].view(-1)[[12, 13, 14, 15]] = 7  # more planes than wanted
    triplets = plane_triplets(planes, 3000, number_of_planes=3, generator=torch.Generator().manual_seed(0))
    assert triplets.pixels.shape == (2, 3, 3000, 3)
    counts = triplets.pixels[0, 0].flatten().bincount(minlength=20)
    assert counts.nonzero().flatten().tolist() == [3, 8, 9, 17]
    assert (counts[counts > 0] - 2250).abs().max() < 200
    assert set(triplets.pixels[0, 2].flatten().tolist()) == {0, 1, 2}
    assert triplets.valid[0, 0].float().mean().item() == pytest.approx(3 / 4 * 2 / 4, abs=0.04)
    assert not triplets.valid[0, 1].any()  # no such plane
    assert not triplets.valid[1].any()  # two pixels make no triplet
    with pytest.raises(ValueError, match=r"planes are torch\.bool"):
        plane_triplets(planes > 0, 1, number_of_planes=1)
    with pytest.raises(ValueError, match="count is 0"):
        plane_triplets(planes, 0, number_of_planes=1)


def forms():
    labels = torch.ones(2, 1, HEIGHT, WIDTH, dtype=torch.int64)
    triplets = plane_triplets(labels, 40, number_of_planes=1, generator=torch.Generator().manual_seed(1))
    pairs = PixelPairs(*(f.expand(2, -1) for f in across()))
    camera = K.expand(2, 3, 3)
    return {
        "edge": lambda p, g, m: pairwise_normal_edge(
            p, target=g, mask=m, K=camera.to(p.dtype), edge_pairs=pairs, random_pairs=pairs
        ),
        "plane": lambda p, g, m: pairwise_normal_plane(p, target=g, mask=m, K=camera.to(p.dtype), triplets=triplets),
    }


def noisy(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(2, 1, HEIGHT, WIDTH, generator=generator, dtype=torch.float64)
    return corner(math.radians(45)) + 0.02 * noise


@pytest.mark.parametrize("form", forms())
def test_gradcheck(form):
    prediction, target = noisy(0), noisy(1)
    mask = EVERYWHERE.expand(2, -1, -1, -1)
    direction = noisy(2) - noisy(3)

    # Along one direction: the full Jacobian of an image would take long.
    def loss(step):
        return forms()[form](prediction + step * direction, target, mask)

    assert torch.autograd.gradcheck(loss, torch.zeros((), dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("form", forms())
def test_what_is_not_measured_reaches_neither_value_nor_gradient(form):
    prediction, target = noisy(0), noisy(1)
    mask = EVERYWHERE.repeat(2, 1, 1, 1)
    mask[0, :, 5:9, 4:15] = False
    results = []
    for value in (1.0, float("nan"), 0.0):
        p = prediction.masked_fill(~mask, value).requires_grad_(True)
        loss = forms()[form](p, target.masked_fill(~mask, value), mask)
        (gradient,) = torch.autograd.grad(loss, p)
        assert gradient.isfinite().all()
        assert not gradient[~mask].any()
        results.append((loss, gradient))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0)


@pytest.mark.parametrize("form", forms())
def test_an_empty_mask_or_a_constant_prediction_has_a_finite_gradient(form):
    target = noisy(1)
    for prediction, mask in ((noisy(0), ~EVERYWHERE), (torch.ones_like(target), EVERYWHERE)):
        prediction = prediction.requires_grad_(True)
        loss = forms()[form](prediction, target, mask.expand(2, -1, -1, -1))
        (gradient,) = torch.autograd.grad(loss, prediction)
        assert gradient.isfinite().all()
        if not mask.any():
            assert loss == 0
            assert not gradient.any()


@pytest.mark.parametrize("form", forms())
def test_half_precision_is_computed_in_float32(form):
    prediction, target = noisy(0).bfloat16(), noisy(1).bfloat16()
    mask = EVERYWHERE.expand(2, -1, -1, -1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = forms()[form](prediction.float(), target, mask)
    assert loss.dtype is torch.float32
    assert loss == forms()[form](prediction.float(), target.float(), mask)
