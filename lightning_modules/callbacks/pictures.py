"""Pictures of inputs, ground truth and predictions, drawn in validation and test."""

import logging
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from geometry.alignment import median_scale
from lightning_modules.callbacks.picture_scores import abs_rel_text, image_abs_rel
from lightning_modules.callbacks.sample_records import SCALED_UNIT, depth_records
from lightning_modules.runs.loggers import picture_loggers
from lightning_modules.runs.wandb_pictures import log_pictures
from renderers.depth_figure import RELATIVE, depth_rows
from renderers.figure import PictureRow, draw_figure
from structures.files import write_png
from structures.sample_file import SampleRecord, write_samples

logger = logging.getLogger(__name__)

SAMPLES_FOLDER = "samples"
"""Folder of the kept validation samples inside a run's folder; ``make report`` reads it."""


@runtime_checkable
class PredictsDepth(Protocol):
    """A module whose depth is compared with ground truth: ``tasks.depth.DepthModule``."""

    @property
    def scale_known(self) -> bool:
        """Whether depth is in metres, as opposed to an unknown scale."""

    def evaluated_depth(self, batch: Any) -> Tensor:
        """Depth of a batch, ``(B, 1, H, W)``."""


def score_step(trainer: Trainer) -> int:
    """The step under which Lightning logs the scores of the present weights."""
    return max(trainer.global_step - 1, 0)


class SamplePictures(Callback):
    """Base of the callbacks that draw a row of pictures for the same few samples each time, on rank zero.

    A row has the name of the sample and its score, titles, and colour bars (:mod:`renderers.figure`). The samples are
    spread evenly over the batches of rank zero. They are drawn inside the evaluation loop, with the evaluated weights
    (averaged ones, too), in eval mode, without gradients and without a change of the random state. The pictures also go
    to W&B if the run has a W&B logger. ``fast_dev_run`` and sanity checks draw nothing.

    Args:
        every_n_epochs: Draw in every n-th training epoch, counted so that the first one is drawn; >= 1.
        count: Number of samples, >= 1.

    Attributes:
        drawn_rows: Rows of the last picture, for the summary of the run.
        drawn_name: Name of that picture without the prefix: ``step_000200``, ``test`` or ``validate``.

    Raises:
        ValueError: If an argument is below 1.
    """

    file_prefix = ""
    """Prefix of the files in ``pictures/``."""
    log_name = "pictures"
    """Name of the pictures in W&B, after the stage."""
    samples_name = ""
    """Name of the file in ``samples/``, before the stage; empty if the callback keeps no samples."""

    def __init__(self, every_n_epochs: int = 1, count: int = 4) -> None:
        super().__init__()
        if every_n_epochs < 1 or count < 1:
            raise ValueError(f"every_n_epochs={every_n_epochs} and count={count} must be at least 1")
        self.every_n_epochs = every_n_epochs
        self.count = count
        self._rows: list[PictureRow] = []
        self.drawn_rows: list[PictureRow] = []
        self.drawn_name = ""
        self._has_truth = False
        self._records: list[SampleRecord] = []
        self._unit = "m"

    @abstractmethod
    def draw_rows(self, pl_module: LightningModule, sample: Any) -> list[PictureRow]:
        """Draw a row of pictures a sample; a callback with ``samples_name`` also adds a record of each to ``_records``.

        Args:
            pl_module: The module, in eval mode.
            sample: A batch of the chosen samples only.

        Returns:
            The rows. Pictures of ground truth are left out if no drawn sample has any.
        """

    def summary_rows(self) -> list[PictureRow]:
        """Rows of the last picture that the summary of the run shows, by default the first three."""
        return self.drawn_rows[:3]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a new picture."""
        self._rows, self._has_truth, self._records = [], False, []

    on_test_start = on_validation_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the chosen samples of the batch."""
        if dataloader_idx == 0 and self._is_due(trainer):
            n_batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
            self._draw(pl_module, batch, batch_idx, n_batches[0])

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the picture."""
        fitting = trainer.state.fn == "fit"
        self._write(trainer, f"step_{trainer.global_step:06d}" if fitting else "validate", "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the picture."""
        self._write(trainer, "test", "test")

    def _is_due(self, trainer: Trainer) -> bool:
        if not trainer.is_global_zero or trainer.sanity_checking or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return False
        return trainer.state.fn != "fit" or trainer.current_epoch % self.every_n_epochs == 0

    def _draw(
        self, pl_module: LightningModule, batch: Mapping[str, Any], batch_idx: int, n_batches: int | float
    ) -> None:
        chosen = chosen_samples(self.count, batch_idx=batch_idx, n_batches=n_batches, batch_size=len(batch["image"]))
        if not chosen:
            return
        sample: Any = {
            key: value[chosen] if isinstance(value, Tensor) else [value[index] for index in chosen]
            for key, value in batch.items()
        }
        modes = [(module, module.training) for module in pl_module.modules()]
        try:
            with torch.no_grad(), isolate_rng():
                pl_module.eval()
                rows = self.draw_rows(pl_module, sample)
        finally:
            for module, training in modes:
                module.training = training
        self._rows.extend(rows)
        mask = sample.get("depth_mask")
        self._has_truth = self._has_truth or not isinstance(mask, Tensor) or bool(mask.any())

    def _write(self, trainer: Trainer, name: str, stage: str) -> None:
        rows, self._rows = self._rows, []
        records, self._records = self._records, []
        if not rows:
            return
        if records:
            target = Path(trainer.default_root_dir) / SAMPLES_FOLDER / f"{self.samples_name}_{stage}.npz"
            write_samples(target, records, step=trainer.global_step, unit=self._unit)
        if not self._has_truth:
            rows = [row.without_truth() for row in rows]
        self.drawn_rows = rows = [row for row in rows if row.pictures]
        if not rows:
            return
        self.drawn_name = name
        path = Path(trainer.default_root_dir) / "pictures" / f"{self.file_prefix}{name}.png"
        write_png(path, draw_figure(rows).pixels)
        logger.info("pictures: %s", path)
        for run_logger in picture_loggers(trainer.loggers):
            pictures, captions = [draw_figure([row]).pixels for row in rows], [row.caption for row in rows]
            key, step = f"{stage}/{self.log_name}", score_step(trainer)
            log_pictures(run_logger, key, pictures, captions, step=step)


