"""Monodepth2: self-supervised depth from video by the minimum of the reprojection errors.

Predicted depth and camera motion synthesise the target frame from each neighbour; the loss is the photometric error,
for each pixel the minimum over the neighbours. Pixels that match an unwarped neighbour better than any warped one (a
static camera, an object that moves along) are masked out. GAM-Depth's gradient-aware mask is added by the argument
``weighting`` alone.

Paper: Godard, Mac Aodha, Firman, Brostow, "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019,
https://arxiv.org/abs/1806.01260, equations 1 to 5.

Deviations:
    - One scale, the finest, in place of four, as in GAM-Depth, whose ablation starts from this method.
    - The motion of a pair is always predicted in temporal order and inverted where needed, in one pass for all pairs,
      and pixels count from their corners, where the released code mixes two grids.
    - Any ``weighting`` of the pixels; ``losses.weighting.Averaging`` is the paper.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from lightning_modules.tasks.video_depth import VideoDepthModule
from losses.smoothness import edge_aware_smoothness
from structures.clip import ClipBatch, target_of


class Monodepth2(VideoDepthModule):
    """Depth from clips of three frames (or any odd number) by the minimum reprojection error.

    The arguments are those of :class:`VideoDepthModule`; the paper's weights are 1 (``photometric``) and 1e-3
    (``smoothness``).
    """

    paper_weights: ClassVar[Mapping[str, float]] = {"photometric": 1.0, "smoothness": 1e-3}

    def relative_poses(self, batch: ClipBatch, depth: Tensor) -> Tensor:
        """Motions from the target to every frame, each from the pair of the two images, ``(B, N, 4, 4)``."""
        return self.target_pair_poses(batch)

    def loss_terms(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Unweighted photometric error and smoothness, those among ``loss_weights``."""
        disparity = self.with_delayed_gradient(self.depth_network(target_of(batch["frames_jittered"])))
        depth = self.to_depth(disparity)
        warped = self.synthesize(batch, depth, self.relative_poses(batch, depth))
        terms = {
            "photometric": self.photometric_loss(batch, warped.image),
            "smoothness": edge_aware_smoothness(disparity, image=batch["image"]),
        }
        return {name: terms[name] for name in self.loss_weights}
