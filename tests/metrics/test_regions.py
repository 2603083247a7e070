"""Sums over the regions of maps of ids against loops over images and ids."""

import pytest
import torch

from metrics.regions import find_regions

IDS = torch.tensor([[[1, 1, 2], [0, 2, 2]], [[1, 7, 7], [7, 0, 1]]])
MASK = torch.tensor([[[1, 1, 1], [1, 0, 1]], [[1, 1, 1], [1, 1, 1]]]).bool().unsqueeze(1)


def test_regions_are_numbered_by_image_and_id():
    found = find_regions(IDS, MASK, min_pixels=2)
    assert found.image.tolist() == [0, 0, 1, 1]
    assert found.ids.tolist() == [1, 2, 1, 7]
    assert found.n_pixels.tolist() == [2, 2, 2, 3]  # a pixel outside the mask does not count
    assert found.number.view(2, 2, 3).tolist() == [[[0, 0, 1], [4, 4, 1]], [[2, 3, 3], [3, 4, 2]]]


def test_small_regions_are_left_out():
    found = find_regions(IDS, MASK, min_pixels=3)
    assert (found.image.tolist(), found.ids.tolist()) == ([1], [7])
    assert found.number.view(2, 2, 3).tolist() == [[[1] * 3] * 2, [[1, 0, 0], [0, 1, 1]]]


def test_sums_means_and_the_way_back_equal_a_loop():
    values = torch.randn(12, 2, dtype=torch.float64)
    found = find_regions(IDS, MASK, min_pixels=1)
    image = torch.arange(2).repeat_interleave(6)
    spread = torch.zeros_like(values)
    for number, (b, k) in enumerate(zip(found.image.tolist(), found.ids.tolist(), strict=True)):
        inside = (image == b) & (IDS.flatten() == k) & MASK.flatten()
        torch.testing.assert_close(found.sums(values)[number], values[inside].sum(dim=0))
        torch.testing.assert_close(found.means(values)[number], values[inside].mean(dim=0))
        spread[inside] = values[inside].mean(dim=0)
    torch.testing.assert_close(found.at_pixels(found.means(values)), spread)
    totals = found.per_image(found.sums(values), 2)
    for b in range(2):
        torch.testing.assert_close(totals[b], values[(image == b) & (IDS.flatten() > 0) & MASK.flatten()].sum(dim=0))


@pytest.mark.parametrize(
    ("ids", "min_pixels", "message"),
    [
        (IDS.int(), 1, "torch.int32 of shape"),
        (IDS[:, :1], 1, r"shape \(2, 1, 3\), but torch.int64 \(2, 2, 3\)"),
        (IDS, 0, "min_pixels is 0"),
        (-IDS, 1, "id -7, but ids begin at 1"),
    ],
)
def test_bad_maps_are_named(ids, min_pixels, message):
    with pytest.raises(ValueError, match=message):
        find_regions(ids, MASK, min_pixels=min_pixels)
