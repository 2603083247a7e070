"""Pictures of ground-truth and predicted instances, drawn in validation and test."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from lightning.pytorch import LightningModule

from lightning_modules.callbacks.instance_writer import draw_detections, original_pixels
from lightning_modules.callbacks.picture_scores import image_mask_iou, joined
from lightning_modules.callbacks.pictures import SamplePictures
from renderers.figure import Picture, PictureRow, column_width, fitted, resized
from renderers.instance_drawing import draw_instances
from structures.instances import Detections, Truth
from structures.sample_file import SampleRecord


@runtime_checkable
class FindsInstances(Protocol):
    """A module that finds instances: ``tasks.instance_segmentation.InstanceSegmentationModule``."""

    def detect(self, batch: Any) -> list[Detections]:
        """Detections of a batch, at the sizes of the original images."""


class InstancePictures(SamplePictures):
    """Draws image | ground truth | prediction, see :class:`~lightning_modules.callbacks.pictures.SamplePictures`.

    The score is ``mask_iou`` of the image (:mod:`metrics.instances`), beside the numbers of its objects and of the
    drawn detections.

    Files: ``pictures/instances_step_000200.png`` in the trainer's folder, ``pictures/instances_test.png``,
    ``pictures/instances_validate.png``. The last pictures are also kept in ``samples/instances_val.npz`` and
    ``instances_test.npz``.

    Args:
        draw_score: Only detections with at least this score are drawn.
        base: Arguments of :class:`SamplePictures`.

    Raises:
        ValueError: If a count is below 1 or the score outside of [0, 1].
    """

    file_prefix = "instances_"
    log_name = "instances"
    samples_name = "instances"

    def __init__(self, draw_score: float = 0.3, **base: Any) -> None:
        super().__init__(**base)
        if not 0 <= draw_score <= 1:
            raise ValueError(f"draw_score is {draw_score}, but must lie in [0, 1]")
        self.draw_score = draw_score

    def draw_rows(self, pl_module: LightningModule, sample: Any) -> list[PictureRow]:
        """Draw the images of a batch with their ground-truth and predicted instances.

        Raises:
            ValueError: If the module does not predict instances.
        """
        if not isinstance(pl_module, FindsInstances):
            raise ValueError(
                f"InstancePictures needs an InstanceSegmentationModule, but {type(pl_module).__name__} is none: leave "
                "the callback out."
            )
        names = getattr(getattr(pl_module.trainer, "datamodule", None), "class_names", None)
        drawn = pl_module.detect(sample)
        scored = drawn
        if getattr(pl_module, "cut_masks", False):  # scores are those of whole masks
            scored = pl_module.detections_and_object_masks(sample)[0]  # type: ignore[operator]
        rows = []
        for index, found in enumerate(drawn):
            pixels, truth = original_pixels(sample, index), sample["truth"][index]
            size = fitted(pixels.shape[:2], width=column_width(3, pixels.shape[:2]))
            panels = [
                draw_truth(pixels, truth, names, size),
                draw_detections(pixels, found, self.draw_score, names, size),
            ]
            name = str(sample["name"][index]) if "name" in sample else str(index)
            scores = _counts(truth, found, self.draw_score)
            iou = image_mask_iou(scored[index], truth)
            rows.append(
                PictureRow(
                    name,
                    (
                        Picture("image", resized(pixels, size)),
                        Picture(_truth_title(truth), panels[0], of_truth=True),
                        Picture(f"prediction, scores from {self.draw_score:g}", panels[1]),
                    ),
                    joined(["" if iou is None else f"mask IoU {iou:.3f}", _objects_text(scores)]),
                )
            )
            self._records.append(
                SampleRecord(
                    name=name,
                    image=pixels,
                    scores=scores if iou is None else {**scores, "mask_iou": iou},
                    panels=dict(zip(("ground truth", "prediction"), panels, strict=True)),
                )
            )
        return rows


def _truth_title(truth: Truth | None) -> str:
    if truth is None:
        return "ground truth: none"
    return "ground truth" if truth["masks"] else "ground truth, boxes alone"


def _objects_text(scores: Mapping[str, float]) -> str:
    found = f"{scores['found']:.0f} found"
    return f"{scores['objects']:.0f} objects, {found}" if "objects" in scores else found


def _counts(truth: Truth | None, found: Detections, draw_score: float) -> dict[str, float]:
    """Numbers of true objects and of drawn detections."""
    drawn = {"found": float((found["scores"] >= draw_score).sum())}
    if truth is None:
        return drawn
    return {"objects": float((~(truth["crowd"] | truth["ignored"])).sum()), **drawn}


def draw_truth(
    pixels: np.ndarray,
    truth: Truth | None,
    class_names: Sequence[str] | None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """An image with its ground-truth objects, without crowd and ignored ones; ``size`` as for ``draw_instances``."""
    from faster_coco_eval.core import mask as coco_masks

    if truth is None:
        return pixels if size is None else resized(pixels, size)
    kept = ~(truth["crowd"] | truth["ignored"])
    masks = None
    if truth["masks"]:
        masks = coco_masks.decode(truth["masks"]).transpose(2, 0, 1).astype(bool)[kept.numpy()]
    boxes, labels = truth["boxes"][kept].numpy(), truth["labels"][kept].tolist()
    return draw_instances(pixels, boxes=boxes, labels=labels, masks=masks, class_names=class_names, size=size)
