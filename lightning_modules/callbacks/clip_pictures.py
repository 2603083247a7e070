"""Pictures of the inputs, predictions and losses of a self-supervised module."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.callbacks.pictures import SamplePictures, gap_width, without_columns
from renderers.display import GAP_GREY

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MAX_SCALE = 0.4
"""Size of the letters, in units of the font: about 7 pixels a letter."""

TRUTH = "truth"
"""Title of the column that is left out where no sample has ground truth."""


class ClipPictures(SamplePictures):
    """Draws the maps that a module's ``pictures(batch)`` returns, a titled column each, a row a sample.

    ``pictures`` is a method of the module: batch in, RGB maps ``(B, 3, H, W)`` in [0, 1] by name out, all of one size
    in the order of the columns. Files: ``pictures/clips_step_000200.png`` in the trainer's folder,
    ``pictures/clips_test.png``, ``pictures/clips_validate.png``. For when and how they are drawn see
    :class:`~lightning_modules.callbacks.pictures.SamplePictures`.

    Args:
        base: Arguments of :class:`SamplePictures`.

    Raises:
        ValueError: If an argument is below 1.
    """

    file_prefix = "clips_"
    log_name = "clips"

    def __init__(self, **base: Any) -> None:
        super().__init__(**base)
        self._titles: list[str] = []
        self._width = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module without pictures.

        Raises:
            ValueError: If the module has no method ``pictures``.
        """
        if not callable(getattr(pl_module, "pictures", None)):
            raise ValueError(
                f"{type(self).__name__} draws what a module's pictures(batch) returns, but {type(pl_module).__name__} "
                "has no such method: leave the callback out."
            )

    def maps(self, pl_module: LightningModule, sample: Any) -> dict[str, Tensor]:
        """RGB maps ``(B, 3, H, W)`` of a batch of chosen samples, by the title of their column."""
        pictures: dict[str, Tensor] = pl_module.pictures(sample)  # type: ignore[operator]  # checked in setup
        return pictures

    def draw_rows(self, pl_module: LightningModule, sample: Any) -> Tensor:
        """The maps of each sample, side by side.

        Raises:
            ValueError: If the maps are not RGB maps of one size, or not those of the other samples.
        """
        maps = self.maps(pl_module, sample)
        size = (len(sample["image"]), 3, *next(iter(maps.values())).shape[2:]) if maps else ()
        for name, picture in maps.items():
            if picture.ndim != 4 or tuple(picture.shape) != size:
                raise ValueError(
                    f"the picture '{name}' has shape {tuple(picture.shape)}, but (B, 3, H, W) with the B of the batch "
                    "and one H and W for all pictures is needed"
                )
        if self._rows and list(maps) != self._titles:
            raise ValueError(
                f"the pictures are {', '.join(maps)}, but those of the samples before were {', '.join(self._titles)}"
            )
        self._titles, self._width = list(maps), size[3] if size else 0
        if not maps:
            return torch.empty(0, 3, 1, 1)
        gap = next(iter(maps.values())).new_full((*size[:3], gap_width(size[3])), GAP_GREY)
        parts = [part for picture in maps.values() for part in (picture.detach().float().clamp(0, 1), gap.float())]
        return torch.cat(parts[:-1], dim=3)

    def without_truth(self, row: Tensor) -> Tensor:
        """The columns without that of the ground truth."""
        return without_columns(row, {k for k, title in enumerate(self._titles) if title == TRUTH}, width=self._width)

    def headed(self, picture: Tensor) -> Tensor:
        """The picture with the titles of its columns above it."""
        titles = [title for title in self._titles if title != TRUTH or self._has_truth]
        return torch.cat([title_strip(titles, width=self._width), picture], dim=1)


def title_strip(titles: Sequence[str], *, width: int) -> Tensor:
    """Black titles on white, one above each column; letters shrink where a title is too long for its column.

    Args:
        titles: The titles.
        width: Width of a column, pixels; columns are ``gap_width(width)`` apart.

    Returns:
        float32 ``(3, H, W)``, RGB in [0, 1], as wide as the columns with their gaps.
    """
    height = max(18, width // 8)
    (_, tall), _ = cv2.getTextSize("X", _FONT, 1.0, 1)
    cells = []
    for title in titles:
        (long, _), _ = cv2.getTextSize(title, _FONT, 1.0, 1)
        scale = min(max(_MAX_SCALE, height / 2.2 / tall), (width - 2) / max(long, 1))
        cell = np.full((height, width), 255, dtype=np.uint8)
        baseline = (height + round(tall * scale)) // 2
        cv2.putText(cell, title, (1, baseline), _FONT, scale, 0, 1, cv2.LINE_AA)
        padded = F.pad(torch.from_numpy(cell).float() / 255, (0, gap_width(width)), value=GAP_GREY)
        cells.append(padded)
    strip = torch.cat(cells, dim=1)[:, : -gap_width(width)]
    return strip.expand(3, -1, -1)
