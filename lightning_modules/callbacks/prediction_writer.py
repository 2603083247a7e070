"""Writes what ``predict`` finds: depth in millimetres, colours, panels and point clouds, one file set per image."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from renderers.display import colorize, depth_panels, depth_range, to_uint8
from renderers.point_cloud import depth_edges, point_cloud, side_view
from structures.batch import PADDING_INDEX
from structures.files import write_png
from structures.ply import write_ply

logger = logging.getLogger(__name__)

MILLIMETRES = 1000.0
MAX_MILLIMETRES = 65535
"""Largest value of a 16-bit PNG: depth is clipped at 65.535 m."""


def depth_to_millimetres(depth: Tensor) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Depth ``(1, H, W)`` in metres as uint16 ``(H, W)`` in millimetres, rounded, clipped to [0, 65.535 m]."""
    millimetres = (depth[0].double() * MILLIMETRES).round().clamp(0, MAX_MILLIMETRES)
    return millimetres.cpu().numpy().astype(np.uint16)


def fit_to_original(prediction: Tensor, *, content_size: tuple[int, int], original_size: tuple[int, int]) -> Tensor:
    """Cut the padding off a prediction and resize it to the image that was read.

    Args:
        prediction: ``(1, H, W)``, metres, with padding at the right and bottom.
        content_size: Rows and columns that are no padding.
        original_size: Rows and columns of the result.

    Returns:
        float32 ``(1, H0, W0)``, metres, linearly interpolated on the corner-convention grid.
    """
    content = prediction[None, :, : content_size[0], : content_size[1]].float()
    if content_size == original_size:
        return content[0]
    return F.interpolate(content, size=original_size, mode="bilinear", align_corners=False)[0]


class DepthPredictionWriter(BasePredictionWriter):
    """Writes each prediction under its image's name; batches may be of ``ImageFileBatch`` or of ``DepthBatch``.

    For an image ``a/b``: ``a/b_depth.png`` (16 bits, millimetres, 0 = nothing), ``a/b_color.png``, and where asked
    for ``a/b_panel.png`` (image, truth where there is one, prediction, error) and, where the intrinsics are known,
    ``a/b.ply`` and ``a/b_side.png`` (the cloud from the side and from above). An item that carries an ``error`` or
    whose prediction is not finite is reported, counted and skipped; a sample that only pads a rank's share is not even
    counted, since another rank writes it.

    Args:
        output_dir: Folder of the results; None means ``predictions`` in the trainer's folder.
        panel: Whether to write panels.
        ply: Whether to write point clouds, where the intrinsics are known.
        max_jump: Points at depth edges with a relative jump above this are left out of clouds; None keeps them.
        max_points: Largest number of points of a cloud; rows and columns are skipped evenly above it.

    Attributes:
        n_written: Images whose files were written.
        failures: Name and reason of each image that was skipped.

    Raises:
        ValueError: If ``max_jump`` or ``max_points`` is out of its range.
    """

    def __init__(
        self,
        output_dir: str | None = None,
        panel: bool = True,
        ply: bool = True,
        max_jump: float | None = 0.05,
        max_points: int = 1_000_000,
    ) -> None:
        super().__init__("batch")
        if (max_jump is not None and not max_jump > 0) or max_points < 1:
            raise ValueError(f"max_jump={max_jump} must be > 0 or None and max_points={max_points} at least 1")
        self.output_dir = output_dir
        self.panel = panel
        self.ply = ply
        self.max_jump = max_jump
        self.max_points = max_points
        self.n_written = 0
        self.failures: list[tuple[str, str]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier prediction's counts."""
        self.n_written = 0
        self.failures = []

    def folder(self, trainer: Trainer) -> Path:
        """Folder of the results."""
        if self.output_dir is None:
            return Path(trainer.default_root_dir) / "predictions"
        return Path(self.output_dir)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Tensor,
        batch_indices: Sequence[int] | None,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the images of a batch.

        Raises:
            OSError: If a file cannot be written, because the disk is full for instance; no half file is left.
        """
        for index, name in enumerate(batch["name"]):
            if "index" in batch and int(batch["index"][index]) == PADDING_INDEX:
                continue
            error = batch["error"][index] if "error" in batch else ""
            if not error and not bool(torch.isfinite(prediction[index]).all()):
                error = f"the prediction for '{name}' is not finite"
            if error:
                logger.warning("skipped: %s", error)
                self.failures.append((name, error))
                continue
            sample = {k: v[index].detach().cpu() for k, v in batch.items() if isinstance(v, Tensor)}
            self._write(self.folder(trainer) / name, sample, prediction[index].detach().cpu())
            self.n_written += 1

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many were written and where, and how many were not."""
        logger.info("%d predictions in %s, %d skipped", self.n_written, self.folder(trainer), len(self.failures))

    def _write(self, stem: Path, sample: dict[str, Tensor], prediction: Tensor) -> None:
        image = sample["image"]
        if "original_image" in sample:
            image = sample["original_image"].float() / 255
        rows, columns = (int(n) for n in sample.get("content_size", torch.tensor(prediction.shape[1:])))
        original_size = (image.shape[1], image.shape[2])
        depth = fit_to_original(prediction, content_size=(rows, columns), original_size=original_size)
        write_png(_suffixed(stem, "_depth.png"), depth_to_millimetres(depth))
        near_m, far_m = depth_range(depth[None])
        write_png(_suffixed(stem, "_color.png"), to_uint8(colorize(depth[None], near_m=near_m, far_m=far_m)[0]).numpy())
        if self.panel:
            truth, mask = (sample[k][None] if k in sample else None for k in ("depth", "depth_mask"))
            panels = depth_panels(image[None], truth, mask, depth[None])
            write_png(_suffixed(stem, "_panel.png"), to_uint8(panels[0]).numpy())
        if self.ply and "K" in sample and bool(sample["K_known"]):
            keep = torch.ones_like(depth, dtype=torch.bool)
            if self.max_jump is not None:
                # Edges are looked for before resizing, which turns one jump into a slope of many small ones.
                edges = depth_edges(prediction[None, :, :rows, :columns].float(), max_jump=self.max_jump)
                keep = F.interpolate((~edges).float(), size=original_size, mode="nearest-exact")[0] > 0
            scale = torch.tensor([original_size[1] / columns, original_size[0] / rows, 1.0])
            self._write_cloud(stem, image, depth, scale[:, None] * sample["K"], keep)

    def _write_cloud(self, stem: Path, image: Tensor, depth: Tensor, K: Tensor, keep: Tensor) -> None:
        points, colours = point_cloud(image, depth, K, mask=keep, max_points=self.max_points)
        write_ply(_suffixed(stem, ".ply"), points.numpy(), (colours * 255).round().to(torch.uint8).numpy())
        views = [side_view(points, colours), side_view(points, colours, yaw=0.0, pitch=math.pi / 2)]
        write_png(_suffixed(stem, "_side.png"), to_uint8(torch.cat(views, dim=2)).numpy())


def _suffixed(stem: Path, suffix: str) -> Path:
    """The path with text appended: ``with_suffix`` would eat a part of names with dots."""
    return stem.with_name(stem.name + suffix)
