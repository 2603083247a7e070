"""The loss terms of the FCOS head: classification, box regression and quality of the box."""

from typing import Literal

from torch import Tensor

from geometry.stencils import at_least_float32, fill_outside
from losses.fcos import box_overlaps, focal_loss, giou_loss, quality_loss
from losses.fcos_targets import FCOSTargets, centerness
from networks.fcos_head import HeadOutputs

BoxQuality = Literal["centerness", "iou"]


def fcos_terms(head: HeadOutputs, targets: FCOSTargets, *, box_quality: BoxQuality = "centerness") -> dict[str, Tensor]:
    """Scalars ``classification``, ``boxes`` and ``quality`` (Tian et al. 2019, https://arxiv.org/abs/1904.01355).

    With ``centerness`` boxes are weighted by their centerness; with ``iou`` all have the same weight. Sums are
    divided by counts of all processes.

    Args:
        head: Predictions of every location.
        targets: Targets of every location.
        box_quality: What the quality branch predicts.
    """
    positive = targets.labels > 0
    n_positives = positive.sum().float()
    if box_quality == "centerness":
        quality = centerness(targets.ltrb)
        weights = fill_outside(quality, positive)
        normaliser = weights.sum()
    else:
        inside = positive.unsqueeze(-1)
        predicted = fill_outside(at_least_float32(head.ltrb.detach()), inside, 1.0)
        quality, _ = box_overlaps(predicted, target=fill_outside(targets.ltrb, inside, 1.0))
        weights, normaliser = positive.to(quality), n_positives
    return {
        "classification": focal_loss(head.logits, labels=targets.labels, n_positives=n_positives),
        "boxes": giou_loss(head.ltrb, target=targets.ltrb, weights=weights, normaliser=normaliser),
        "quality": quality_loss(head.quality, target=quality, positive=positive, n_positives=n_positives),
    }
