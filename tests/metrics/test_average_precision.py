"""Average precision of records that are written by hand, against closed forms."""

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco_masks

from metrics.average_precision import IGNORED_AREA, average_precision, only_flagged

SIZE = (60, 80)


def run_lengths(x1: int, y1: int, x2: int, y2: int) -> dict:
    mask = np.zeros(SIZE, np.uint8)
    mask[y1:y2, x1:x2] = 1
    encoded = coco_masks.encode(np.asfortranarray(mask))
    return {"size": list(SIZE), "counts": encoded["counts"].decode("ascii")}


def record(true: list[list[int]], found: list[list[int]], masks: list[list[int]]) -> dict:
    """Objects that fill their boxes; detections with boxes ``found``, whole masks ``masks``, and masks cut to boxes."""
    return {
        "size": list(SIZE),
        "boxes": true,
        "labels": [1] * len(true),
        "crowd": [0] * len(true),
        "areas": [float((x2 - x1) * (y2 - y1)) for x1, y1, x2, y2 in true],
        "masks": [run_lengths(*box) for box in true],
        "unmasked": [False] * len(true),
        "found_boxes": found,
        "found_labels": [1] * len(found),
        "scores": [0.9 - 0.1 * k for k in range(len(found))],
        "found_masks": [run_lengths(*mask) for mask in masks],
        "found_areas": [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in masks],
        "cut_masks": [run_lengths(*box) for box in found],
        "cut_areas": [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in found],
    }


def test_each_kind_compares_its_own_regions() -> None:
    # The box covers 0.8 of the object (seven thresholds from 0.50 to 0.80), the mask is twice as large (one threshold).
    records = [record([[20, 20, 40, 40]], [[20, 20, 40, 36]], [[20, 20, 60, 40]])]
    assert average_precision(records, kind="box")["ap"] == pytest.approx(0.7)
    assert average_precision(records, kind="cut")["ap"] == pytest.approx(0.7)
    whole = average_precision(records, kind="mask")
    assert (whole["ap"], whole["ap50"], whole["ap75"]) == pytest.approx((0.1, 1, 0))
    assert whole["ap_small"] == pytest.approx(0.1)
    assert np.isnan(whole["ap_large"])


def test_objects_without_the_flag_are_neither_missed_nor_mistakes() -> None:
    boxes = [[0, 0, 10, 10], [20, 20, 40, 40]]
    both = record(boxes, boxes, boxes)
    first = only_flagged(both, [True, False])
    assert first["areas"] == [100.0, IGNORED_AREA]
    assert both["areas"] == [100.0, 400.0]
    missed = only_flagged(record(boxes, boxes[:1], boxes[:1]), [True, False])
    for records in ([first], [missed]):
        assert average_precision(records, kind="mask")["ap"] == pytest.approx(1)


def test_images_without_masks_are_left_out_of_masks_alone() -> None:
    box = [[20, 20, 40, 40]]
    known, unknown = record(box, box, box), record(box, [], []) | {"masks": None}
    assert average_precision([known, unknown], kind="mask")["ap"] == pytest.approx(1)
    assert average_precision([known, unknown], kind="box")["ap"] == pytest.approx(51 / 101)
    assert np.isnan(average_precision([unknown], kind="mask")["ap"])
