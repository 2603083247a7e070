"""Polygons and run lengths of COCO-format files: accepted, skipped or refused."""

import numpy as np
import pytest

from datamodules.coco.segmentations import check_segmentation
from datamodules.files.run_lengths import decode_masks, encode_masks, segmentation_run_lengths, unpack_counts

SIZE = (20, 30)
SQUARE = [2, 3, 12, 3, 12, 13, 2, 13]
NAN = float("nan")


@pytest.mark.parametrize("given", [None, []])
def test_absent_segmentation_is_no_mask_and_no_fault(given: object) -> None:
    found = check_segmentation(given, SIZE)
    assert (found.usable, found.faults, found.box) == (None, [], None)


@pytest.mark.parametrize(
    ("given", "usable", "faults"),
    [
        ([SQUARE], [SQUARE], []),
        ([SQUARE, [5, 5]], [SQUARE], ["thin_polygon"]),
        ([[5, 5]], None, ["thin_polygon"]),
        ([[]], None, ["thin_polygon"]),
        ([[1, 1, 5, 5]], None, ["thin_polygon"]),
        ([[4, 4, 4, 4, 4, 4]], None, ["thin_polygon"]),
        ([[1, 1, 5, 5, 9, 9, 2, 2]], None, ["thin_polygon"]),
        ([[1, 1, 9, 9, 9, 1, 1, 9]], [[1, 1, 9, 9, 9, 1, 1, 9]], []),  # an hourglass, whose halves cancel
        ([[1, 1, 5, 1, 9, 1, 9, 9]], [[1, 1, 5, 1, 9, 1, 9, 9]], []),  # only its first three corners are on a line
        ([3, 3, 9, 10], None, ["box_polygon"]),
        ([3, 3], None, ["thin_polygon"]),
        (SQUARE, [SQUARE], ["flat_polygon"]),
        ([[1, 1, NAN, 5, 9, 9]], None, ["odd_polygon"]),
        ([[1, 1, float("inf"), 5, 9, 9]], None, ["odd_polygon"]),
        ([[40, 1, 50, 5, 45, 9]], None, ["odd_polygon"]),
        ([[1, 1, 1e9, 5, 9, 9]], None, ["odd_polygon"]),
        ({"size": [20, 30], "counts": [600]}, None, ["empty_mask"]),
    ],
)
def test_harmless_faults_are_left_out(given: object, usable: object, faults: list[str]) -> None:
    found = check_segmentation(given, SIZE)
    assert found.usable == usable
    assert found.faults == faults
    if usable is not None:
        assert decode_masks([segmentation_run_lengths(found.usable, SIZE)], SIZE).any()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("polygon", r"is 'polygon', but a list of polygons or run lengths"),
        (True, r"is True, but"),
        ({"counts": [600]}, r"is \{'counts': \[600\]\}, but"),
        ([[1, 2, 3, 4, 5, 6, 7]], r"a polygon of 7 numbers, \[1, 2, 3, 4, 5, 6, 7\], but pairs"),
        ([[1, 2, "3", 4, 5, 6]], r"holds '3' in a polygon"),
        ([[1, 2, None, 4, 5, 6]], r"holds None in a polygon"),
        ([[1, 2, True, 4, 5, 6]], r"holds True in a polygon"),
        ([SQUARE, "x"], r"holds 'x' among its polygons"),
        ([[[1, 2], [3, 4], [5, 6]]], r"in a polygon, but numbers"),
        ([[1, 1], [9, 1], [9, 9]], r"is the list of points \[\[1, 1\], \[9, 1\], \[9, 9\]\]"),
        ({"size": [30, 20], "counts": [600]}, r"for \[30, 20\] \(swapped\?\), but the image has \[20, 30\]"),
        ({"size": ["20", "30"], "counts": [600]}, r"for \['20', '30'\], but"),
        ({"size": None, "counts": [600]}, r"for None, but"),
        ({"size": [20, 30], "counts": [9]}, r"add up to 9, not to 20x30"),
        ({"size": [20, 30], "counts": [700, -100]}, r"-100 among its counts"),
        ({"size": [20, 30], "counts": [600.5]}, r"600.5 among its counts"),
        ({"size": [20, 30], "counts": [True]}, r"True among its counts"),
        ({"size": [20, 30], "counts": ["600"]}, r"'600' among its counts"),
        ({"size": [20, 30], "counts": None}, r"has the counts None"),
        ({"size": [20, 30], "counts": ""}, r"add up to 0, not"),
        ({"size": [20, 30], "counts": "e1"}, r"add up to 53, not"),
        ({"size": [20, 30], "counts": "e1z~"}, r"letters that packed run lengths do not have"),
        ({"size": [20, 30], "counts": "e"}, r"which is cut off"),
        ({"size": [20, 30], "counts": "o" * 20 + "1"}, r"a number that is too large"),
    ],
)
def test_invalid_segmentations_are_refused(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_segmentation(given, SIZE)


def test_sizes_and_counts_may_be_written_as_floats() -> None:
    found = check_segmentation({"size": [20.0, 30.0], "counts": [40.0, 20, 540.0]}, SIZE)
    assert found.usable == {"size": [20, 30], "counts": [40, 20, 540]}
    assert found.box == (2, 0, 3, 20)


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_are_unpacked_as_the_library_does_and_boxes_fit(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = (int(side) for side in generator.integers(1, 60, 2))
    mask = generator.random((1, height, width)) < generator.random() ** 2
    mask[0, 0, 0] = True
    text = encode_masks(mask)[0]["counts"].decode()
    counts = unpack_counts(text)
    flat = np.repeat(np.arange(len(counts)) % 2, counts).astype(bool)
    np.testing.assert_array_equal(flat, mask[0].T.reshape(-1))
    rows, columns = np.nonzero(mask[0])
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    for given in (text, counts.tolist()):
        found = check_segmentation({"size": [height, width], "counts": given}, (height, width))
        assert found.box == box
        np.testing.assert_array_equal(
            decode_masks([segmentation_run_lengths(found.usable, (height, width))], (height, width)), mask
        )
