"""FCOS targets against the released code and against loops over locations and instances."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from geometry.boxes import box_masks, pixel_locations
from losses.fcos_targets import assign, centerness, mask_centres, raster_centres, select_for_masks

GOLDEN = Path(__file__).parents[1] / "golden"
SIZES = (64.0, 128.0, 256.0, 512.0)


@pytest.fixture
def golden():
    with np.load(GOLDEN / "fcos_targets.npz") as data:
        return {name: torch.from_numpy(data[name]) for name in data}


def make_locations(level_hw, strides, sizes=SIZES):
    """Locations, stride and range of every location."""
    bounds = [-1.0, *sizes[: len(strides) - 1], math.inf]
    places, stride, ranges = [], [], []
    for level, (size, s) in enumerate(zip(level_hw, strides, strict=True)):
        places.append(pixel_locations(tuple(size), s))
        stride += [float(s)] * len(places[-1])
        ranges += [bounds[level : level + 2]] * len(places[-1])
    return {"locations": torch.cat(places), "strides": torch.tensor(stride), "size_ranges": torch.tensor(ranges)}


def make_batch(seed=0, count=9):
    """Boxes of two images of 96x128 with coordinates between the pixels, some padded, and small levels."""
    generator = torch.Generator().manual_seed(seed)
    limit = torch.tensor([128.0, 96.0])
    first = torch.rand(2, count, 2, generator=generator) * limit
    second = torch.rand(2, count, 2, generator=generator) * limit
    boxes = torch.cat((torch.minimum(first, second), torch.maximum(first, second)), dim=-1)
    labels = torch.randint(1, 5, (2, count), generator=generator)
    labels[1, 4:6] = 0
    grid = make_locations(((12, 16), (6, 8), (3, 4)), (8, 16, 32), (24.0, 48.0))
    return grid, boxes, labels


def one_by_one(grid, boxes, labels, centres, radius):
    """What `assign` should say, location by location."""
    batch, count = boxes.shape[0], len(grid["locations"])
    found = torch.full((batch, count), -1)
    for b in range(batch):
        for i, ((x, y), stride, (low, high)) in enumerate(
            zip(grid["locations"].tolist(), grid["strides"].tolist(), grid["size_ranges"].tolist(), strict=True)
        ):
            best = math.inf
            for n, (x1, y1, x2, y2) in enumerate(boxes[b].tolist()):
                if labels[b, n] == 0:
                    continue
                in_box = x1 < x < x2 and y1 < y < y2
                cx, cy = centres[b, n].tolist()
                near = abs(x - cx) < radius * stride and abs(y - cy) < radius * stride
                fits = low <= max(x - x1, y - y1, x2 - x, y2 - y) <= high
                area = (x2 - x1) * (y2 - y1)
                if in_box and near and fits and area < best:
                    best, found[b, i] = area, n
    return found


@pytest.mark.parametrize("kind", ["boxcenter", "bitmaskcenter"])
def test_equals_the_released_code(golden, kind):
    boxes = golden["gt_boxes"][None]
    centres = None
    if kind == "bitmaskcenter":
        centres = raster_centres(boxes, (160, 224)) - 0.5  # it counts from pixel centres
    grid = make_locations(golden["level_hw"].tolist(), golden["strides"].tolist())
    assert torch.equal(grid["locations"], golden["locations_xy"])
    targets = assign(**grid, boxes=boxes, labels=golden["gt_classes"][None] + 1, centres=centres)
    positive = golden[f"{kind}_labels"] != golden["background_label"]
    expected = torch.where(positive, golden[f"{kind}_labels"] + 1, 0)
    assert torch.equal(targets.labels[0], expected)
    assert torch.equal(targets.instance[0], torch.where(positive, golden[f"{kind}_target_inds"], -1))
    np.testing.assert_allclose(
        targets.ltrb[0, positive], golden[f"{kind}_reg_targets_strided"][positive], rtol=1e-5, atol=1e-6
    )
    assert not targets.ltrb[0, ~positive].any()
    if kind == "bitmaskcenter":
        assert torch.equal(positive.nonzero().squeeze(1), golden["pos_inds_bitmask"])
        ours = centerness(targets.ltrb[0, positive])
        np.testing.assert_allclose(ours, golden["ctrness_of_positives_bitmask"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("radius", [1.5, 3.0])
@pytest.mark.parametrize("shifted", [False, True])
def test_batches_equal_loops_over_locations_and_instances(radius, shifted):
    positives = 0
    for seed in range(3):
        grid, boxes, labels = make_batch(seed)
        centres = (boxes[..., :2] + boxes[..., 2:]) / 2
        if shifted:
            centres = centres + torch.tensor([7.0, -5.0])
        targets = assign(**grid, boxes=boxes, labels=labels, centres=centres if shifted else None, radius=radius)
        found = one_by_one(grid, boxes, labels, centres, radius)
        assert torch.equal(targets.instance, found)
        positive = found >= 0
        assert torch.equal(targets.labels, torch.where(positive, labels.gather(1, found.clamp(min=0)), 0))
        positives += positive.sum()
    assert positives > 60


def test_padding_changes_nothing_and_no_box_at_all_is_background():
    grid, boxes, labels = make_batch()
    padded = assign(**grid, boxes=torch.nn.functional.pad(boxes, (0, 0, 0, 3)), labels=_pad(labels, 3))
    for ours, expected in zip(padded, assign(**grid, boxes=boxes, labels=labels), strict=True):
        assert torch.equal(ours, expected)
    empty = assign(**grid, boxes=boxes[:, :0], labels=labels[:, :0], centres=boxes[:, :0, :2])
    assert not empty.labels.any()
    assert not empty.ltrb.any()
    assert (empty.instance == -1).all()
    assert empty.labels.dtype == torch.int64


def _pad(labels, count):
    return torch.nn.functional.pad(labels, (0, count))


def test_ranges_are_inclusive_and_edges_of_the_box_are_outside():
    grid = make_locations(((12, 16), (6, 8)), (8, 16), (24.0,))
    boxes = torch.tensor([[[4.0, 12.0, 44.0, 52.0]]])  # its centre, (24, 32), lies 20 from each edge
    instance = assign(**grid, boxes=boxes, labels=torch.ones(1, 1, dtype=torch.int64)).instance[0]
    places = {(x, y, s) for (x, y), s, i in _rows(grid, instance) if i == 0}
    # Of the fine level those within 12 of the centre, whose distances are up to 24; of the coarse level (8 + 16 j)
    # those within 24, with a largest distance of at least 24.
    assert places == {(x, y, 8.0) for x in (20, 28) for y in (28, 36)} | {
        (x, y, 16.0) for x in (8, 24, 40) for y in (24, 40) if max(abs(x - 24), abs(y - 32)) + 20 >= 24
    }
    both = torch.tensor([[[0.0, 0.0, 48.0, 48.0]]])  # 24 from each edge at its centre, a location of the coarse level
    instance = assign(**grid, boxes=both, labels=torch.ones(1, 1, dtype=torch.int64)).instance[0]
    assert (24.0, 24.0, 16.0) in {(x, y, s) for (x, y), s, i in _rows(grid, instance) if i == 0}
    edge = torch.tensor([[[8.0, 8.0, 24.0, 24.0]]])
    instance = assign(**grid, boxes=edge, labels=torch.ones(1, 1, dtype=torch.int64)).instance[0]
    assert not any(i == 0 and (x <= 8 or x >= 24 or y <= 8 or y >= 24) for (x, y), _, i in _rows(grid, instance))


def _rows(grid, instance):
    return zip(map(tuple, grid["locations"].tolist()), grid["strides"].tolist(), instance.tolist(), strict=True)


def test_the_smallest_box_wins_and_of_equal_ones_the_first():
    grid = make_locations(((12, 16),), (8,))
    boxes = torch.tensor([[[0.0, 0.0, 96.0, 96.0], [24.0, 24.0, 72.0, 72.0], [24.0, 24.0, 72.0, 72.0]]])
    targets = assign(**grid, boxes=boxes, labels=torch.tensor([[1, 2, 3]]))
    assert set(targets.instance.unique().tolist()) == {-1, 1}
    targets = assign(**grid, boxes=boxes.flip(1), labels=torch.tensor([[1, 2, 3]]))
    assert set(targets.labels.unique().tolist()) == {0, 1}


def test_centerness_is_one_in_the_middle_and_falls_to_the_edges():
    ltrb = torch.tensor([[2.0, 3.0, 2.0, 3.0], [1.0, 3.0, 4.0, 12.0], [0.0, 3.0, 4.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([1.0, math.sqrt(1 / 4 * 3 / 12), 0.0, 0.0])
    torch.testing.assert_close(centerness(ltrb), expected)


def test_centres_of_masks_and_of_rasterised_boxes_agree():
    _, boxes, _ = make_batch()
    boxes = torch.cat((boxes, torch.tensor([[[-5.0, 10.0, 20.5, 120.0]], [[100.0, 3.0, 140.0, 7.0]]])), dim=1)
    centres = mask_centres(box_masks(boxes, (96, 128)))
    torch.testing.assert_close(raster_centres(boxes, (96, 128)), centres, rtol=1e-5, atol=1e-4)
    assert torch.equal(centres[0, -1], torch.tensor([10.5, 53.0]))  # columns 0 to 20, rows 10 to 95
    outside = torch.tensor([[200.0, 3.0, 240.0, 7.0], [-9.0, 3.0, -4.0, 7.0], [0.0, 0.0, 0.0, 0.0]])
    assert not raster_centres(outside, (96, 128)).any()


def test_centre_of_an_uneven_mask_is_its_centroid():
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[0, 0] = mask[0, 1] = mask[3, 5] = True
    rows, columns = mask.nonzero(as_tuple=True)
    expected = torch.stack((columns.float().mean() + 0.5, rows.float().mean() + 0.5))
    torch.testing.assert_close(mask_centres(mask), expected)
    assert not mask_centres(torch.zeros(2, 4, 6, dtype=torch.bool)).any()


def select_one_by_one(instance, scores, per_image):
    """What `select_for_masks` should give, with dictionaries."""
    rows = []
    for b, (found, score) in enumerate(zip(instance.tolist(), scores.tolist(), strict=True)):
        distinct = sorted({n for n in found if n >= 0})
        for n in distinct:
            quota = max(per_image // len(distinct), 1)
            mine = sorted((i for i, k in enumerate(found) if k == n), key=lambda i, s=score: -s[i])
            rows += [(b, i, n) for i in mine[:quota]]
    return rows


@pytest.mark.parametrize("per_image", [1, 4, 10, 64])
def test_selection_equals_loops_over_instances(per_image):
    generator = torch.Generator().manual_seed(0)
    instance = torch.randint(-1, 6, (3, 80), generator=generator)
    instance[1] = -1
    instance[2, instance[2] > 1] = -1
    scores = torch.rand(3, 80, generator=generator, requires_grad=True)
    chosen = select_for_masks(instance, scores, per_image=per_image)
    assert not any(x.is_floating_point() for x in chosen)
    assert list(zip(*(x.tolist() for x in chosen), strict=True)) == select_one_by_one(instance, scores, per_image)


def test_selection_of_nothing_is_empty():
    chosen = select_for_masks(torch.full((2, 5), -1), torch.rand(2, 5))
    assert all(x.shape == (0,) and x.dtype == torch.int64 for x in chosen)


def test_bad_input_is_named():
    grid, boxes, labels = make_batch()
    with pytest.raises(ValueError, match=r"\(B, N, 4\) and \(B, N\), got \(2, 9, 4\) and \(2, 8\)"):
        assign(**grid, boxes=boxes, labels=labels[:, 1:])
    with pytest.raises(ValueError, match=r"must be \(L, 2\), \(L,\) and \(L, 2\), got \(252, 2\), \(251,\)"):
        assign(**grid | {"strides": grid["strides"][1:]}, boxes=boxes, labels=labels)
    with pytest.raises(ValueError, match=r"radius is 0, but it must be positive"):
        assign(**grid, boxes=boxes, labels=labels, radius=0)
    with pytest.raises(ValueError, match=r"same shape \(B, L\), got \(2, 5\) and \(2, 4\)"):
        select_for_masks(torch.zeros(2, 5), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="per_image is 0"):
        select_for_masks(torch.zeros(2, 5), torch.zeros(2, 5), per_image=0)
