"""Monodepth2: self-supervised depth from video by the minimum of the reprojection errors.

The depth of the target predicts how its neighbours look from its camera; the photometric error of the better
neighbour teaches depth and motion. Pixels that match an unwarped neighbour better than any warped one (a static
camera, something that moves along) teach nothing. A host of the gradient-aware mask of GAM-Depth: its weighting is
one argument, and nothing else changes.

Paper: Godard, Mac Aodha, Firman, Brostow, "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019,
https://arxiv.org/abs/1806.01260, equations 1 to 5.

Deviations:
    - One scale, the finest, in place of four: GAM-Depth, whose host this is, keeps only that one.
    - The motion of a pair is always predicted in temporal order and inverted where needed, in one pass for all pairs,
      and pixels count from their corners, where the released code mixes two grids.
    - Any ``weighting`` of the pixels; ``losses.weighting.Averaging`` is the paper.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from lightning_modules.tasks.video_depth import VideoDepthModule
from losses.smoothness import edge_aware_smoothness
from losses.weighting import PhotometricWeighting
from networks.pose import PoseNet
from structures.clip import ClipBatch, target_of


class Monodepth2(VideoDepthModule):
    """Depth from clips of three frames (or any odd number) by the minimum reprojection error.

    Args:
        depth_network: Maps an image ``(B, 3, H, W)`` to disparity ``(B, 1, H, W)`` in [0, 1].
        pose_network: Maps pairs of images to their motion; None with ``poses: exact``.
        weighting: How pixels of the photometric error count; None is the paper's mean.
        poses: ``learned`` or ``exact`` (those of the data).
        depth_from: See :class:`~lightning_modules.tasks.video_depth.VideoDepthModule`.
        minimum_from: See :class:`~lightning_modules.tasks.video_depth.VideoDepthModule`.
        loss_weights: Weights of ``photometric`` (1) and ``smoothness`` (1e-3), the paper's.
        optimizer: Adam, as in the paper.
        lr_scheduler: See :class:`~lightning_modules.tasks.base.PaperModule`.
        lr_scheduler_interval: See :class:`~lightning_modules.tasks.base.PaperModule`.
        lr_monitor: See :class:`~lightning_modules.tasks.base.PaperModule`.
        alignment: See :class:`~lightning_modules.tasks.depth.DepthModule`.
        min_depth_m: Nearest depth, metres.
        max_depth_m: Farthest depth, metres (the paper's 100 m are for driving).
        crop: See :class:`~lightning_modules.tasks.depth.DepthModule`.
        average: See :class:`~lightning_modules.tasks.depth.DepthModule`.
    """

    paper_weights: ClassVar[Mapping[str, float]] = {"photometric": 1.0, "smoothness": 1e-3}

    def __init__(
        self,
        depth_network: nn.Module,
        pose_network: PoseNet | None = None,
        weighting: PhotometricWeighting | None = None,
        poses: Literal["learned", "exact"] = "learned",
        depth_from: float = 0.0,
        minimum_from: float = 0.0,
        loss_weights: Mapping[str, float] | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["step", "epoch"] = "step",
        lr_monitor: str = "val/score",
        alignment: Literal["none", "median", "least_squares"] = "median",
        min_depth_m: float = 0.1,
        max_depth_m: float = 10.0,
        crop: tuple[float, float, float, float] | None = None,
        average: Literal["image", "pixel"] = "image",
    ) -> None:
        super().__init__(
            loss_weights=loss_weights,
            depth_network=depth_network,
            pose_network=pose_network,
            weighting=weighting,
            poses=poses,
            depth_from=depth_from,
            minimum_from=minimum_from,
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

    def relative_poses(self, batch: ClipBatch, depth: Tensor) -> Tensor:
        """Motions from the target to every frame, each from the pair of the two images, ``(B, N, 4, 4)``."""
        return self.target_pair_poses(batch)

    def loss_terms(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Photometric error and smoothness, as far as they are among ``loss_weights``."""
        disparity = self.held(self.depth_network(target_of(batch["frames_jittered"])))
        depth = self.to_depth(disparity)
        warped = self.synthesize(batch, depth, self.relative_poses(batch, depth))
        terms = {
            "photometric": self.photometric_loss(batch, warped.image),
            "smoothness": edge_aware_smoothness(disparity, image=batch["image"]),
        }
        return {name: terms[name] for name in self.loss_weights}
