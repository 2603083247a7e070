"""Writes predictions into a label file, on which another network is trained."""

import contextlib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from lightning_modules.callbacks.sample_writer import SampleWriter
from structures.label_writer import LabelWriter

logger = logging.getLogger(__name__)

FILE_NAME = "labels.h5"
"""Default name of the file, in the trainer's folder."""

_FINGERPRINT_DIGITS = 12


class LabelPredictionWriter(SampleWriter):
    """Writes class ids or depth under the images' names (``structures/label_store.py``), at the size of the batch.

    int64 predictions ``(B, H, W)`` are class ids from 1 to 255, floating-point ones ``(B, 1, H, W)`` are depth in
    metres. An unfinished file is continued, without the names that it has already. The name of the teacher in the file
    ends in a fingerprint of its weights, so that labels of two trainings are never mixed.

    Args:
        path: The file; None means ``labels.h5`` in the trainer's folder.
        settings: Plain JSON values, stored in the file; a file with other settings is not continued.
    """

    def __init__(self, path: str | None = None, settings: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.path = path
        self.settings = {} if settings is None else dict(settings)
        self._writer: LabelWriter | None = None
        self._open = contextlib.ExitStack()

    def file(self, trainer: Trainer) -> Path:
        """The file that is written."""
        return Path(trainer.default_root_dir) / FILE_NAME if self.path is None else Path(self.path)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier prediction.

        Raises:
            ValueError: If several processes would write the one file.
        """
        if trainer.world_size > 1:
            raise ValueError(f"labels are written by one process, not by {trainer.world_size}: trainer.devices=1")
        super().on_predict_start(trainer, pl_module)

    def wanted(
        self, trainer: Trainer, pl_module: LightningModule, prediction: Tensor, names: Sequence[str]
    ) -> set[str]:
        """Open the file with the first batch and return the names that it does not hold yet.

        Raises:
            ValueError: If a prediction is neither class ids nor depth, or is not finite, if images differ in size, or
                if the file was made by another teacher or with other settings.
            OSError: If the file cannot be written.
        """
        kind = label_kind(prediction)
        if self._writer is None:
            teacher = teacher_name(pl_module)
            writer = LabelWriter(self.file(trainer), kind=kind, teacher=teacher, settings=self.settings)
            self._writer = self._open.enter_context(writer)
        return set(self._writer.missing(list(names)))

    def write_sample(
        self, trainer: Trainer, pl_module: LightningModule, prediction: Tensor, batch: dict[str, Any], index: int
    ) -> None:
        """Write the label of an image, without the padding of the batch."""
        assert self._writer is not None  # opened by wanted()
        rows, columns = (int(n) for n in batch["content_size"][index]) if "content_size" in batch else (None, None)
        array = prediction.detach().cpu()
        array = array[0].float() if array.is_floating_point() else array
        self._writer.write(batch["name"][index], array[:rows, :columns].numpy())

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Declare the file complete."""
        if self._writer is not None:
            self._writer.finish()
            logger.info("%d labels in %s", self.n_written, self.file(trainer))
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the incomplete file, which a later run can continue."""
        self._close()

    def _close(self) -> None:
        self._open.close()
        self._writer = None


def label_kind(prediction: Tensor) -> Literal["semantic", "depth"]:
    """``semantic`` for int64 ``(B, H, W)``, ``depth`` for floating-point ``(B, 1, H, W)``.

    Raises:
        ValueError: If the prediction is neither.
    """
    if prediction.dtype == torch.int64 and prediction.ndim == 3:
        return "semantic"
    if prediction.is_floating_point() and prediction.ndim == 4 and prediction.shape[1] == 1:
        return "depth"
    raise ValueError(
        f"labels are int64 class ids (B, H, W) or depth (B, 1, H, W), but the prediction is {prediction.dtype} of "
        f"shape {tuple(prediction.shape)}"
    )


def teacher_name(module: nn.Module) -> str:
    """Title of a module (its class name where it has none) and fingerprint of its weights."""
    return f"{getattr(module, 'title', type(module).__name__)} {weights_fingerprint(module)}"


def weights_fingerprint(module: nn.Module) -> str:
    """Short hash of the values of all parameters and buffers, independent of their names."""
    digest = hashlib.sha256()
    for value in module.state_dict().values():
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:_FINGERPRINT_DIGITS]
