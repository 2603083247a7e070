"""Detection of files whose boxes are in another format, and of valid boxes that only look similar."""

import numpy as np
import pytest

from datamodules.coco.boxes import (
    BoxTable,
    apart_from_masks,
    are_corners,
    box_iou,
    inside_first_pixel,
    like_corners,
    look_like_percent,
    other_order,
)  # fmt: skip

W, H = 640, 480


def good(count: int, *, seed: int = 0, masks: bool = False, areas: bool = False) -> BoxTable:
    """Return valid random boxes in images of 640x480."""
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 0.8, (count, 2)) * (W, H)
    high = low + generator.uniform(0.05, 1, (count, 2)) * ((W, H) - low)
    boxes = np.concatenate([low, high - low], axis=1)
    around = np.concatenate([low, high], axis=1) if masks else np.full((count, 4), np.nan)
    known = boxes[:, 2] * boxes[:, 3] if areas else np.full(count, np.nan)
    return BoxTable(boxes, np.tile([[float(W), float(H)]], (count, 1)), around, known)


def as_corners(table: BoxTable) -> BoxTable:
    return BoxTable(table.corners, table.limits, table.masks, table.areas)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("masks", "areas"), [(False, False), (True, False), (False, True)])
def test_corners_are_distinguished_from_valid_boxes(seed: int, masks: bool, areas: bool) -> None:
    table = good(12, seed=seed, masks=masks, areas=areas)
    assert are_corners(table) is None
    assert are_corners(as_corners(table)) is not None


def test_masks_and_areas_reveal_corners_of_few_boxes() -> None:
    boxes = np.array([[3.0, 6, 7, 25], [15, 3, 10, 19]])
    around = np.array([[3.0, 6, 10, 31], [15, 3, 25, 22]])
    limits = np.full((2, 2), 100.0)
    nan = np.full(2, np.nan)
    for masks, areas, said in (
        (around, nan, "2 of 2 boxes with a mask fit it as corners"),
        (np.full((2, 4), np.nan), boxes[:, 2] * boxes[:, 3], "2 of 2 areas are those of corners"),
    ):
        assert are_corners(BoxTable(boxes, limits, masks, areas)) is None
        assert said in str(are_corners(BoxTable(around, limits, masks, areas)))
    assert are_corners(BoxTable(around, limits, np.full((2, 4), np.nan), nan)) is None  # no evidence


def as_centres(table: BoxTable) -> BoxTable:
    boxes = np.concatenate([table.boxes[:, :2] + table.boxes[:, 2:] / 2, table.boxes[:, 2:]], axis=1)
    return BoxTable(boxes, table.limits, table.masks, table.areas)


def as_swapped(table: BoxTable) -> BoxTable:
    return BoxTable(table.boxes[:, [1, 0, 3, 2]], table.limits, table.masks, table.areas)


@pytest.mark.parametrize("seed", range(10))
def test_centres_and_swapped_axes_are_distinguished_from_valid_boxes(seed: int) -> None:
    for masks in (True, False):
        table = good(12, seed=seed, masks=masks)
        assert other_order(table) is None
        assert "centre" in str(other_order(as_centres(table)))
        assert are_corners(as_centres(good(12, seed=seed, masks=True))) is None  # centres, not corners
    square = good(12, seed=seed, masks=True)
    square.limits[:] = W  # so that swapped boxes fit, too
    assert other_order(square) is None
    assert "y, x, height, width" in str(other_order(as_swapped(square)))


def test_masks_of_visible_parts_are_not_mistaken_for_centres() -> None:
    table = good(30, masks=True)
    table.masks[:, 2:] = (table.masks[:, :2] + table.masks[:, 2:]) / 2  # the top-left quarter of each
    assert other_order(table) is None


def test_large_central_objects_are_not_mistaken_for_corners() -> None:
    generator = np.random.default_rng(0)
    low = generator.uniform(0.05, 0.2, (50, 2)) * (W, H)
    size = generator.uniform(0.5, 0.79, (50, 2)) * (W, H)  # all would fit as corners too
    size[:3] *= 1.3  # and a few reach over the border
    table = BoxTable(
        np.concatenate([low, size], axis=1), np.tile([[float(W), float(H)]], (50, 1)), np.full((50, 4), np.nan),
        np.full(50, np.nan),
    )  # fmt: skip
    assert are_corners(table) is None
    assert other_order(table) is None


def test_single_boxes_that_look_like_corners_or_relative_ones_are_marked() -> None:
    table = good(10)
    table.boxes[3] = [200, 100, 600, 400]
    table.boxes[5] = [0.1, 0.2, 0.5, 0.5]
    assert np.flatnonzero(like_corners(table)).tolist() == [3]
    assert np.flatnonzero(inside_first_pixel(table)).tolist() == [5]


def test_boxes_apart_from_their_masks_are_marked_and_amodal_ones_are_not() -> None:
    table = good(6, masks=True)
    table.masks[2] = [0, 0, 1, 1]
    table.masks[4, 3] = table.masks[4, 1] + 0.3 * (table.masks[4, 3] - table.masks[4, 1])  # a third is visible
    assert np.flatnonzero(apart_from_masks(table)).tolist() == [2]
    assert not apart_from_masks(good(6)).any()


def test_percent_needs_large_images_many_boxes_and_some_at_the_end() -> None:
    scale = np.array([100 / W, 100 / H] * 2)
    table = good(40)
    table.boxes[0] = [W / 2, H / 2, W / 2, H / 2]
    percent = BoxTable(table.boxes * scale, table.limits, table.masks, table.areas)
    assert look_like_percent(percent)
    assert not look_like_percent(table)
    assert not look_like_percent(BoxTable(percent.boxes, percent.limits / 5, table.masks, table.areas))
    assert not look_like_percent(BoxTable(percent.boxes / 2, table.limits, table.masks, table.areas))


def test_overlap_is_intersection_over_union() -> None:
    one = np.array([[0.0, 0, 2, 2], [0, 0, 1, 1], [1, 1, 1, 1]])
    two = np.array([[1.0, 0, 3, 2], [2, 2, 3, 3], [1, 1, 1, 1]])
    np.testing.assert_allclose(box_iou(one, two), [1 / 3, 0, 0])
