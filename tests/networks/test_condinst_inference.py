"""Post-processing of CondInst against loops: decoding, thresholds, suppression, masks at the original size."""

import cv2
import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from geometry.resampling import aligned_bilinear
from networks.condinst_inference import decode_boxes, detect, fit_boxes, paste_masks


def make_case(count=120, classes=3):
    generator = torch.Generator().manual_seed(0)
    centre = 60 * torch.rand(count, 2, generator=generator) + 20
    half = 12 * torch.rand(count, 2, generator=generator) + 4
    return torch.rand(count, classes, generator=generator), torch.cat((centre - half, centre + half), dim=1)


def one_by_one(probabilities, boxes, lengths, score_threshold, per_level, iou_threshold, max_detections):
    """Location and label of every detection, best first."""
    pairs, start = [], 0
    for length in lengths:
        level = [
            (probabilities[i, c].item(), i, c + 1)
            for i in range(start, start + length)
            for c in range(probabilities.shape[1])
        ]
        pairs += sorted((pair for pair in level if pair[0] > score_threshold), reverse=True)[:per_level]
        start += length
    iou, kept = box_iou(boxes, boxes), []
    for score, i, label in sorted(pairs, reverse=True):
        if all(label != other or iou[i, j] <= iou_threshold for _, j, other in kept):
            kept.append((score, i, label))
    return kept[:max_detections]


@pytest.mark.parametrize(
    "options", [(0.05, 1000, 0.6, 100), (0.5, 20, 0.3, 30), (0.9, 5, 0.6, 100), (0.0, 1000, 0.9, 7)]
)
def test_detections_equal_loops_over_pairs(options):
    probabilities, boxes = make_case()
    names = ("score_threshold", "per_level", "iou_threshold", "max_detections")
    found = detect(probabilities, boxes, level_lengths=(90, 24, 6), **dict(zip(names, options, strict=True)))
    expected = one_by_one(probabilities, boxes, (90, 24, 6), *options)
    assert len(expected) > 4
    assert found.location.tolist() == [i for _, i, _ in expected]
    assert found.labels.tolist() == [label for _, _, label in expected]
    np.testing.assert_allclose(found.scores, [score**0.5 for score, _, _ in expected], rtol=1e-6)
    assert torch.equal(found.boxes, boxes[found.location])


def test_nothing_above_the_threshold_is_empty_and_typed():
    probabilities, boxes = make_case()
    found = detect(probabilities, boxes, level_lengths=(120,), score_threshold=1.0)
    assert found.boxes.shape == (0, 4)
    assert found.labels.dtype == found.location.dtype == torch.int64
    assert found.scores.dtype == torch.float32


def test_boxes_are_decoded_in_strides_of_the_level():
    locations = torch.tensor([[4.0, 12.0], [16.0, 48.0]])
    ltrb = torch.tensor([[[1.0, 2.0, 3.0, 4.0], [1.0, 0.5, 0.0, 2.0]]])
    boxes = decode_boxes(locations, torch.tensor([8.0, 32.0]), ltrb)
    assert torch.equal(boxes, torch.tensor([[[-4.0, -4.0, 28.0, 44.0], [-16.0, 32.0, 16.0, 112.0]]]))


def test_boxes_are_scaled_along_each_axis_and_cut_to_the_image():
    boxes = torch.tensor([[-3.0, 5.0, 40.0, 20.0], [60.0, 5.0, 90.0, 70.0], [81.0, 2.0, 95.0, 8.0]])
    fitted, kept = fit_boxes(boxes, resized=(60, 80), original=(30, 160))
    expected = torch.tensor([[0.0, 2.5, 80.0, 10.0], [120.0, 2.5, 160.0, 30.0], [160.0, 1.0, 160.0, 4.0]])
    torch.testing.assert_close(fitted, expected)
    assert kept.tolist() == [True, True, False]


@pytest.mark.parametrize("original", [(25, 44), (47, 61), (96, 131)])
def test_masks_are_enlarged_cut_and_resized_as_opencv_does(original):
    logits = 3 * torch.randn(20, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    masks = paste_masks(logits, upsampling=4, resized=(50, 88), original=original)
    assert masks.shape == (20, *original)
    assert masks.dtype == torch.bool
    enlarged = aligned_bilinear(logits.sigmoid(), 4)[:, 0, :50, :88]
    for mask, probability in zip(masks, enlarged, strict=True):
        resized = cv2.resize(probability.numpy(), original[::-1], interpolation=cv2.INTER_LINEAR)
        sure = np.abs(resized - 0.5) > 1e-3
        assert sure.mean() > 0.98
        assert np.array_equal(mask.numpy()[sure], (resized > 0.5)[sure])


def test_a_mask_keeps_its_place():
    logits = torch.full((1, 1, 8, 8), -9.0)
    logits[0, 0, 2:6, 4:7] = 12.0
    mask = paste_masks(logits, upsampling=4, resized=(32, 32), original=(32, 32))[0]
    rows, columns = mask.nonzero(as_tuple=True)
    # Values lie at the pixels 2 + 4 j; midway to a neighbour outside the probability is a little above one half.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (8, 24, 16, 28)
    double = paste_masks(logits, upsampling=4, resized=(32, 32), original=(64, 64))[0]
    assert abs(double.sum() / mask.sum() - 4) < 0.5
