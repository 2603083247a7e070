"""Inference of CondInst: thresholds, non-maximum suppression, masks at the original size."""

from collections.abc import Sequence
from typing import NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms

from geometry.boxes import clip_boxes, has_area
from geometry.resampling import aligned_bilinear

MASKS_AT_ONCE = 16
"""Masks at the original size are computed in chunks: a hundred of a large image in float32 would take gigabytes."""


class Candidates(NamedTuple):
    """M detections of one image, best first."""

    boxes: Tensor
    """(M, 4) xyxy, pixels of the network's input."""
    labels: Tensor
    """int64 (M,), from 1."""
    scores: Tensor
    """(M,) in [0, 1]."""
    location: Tensor
    """int64 (M,), location within the L of the image."""


def decode_boxes(locations: Tensor, strides: Tensor, ltrb: Tensor) -> Tensor:
    """Boxes from the distances to their edges.

    Args:
        locations: (L, 2) image positions (x, y), pixels.
        strides: (L,) stride of each location's level, pixels.
        ltrb: (B, L, 4) distances to the edges in strides.

    Returns:
        (B, L, 4) xyxy, pixels.
    """
    distances = ltrb * strides[:, None]
    return torch.cat((locations - distances[..., :2], locations + distances[..., 2:]), dim=-1)


class DetectionLimits(TypedDict):
    """Limits on the detections of an image: keyword arguments of :func:`detect`, which has their defaults."""

    score_threshold: NotRequired[float]
    """Least class probability times quality."""
    per_level: NotRequired[int]
    """Most pairs of location and class of a level."""
    iou_threshold: NotRequired[float]
    """Of two boxes of one class with a larger IoU the worse is dropped."""
    max_detections: NotRequired[int]
    """Most detections of an image."""


def detect(
    probabilities: Tensor,
    boxes: Tensor,
    *,
    level_lengths: Sequence[int],
    score_threshold: float = 0.05,
    per_level: int = 1000,
    iou_threshold: float = 0.6,
    max_detections: int = 100,
) -> Candidates:
    """Detections of one image.

    The best pairs of location and class above the threshold of each level are kept; then non-maximum suppression is
    applied within each class over all levels; then the best are kept.

    Args:
        probabilities: (L, n_classes) class probability times quality.
        boxes: (L, 4) xyxy, pixels.
        level_lengths: number of locations of each level.
        score_threshold: smallest probability times quality.
        per_level: largest number of pairs of a level.
        iou_threshold: of two boxes of one class with a larger IoU, the one with the lower score is removed.
        max_detections: largest number of detections.

    Returns:
        The detections; their score is the square root of probability times quality.
    """
    n_classes = probabilities.shape[1]
    products, pairs, offset = [], [], 0
    for level in probabilities.split(list(level_lengths)):
        best, index = level.flatten().topk(min(per_level, level.numel()))
        products.append(best)
        pairs.append(index + offset * n_classes)
        offset += len(level)
    product, pair = torch.cat(products), torch.cat(pairs)
    kept = product > score_threshold
    product, pair = product[kept], pair[kept]
    location, label = pair // n_classes, pair % n_classes + 1
    best = batched_nms(boxes[location], product, label, iou_threshold)[:max_detections]
    return Candidates(boxes[location[best]], label[best], product[best].sqrt(), location[best])


def paste_masks(
    logits: Tensor, *, upsampling: int, resized: tuple[int, int], original: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Masks at the size of the original image.

    Probabilities are upsampled to the network's input, cropped to the image, resized, and thresholded.

    Args:
        logits: (M, 1, h, w).
        upsampling: stride of the logits.
        resized: height and width of the image within the network's input.
        original: height and width of the original image.
        threshold: a pixel belongs to the instance if its probability is larger.

    Returns:
        bool (M, H, W).
    """
    masks = logits.new_zeros((len(logits), *original), dtype=torch.bool)
    for start in range(0, len(logits), MASKS_AT_ONCE):
        some = aligned_bilinear(logits[start : start + MASKS_AT_ONCE].sigmoid(), upsampling)
        some = some[..., : resized[0], : resized[1]]
        if original != resized:
            some = F.interpolate(some, size=original, mode="bilinear", align_corners=False)
        masks[start : start + MASKS_AT_ONCE] = some.squeeze(1) > threshold
    return masks


def fit_boxes(boxes: Tensor, *, resized: tuple[int, int], original: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes scaled to the original image and clipped to it.

    Args:
        boxes: (M, 4) xyxy, pixels of the network's input.
        resized: height and width of the image within the network's input.
        original: height and width of the original image.

    Returns:
        (M, 4) xyxy in pixels of the original image, and bool (M,): whether the clipped box has an area.
    """
    scale = boxes.new_tensor([original[1] / resized[1], original[0] / resized[0]] * 2)
    fitted = clip_boxes(boxes * scale, original)
    return fitted, has_area(fitted)
