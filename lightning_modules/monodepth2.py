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
from typing import Any, ClassVar

from torch import Tensor

from lightning_modules.tasks.video_depth import VideoDepthModule
from losses.smoothness import edge_aware_smoothness
from networks.pose import PoseNet
from structures.clip import ClipBatch, target_of


class Monodepth2(VideoDepthModule):
    """Depth from clips of three frames (or any odd number) by the minimum reprojection error.

    Args:
        pose_network: Maps pairs of images to their motion; None with ``poses: exact``.
        loss_weights: Weights of ``photometric`` (1) and ``smoothness`` (1e-3), the paper's.
        base: Arguments of :class:`VideoDepthModule`.
    """

    paper_weights: ClassVar[Mapping[str, float]] = {"photometric": 1.0, "smoothness": 1e-3}

    def __init__(
        self, pose_network: PoseNet | None = None, loss_weights: Mapping[str, float] | None = None, **base: Any
    ) -> None:
        super().__init__(loss_weights=loss_weights, pose_network=pose_network, **base)

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
