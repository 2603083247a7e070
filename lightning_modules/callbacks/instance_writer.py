"""Writes predicted instances: pictures, files of each image, and one file in COCO's format of results."""

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.callbacks.prediction_panel import shown_size
from lightning_modules.callbacks.sample_writer import FolderWriter
from lightning_modules.callbacks.video_file import VIDEO_WIDTH, VideoFile
from renderers.display import to_uint8
from renderers.figure import Picture, PictureRow, draw_figure, resized
from renderers.instance_drawing import draw_instances
from structures.contained_paths import output_path
from structures.files import write_atomically, write_png
from structures.instances import Detections
from structures.json_list import JsonListWriter

logger = logging.getLogger(__name__)

RESULTS = "results.json"


class InstancePredictionWriter(FolderWriter):
    """Writes ``<name>_instances.png`` for every image and ``results.json`` for all of them.

    The results are COCO's: a list of ``image_id``, ``category_id`` (the data's own), ``bbox`` (x, y, width, height),
    ``score`` and ``segmentation`` (run lengths as text), in pixels of the original images, with ``category_name`` if
    the classes have names in the data or in the checkpoint. Images without ids are numbered from 1, and their results
    have ``file_name``, too. A sample that could not be read is skipped and counted.

    With ``per_image`` each image also gets ``<name>_instances.json`` (see :func:`image_record`) and
    ``<name>_masks.png``: the number of the best instance at every pixel, in the order of that file, from 1.

    With ``video`` and frames of a video ``a`` the file ``a_instances.mp4`` shows each frame beside its instances.

    Args:
        output_dir: Folder of the results; None means ``predictions`` in the trainer's folder.
        draw_score: Only detections with at least this score are drawn; the results hold all of them.
        pictures: Whether to draw.
        score_threshold: Detections below this score are left out of everything.
        per_image: Whether to write a JSON file and a picture of masks for each image.
        video: Whether to write a video for each video that is read.

    Attributes:
        n_instances: Detections that were written.

    Raises:
        ValueError: If a score is outside of [0, 1].
    """

    def __init__(
        self,
        output_dir: str | None = None,
        draw_score: float = 0.3,
        pictures: bool = True,
        score_threshold: float = 0.0,
        per_image: bool = False,
        video: bool = False,
    ) -> None:
        for what, score in (("draw_score", draw_score), ("score_threshold", score_threshold)):
            if not 0 <= score <= 1:
                raise ValueError(f"{what} is {score}, but must lie in [0, 1]")
        super().__init__(output_dir)
        self.draw_score = draw_score
        self.pictures = pictures
        self.score_threshold = score_threshold
        self.per_image = per_image
        self.video = video
        self.n_instances = 0
        self._clip: tuple[str, VideoFile] | None = None
        self._results: JsonListWriter | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier prediction and begin the file of results.

        Raises:
            ValueError: If several processes would write the one file.
            OSError: If it cannot be written.
        """
        if trainer.world_size > 1:
            raise ValueError(f"results are written by one process, not by {trainer.world_size}: trainer.devices=1")
        super().on_predict_start(trainer, pl_module)
        self.n_instances = 0
        self._results = JsonListWriter(self.folder(trainer) / RESULTS)

    def write_sample(
        self, trainer: Trainer, pl_module: LightningModule, prediction: Detections, batch: dict[str, Any], index: int
    ) -> None:
        """Draw an image and keep its results."""
        data = getattr(trainer, "datamodule", None)
        # Photos have no classes: then those of the checkpoint are used.
        names, ids = (
            getattr(pl_module if getattr(data, key, None) is None else data, key, None)
            for key in ("class_names", "category_ids")
        )
        name = batch["name"][index]
        found = confident(prediction, self.score_threshold)
        known: dict[str, Any] = {"image_id": self.n_written + 1, "file_name": name}
        if "image_id" in batch:
            known = {"image_id": int(batch["image_id"][index])}
        results = coco_results(found, category_ids=ids, class_names=names, **known)
        assert self._results is not None  # made when the prediction began
        self._results.extend(results)
        self.n_instances += len(results)
        stem = output_path(self.folder(trainer), name)
        if self.per_image:
            size = original_pixels(batch, index).shape[:2]
            record = image_record(results, found, name=name, size=size)
            write_atomically(
                stem.with_name(f"{stem.name}_instances.json"),
                [json.dumps(record, ensure_ascii=False, indent=1).encode()],
            )
            write_png(stem.with_name(f"{stem.name}_masks.png"), numbered_masks(found, size))
        if self.pictures:
            picture = draw_detections(original_pixels(batch, index), found, self.draw_score, names)
            write_png(stem.with_name(f"{stem.name}_instances.png"), picture)
        if self.video:
            self._add_to_video(trainer, found, batch, index, names)

    def _add_to_video(
        self,
        trainer: Trainer,
        found: Detections,
        batch: Mapping[str, Any],
        index: int,
        class_names: Sequence[str] | None,
    ) -> None:
        """Add a frame to the video of its clip; finish the one before."""
        clip = batch["video"][index] if "video" in batch else ""
        if self._clip is not None and self._clip[0] != clip:
            self._finish_video()
        if not clip:
            return
        if self._clip is None:
            path = output_path(self.folder(trainer), clip)
            rate = float(batch["frame_rate"][index]) if "frame_rate" in batch else 0.0
            self._clip = clip, VideoFile(path.with_name(f"{path.name}_instances.mp4"), rate)
        pixels, video = original_pixels(batch, index), self._clip[1]
        size = shown_size(pixels.shape[:2], width=VIDEO_WIDTH)
        drawn = draw_detections(pixels, found, self.draw_score, class_names, size)
        pictures = (Picture("image", resized(pixels, size)), Picture("instances", drawn))
        row = PictureRow(clip, pictures, f"{video.n_frames / video.rate:.2f} s")
        video.add(draw_figure([row], width=VIDEO_WIDTH).pixels)

    def _finish_video(self) -> None:
        clip, self._clip = self._clip, None
        if clip is not None:
            try:
                logger.info("video: %s", clip[1].finish())
            finally:
                clip[1].discard()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the results and report their number."""
        self._finish_video()
        self._close()
        path = self.folder(trainer) / RESULTS
        logger.info(
            "%d instances in %d images: %s, %d skipped", self.n_instances, self.n_written, path, len(self.failures)
        )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep the results of the images that are done, and the video up to there."""
        self._close()
        with contextlib.suppress(OSError, ValueError):  # the full disk, or the first frame, has raised already
            self._finish_video()

    def _close(self) -> None:
        if self._results is not None:
            self._results.close()
            self._results = None


def confident(found: Detections, score_threshold: float) -> Detections:
    """The detections with a score of at least ``score_threshold``."""
    kept = found["scores"] >= score_threshold
    return Detections(
        boxes=found["boxes"][kept],
        labels=found["labels"][kept],
        scores=found["scores"][kept],
        masks=found["masks"][kept],
    )


def coco_results(
    found: Detections,
    *,
    image_id: int,
    category_ids: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    file_name: str | None = None,
) -> list[dict[str, Any]]:
    """Detections of an image in COCO's format of results.

    Args:
        found: The detections.
        image_id: Id of the image.
        category_ids: Id of label k at k - 1; None uses the labels.
        class_names: Name of label k at k - 1, added to every result, unless None.
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
        if class_names is not None:
            result["category_name"] = class_names[label - 1]
        results.append(result if file_name is None else result | {"file_name": file_name})
    return results


