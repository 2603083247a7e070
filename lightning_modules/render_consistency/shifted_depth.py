"""Depth up to scale, with a constant shift for networks that were trained on affine ground truth."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from geometry.stencils import masked_median_per_image
from lightning_modules.tasks.depth import DepthModule
from lightning_modules.tasks.evaluation import DepthEvaluation
from lightning_modules.tasks.evaluation_loop import STAGES, Stage
from metrics.shape import ShapeMetrics
from structures.batch import DepthBatch

SHIFT_RATE = 10.0
"""Ratio of the shift to its parameter, which raises its learning rate: Adam moves all parameters by similar steps."""
FLOOR_OF_MEDIAN = 1e-2
"""Smallest usable shifted depth as a fraction of its image's median: nearer points are next to the camera or behind it.
Depth in training is clamped to it; calibration leaves such pixels out."""


class ShiftedDepth(DepthModule):
    """Base of papers whose network predicts depth up to scale and shift: adds the shift, reports errors of shape.

    Args:
        network: Maps an image ``(B, 3, H, W)`` in [0, 1] to the logarithm of depth, ``(B, 1, H, W)``.
        shift: Constant added to the network's depth, in its unit.
        learn_shift: Whether the constant is a trained parameter, initialised with ``shift``.
        evaluation: Least squares over scale and shift, the zero-shot protocol; shapes are aligned by scale alone.
        base: Arguments of :class:`~lightning_modules.tasks.depth.DepthModule`.
    """

    def __init__(
        self,
        network: nn.Module,
        shift: float = 0.0,
        learn_shift: bool = False,
        evaluation: DepthEvaluation = DepthEvaluation(alignment="least_squares"),
        **base: Any,
    ) -> None:
        super().__init__(evaluation=evaluation, **base)
        self.network = network
        self.learn_shift = learn_shift
        # A parameter also without gradient, so that it is part of every checkpoint.
        self.scaled_shift = nn.Parameter(torch.tensor(shift / SHIFT_RATE), requires_grad=learn_shift)
        self.shape_metrics = nn.ModuleDict(
            {
                stage: ShapeMetrics(min_depth_m=evaluation.min_depth_m, max_depth_m=evaluation.max_depth_m)
                for stage in STAGES
            }
        )

    @property
    def scale_known(self) -> bool:
        """False: the training determines depth up to a scale only."""
        return False

    @property
    def shift(self) -> Tensor:
        """The constant that is added to the network's depth, a scalar in the network's unit."""
        return SHIFT_RATE * self.scaled_shift

    def raw_depth(self, image: Tensor) -> Tensor:
        """The network's positive depth ``(B, 1, H, W)`` before any shift, in its own unit."""
        return self.network(image).float().clamp(-15.0, 15.0).exp()

    def shifted(self, raw: Tensor, *, shift_learns: bool = True) -> Tensor:
        """Depth with the shift, clamped to a small share of each image's median, since the shift may be negative."""
        shift = self.shift if shift_learns else self.shift.detach()
        median = masked_median_per_image(raw.detach(), torch.ones_like(raw, dtype=torch.bool)).view(-1, 1, 1, 1)
        return torch.maximum(raw + shift, FLOOR_OF_MEDIAN * median)

    def forward(self, image: Tensor) -> Tensor:
        """Depth of images, up to one unknown scale.

        Args:
            image: float32 ``(B, 3, H, W)``, RGB in [0, 1].

        Returns:
            float32 ``(B, 1, H, W)``, positive.
        """
        return self.shifted(self.raw_depth(image))

    def _shape_metrics(self, stage: Stage) -> ShapeMetrics:
        return cast(ShapeMetrics, self.shape_metrics[stage])

    def update_metrics(self, stage: Stage, batch: DepthBatch) -> None:
        """Predict a batch and add its errors of depth and of shape."""
        depth = self.evaluated_depth(batch)
        truth, mask = batch["depth"], batch["depth_mask"]
        self._metrics(stage).update(depth, target_m=truth, mask=mask, depth_scale_m=batch["depth_scale_m"])
        self._shape_metrics(stage).update(depth, target_m=truth, mask=mask, K=batch["K"], plane=batch.get("plane"))

    def stage_metrics(self, stage: Stage) -> dict[str, Tensor]:
        """Depth errors after scale and shift, and errors of shape after scale alone."""
        shape = self._shape_metrics(stage).compute()
        return super().stage_metrics(stage) | {
            name: value.float() for name, value in shape.items() if not bool(value.isnan())
        }

    def reset_metrics(self, stage: Stage) -> None:
        """Clear the metrics of a stage."""
        super().reset_metrics(stage)
        self._shape_metrics(stage).reset()
