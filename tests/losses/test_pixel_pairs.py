"""Sampling of pairs: where they lie, how often, and that a seed repeats them."""

import numpy as np
import pytest
import torch
from scipy.ndimage import sobel

from losses.pixel_pairs import PixelPairs, edge_pairs, image_gradient, join, pixels_by_rank, random_pairs, values_at


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_values_at_pixels():
    values = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    taken = values_at(values, torch.tensor([[7, 0], [19, 5]]))
    assert torch.equal(taken[0, :, 0], values[0, :, 1, 2])
    assert torch.equal(taken[1, :, 1], values[1, :, 1, 0])


def test_positions_are_ranks_among_the_masked_pixels():
    mask = torch.zeros(2, 1, 3, 4, dtype=torch.bool)
    mask[0].view(-1)[[1, 4, 5, 11]] = True
    position = torch.tensor([[0.0, 0.24, 0.25, 0.5, 0.75, 0.9999999]]).expand(2, -1)
    assert pixels_by_rank(mask, position).tolist() == [[1, 1, 4, 5, 11, 11], [0] * 6]


def test_random_pairs_are_uniform_inside_the_mask():
    mask = torch.zeros(3, 1, 4, 5, dtype=torch.bool)
    mask[0].view(-1)[[2, 3, 10, 19]] = True
    mask[1].view(-1)[7] = True
    pairs = random_pairs(mask, 4000, generator=seeded())
    for side in (pairs.first, pairs.second):
        counts = side[0].bincount(minlength=20)
        assert set(counts.nonzero().flatten().tolist()) == {2, 3, 10, 19}
        assert (counts[counts > 0] - 1000).abs().max() < 120  # over four deviations
    assert torch.equal(pairs.valid[0], pairs.first[0] != pairs.second[0])
    assert not pairs.valid[1:].any()  # one pixel makes no pair, none even less


def test_a_seed_repeats_the_pairs():
    image, mask = torch.rand(2, 3, 20, 24, generator=seeded(5)), torch.ones(2, 1, 20, 24, dtype=torch.bool)
    for draw in (
        lambda g: random_pairs(mask, 30, generator=g),
        lambda g: edge_pairs(image, 30, mask=mask, farthest=8, generator=g),
    ):
        first, again, other = draw(seeded(1)), draw(seeded(1)), draw(seeded(2))
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert not torch.equal(first.first, other.first)