def image_record(
    results: Sequence[Mapping[str, Any]], found: Detections, *, name: str, size: Sequence[int]
) -> dict[str, Any]:
    """The detections of one image, readable without COCO's tools.

    Args:
        results: Results of :func:`coco_results`.
        found: The same detections.
        name: Name of the image.
        size: Height and width of the original image.

    Returns:
        ``name``, ``height``, ``width`` and ``instances``, best first, each with ``class`` (its name, or its number
        if it has none), ``category_id``, ``score``, ``box_xyxy`` (pixels of the original image, from the corner of
        its first pixel), ``area`` (pixels of the mask) and ``segmentation`` (COCO's run lengths).
    """
    instances = [
        {
            "class": result.get("category_name", str(result["category_id"])),
            "category_id": result["category_id"],
            "score": result["score"],
            "box_xyxy": [round(value, 2) for value in box],
            "area": int(area),
            "segmentation": result["segmentation"],
        }
        for result, box, area in zip(
            results, found["boxes"].tolist(), found["masks"].flatten(1).sum(dim=1).tolist(), strict=True
        )
    ]
    return {"name": name, "height": int(size[0]), "width": int(size[1]), "instances": instances}


def numbered_masks(found: Detections, size: Sequence[int]) -> np.ndarray:
    """Number of the best instance that covers each pixel, counted from 1 in the order of the detections, 0 for none.

    Returns:
        uint8 ``(H, W)``, uint16 where there are more than 255 instances.
    """
    count = len(found["labels"])
    numbers = np.zeros((size[0], size[1]), np.uint8 if count <= np.iinfo(np.uint8).max else np.uint16)
    masks = found["masks"].cpu().numpy()
    for k in reversed(range(count)):
        numbers[masks[k]] = k + 1
    return numbers


def original_pixels(batch: Mapping[str, Any], index: int) -> np.ndarray:
    """An image of a batch at its original size, uint8 ``(H, W, 3)``, resized if the batch has no original."""
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
    pixels: np.ndarray,
    found: Detections,
    draw_score: float,
    class_names: Sequence[str] | None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """An image with its detections of at least ``draw_score``; ``size`` as for ``draw_instances``."""
    kept = found["scores"] >= draw_score
    return draw_instances(
        pixels,
        boxes=found["boxes"][kept].float().cpu().numpy(),
        labels=found["labels"][kept].tolist(),
        masks=found["masks"][kept].cpu().numpy(),
        scores=found["scores"][kept].tolist(),
        class_names=class_names,
        size=size,
    )
