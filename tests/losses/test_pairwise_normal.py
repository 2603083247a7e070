"""The pair-wise normal loss in closed form, on walls that meet at a known angle."""

import math

import pytest
import torch

from geometry.camera import intrinsics_from_field_of_view, unproject
from losses.pairwise_normal import normal_edge_pairs, pairwise_normal, pairwise_normal_edge
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
        flat, target=obtuse, mask=EVERYWHERE, K=K, edge_pairs=across(), other_pairs=across(), align=False
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


def drawn(image, target, prediction, mask=EVERYWHERE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return pairwise_normal(
        prediction, target=target, mask=mask, K=K, image=image, anchors=200, generator=generator
    ).item()


PLAIN = torch.full((1, 3, HEIGHT, WIDTH), 0.5, dtype=torch.float64)


def test_drawn_pairs_find_a_corner_without_texture():
    truth = corner(math.radians(45))
    pairs = normal_edge_pairs(PLAIN, target=truth, mask=EVERYWHERE, K=K, anchors=100)
    left = (pairs.first % WIDTH < CENTRE) != (pairs.second % WIDTH < CENTRE)
    # One of the three pairs of an anchor crosses the corner. The image has no edges and gives no pairs.
    assert not pairs.valid[:, :300].any()
    assert (left & pairs.valid)[:, 300:].sum() >= 95


@pytest.mark.parametrize("angle", [20.0, 30.0])
def test_the_loss_of_drawn_pairs_is_zero_for_affine_depth_and_falls_with_the_angle(angle):
    truth = corner(math.radians(45))
    assert drawn(PLAIN, truth, truth) == pytest.approx(0, abs=1e-9)
    assert drawn(PLAIN, truth, 0.3 * truth + 2) == pytest.approx(0, abs=1e-9)
    flat, blunt, near = (drawn(PLAIN, truth, corner(math.radians(a))) for a in (5.0, angle, 40.0))
    assert flat > blunt > near > 0.01


def test_an_image_edge_on_a_flat_wall_keeps_the_wall_flat():
    painted = PLAIN.clone()
    painted[..., CENTRE:] = 0.9
    flat, creased = wall(0.4), torch.where(RAYS[:, :1] < 0, wall(0.1), wall(0.7))
    assert drawn(painted, flat, flat) == pytest.approx(0, abs=1e-9)
    assert drawn(painted, flat, creased) > 0.05


def test_pairs_keep_away_from_depth_discontinuities():
    step = torch.where(RAYS[:, :1] < 0, 2.0, 4.0)
    painted = PLAIN.clone()
    painted[..., CENTRE:] = 0.9
    pairs = normal_edge_pairs(painted, target=step, mask=EVERYWHERE, K=K, anchors=50)
    assert not pairs.valid.any()


def forms():
    pairs = PixelPairs(*(f.expand(2, -1) for f in across()))
    camera = K.expand(2, 3, 3)
    image = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    return {
        "given pairs": lambda p, g, m: pairwise_normal_edge(
            p, target=g, mask=m, K=camera.to(p.dtype), edge_pairs=pairs, other_pairs=pairs
        ),
        "drawn pairs": lambda p, g, m: pairwise_normal(
            p,
            target=g,
            mask=m,
            K=camera.to(p.dtype),
            image=image,
            anchors=30,
            generator=torch.Generator().manual_seed(2),
        ),
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
