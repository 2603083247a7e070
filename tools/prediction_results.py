"""What the Python interface returns: depth, instances or classes of one image, and lists of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_modules.callbacks.class_map_writer import class_names, labels_at_original
from lightning_modules.callbacks.instance_writer import confident
from lightning_modules.callbacks.prediction_writer import at_original_size, cloud_of
from structures.instances import Detections
from tools.command import few_messages
from tools.predict_tasks import SCORE_THRESHOLD, make_writer, task_of

_OF_TASK = {
    "depth_m": "depth", "points": "depth", "colours": "depth", "metric": "depth",
    "boxes": "instances", "labels": "instances", "scores": "instances", "masks": "instances",
    "classes": "classes of pixels",
}  # fmt: skip
"""Attributes of a result, and what a network has to predict for it to have them."""


class Prediction:
    """The result for one image, at its original size; see the subclasses for what it holds.

    Attributes:
        name: Name of the image, under which :meth:`save` writes.
        image: uint8 ``(H, W, 3)``, RGB.
    """

    predicts = ""
    """What the network predicts, for messages."""

    def __init__(self, module: LightningModule, batch: dict[str, Any], raw: Any) -> None:
        self.name: str = batch["name"][0]
        self.image: npt.NDArray[np.uint8] = batch["original_image"][0].permute(1, 2, 0).numpy()
        self._module = module
        self._batch = batch
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        """Explain an attribute that results of another kind of network have."""
        if name in _OF_TASK:
            raise AttributeError(
                f"this network predicts {self.predicts}, so its results have no '{name}': a network of "
                f"{_OF_TASK[name]} has it"
            )
        raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")

    def save(self, folder: str | Path, **options: Any) -> Path:
        """Write the same files as ``make predict``; arguments and errors as for :meth:`Predictions.save`."""
        return Predictions([self]).save(folder, **options)


class DepthPrediction(Prediction):
    """Depth of one image.

    Attributes:
        depth_m: float32 ``(H, W)``, metres; not metric, but up to a scale, unless ``metric``.
        metric: Whether the depth is in metres.
    """

    predicts = "depth"

    def __init__(self, module: LightningModule, batch: dict[str, Any], raw: Tensor, *, metric: bool) -> None:
        super().__init__(module, batch, raw)
        self._sample = {key: value[0] for key, value in batch.items() if isinstance(value, Tensor)}
        self._image, self._depth = at_original_size(self._sample, raw)
        self.depth_m: npt.NDArray[np.float32] = self._depth[0].numpy()
        self.metric = metric
        self._cloud: tuple[Tensor, Tensor] | None = None

    @property
    def points(self) -> npt.NDArray[np.float32]:
        """Point cloud float32 ``(N, 3)`` in the camera frame (x right, y down, z forward), metres.

        Points at edges of depth are left out.

        Raises:
            ValueError: If the intrinsics of the image are not known.
        """
        return self._points_and_colours()[0].numpy()

    @property
    def colours(self) -> npt.NDArray[np.float32]:
        """Colours of :attr:`points`, float32 ``(N, 3)``, RGB in [0, 1]; errors as there."""
        return self._points_and_colours()[1].numpy()

    def _points_and_colours(self) -> tuple[Tensor, Tensor]:
        if not bool(self._sample["K_known"]):
            raise ValueError(
                "points need the intrinsics of the images: give predict field_of_view=DEGREES or k=(FX, FY, CX, CY)"
            )
        if self._cloud is None:
            self._cloud = cloud_of(self._sample, self._raw, image=self._image, depth=self._depth)
        return self._cloud


class InstancesPrediction(Prediction):
    """Instances of one image, best first, M in all.

    Attributes:
        boxes: float32 ``(M, 4)``, left, top, right, bottom in pixels, from the corner of the first pixel.
        labels: int64 ``(M,)``, from 1.
        scores: float32 ``(M,)``, falling.
        masks: bool ``(M, H, W)``.
        class_names: Name of each instance's class; its number if the checkpoint has no names.
    """

    predicts = "instances"

    def __init__(self, module: LightningModule, batch: dict[str, Any], raw: Detections, *, threshold: float) -> None:
        super().__init__(module, batch, raw)
        found = confident(raw, threshold)
        self._threshold = threshold
        self.boxes: npt.NDArray[np.float32] = found["boxes"].numpy()
        self.labels: npt.NDArray[np.int64] = found["labels"].numpy()
        self.scores: npt.NDArray[np.float32] = found["scores"].numpy()
        self.masks: npt.NDArray[np.bool_] = found["masks"].numpy()
        names = class_names(module)
        self.class_names = [names[int(label)] for label in self.labels]


class ClassesPrediction(Prediction):
    """Class of every pixel of one image.

    Attributes:
        classes: int64 ``(H, W)``, ids from 1.
        class_names: Name of each id.
    """

    predicts = "classes of pixels"

    def __init__(self, module: LightningModule, batch: dict[str, Any], raw: Tensor) -> None:
        super().__init__(module, batch, raw)
        self.classes: npt.NDArray[np.int64] = labels_at_original(raw, batch, 0).numpy()
        self.class_names = class_names(module)


class Predictions(list[Prediction]):
    """Results of several images, in their order."""

    def save(self, folder: str | Path, *, panel: bool = True, ply: bool = False, html: bool = False) -> Path:
        """Write the files of ``make predict`` (docs/prediction.md) under the names of the images.

        Args:
            folder: Folder of the results.
            panel: Whether to draw pictures.
            ply: Whether to write point clouds, where the intrinsics are known.
            html: Whether to write them as pages that turn in a browser.

        Returns:
            The folder.

        Raises:
            ValueError: If two images have one name, so that one result would replace the other, or the results are of
                different kinds.
            OSError: If a file cannot be written.
        """
        target = Path(folder)
        names = [result.name for result in self]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two results are named '{twice[0]}': give predict other names")
        if not self:
            return target
        module, first = self[0]._module, self[0]
        other = next((result for result in self if type(result) is not type(first)), None)
        if other is not None:
            raise ValueError(
                f"'{first.name}' has {first.predicts} and '{other.name}' {other.predicts}: save the results of each "
                "kind of network by themselves"
            )
        threshold = first._threshold if isinstance(first, InstancesPrediction) else SCORE_THRESHOLD
        metric = first.metric if isinstance(first, DepthPrediction) else None
        writer = make_writer(
            module, str(target), panel=panel, ply=ply, html=html, metric=metric, score_threshold=threshold
        )
        with few_messages():
            trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
                              enable_progress_bar=False)  # fmt: skip
            writer.on_predict_start(trainer, module)
            for result in self:
                raw = result._raw[None] if isinstance(result._raw, Tensor) else [result._raw]
                writer.write_on_batch_end(trainer, module, raw, None, result._batch, 0, 0)
            writer.on_predict_end(trainer, module)
        return target


def make_result(
    module: LightningModule, batch: dict[str, Any], raw: Any, *, metric: bool, threshold: float
) -> Prediction:
    """The result of one image.

    Args:
        module: The network.
        batch: ``ImageFileBatch`` of one image, on the CPU.
        raw: What the network predicts for it, on the CPU.
        metric: Whether depth is in metres.
        threshold: Smallest score of instances.

    Raises:
        ValueError: If depth is not finite.
    """
    task = task_of(module)
    if task == "instances":
        return InstancesPrediction(module, batch, raw, threshold=threshold)
    if task == "classes":
        return ClassesPrediction(module, batch, raw)
    if not bool(torch.isfinite(raw).all()):
        raise ValueError(f"the prediction for '{batch['name'][0]}' is not finite")
    return DepthPrediction(module, batch, raw, metric=metric)


def one_of(batch: dict[str, Any], index: int) -> dict[str, Any]:
    """A batch with one sample of another one, on the CPU."""
    return {
        key: value[index : index + 1].cpu() if isinstance(value, Tensor) else [value[index]]
        for key, value in batch.items()
    }


def raw_of(predictions: Any, index: int) -> Any:
    """What a network predicted for one sample of a batch, detached and on the CPU."""
    one: Tensor | Sequence[Detections] | Detections = predictions[index]
    if isinstance(one, Tensor):
        return one.detach().cpu()
    return {key: value.detach().cpu() for key, value in one.items()}  # type: ignore[union-attr]  # Detections
