"""Pairs of one plane: exact planes seen by a camera, edges between them, and a loop over pairs."""

import math

import pytest
import torch
from torch import Tensor

from geometry.boxes import NEIGHBOUR_OFFSETS
from losses.pairwise_affinity import depth_similarity
from losses.plane_affinity import plane_similarity

SCALE = math.log(2) / 0.005  # with the threshold 0.5: an error below 0.005
HEIGHT, WIDTH = 12, 16


def inverse_depth_of_plane(normal: tuple[float, float, float], distance: float) -> Tensor:
    """``(1, 1, h, w)`` inverse depth of a plane ``normal . point = distance`` in a pinhole camera of 60 degrees."""
    focal = WIDTH / 2 / math.tan(math.radians(30))
    v, u = torch.meshgrid(torch.arange(HEIGHT) + 0.5, torch.arange(WIDTH) + 0.5, indexing="ij")
    x, y = (u - WIDTH / 2) / focal, (v - HEIGHT / 2) / focal
    unit = torch.nn.functional.normalize(torch.tensor(normal), dim=0)
    return ((unit[0] * x + unit[1] * y + unit[2]) / distance).view(1, 1, HEIGHT, WIDTH)


def comparable(dilation: int = 2) -> Tensor:
    """bool ``(1, 8, h, w)``: the neighbour lies inside the image, and the pixel behind one of both ends, too."""
    result = torch.zeros(1, len(NEIGHBOUR_OFFSETS), HEIGHT, WIDTH, dtype=torch.bool)

    def inside(y: int, x: int) -> bool:
        return 0 <= y < HEIGHT and 0 <= x < WIDTH

    for i, (dy, dx) in enumerate(NEIGHBOUR_OFFSETS):
        for y in range(HEIGHT):
            for x in range(WIDTH):
                v, u = y + dilation * dy, x + dilation * dx
                result[0, i, y, x] = inside(v, u) and (inside(y - dy, x - dx) or inside(v + dy, u + dx))
    return result


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (0.0, 0.9, 0.4), (0.8, -0.3, 0.5)])
def test_all_pairs_of_a_plane_are_alike_however_much_it_slopes(
    normal: tuple[float, float, float], dilation: int
) -> None:
    depth = inverse_depth_of_plane(normal, 1.0)
    alike = plane_similarity(depth, depth_scale=SCALE, dilation=dilation)
    torch.testing.assert_close(alike, comparable(dilation).float(), atol=1e-3, rtol=0)
    if normal[2] < 1:  # differences of depth reject pairs of the same plane
        assert (depth_similarity(depth, depth_scale=SCALE, dilation=dilation) > 0.5).float().mean() < 0.7


def test_pairs_across_an_edge_between_two_planes_are_told_apart() -> None:
    """A box stands on a floor: where they touch there is no step of depth, only a fold."""
    floor, front = inverse_depth_of_plane((0.0, 0.9, 0.4), 1.0), torch.full((1, 1, HEIGHT, WIDTH), 0.45)
    depth = torch.maximum(floor, front)
    on_floor = floor > front
    alike = plane_similarity(depth, depth_scale=SCALE) > 0.5
    for i, (dy, dx) in enumerate(NEIGHBOUR_OFFSETS):
        here = comparable()[0, i]
        there = on_floor[0, 0].roll((-2 * dy, -2 * dx), dims=(0, 1))
        crosses = here & (there != on_floor[0, 0])
        assert crosses.any() == (dy != 0)
        assert not alike[0, i][crosses].any()


def slow_similarity(depth: Tensor, mask: Tensor, dilation: int) -> Tensor:
    """The formula of the docstring, pair by pair."""
    result = torch.zeros(len(depth), 8, HEIGHT, WIDTH)

    def value(b: int, y: int, x: int) -> float | None:
        inside = 0 <= y < HEIGHT and 0 <= x < WIDTH
        return float(depth[b, 0, y, x]) if inside and mask[b, 0, y, x] else None

    for b in range(len(depth)):
        for i, (dy, dx) in enumerate(NEIGHBOUR_OFFSETS):
            for y in range(HEIGHT):
                for x in range(WIDTH):
                    v, u = y + dilation * dy, x + dilation * dx
                    ends = value(b, y, x), value(b, v, u)
                    if None in ends:
                        continue
                    behind = value(b, y - dy, x - dx), value(b, v + dy, u + dx)
                    errors = [
                        abs(ends[k] + dilation * (ends[k] - behind[k]) - ends[1 - k])
                        for k in (0, 1)
                        if behind[k] is not None
                    ]
                    if errors:
                        result[b, i, y, x] = math.exp(-3.0 * max(errors))
    return result


@pytest.mark.parametrize("dilation", [1, 2])
def test_similarity_equals_a_loop_over_pairs(dilation: int) -> None:
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(2, 1, HEIGHT, WIDTH, generator=generator)
    mask = torch.rand(2, 1, HEIGHT, WIDTH, generator=generator) < 0.8
    found = plane_similarity(depth, depth_scale=3.0, depth_mask=mask, dilation=dilation)
    torch.testing.assert_close(found, slow_similarity(depth, mask, dilation))
    assert 0.3 < (found > 0).float().mean() < 0.9


def test_noise_leaves_nothing_alike() -> None:
    noisy = inverse_depth_of_plane((0.0, 0.9, 0.4), 1.0)
    noisy = noisy + 0.05 * torch.randn(noisy.shape, generator=torch.Generator().manual_seed(0))
    assert (plane_similarity(noisy, depth_scale=SCALE) > 0.5).float().mean() < 0.05


def test_bad_input_is_named() -> None:
    depth = torch.rand(1, 1, HEIGHT, WIDTH)
    with pytest.raises(ValueError, match="depth_scale is 0"):
        plane_similarity(depth, depth_scale=0)
    with pytest.raises(ValueError, match=r"shape \(12, 16\), but \(B, 1, h, w\)"):
        plane_similarity(depth[0, 0], depth_scale=1)
    with pytest.raises(ValueError, match=r"depth_mask is torch\.float32"):
        plane_similarity(depth, depth_scale=1, depth_mask=depth)
