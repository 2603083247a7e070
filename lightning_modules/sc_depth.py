"""SC-Depth: self-supervised depth whose scale is consistent over a video.

Depth is predicted for every frame, not for the target alone. The depth of a neighbour, transformed into the target's
camera, has to equal the target's. Their difference is a loss, and it reduces the weight of the photometric error where
it is large (occlusions, moving objects). GAM-Depth's gradient-aware mask is added by the argument ``weighting`` alone.

Paper: Bian, Zhan, Wang, et al., "Unsupervised Scale-consistent Depth Learning from Video", IJCV 2021,
https://arxiv.org/abs/2105.11610, equations 4 to 8.

Deviations:
    - Rotations are axis-angles, not Euler angles, and a pair's motion is predicted once in temporal order and inverted
      for the other direction, where the released code predicts both.
    - Each direction chooses the best neighbour among its own; the released code chooses among both directions of a
      pair, although their pixels belong to two images.
    - Validity is the camera's (in front, inside the image); the released code takes black pixels as invalid.
    - Smoothness acts on normalised disparity, as in Monodepth2, with its weight; the released code smooths depth with
      0.1.
    - Any ``weighting`` of the pixels; ``losses.weighting.Averaging`` is the paper.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from geometry.se3 import invert_transform
from geometry.stencils import masked_mean
from lightning_modules.tasks.video_depth import VideoDepthModule
from losses.geometry_consistency import ViewErrors, best_view, geometry_consistency
from losses.smoothness import edge_aware_smoothness
from renderers.view_synthesis import synthesize_views
from structures.clip import ClipBatch, source_positions


class SCDepth(VideoDepthModule):
    """Depth from clips of three frames (or any odd number) with geometric consistency.

    Args:
        ssim_window: Side of the SSIM window in pixels; the released code's 7.
        base: Arguments of :class:`VideoDepthModule`.
    """

    paper_weights: ClassVar[Mapping[str, float]] = {"photometric": 1.0, "geometry": 0.1, "smoothness": 1e-3}

    def __init__(self, ssim_window: int = 7, **base: Any) -> None:
        super().__init__(**base)
        self.ssim_window = ssim_window

    def relative_poses(self, batch: ClipBatch, depth: Tensor) -> Tensor:
        """Motions from the target to every frame, each from the pair of the two images, ``(B, N, 4, 4)``."""
        return self.target_pair_poses(batch)

    def compare(self, images: Tensor, depths: Tensor, T_source_target: Tensor, K: Tensor) -> ViewErrors:
        """Errors of sources against one target each.

        Args:
            images: ``(P, 1 + S, 3, H, W)``: the target, then its sources.
            depths: ``(P, 1 + S, 1, H, W)``, metres, likewise.
            T_source_target: ``(P, S, 4, 4)``.
            K: ``(P, 3, 3)``.
        """
        sources = torch.cat([images[:, 1:], depths[:, 1:]], dim=2)
        warped = synthesize_views(sources, depth=depths[:, 0], K=K, T_source_target=T_source_target)
        return geometry_consistency(
            warped.image[:, :, :3],
            target=images[:, 0],
            sources=images[:, 1:],
            projected_depth_m=warped.depth_m,
            sampled_depth_m=warped.image[:, :, 3:],
            valid=warped.valid,
            ssim_window=self.ssim_window,
            auto_mask=self.takes_minimum,
        )

    def loss_terms(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Photometric and geometric errors in both directions of every pair, and smoothness of every frame."""
        frames, jittered = batch["frames"], batch["frames_jittered"]
        batch_size, n_frames = frames.shape[:2]
        middle, others = n_frames // 2, source_positions(n_frames)
        disparity = self.with_delayed_gradient(self.depth_network(jittered.flatten(0, 1)))
        depth = self.to_depth(disparity).view(batch_size, n_frames, 1, *frames.shape[-2:])
        T_frame_target = self.relative_poses(batch, depth[:, middle])[:, others]

        order = [middle, *others]
        forward = self.compare(frames[:, order], depth[:, order], T_frame_target, batch["K"])
        terms = [self.view_terms(forward, batch["image"], batch.get("keypoints"))]
        # Backward: every neighbour is the target of a pair.
        pairs = [
            torch.stack([values[:, others], values[:, [middle] * len(others)]], dim=2) for values in (frames, depth)
        ]
        images, depths = (values.flatten(0, 1) for values in pairs)
        K = batch["K"].repeat_interleave(len(others), dim=0)
        backward = self.compare(images, depths, invert_transform(T_frame_target).flatten(0, 1)[:, None], K)
        keypoints = batch.get("keypoints")
        if keypoints is not None:
            keypoints = keypoints.repeat_interleave(len(others), dim=0)  # those of the target: neighbours have none
        terms.append(self.view_terms(backward, images[:, 0], keypoints))
        photometric, geometry = (torch.stack(values).mean() for values in zip(*terms, strict=True))
        smoothness = edge_aware_smoothness(disparity, image=frames.flatten(0, 1))
        found = {"photometric": photometric, "geometry": geometry, "smoothness": smoothness}
        return {name: found[name] for name in self.loss_weights}

    def view_terms(self, errors: ViewErrors, image: Tensor, keypoints: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weighted photometric mean and geometric mean over the pixels that are valid in some source.

        Before ``minimum_from`` the means are over all sources, where their warps are valid.
        """
        if not self.takes_minimum:
            mask = errors.mask
            alone = [
                self.weighting(errors.photometric[:, k], image=image, keypoints=keypoints, mask=mask[:, k])
                for k in range(mask.shape[1])
            ]
            return torch.stack(alone).mean(), masked_mean(errors.depth, mask)
        best = best_view(errors)
        photometric = self.weighting(best.photometric, image=image, keypoints=keypoints, mask=best.mask)
        return photometric, masked_mean(best.depth, best.mask)
