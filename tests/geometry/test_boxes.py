"""Boxes against loops over pixels, and neighbours against torch's unfold."""

import math

import pytest
import torch
from torch.nn import functional as F

from geometry.boxes import NEIGHBOUR_OFFSETS, box_masks, clip_boxes, has_area, neighbours, pixel_locations

SIZE = (32, 64)


def some_boxes() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    ends = torch.rand(9, 2, 2, generator=generator).sort(dim=1).values.flatten(1)
    boxes = ends * torch.tensor([80.0, 48.0, 80.0, 48.0]) - 8  # also beyond the image
    boxes[0] = torch.tensor([3.0, 4.0, 7.0, 9.0])  # whole numbers: the last row and column are 9 and 7
    boxes[1] = torch.tensor([3.2, 4.9, 3.3, 5.0])  # within one pixel, down to a whole row
    return boxes


def slow_mask(box: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros(SIZE, dtype=torch.bool)
    x1, y1, x2, y2 = box.tolist()
    for row in range(math.floor(y1), math.floor(y2 + 1)):
        for column in range(math.floor(x1), math.floor(x2 + 1)):
            if 0 <= row < SIZE[0] and 0 <= column < SIZE[1]:
                mask[row, column] = True
    return mask


def test_box_masks_cover_the_pixels_that_a_loop_does():
    boxes = some_boxes()
    expected = torch.stack([slow_mask(box) for box in boxes])
    assert torch.equal(box_masks(boxes, SIZE), expected)
    assert expected[0].sum() == 5 * 6
    assert expected[1].sum() == 2
    assert torch.equal(box_masks(boxes.view(3, 3, 4), SIZE), expected.view(3, 3, *SIZE))


@pytest.mark.parametrize("stride", [1, 4, 5])
def test_strided_masks_are_samples_of_the_whole_ones(stride):
    masks = box_masks(some_boxes(), SIZE)
    expected = masks[:, stride // 2 :: stride, stride // 2 :: stride]
    assert torch.equal(box_masks(some_boxes(), SIZE, stride=stride), expected)


def test_boxes_without_area_are_empty():
    boxes = torch.tensor([[0.0, 0, 0, 0], [5, 5, 5, 9], [9, 5, 7, 8], [5, 5, float("nan"), 9], [5, 5, 5.1, 5.1]])
    assert has_area(boxes).tolist() == [False, False, False, False, True]
    assert box_masks(boxes, SIZE).flatten(1).sum(dim=1).tolist() == [0, 0, 0, 0, 1]


def test_no_boxes_give_no_masks():
    assert box_masks(torch.zeros(2, 0, 4), SIZE).shape == (2, 0, *SIZE)


def test_clipped_boxes_stay_in_the_image():
    boxes = torch.tensor([[-3.0, 2, 70, 40], [10, 11, 12, 13], [-9, -9, -1, -1]])
    assert clip_boxes(boxes, SIZE).tolist() == [[0, 2, 64, 32], [10, 11, 12, 13], [0, 0, 0, 0]]
    assert has_area(clip_boxes(boxes, SIZE)).tolist() == [True, True, False]


@pytest.mark.parametrize(("stride", "first"), [(8, 4.0), (5, 2.0), (1, 0.0)])
def test_locations_run_along_rows(stride, first):
    locations = pixel_locations((2, 3), stride)
    expected = [[first + stride * column, first + stride * row] for row in range(2) for column in range(3)]
    assert locations.tolist() == expected
    assert locations.dtype == torch.float32


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("index", range(8))
def test_neighbours_are_those_of_unfold(index, dilation):
    values = torch.rand(2, 1, 6, 9, generator=torch.Generator().manual_seed(0))
    windows = F.unfold(values, 3, dilation=dilation, padding=dilation).view(2, 9, 6, 9)
    expected = torch.cat([windows[:, :4], windows[:, 5:]], dim=1)[:, index]
    here, there = neighbours(values, index, dilation=dilation)
    found = torch.zeros_like(values)
    neighbours(found, index, dilation=dilation)[0].copy_(there)
    assert torch.equal(found[:, 0], expected)
    assert (
        here.untyped_storage().data_ptr() == there.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()
    )
    opposite = neighbours(values, 7 - index, dilation=dilation)
    assert torch.equal(opposite[0], there)
    assert torch.equal(opposite[1], here)


def test_offsets_lie_opposite_each_other():
    assert [(-y, -x) for y, x in reversed(NEIGHBOUR_OFFSETS)] == list(NEIGHBOUR_OFFSETS)


@pytest.mark.parametrize("size", [(1, 5), (2, 1), (1, 1)])
def test_a_map_smaller_than_the_offset_has_no_diagonal_neighbours(size):
    here, there = neighbours(torch.zeros(size), 0, dilation=2)
    assert here.numel() == there.numel() == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box_masks(torch.zeros(2, 5), SIZE), r"shape \(2, 5\)"),
        (lambda: has_area(torch.zeros(())), r"shape \(\)"),
        (lambda: clip_boxes(torch.zeros(3), SIZE), r"shape \(3,\)"),
        (lambda: box_masks(torch.zeros(2, 4), SIZE, stride=0), "stride is 0"),
        (lambda: pixel_locations((2, 2), 0), "stride is 0"),
        (lambda: neighbours(torch.zeros(3, 3), 8), "only 0 to 7"),
        (lambda: neighbours(torch.zeros(3, 3), 0, dilation=0), "dilation is 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
