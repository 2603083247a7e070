"""Writes what ``predict`` finds: drawn pictures, and one file of results that COCO's tools read."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.callbacks.instance_drawing import draw_instances
from renderers.display import to_uint8
from structures.batch import PADDING_INDEX
from structures.files import write_atomically, write_png
from structures.instances import Detections

logger = logging.getLogger(__name__)

RESULTS = "results.json"


class InstancePredictionWriter(BasePredictionWriter):
    """Writes ``<name>_instances.png`` for every image and ``results.json`` for all of them.

    The results are COCO's: a list of ``image_id``, ``category_id`` (the data's own), ``bbox`` (x, y, width, height),
    ``score`` and ``segmentation`` (run lengths as text), in pixels of the original images. Images without ids of their
    own count from 1, and their results say ``file_name`` too. A sample that could not be read is skipped and counted.

    Args:
        output_dir: Folder of the results; None means ``predictions`` in the trainer's folder.
        draw_score: Only detections with at least this score are drawn; the results hold all of them.
        pictures: Whether to draw.

    Attributes:
        n_written: Images whose detections were written.
        failures: Name and reason of every image that was skipped.

    Raises:
        ValueError: If ``draw_score`` is outside of [0, 1].
    """

    def __init__(self, output_dir: str | None = None, draw_score: float = 0.3, pictures: bool = True) -> None:
        super().__init__("batch")
        if not 0 <= draw_score <= 1:
            raise ValueError(f"draw_score is {draw_score}, but must lie in [0, 1]")
        self.output_dir = output_dir
        self.draw_score = draw_score
        self.pictures = pictures
        self.n_written = 0
        self.failures: list[tuple[str, str]] = []
        self._results: list[dict[str, Any]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier prediction.

        Raises:
            ValueError: If several processes would write the one file.
        """
        if trainer.world_size > 1:
            raise ValueError(f"results are written by one process, not by {trainer.world_size}: trainer.devices=1")
        self.n_written, self.failures, self._results = 0, [], []

    def folder(self, trainer: Trainer) -> Path:
        """Folder of the results."""
        return Path(trainer.default_root_dir) / "predictions" if self.output_dir is None else Path(self.output_dir)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Sequence[Detections],
        batch_indices: Sequence[int] | None,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Draw the images of a batch and keep their results.

        Raises:
            OSError: If a file cannot be written; no half file is left.
        """
        data = getattr(trainer, "datamodule", None)
        names, ids = getattr(data, "class_names", None), getattr(data, "category_ids", None)
        for index, name in enumerate(batch["name"]):
            if "index" in batch and int(batch["index"][index]) == PADDING_INDEX:
                continue
            error = batch["error"][index] if "error" in batch else ""
            if error:
                logger.warning("skipped: %s", error)
                self.failures.append((name, error))
                continue
            self.n_written += 1
            found = prediction[index]
            known: dict[str, Any] = {"image_id": self.n_written, "file_name": name}
            if "image_id" in batch:
                known = {"image_id": int(batch["image_id"][index])}
            self._results += coco_results(found, category_ids=ids, **known)
            if self.pictures:
                picture = draw_detections(original_pixels(batch, index), found, self.draw_score, names)
                write_png(self.folder(trainer) / f"{name}_instances.png", picture)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the results and say how many there are."""
        path = self.folder(trainer) / RESULTS
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, [json.dumps(self._results).encode()])
        logger.info(
            "%d instances in %d images: %s, %d skipped", len(self._results), self.n_written, path, len(self.failures)
        )


def coco_results(
    found: Detections, *, image_id: int, category_ids: Sequence[int] | None = None, file_name: str | None = None
) -> list[dict[str, Any]]:
    """Detections of an image in the form of COCO's results.

    Args:
        found: The detections.
        image_id: Id of the image.
        category_ids: Id of label k at k - 1; None takes the labels.
        file_name: Added to every result, unless None.

    Returns:
        Plain values of JSON, one mapping a detection.
    """
    from faster_coco_eval.core import mask as coco_masks

    if len(found["labels"]) == 0:
        return []
    masks = found["masks"].permute(1, 2, 0).to("cpu", torch.uint8).numpy()
    results = []
    for k, encoded in enumerate(coco_masks.encode(np.asfortranarray(masks))):
        x1, y1, x2, y2 = (round(value, 2) for value in found["boxes"][k].tolist())
        label = int(found["labels"][k])
        result: dict[str, Any] = {
            "image_id": image_id,
            "category_id": label if category_ids is None else int(category_ids[label - 1]),
            "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            "score": round(float(found["scores"][k]), 5),
            "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode("ascii")},
        }
        results.append(result if file_name is None else result | {"file_name": file_name})
    return results


def original_pixels(batch: Mapping[str, Any], index: int) -> np.ndarray:
    """An image of a batch at its original size, uint8 ``(H, W, 3)``, as far as the batch still knows it."""
    if "original_image" in batch:
        original: Tensor = batch["original_image"][index]
        return original.permute(1, 2, 0).cpu().numpy()
    image: Tensor = batch["image"][index].float()
    if "original_size" in batch:
        height, width = (int(n) for n in batch["original_size"][index])
        rows, columns = (batch["original_size"][index] * batch["scale"][index]).round().long().tolist()
        part = image[None, :, :rows, :columns]
        image = F.interpolate(part, size=(height, width), mode="bilinear", align_corners=False)[0]
    return to_uint8(image).numpy()


def draw_detections(
    pixels: np.ndarray, found: Detections, draw_score: float, class_names: Sequence[str] | None
) -> np.ndarray:
    """An image with its detections of at least that score."""
    kept = found["scores"] >= draw_score
    return draw_instances(
        pixels,
        boxes=found["boxes"][kept].float().cpu().numpy(),
        labels=found["labels"][kept].tolist(),
        masks=found["masks"][kept].cpu().numpy(),
        scores=found["scores"][kept].tolist(),
        class_names=class_names,
    )