class DepthPictures(SamplePictures):
    """Draws image | ground truth | prediction | error, or image | prediction, see :class:`SamplePictures`.

    The score is the AbsRel of the image under the protocol of the module. Depth of an unknown scale is multiplied by
    the ratio of medians where there is ground truth. Files: ``pictures/step_000200.png`` in the trainer's folder,
    ``pictures/test.png``, ``pictures/validate.png``. The last image, ground truth and prediction are also kept as
    numbers, in ``samples/depth_val.npz`` and ``depth_test.npz``.

    Args:
        base: Arguments of :class:`SamplePictures`.
    """

    samples_name = "depth"

    def draw_rows(self, pl_module: LightningModule, sample: Any) -> list[PictureRow]:
        """Draw the four pictures of each sample."""
        # The scale of depth may depend on the data, which `forward` does not get.
        predict = pl_module.evaluated_depth if isinstance(pl_module, PredictsDepth) else None
        prediction = pl_module(sample["image"]) if predict is None else predict(sample)
        prediction = prediction.detach().float()
        scores = image_abs_rel(pl_module, sample, prediction)
        units, title = ["m"] * len(prediction), "prediction"
        if isinstance(pl_module, PredictsDepth) and not pl_module.scale_known:  # errors need metres
            scale = median_scale(prediction, target=sample["depth"], mask=sample["depth_mask"])
            known = sample["depth_mask"].flatten(1).any(dim=1)
            prediction = prediction * torch.where(known, scale, 1.0).view(-1, 1, 1, 1)
            self._unit = SCALED_UNIT
            units = ["m" if there else RELATIVE for there in known.tolist()]
            title = "prediction, scaled to the median" if bool(known.any()) else title
        records = depth_records(sample, prediction, abs_rel=scores)
        self._records.extend(records)
        return depth_rows(
            sample["image"],
            sample["depth"],
            sample["depth_mask"],
            prediction,
            names=[record.name for record in records],
            scores=[abs_rel_text(score, pl_module) for score in scores],
            units=units,
            title=title,
        )


def chosen_samples(count: int, *, batch_idx: int, n_batches: int | float, batch_size: int) -> list[int]:
    """Positions of the samples of a batch that are drawn: ``count`` samples, spread evenly over all batches.

    Args:
        count: Number of samples in all batches.
        batch_idx: Index of this batch.
        n_batches: Number of batches of the loop; infinite for a stream, of which the first samples are drawn.
        batch_size: Number of samples in this batch.

    Returns:
        Positions in the batch, at most ``batch_size`` many, ascending.

    >>> [chosen_samples(4, batch_idx=i, n_batches=8, batch_size=2) for i in range(8)]
    [[0], [], [0], [], [0], [], [0], []]
    >>> [chosen_samples(4, batch_idx=i, n_batches=2, batch_size=16) for i in range(2)]
    [[0, 8], [0, 8]]
    """
    if n_batches == float("inf"):
        return [0] if batch_idx < count else []
    # Sample k falls into the batch k * n_batches // count; those of one batch are spread evenly over it.
    here = sum(k * int(n_batches) // count == batch_idx for k in range(count))
    here = min(here, batch_size)
    return [k * batch_size // here for k in range(here)]
