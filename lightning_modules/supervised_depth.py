"""Supervised monocular depth: seven networks and a family of losses under one protocol.

A network regresses depth divided by a scale (10 m, or the image's own maximum) from one image; the loss compares it
with measured depth wherever there is some. Everything that the compared models share stands here; the networks are in
``networks/``, the losses in ``losses/``.

Paper: "Monocular depth estimation: supervised models and losses" (a student report on NYU Depth v2 with seven models
and three losses), and Alhashim & Wonka, "High Quality Monocular Depth Estimation via Transfer Learning",
https://arxiv.org/abs/1812.11941, for DenseDepth; Eigen et al., https://arxiv.org/abs/1406.2283, for the scale-invariant
log loss; Ranftl et al., https://arxiv.org/abs/1907.01341, for the affine-invariant losses.

Deviations:
    - The report does not say how depth was scaled to [0, 1]; the data modules offer both readings.
    - Outputs may be passed through an exponential (``activation: exp``), which keeps them positive; the report's
      rows use the plain linear output.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_modules.base import DepthModule
from losses.composite import select
from structures.batch import DepthBatch


class SupervisedDepth(DepthModule):
    """A depth network trained on measured depth.

    Args:
        network: Maps an image ``(B, 3, H, W)`` in [0, 1] to scaled depth ``(B, 1, H, W)``.
        loss_weights: Loss terms by name with their weights: ``l1``, ``mse``, ``rmse``, ``berhu``, ``gradient``,
            ``silog``, ``ssim``, ``ssi``, ``ssi_gradient`` (see ``losses/composite.py``). The report's models use L1.
        optimizer: Adam with its default rate, as in the report.
        lr_scheduler: None, as in the report.
        lr_scheduler_interval: Whether the scheduler counts steps or epochs.
        lr_monitor: Metric watched by a ``ReduceLROnPlateau`` scheduler.
        depth_scale_m: Metres that a network output of 1 stands for when a lone image is predicted; during training
            and evaluation the data's own ``depth_scale_m`` is used.
        activation: ``linear`` takes the network's output as scaled depth, ``exp`` takes it as its logarithm.
        alignment: See :class:`DepthModule`.
        min_depth_m: See :class:`DepthModule`.
        max_depth_m: See :class:`DepthModule`.
        crop: See :class:`DepthModule`.
        average: See :class:`DepthModule`.

    Raises:
        ValueError: If a loss term is unknown; the message lists the known ones.
    """

    def __init__(
        self,
        network: nn.Module,
        loss_weights: Mapping[str, float] | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["step", "epoch"] = "step",
        lr_monitor: str = "val/abs_rel_img",
        depth_scale_m: float = 10.0,
        activation: Literal["linear", "exp"] = "linear",
        alignment: Literal["none", "median", "least_squares"] = "none",
        min_depth_m: float = 1e-3,
        max_depth_m: float = 10.0,
        crop: tuple[float, float, float, float] | None = None,
        average: Literal["image", "pixel"] = "image",
    ) -> None:
        super().__init__(
            loss_weights={"l1": 1.0} if loss_weights is None else loss_weights,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            lr_scheduler_interval=lr_scheduler_interval,
            lr_monitor=lr_monitor,
            alignment=alignment,
            min_depth_m=min_depth_m,
            max_depth_m=max_depth_m,
            crop=crop,
            average=average,
        )
        self.losses = select(list(self.loss_weights))
        self.network = network
        self.depth_scale_m = depth_scale_m
        self.activation = activation

    def scaled_depth(self, image: Tensor) -> Tensor:
        """Depth in units of the depth scale, ``(B, 1, H, W)``, for an image ``(B, 3, H, W)`` in [0, 1]."""
        output = self.network(image)
        return output.exp() if self.activation == "exp" else output

    def forward(self, image: Tensor) -> Tensor:
        """Depth ``(B, 1, H, W)`` in metres of an image ``(B, 3, H, W)`` in [0, 1]; negative outputs become 0."""
        return self.scaled_depth(image).clamp(min=0) * self.depth_scale_m

    def predict_depth(self, batch: DepthBatch) -> Tensor:
        """Depth ``(B, 1, H, W)`` in metres, unclamped, in the scale that the data gives."""
        return self.scaled_depth(batch["image"]) * batch["depth_scale_m"].view(-1, 1, 1, 1)

    def loss_terms(self, batch: DepthBatch) -> dict[str, Tensor]:
        """The chosen losses between scaled prediction and scaled truth on valid pixels."""
        prediction = self.scaled_depth(batch["image"])
        target = batch["depth"] / batch["depth_scale_m"].view(-1, 1, 1, 1)
        return {name: loss(prediction, target=target, mask=batch["depth_mask"]) for name, loss in self.losses.items()}
