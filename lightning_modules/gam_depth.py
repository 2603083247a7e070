"""GAM-Depth: self-supervised indoor depth from video with a gradient-aware mask and semantic constraints.

Predicted depth of the middle of five frames and predicted camera motion synthesise that frame from the other four.
Textureless walls have no photometric gradient but dominate the mean, so the error of a pixel is weighted by the image
gradient. A second decoder on the shared encoder learns proxy labels of a teacher, which sharpens depth at the edges of
objects. Motion is estimated in two steps, the second from the warped images. Planar regions and Manhattan directions
constrain the walls.

Paper: "GAM-Depth: Self-Supervised Indoor Depth Estimation Leveraging a Gradient-Aware Mask and Semantic Constraints",
ICRA 2024, https://arxiv.org/abs/2402.14354, equation 5 for the mask; planar and normal terms from StructDepth,
https://arxiv.org/abs/2108.08574.

Deviations:
    - Each image is weighted by its own mask; the released code broadcasts the batch's masks over each other.
    - Motions chain as ``T_2_0 = T_2_1 T_1_0``; the released code multiplies in the other order.
    - Cross-entropy on logits with class 0 as "no label"; the code applies it to probabilities and ignores its class 0,
      which is likely the wall.
    - Normals belong to their own pixel, pixels count from corners, grey is computed from RGB; one colour jitter a clip.
    - Schedules run over the whole training, whatever its length; walls constrain depth from ``minimum_from`` on.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from geometry.camera import unproject
from geometry.normals import normals_from_points
from geometry.se3 import compose_transforms, invert_transform, transform_from_axis_angle
from lightning_modules.tasks.batch_needs import DIRECTIONS, PROXY_LABELS, Loop, Need
from lightning_modules.tasks.video_depth import VideoDepthModule, poses_around_target
from losses.manhattan import cosine_threshold
from losses.planar_structure import PixelConstants, PlanarStructure, planar_and_normal_loss, planar_structure
from losses.semantic import proxy_cross_entropy
from losses.smoothness import edge_aware_smoothness
from losses.weighting import GradientAwareMask, PhotometricWeighting
from networks.disparity import DisparitySegmentationNet
from networks.pose import ResidualPoseNet
from renderers.display import categorical, normal_map
from renderers.figure import Maps
from structures.clip import IGNORED_LABEL, ClipBatch, target_of


class GAMDepth(VideoDepthModule):
    """Depth from clips of five frames.

    Args:
        depth_network: A :class:`DisparitySegmentationNet` where ``segmentation`` is among the loss terms.
        pose_network: A :class:`ResidualPoseNet` corrects each motion once, a plain :class:`PoseNet` does not; None with
            ``poses: exact``.
        weighting: Weights of the photometric error; None is the gradient-aware mask with the paper's values.
        loss_weights: ``photometric``, ``smoothness``, ``segmentation``, ``planar``, ``normal``; None is the paper's.
        segmentation_until: Fraction of the training after which the proxy labels are not used (15 of 50 epochs).
        normal_radius: Distance in pixels of the neighbours from which a normal is computed (3 at 384x288, StructDepth).
        segment_scale: Size of the planar segments, which scales with the area of the image (1 at 384x288).
        min_segment_px: Smaller segments are merged with a neighbour (50 at 384x288).
        min_plane_px: Larger segments are planes (200 at 384x288).
        border_px: Pixels at the image's border without planar and normal terms (8 at 384x288).
        border_top_px: The same at the top, for the normal term (20 at 384x288).
        base: Arguments of :class:`VideoDepthModule`.

    Raises:
        ValueError: If a loss term is unknown, the network has no decoder for the labels, or a number is out of range.
    """

    paper_weights: ClassVar[Mapping[str, float]] = {
        "photometric": 1.0, "smoothness": 1e-3, "segmentation": 0.1, "planar": 0.1, "normal": 0.05
    }  # fmt: skip
    corrects_motion = True

    def __init__(
        self,
        weighting: PhotometricWeighting | None = None,
        segmentation_until: float = 0.3,
        normal_radius: int = 3,
        segment_scale: float = 1.0,
        min_segment_px: int = 50,
        min_plane_px: int = 200,
        border_px: int = 8,
        border_top_px: int = 20,
        **base: Any,
    ) -> None:
        super().__init__(weighting=GradientAwareMask() if weighting is None else weighting, **base)
        if "segmentation" in self.loss_weights and not isinstance(self.depth_network, DisparitySegmentationNet):
            raise ValueError("the loss term 'segmentation' needs networks.disparity.DisparitySegmentationNet")
        if not 0 <= segmentation_until <= 1:
            raise ValueError(
                f"segmentation_until is {segmentation_until}, but must be a fraction of the training, 0 to 1"
            )
        self.segmentation_until = segmentation_until
        self.pixels = PixelConstants(
            normal_radius, segment_scale, min_segment_px, min_plane_px, border_px, border_top_px
        )

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """The needs of the base class, and labels or directions if their terms are among ``loss_weights``."""
        own = super().needs(loop)
        if loop != "train":
            return own
        own = (*own, PROXY_LABELS) if "segmentation" in self.loss_weights else own
        return (*own, DIRECTIONS) if self.loss_weights.keys() & {"planar", "normal"} else own

    def untrained_parts(self) -> list[nn.Module]:
        """The decoder of the classes is trained by the term ``segmentation``."""
        parts = super().untrained_parts()
        if "segmentation" not in self.loss_weights:
            return parts
        return [part for part in parts if part is not getattr(self.depth_network, "auxiliary_decoder", None)]

    def delayed_part(self) -> nn.Module:
        """With the term ``segmentation`` the decoder of depth alone: the labels train the encoder from the start."""
        if "segmentation" not in self.loss_weights:
            return super().delayed_part()
        return cast(nn.Module, self.depth_network.decoder)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Refuse labels above the number of classes while they are on the CPU, which needs no GPU synchronisation.

        Raises:
            ValueError: If a class id is above the network's.
        """
        if isinstance(self.depth_network, DisparitySegmentationNet) and "proxy_semantic" in batch:
            highest = int(batch["proxy_semantic"].max())
            if highest > self.depth_network.n_classes:
                raise ValueError(
                    f"the labels have the class id {highest}, but the network has {self.depth_network.n_classes} "
                    "classes: set model.init_args.depth_network.init_args.n_classes to the teacher's"
                )
        return batch

    def first_poses(self, batch: ClipBatch) -> Tensor:
        """Motions from the target to every frame, chained from those between neighbours, ``(B, N, 4, 4)``."""
        if self.pose_network is None:
            return self.exact_poses(batch)
        frames = batch["frames_jittered"]
        batch_size, n_frames = frames.shape[:2]
        middle = n_frames // 2
        motion = self.pose_network(frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1))
        steps = transform_from_axis_angle(*motion).view(batch_size, n_frames - 1, 4, 4)  # frame k into frame k + 1
        poses = [torch.eye(4, dtype=steps.dtype, device=steps.device).expand(batch_size, 4, 4)]
        for k in range(middle, n_frames - 1):
            poses.append(compose_transforms(steps[:, k], poses[-1]))
        for k in range(middle - 1, -1, -1):
            poses.insert(0, compose_transforms(invert_transform(steps[:, k]), poses[0]))
        return torch.stack(poses, dim=1)

    def residual_poses(self, batch: ClipBatch, warped: Tensor) -> Tensor:
        """Corrections ``(B, N, 4, 4)`` predicted from the sources warped by the first motions.

        A pair enters in temporal order, and motions of frames before the target are inverted; all pairs in one pass.
        """
        network = cast(ResidualPoseNet, self.pose_network)
        batch_size, n_sources = warped.shape[:2]
        middle = n_sources // 2
        target = target_of(batch["frames_jittered"])[:, None].expand(-1, middle, -1, -1, -1)
        first = torch.cat([warped[:, :middle], target], dim=1).flatten(0, 1)
        second = torch.cat([target, warped[:, middle:]], dim=1).flatten(0, 1)
        motion = transform_from_axis_angle(*network.residual(first, second))
        return poses_around_target(motion.view(batch_size, n_sources, 4, 4))

    def relative_poses(self, batch: ClipBatch, depth: Tensor) -> Tensor:
        """First motions, corrected once if the pose network has a residual decoder, ``(B, N, 4, 4)``."""
        first = self.first_poses(batch)
        if not isinstance(self.pose_network, ResidualPoseNet):
            return first
        return compose_transforms(first, self.residual_poses(batch, self.synthesize(batch, depth, first).image))

    def planes(self, batch: ClipBatch, depth: Tensor) -> PlanarStructure:
        """Normals, their aligned directions, the planar segments, and the depth of their planes.

        Raises:
            ValueError: If the data gives no vanishing directions.
        """
        if "vanishing" not in batch:
            raise ValueError(DIRECTIONS.source)
        return planar_structure(
            depth,
            batch["K"],
            image=target_of(batch["frames_jittered"]),
            vanishing=batch["vanishing"],
            min_cosine=cosine_threshold(self.progress()),
            min_depth_m=self.evaluation.min_depth_m,
            max_depth_m=self.evaluation.max_depth_m,
            pixels=self.pixels,
        )

    def loss_terms(self, batch: ClipBatch) -> dict[str, Tensor]:
        """Unweighted loss terms, those among ``loss_weights``."""
        image = target_of(batch["frames_jittered"])
        terms: dict[str, Tensor] = {}
        if "segmentation" in self.loss_weights:
            disparity, logits = cast(DisparitySegmentationNet, self.depth_network).with_segmentation(image)
            terms["segmentation"] = self.segmentation_loss(batch, logits)
        else:
            disparity = self.depth_network(image)
        disparity = self.with_delayed_gradient(disparity)
        depth = self.to_depth(disparity)
        warped = self.synthesize(batch, depth, self.relative_poses(batch, depth))
        terms["photometric"] = self.photometric_loss(batch, warped.image)
        terms["smoothness"] = edge_aware_smoothness(disparity, image=batch["image"])
        if self.loss_weights.keys() & {"planar", "normal"}:
            planar, normal = planar_and_normal_loss(depth, self.planes(batch, depth), pixels=self.pixels)
            terms |= {"normal": normal * float(self.takes_minimum), "planar": planar * float(self.takes_minimum)}
        return {name: terms[name] for name in self.loss_weights}

    def segmentation_loss(self, batch: ClipBatch, logits: Tensor) -> Tensor:
        """Cross-entropy with the proxy labels; zero (in the graph, for DDP) after ``segmentation_until``.

        Raises:
            ValueError: If the data gives no labels.
        """
        if "proxy_semantic" not in batch:
            raise ValueError(PROXY_LABELS.source)
        loss = proxy_cross_entropy(logits, labels=batch["proxy_semantic"], ignore_index=IGNORED_LABEL)
        return loss * float(self.progress() < self.segmentation_until)

    def pictures(self, batch: ClipBatch) -> Maps:
        """The pictures of the base, normals, planar segments and, if the network predicts them, classes."""
        depth = self.evaluated_depth(batch)
        normals, defined = normals_from_points(unproject(depth, batch["K"]), radius=self.pixels.normal_radius)
        pictures = super().pictures(batch)
        pictures["normals"] = normal_map(normals, mask=defined)
        if isinstance(self.depth_network, DisparitySegmentationNet):
            classes = self.depth_network.with_segmentation(batch["image"])[1].argmax(dim=1)
            pictures["classes"] = categorical(classes)
        if "frames_jittered" in batch:  # without directions normals are segmented without alignment
            clip = cast(ClipBatch, {"vanishing": torch.zeros_like(batch["K"]), **batch})
            pictures["planes"] = categorical(self.planes(clip, depth).segments)
        return pictures
