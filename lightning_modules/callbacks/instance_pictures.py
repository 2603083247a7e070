"""Pictures of ground-truth and predicted instances, drawn in validation and test."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lightning_modules.callbacks.instance_writer import draw_detections, original_pixels
from lightning_modules.callbacks.pictures import SamplePictures
from renderers.display import GAP_GREY
from renderers.instance_drawing import draw_instances
from structures.instances import Detections, Truth
from structures.sample_file import SampleRecord

CELL = (288, 384)
"""Height and width of a drawn image; images are resized to fit with their aspect ratio."""


@runtime_checkable
class FindsInstances(Protocol):
    """A module that finds instances: ``tasks.instance_segmentation.InstanceSegmentationModule``."""

    def detect(self, batch: Any) -> list[Detections]:
        """Detections of a batch, at the sizes of the original images."""


class InstancePictures(SamplePictures):
    """Draws image | ground truth | prediction, see :class:`~lightning_modules.callbacks.pictures.SamplePictures`.

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

    def draw_rows(self, pl_module: LightningModule, sample: Any) -> Tensor:
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
        rows = []
        for index, found in enumerate(pl_module.detect(sample)):
            pixels = original_pixels(sample, index)
            panels = [pixels, draw_truth(pixels, sample["truth"][index], names)]
            panels.append(draw_detections(pixels, found, self.draw_score, names))
            rows.append(np.concatenate([cell(panel) for panel in panels], axis=1))
            self._records.append(
                SampleRecord(
                    name=str(sample["name"][index]) if "name" in sample else str(index),
                    image=pixels,
                    scores=_counts(sample["truth"][index], found, self.draw_score),
                    panels=dict(zip(("ground truth", "prediction"), panels[1:], strict=True)),
                )
            )
        return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255


def _counts(truth: Truth | None, found: Detections, draw_score: float) -> dict[str, float]:
    """Numbers of true objects and of drawn detections."""
    drawn = {"found": float((found["scores"] >= draw_score).sum())}
    if truth is None:
        return drawn
    return {"objects": float((~(truth["crowd"] | truth["ignored"])).sum()), **drawn}


def draw_truth(pixels: np.ndarray, truth: Truth | None, class_names: Sequence[str] | None) -> np.ndarray:
    """An image with its ground-truth objects, without crowd and ignored ones."""
    from faster_coco_eval.core import mask as coco_masks

    if truth is None:
        return pixels
    kept = ~(truth["crowd"] | truth["ignored"])
    masks = None
    if truth["masks"]:
        masks = coco_masks.decode(truth["masks"]).transpose(2, 0, 1).astype(bool)[kept.numpy()]
    boxes, labels = truth["boxes"][kept].numpy(), truth["labels"][kept].tolist()
    return draw_instances(pixels, boxes=boxes, labels=labels, masks=masks, class_names=class_names)


def cell(picture: np.ndarray) -> np.ndarray:
    """A picture, centred in a cell of fixed size."""
    factor = min(CELL[0] / picture.shape[0], CELL[1] / picture.shape[1])
    height, width = (max(round(side * factor), 1) for side in picture.shape[:2])
    full = np.full((*CELL, 3), round(255 * GAP_GREY), dtype=np.uint8)
    top, left = (CELL[0] - height) // 2, (CELL[1] - width) // 2
    full[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return full