@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.0, 1.0), (0.6, 0.8), (-0.6, 0.8)])
def test_edge_pairs_run_across_a_straight_edge(direction):
    # A straight step through the middle: the dark side has a negative signed distance to it.
    height, width = 61, 71
    y, x = torch.meshgrid(torch.arange(height) - 30.0, torch.arange(width) - 35.0, indexing="ij")
    distance = direction[0] * x + direction[1] * y
    image = (distance > 0).float().expand(1, 3, -1, -1)
    mask = torch.ones(1, 1, height, width, dtype=torch.bool)
    pairs = edge_pairs(image, 400, mask=mask, nearest=3, farthest=7, generator=seeded())
    assert pairs.first.shape == (1, 1200)

    def side(pixels):
        return values_at(distance.view(1, 1, height, width), pixels).view(3, 400)

    inside = pairs.valid.view(3, 400).all(dim=0)
    inside &= ((pairs.first.view(3, 400) % width - 35).abs() < 25).all(dim=0)
    inside &= ((pairs.first.view(3, 400) // width - 30).abs() < 20).all(dim=0)
    a, b, c = side(pairs.first)[:, inside]
    _, _, d = side(pairs.second)[:, inside]
    assert inside.sum() > 50
    assert max(a.max(), b.max()) < 0 < min(c.min(), d.min())
    for point in (a, b, c, d):
        # 3 to 7 pixels from an anchor that is at most 1.5 pixels from the edge, each rounded to a pixel.
        assert point.abs().min() >= 3 - 2.5
        assert point.abs().max() <= 7 + 2.5


def test_image_gradient_equals_scipy_inside_and_is_zero_on_the_border():
    image = torch.rand(2, 3, 12, 15, generator=seeded(7), dtype=torch.float64)
    right, down = image_gradient(image)
    for i in range(2):
        grey = image[i].mean(dim=0).numpy()
        for ours, axis in ((right, 1), (down, 0)):
            expected = np.zeros_like(grey)
            expected[1:-1, 1:-1] = sobel(grey, axis=axis)[1:-1, 1:-1]
            np.testing.assert_allclose(ours[i, 0], expected, atol=1e-12)
    for size in ((2, 9), (9, 1)):
        assert not torch.stack(image_gradient(torch.rand(1, 3, *size))).any()


def test_no_anchor_lies_on_the_border():
    # The only contrast is that of the outermost columns and rows with their neighbours.
    image = torch.zeros(1, 1, 9, 11)
    image[..., 0], image[..., -1, :] = 1, 1
    everywhere = torch.ones(1, 1, 9, 11, dtype=torch.bool)
    right, down = image_gradient(image)
    assert right[0, 0, 4].tolist() == [0, -4, *[0] * 9]
    assert down[0, 0, :, 5].tolist() == [*[0] * 7, 4, 0]
    inside = torch.zeros_like(everywhere)
    inside[..., 1:-1, 1:-1] = True
    assert not edge_pairs(image, 20, mask=everywhere, exclude=inside, generator=seeded()).valid.any()


def test_edge_pairs_are_where_edges_and_measurements_are():
    image = torch.zeros(3, 1, 20, 30)
    image[:2, ..., 10:] = 1  # the third image has no edge
    image[0, :, 15:, 20] = 0.95  # too weak to count
    mask = torch.ones(3, 1, 20, 30, dtype=torch.bool)
    mask[1, ..., 12:] = False
    pairs = edge_pairs(image, 200, mask=mask, nearest=2, farthest=4, generator=seeded())
    assert not pairs.valid[2].any()
    valid = pairs.valid[1]
    assert valid.any()
    assert not valid.all()
    assert (pairs.first[1][valid] % 30 < 12).all()
    assert (pairs.second[1][valid] % 30 < 12).all()
    columns = pairs.first[0] % 30
    assert columns.min() >= 9 - 4
    assert columns.max() <= 10 + 4
    everything = torch.ones_like(mask)
    assert not edge_pairs(image, 20, mask=mask, exclude=everything, generator=seeded()).valid.any()


def test_points_stay_in_the_image():
    image = torch.rand(2, 3, 9, 11, generator=seeded(3))
    pairs = edge_pairs(image, 500, mask=torch.ones(2, 1, 9, 11, dtype=torch.bool), generator=seeded())
    for pixel in (pairs.first, pairs.second):
        assert pixel.min() >= 0
        assert pixel.max() < 99
    assert (pairs.first != pairs.second)[pairs.valid].all()


def test_joined_pairs_stay_with_their_image():
    one = PixelPairs(*(torch.tensor([[1], [2]]) for _ in range(2)), torch.tensor([[True], [False]]))
    two = PixelPairs(*(torch.tensor([[3, 4], [5, 6]]) for _ in range(2)), torch.ones(2, 2, dtype=torch.bool))
    joined = join(one, two)
    assert joined.first.tolist() == [[1, 3, 4], [2, 5, 6]]
    assert joined.valid.tolist() == [[True, True, True], [False, True, True]]


def test_bad_arguments_are_refused():
    image, mask = torch.rand(1, 3, 9, 11), torch.ones(1, 1, 9, 11, dtype=torch.bool)
    with pytest.raises(ValueError, match="number of pairs is 0"):
        random_pairs(mask, 0)
    with pytest.raises(ValueError, match="number of anchors is 0"):
        edge_pairs(image, 0, mask=mask)
    with pytest.raises(ValueError, match="distances are 5 to 4"):
        edge_pairs(image, 1, mask=mask, nearest=5, farthest=4)
    with pytest.raises(ValueError, match="edge_fraction is 0"):
        edge_pairs(image, 1, mask=mask, edge_fraction=0)
    with pytest.raises(ValueError, match="image and mask have the shapes"):
        edge_pairs(image, 1, mask=mask[..., 1:])
