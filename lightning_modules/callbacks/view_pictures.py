"""Pictures of render consistency: the novel views, and the reconstructed scene before and after."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import wandb
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F

from geometry.alignment import median_scale
from lightning_modules.callbacks.clip_pictures import ClipPictures
from lightning_modules.callbacks.pictures import PredictsDepth, score_step
from lightning_modules.callbacks.sample_records import SCALED_UNIT, depth_records
from lightning_modules.runs.loggers import picture_loggers
from renderers.cloud_sections import cloud_sections
from renderers.display import to_uint8
from renderers.figure import Maps, PictureRow
from renderers.point_cloud import depth_edges, point_cloud

logger = logging.getLogger(__name__)

_VIEWS = ("from above", "from the side")


class ViewPictures(ClipPictures):
    """Draws what a module's ``pictures(batch)`` returns and sections of the point cloud, for a reference and for now.

    The sections show the ground truth in green and the median-aligned prediction in orange; see
    :mod:`renderers.cloud_sections`. The reference is the prediction for the same image when it was first drawn in this
    training, or last drawn up to ``reference_step``. Checkpoints store it, so a resumed training keeps it. Outside a
    training there is no reference. Files: ``pictures/views_step_000200.png`` in the trainer's
    folder, ``pictures/views_test.png``, ``pictures/views_validate.png``; all else is as in
    :class:`~lightning_modules.callbacks.clip_pictures.ClipPictures`.

    Args:
        reference_step: Last step at which the reference is replaced, so that the pictures show the effect of the
            training after it; None is the end of the module's ``warmup``, a fraction of the training (0 where it has
            none).
        cloud_every: W&B gets point clouds with every n-th picture; 0 sends none. They are large.
        max_points: Largest number of points of such a cloud, >= 1.
        max_jump: Points at depth edges with a relative jump above this are left out of it, > 0.
        base: Arguments of :class:`ClipPictures`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    file_prefix = "views_"
    log_name = "views"
    samples_name = "views"

    def __init__(
        self,
        reference_step: int | None = None,
        cloud_every: int = 0,
        max_points: int = 20000,
        max_jump: float = 0.05,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if min(reference_step or 0, cloud_every) < 0 or max_points < 1 or not max_jump > 0:
            raise ValueError(
                f"reference_step={reference_step} and cloud_every={cloud_every} must not be negative, "
                f"max_points={max_points} at least 1 and max_jump={max_jump} positive"
            )
        self.reference_step = reference_step
        self.cloud_every = cloud_every
        self.max_points = max_points
        self.max_jump = max_jump
        self._before: dict[str, Tensor] = {}
        self._clouds: list[Tensor] = []
        self._first_section = ""
        self._compared: list[PictureRow] = []
        self._n_pictures = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a module without depth.

        Raises:
            ValueError: If the module has no method ``pictures`` or predicts no depth.
        """
        super().setup(trainer, pl_module, stage)
        if not isinstance(pl_module, PredictsDepth):
            raise ValueError(
                f"ViewPictures draws the depth of a DepthModule, but {type(pl_module).__name__} is none: leave the "
                "callback out."
            )

    def state_dict(self) -> dict[str, Any]:
        """The depth that later pictures show as *before*."""
        return {"before": dict(self._before), "n_pictures": self._n_pictures}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._before = dict(state_dict["before"])
        self._n_pictures = state_dict["n_pictures"]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a new picture."""
        super().on_validation_start(trainer, pl_module)
        self._clouds = []

    on_test_start = on_validation_start

    def summary_rows(self) -> list[PictureRow]:
        """The sections of the first two samples, before and now where this training has drawn both."""
        sections = [
            replace(row, pictures=tuple(p for p in row.pictures if p.title.startswith(_VIEWS)))
            for row in (self._compared or self.drawn_rows)[:2]
        ]
        return [row for row in sections if row.pictures]

    def starts_line(self, name: str) -> bool:
        """The sections stand in a line of their own."""
        return name == self._first_section

    def draw_rows(self, pl_module: LightningModule, sample: Any) -> list[PictureRow]:
        """The maps and sections of each sample, with a legend of the sections."""
        rows = super().draw_rows(pl_module, sample)
        return [replace(row, score=f"{row.score}   sections: truth green, prediction orange".strip()) for row in rows]

    def maps(self, pl_module: LightningModule, sample: Any) -> Maps:
        """The module's own pictures and the sections."""
        maps = super().maps(pl_module, sample)
        assert isinstance(pl_module, PredictsDepth)  # checked in setup
        now = pl_module.evaluated_depth(sample).detach().float()
        size = next(iter(maps.values())).shape[-2:] if maps else sample["image"].shape[-2:]
        depths = {"now": now}
        if pl_module.trainer.state.fn == "fit":
            depths = {
                "before": self._remembered(sample["name"], now, replace=self._before_reference(pl_module)),
                "now": now,
            }
        sections = {
            name: cloud_sections(
                depth, sample["K"], truth=sample["depth"], mask=sample["depth_mask"], size=(size[0], size[1])
            )
            for name, depth in depths.items()
        }
        self._keep(sample, depths, sections)
        if self._sends_clouds():
            self._clouds.extend(self._cloud(image, depth, K) for image, depth, K in _each(sample, now))
        self._first_section = f"{_VIEWS[0]}, {next(iter(sections))}"
        of_sections = {
            f"{view}, {name}": pair[position] for position, view in enumerate(_VIEWS) for name, pair in sections.items()
        }
        return Maps(maps | of_sections, bars=maps.bars, titles=maps.titles)

    def _keep(
        self, sample: Mapping[str, Any], depths: Mapping[str, Tensor], sections: Mapping[str, Sequence[Tensor]]
    ) -> None:
        """Add the depth of a batch, before and now, and its sections to the kept samples."""
        scaled = {name: _scaled(depth, sample) for name, depth in depths.items()}
        self._unit = SCALED_UNIT
        for index, record in enumerate(depth_records(sample, scaled["now"], scaled.get("before"))):
            panels = {
                f"{view}, {name}": to_uint8(pair[position][index]).numpy()
                for position, view in enumerate(_VIEWS)
                for name, pair in sections.items()
            }
            self._records.append(replace(record, panels=panels))

    def _before_reference(self, pl_module: LightningModule) -> bool:
        """Whether the reference is still replaced at this step of a training."""
        if self.reference_step is not None:
            return pl_module.global_step <= self.reference_step
        warmup = float(getattr(pl_module, "warmup", 0.0))
        return warmup > 0 and pl_module.progress() <= warmup  # type: ignore[operator]  # what has a warm-up has that

    def _remembered(self, names: list[str], now: Tensor, *, replace: bool) -> Tensor:
        """Depth of the same images at the reference.

        Args:
            names: Names of the images.
            now: Their depth, ``(B, 1, H, W)``.
            replace: Whether this depth becomes the reference of images that have one already.
        """
        for name, depth in zip(names, now.cpu(), strict=True):
            known = self._before.get(name)
            if known is None or replace or known.shape != depth.shape:
                self._before[name] = depth.clone()
        return torch.stack([self._before[name] for name in names]).to(now.device)

    def _sends_clouds(self) -> bool:
        return self.cloud_every > 0 and self._n_pictures % self.cloud_every == 0

    def _cloud(self, image: Tensor, depth: Tensor, K: Tensor) -> Tensor:
        """Points and colours ``(N, 6)``: metres or any unit with y upwards, RGB in [0, 255]."""
        keep = ~depth_edges(depth[None], max_jump=self.max_jump)[0] & depth.isfinite()
        points, colours = point_cloud(image, depth, K, mask=keep, max_points=self.max_points)
        flipped = points * points.new_tensor([1.0, -1.0, -1.0])  # the viewer's y points upwards, its z backwards
        return torch.cat([flipped, (colours * 255).round()], dim=1).cpu()

    def _write(self, trainer: Trainer, name: str, stage: str) -> None:
        drawn, clouds = bool(self._rows), self._clouds
        super()._write(trainer, name, stage)
        if drawn and trainer.state.fn == "fit":
            self._compared = self.drawn_rows
        self._clouds = []
        self._n_pictures += drawn
        for run_logger in picture_loggers(trainer.loggers) if clouds else []:
            objects: Any = [wandb.Object3D(cloud.numpy()) for cloud in clouds]
            run_logger.log_metrics({f"{stage}/clouds": objects}, step=score_step(trainer))
            logger.info("%d point clouds go to W&B", len(clouds))


def _scaled(depth: Tensor, sample: Mapping[str, Any]) -> Tensor:
    """Depth scaled to the median of the ground truth; as it is where an image has none."""
    return depth * median_scale(depth, target=sample["depth"], mask=sample["depth_mask"]).view(-1, 1, 1, 1)


def _each(sample: Mapping[str, Any], depth: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Image, depth and K of each sample, the image at the size of the depth."""
    image = F.interpolate(sample["image"], size=depth.shape[-2:], mode="bilinear", align_corners=False)
    return zip(image, depth, sample["K"], strict=True)
