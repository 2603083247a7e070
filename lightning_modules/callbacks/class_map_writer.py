"""Writes the predictions of a semantic segmentation network: label maps, colours and class names."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from lightning_modules.callbacks.sample_writer import FolderWriter
from renderers.display import categorical, to_uint8
from structures.contained_paths import output_path
from structures.files import write_atomically, write_png

logger = logging.getLogger(__name__)

CLASSES = "classes.json"
LEGEND_WIDTH = 200
LEGEND_ROW = 20
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class ClassMapWriter(FolderWriter):
    """Writes label maps under the names of the images, at the size of the original images.

    For an image ``a/b``: ``a/b_labels.png`` (class ids, 8 bits, 16 where there are more than 255 classes),
    ``a/b_color.png`` and, with ``panel``, ``a/b_panel.png`` (image, colours, legend of the classes that occur).
    ``classes.json`` has the ``name`` and the ``colour`` (red, green, blue) of every id. An item that carries an
    ``error`` is reported, counted and skipped.

    Args:
        output_dir: Folder of the results; None means ``predictions`` in the trainer's folder.
        panel: Whether to write panels.
    """

    def __init__(self, output_dir: str | None = None, panel: bool = True) -> None:
        super().__init__(output_dir)
        self.panel = panel

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier prediction's counts and write what the classes are.

        Raises:
            OSError: If the file cannot be written.
        """
        super().on_predict_start(trainer, pl_module)
        table = {
            str(number): {"name": name, "colour": list(class_colour(number))}
            for number, name in class_names(pl_module).items()
        }
        write_atomically(self.folder(trainer) / CLASSES, [json.dumps(table, ensure_ascii=False, indent=1).encode()])

    def write_sample(
        self, trainer: Trainer, pl_module: LightningModule, prediction: Tensor, batch: dict[str, Any], index: int
    ) -> None:
        """Write the maps of an image."""
        names = class_names(pl_module)
        labels = labels_at_original(prediction.cpu(), batch, index)
        stem = output_path(self.folder(trainer), batch["name"][index])
        bits: npt.DTypeLike = np.uint8 if max(names) <= np.iinfo(np.uint8).max else np.uint16
        write_png(stem.with_name(f"{stem.name}_labels.png"), labels.numpy().astype(bits))
        colours = to_uint8(categorical(labels[None])[0]).numpy()
        write_png(stem.with_name(f"{stem.name}_color.png"), colours)
        if self.panel:
            picture = panel(_original(batch, index), colours, labels, names)
            write_png(stem.with_name(f"{stem.name}_panel.png"), picture)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many were written and where, and how many were not."""
        logger.info("%d label maps in %s, %d skipped", self.n_written, self.folder(trainer), len(self.failures))


def class_names(module: LightningModule) -> dict[int, str]:
    """Name of every class id of a module; its number if the checkpoint has no names."""
    count = int(getattr(module, "n_classes", 0))
    names = getattr(module, "class_names", None)
    if names is None:
        return {number: str(number) for number in range(1, count + 1)}
    return dict(names) if isinstance(names, Mapping) else dict(enumerate(names, start=1))


def class_colour(number: int) -> tuple[int, int, int]:
    """Colour (red, green, blue) of a class id in all pictures."""
    red, green, blue = to_uint8(categorical(torch.tensor([[[number]]]))[0])[0, 0].tolist()
    return red, green, blue


def labels_at_original(labels: Tensor, batch: Mapping[str, Any], index: int) -> Tensor:
    """A label map without its padding, at the size of the original image, by nearest-neighbour sampling.

    Args:
        labels: int64 ``(H, W)``.
        batch: Of ``ImageFileBatch``, or any with ``image``.
        index: Index in the batch.

    Returns:
        int64 ``(H0, W0)``.
    """
    if "content_size" in batch:
        rows, columns = (int(n) for n in batch["content_size"][index])
        labels = labels[:rows, :columns]
    height, width = _original(batch, index).shape[:2]
    row = ((torch.arange(height) + 0.5) * labels.shape[0] / height).long()
    column = ((torch.arange(width) + 0.5) * labels.shape[1] / width).long()
    return labels[row[:, None], column]


def _original(batch: Mapping[str, Any], index: int) -> npt.NDArray[np.uint8]:
    """The original image, uint8 ``(H0, W0, 3)``."""
    if "original_image" in batch:
        pixels: npt.NDArray[np.uint8] = batch["original_image"][index].permute(1, 2, 0).cpu().numpy()
        return pixels
    return to_uint8(batch["image"][index]).numpy()


def panel(
    pixels: npt.NDArray[np.uint8], colours: npt.NDArray[np.uint8], labels: Tensor, names: Mapping[int, str]
) -> npt.NDArray[np.uint8]:
    """Image, colours and a legend of the classes by their share of the image, the largest first.

    Args:
        pixels: uint8 ``(H, W, 3)``, RGB.
        colours: uint8 ``(H, W, 3)``, RGB.
        labels: int64 ``(H, W)``.
        names: Name of each class id.

    Returns:
        uint8 ``(H, 2 W + LEGEND_WIDTH, 3)``; the legend has as many classes as fit.
    """
    legend = np.full((len(pixels), LEGEND_WIDTH, 3), 255, np.uint8)
    ids, counts = labels.unique(return_counts=True)
    for place, k in enumerate(counts.argsort(descending=True).tolist()):
        top = LEGEND_ROW * place + 4
        number, share = int(ids[k]), float(counts[k]) / labels.numel()
        cv2.rectangle(legend, (6, top), (22, top + 12), class_colour(number), -1)
        text = f"{names.get(number, number)} {100 * share:.0f} %"
        cv2.putText(legend, text, (28, top + 11), _FONT, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([pixels, colours, legend], axis=1)
