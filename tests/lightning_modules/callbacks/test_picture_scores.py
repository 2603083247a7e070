"""Scores of single images are those of the metrics."""

import numpy as np
import pytest
import torch
from faster_coco_eval.core import mask as coco_masks

from lightning_modules.callbacks.picture_scores import abs_rel_text, image_abs_rel, image_mask_iou
from lightning_modules.tasks.evaluation import DepthEvaluation
from metrics.depth import DepthMetrics
from metrics.instances import InstanceMetrics


class Paper:
    """What the functions read of a module."""

    def __init__(self, **evaluation):
        self.evaluation = DepthEvaluation(**evaluation)


def batch(count=3):
    generator = torch.Generator().manual_seed(0)
    depth = 0.5 + 5 * torch.rand(count, 1, 12, 16, generator=generator)
    mask = torch.rand(count, 1, 12, 16, generator=generator) > 0.4
    return {"depth": depth, "depth_mask": mask}, depth * (0.5 + torch.rand(depth.shape, generator=generator))


@pytest.mark.parametrize("alignment", ["none", "median", "least_squares"])
@pytest.mark.parametrize("average", ["image", "pixel"])
def test_the_mean_of_the_images_is_the_metric(alignment, average):
    sample, prediction = batch()
    protocol = {"alignment": alignment, "min_depth_m": 1.0, "max_depth_m": 4.0, "crop": (0.1, 0.9, 0.1, 0.9)}
    scores = image_abs_rel(Paper(**protocol, average=average), sample, prediction)
    metric = DepthMetrics(**protocol, edges=False)
    ones = torch.ones(3)
    metric.update(prediction, target_m=sample["depth"], mask=sample["depth_mask"], depth_scale_m=ones)
    (value,) = (value for name, value in metric.compute().items() if name.startswith("abs_rel"))
    assert np.mean(scores) == pytest.approx(float(value), rel=1e-12)


def test_what_has_no_truth_or_is_not_finite_has_no_score():
    sample, prediction = batch()
    sample["depth_mask"][0] = False
    prediction[1] = float("nan")
    first, second, third = image_abs_rel(object(), sample, prediction)
    assert (first, second) == (None, None)
    assert third > 0


def test_the_text_names_the_alignment():
    assert abs_rel_text(0.12345, Paper()) == "AbsRel 0.123"
    assert abs_rel_text(0.5, Paper(alignment="median")) == "AbsRel 0.500, aligned by medians"
    assert abs_rel_text(0.5, object()) == "AbsRel 0.500"
    assert abs_rel_text(None, Paper()) == ""


def test_mask_iou_of_an_image_is_the_metric_of_it_alone():
    masks = np.zeros((2, 20, 30), np.uint8)
    masks[0, 2:12, 3:13], masks[1, 5:15, 15:25] = 1, 1
    flags = torch.zeros(2, dtype=torch.bool)
    truth = {
        **{"boxes": torch.tensor([[3.0, 2, 13, 12], [15, 5, 25, 15]]), "labels": torch.tensor([1, 1])},
        **{"crowd": flags, "ignored": flags, "area": torch.tensor([100.0, 100.0])},
        "masks": coco_masks.encode(np.asfortranarray(masks.transpose(1, 2, 0))),
    }
    found = torch.from_numpy(masks[:1]).bool()
    found[:, 2:7] = False  # the lower half of the first object
    detections = {
        **{"boxes": truth["boxes"][:1], "labels": torch.tensor([1]), "scores": torch.tensor([0.9])},
        "masks": found,
    }
    assert image_mask_iou(detections, truth) == pytest.approx((0.5 + 0) / 2)
    metric = InstanceMetrics()
    metric.update([detections], truths=[truth], image_ids=[7])
    assert image_mask_iou(detections, truth) == pytest.approx(float(metric.compute()["mask_iou"]))
    assert image_mask_iou(detections, None) is None
    assert image_mask_iou(detections, {**truth, "crowd": ~flags}) is None
