"""Scores of single images, under the protocol of the module that predicts them, for captions of pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metrics.depth import depth_errors
from metrics.instances import InstanceMetrics
from structures.instances import Detections, Truth

_ALIGNMENTS = {"median": ", aligned by medians", "least_squares": ", aligned by least squares"}


def image_abs_rel(module: Any, sample: Mapping[str, Any], prediction: Tensor) -> list[float | None]:
    """AbsRel of each image under the module's own protocol, so that the mean over images is ``abs_rel_img``.

    Args:
        module: The module; one without ``evaluation`` has the defaults of the metric.
        sample: Batch with ``depth`` and ``depth_mask``.
        prediction: float ``(B, 1, H, W)``, in the unit of the module, not aligned.

    Returns:
        A number for each image; None without a pixel that counts, or where a counted prediction is not finite.
    """
    evaluation = getattr(module, "evaluation", None)
    protocol = {} if evaluation is None else vars(evaluation)
    scores: list[float | None] = []
    for index in range(len(prediction)):
        one = slice(index, index + 1)
        errors = depth_errors(
            prediction[one],
            target_m=sample["depth"][one],
            mask=sample["depth_mask"][one],
            depth_scale_m=torch.ones(1, device=prediction.device),
            **{**protocol, "edges": False},
        )
        (value,) = (float(value) for name, value in errors.items() if name.startswith("abs_rel"))
        scores.append(value if value == value else None)  # NaN where nothing counts
    return scores


def abs_rel_text(score: float | None, module: Any) -> str:
    """Caption of an AbsRel, with the alignment of the protocol; empty without a score."""
    alignment = getattr(getattr(module, "evaluation", None), "alignment", "none")
    return "" if score is None else f"AbsRel {score:.3f}{_ALIGNMENTS.get(alignment, '')}"


def image_mask_iou(found: Detections, truth: Truth | None) -> float | None:
    """``mask_iou`` of one image, see :mod:`metrics.instances`; the metric is the mean over all objects.

    Args:
        found: Detections with masks that are not cut to their boxes.
        truth: Ground truth; None for padding.

    Returns:
        The mean over the objects with a mask; None without one.
    """
    if truth is None:
        return None
    metric = InstanceMetrics()
    metric.update([found], truths=[truth], image_ids=[0])
    total, count = metric.of_objects[0, 0].tolist()
    return total / count if count else None


def joined(parts: Sequence[str]) -> str:
    """Parts of a caption, without empty ones.

    >>> joined(["mask IoU 0.512", "", "3 of 4 objects"])
    'mask IoU 0.512, 3 of 4 objects'
    """
    return ", ".join(part for part in parts if part)
