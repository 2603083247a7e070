"""Base class of papers that learn depth from the photometric error between the frames of a video.

A paper adds ``loss_terms`` and ``relative_poses``; depth, view synthesis, evaluation and pictures are here.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Literal, cast

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from geometry.alignment import median_scale
from geometry.disparity import depth_from_disparity
from geometry.se3 import invert_transform, transform_from_axis_angle
from lightning_modules.callbacks.clip_pictures import ClipPictures
from lightning_modules.callbacks.trajectory_writer import TrajectoryWriter
from lightning_modules.tasks.batch_needs import CLIP_DEPTH, CLIPS, IMAGES, KEYPOINTS, POSES, Loop, Need
from lightning_modules.tasks.depth import DepthModule
from lightning_modules.tasks.evaluation import DepthEvaluation
from lightning_modules.tasks.evaluation_loop import STAGES, Stage
from losses.photometric import Photometric, minimum_error
from losses.weighting import Averaging, KeypointWeighting, PhotometricWeighting
from metrics.subset_depth import SubsetDepthErrors
from metrics.trajectory import PoseErrors
from networks.pose import PoseNet, ResidualPoseNet
from renderers.colour_bars import ColourBar, depth_bar
from renderers.depth_figure import RELATIVE
from renderers.display import categorical, colorize, depth_range, scalar_map
from renderers.figure import Maps
from renderers.view_synthesis import Warped, synthesize_views
from structures.batch import PADDING_INDEX, DepthBatch
from structures.choices import Quantity
from structures.clip import ClipBatch, source_positions, sources_of, target_of

PIXEL_SUBSETS = ("plain", "textured", "boundary", "thin", "glossy")
"""Parts of the image with errors of their own, if the data set has masks for them."""

IDENTITY_NOISE = 1e-5
"""Standard deviation of the noise that breaks ties between identity errors, as in the released code of Monodepth2."""


def poses_around_target(motion: Tensor) -> Tensor:
    """Transforms from the target to every frame, from the motion of each pair in temporal order.

    Args:
        motion: ``(B, N - 1, 4, 4)``, maps of points of the earlier frame of each pair into the later one.

    Returns:
        ``(B, N, 4, 4)``: the inverse for frames before the target, the identity for the target.
    """
    middle = motion.shape[1] // 2
    identity = torch.eye(4, dtype=motion.dtype, device=motion.device).expand(len(motion), 1, 4, 4)
    return torch.cat([invert_transform(motion[:, :middle]), identity, motion[:, middle:]], dim=1)


_TITLES = {
    "truth": "ground truth",
    "depth": "prediction",
    "weights": "weights of the loss",
    "winner": "best source of each pixel",
    "error": "photometric error",
    "warped first": "first frame, warped",
    "warped last": "last frame, warped",
}
"""Titles of the pictures by their names."""


class VideoDepthModule(DepthModule):
    """Base of papers that learn depth from video; a subclass names its loss terms in ``paper_weights``.

    Depth is ``1 / (1 / max + (1 / min - 1 / max) d)`` of the network's disparity d in [0, 1]; its scale is arbitrary
    where poses are learned, so metrics are computed after median alignment. Without ground truth in the data,
    ``val/score`` is the photometric error, which then selects the checkpoint.

    Args:
        depth_network: Maps an image ``(B, 3, H, W)`` to disparity ``(B, 1, H, W)`` in [0, 1].
        pose_network: Maps pairs of images to their motion; None with ``poses: exact``.
        weighting: How pixels of the photometric error are weighted; None weights them equally.
        poses: ``learned`` uses the pose network's, ``exact`` those of the data, to study depth alone.
        depth_from: Fraction of the training after which depth is trained; before, motion is trained alone. 0 is the
            papers'. While an untrained motion network is inaccurate, depth follows the smoothness term and becomes
            constant, from which it does not recover.
        minimum_from: Fraction of the training after which the error of a pixel is the minimum over all warped and
            unwarped neighbours; before, it is the mean over the warped ones. 0 is the papers'. With the minimum, a
            motion that is worse than none costs no more than none and has no gradient, so a pose network that is
            trained from scratch needs the mean first.
        evaluation: Protocol of validation and test; its range of depth is that of the network too.
        base: Arguments of :class:`DepthModule`.

    Raises:
        ValueError: If a loss term is unknown, or poses are learned without a pose network, or exact ones with one, or
            ``depth_from`` or ``minimum_from`` is not in [0, 1].
    """

    flip_quantity: ClassVar[Quantity] = "disparity"
    scores_without_truth: ClassVar[bool] = True
    """The photometric error selects checkpoints if no frame has depth."""
    corrects_motion: ClassVar[bool] = False
    """Whether the paper uses the residual decoder of a :class:`~networks.pose.ResidualPoseNet`."""

    def __init__(
        self,
        depth_network: nn.Module,
        pose_network: PoseNet | None = None,
        weighting: PhotometricWeighting | None = None,
        poses: Literal["learned", "exact"] = "learned",
        depth_from: float = 0.0,
        minimum_from: float = 0.0,
        evaluation: DepthEvaluation = DepthEvaluation(alignment="median", min_depth_m=0.1),
        **base: Any,
    ) -> None:
        super().__init__(evaluation=evaluation, **base)
        unknown = sorted(self.loss_weights.keys() - self.paper_weights.keys())
        if unknown:
            raise ValueError(f"loss term '{unknown[0]}' is not known; choose among {', '.join(self.paper_weights)}")
        if poses not in ("learned", "exact"):
            raise ValueError(f"poses is '{poses}', but must be 'learned' or 'exact'")
        if (poses == "learned") != (pose_network is not None):
            raise ValueError(f"poses is '{poses}': 'learned' needs a pose_network, 'exact' must have none")
        for name, part in (("depth_from", depth_from), ("minimum_from", minimum_from)):
            if not 0 <= part <= 1:
                raise ValueError(f"{name} is {part}, but must be a fraction of the training, 0 to 1")
        self.depth_network = depth_network
        self.pose_network = pose_network
        self.weighting = Averaging() if weighting is None else weighting
        self.poses = poses
        self.depth_from = depth_from
        self.minimum_from = minimum_from
        # DDP waits for the gradient of every parameter that requires one.
        for untrained in self.untrained_parts():
            untrained.requires_grad_(False)
        protocol = {name: value for name, value in vars(evaluation).items() if name != "average"}  # means over images
        self.subset_metrics = nn.ModuleDict({stage: SubsetDepthErrors(PIXEL_SUBSETS, **protocol) for stage in STAGES})
        self.pose_metrics = nn.ModuleDict({stage: PoseErrors() for stage in STAGES})
        self.photometric_metrics = nn.ModuleDict({stage: MeanMetric(nan_strategy="error") for stage in STAGES})

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """Clips, with poses or key points if the configuration uses those of the data."""
        if loop != "train":
            return (IMAGES,) if loop == "predict" else (IMAGES, CLIP_DEPTH)
        own: tuple[Need, ...] = (IMAGES, CLIPS)
        own = (*own, POSES) if self.poses == "exact" else own
        return (*own, KEYPOINTS) if isinstance(self.weighting, KeypointWeighting) else own

    def task_callbacks(self) -> list[Callback]:
        """Also pictures of clips, and camera trajectories of a test."""
        return [*super().task_callbacks(), ClipPictures(), TrajectoryWriter()]

    @property
    def scale_known(self) -> bool:
        """Whether depth is in metres: exact poses determine its scale, learned ones do not."""
        return self.poses == "exact"

    def forward(self, image: Tensor) -> Tensor:
        """Depth of an image, up to one unknown scale where poses are learned.

        Args:
            image: float32 ``(B, 3, H, W)``, RGB in [0, 1].

        Returns:
            float32 ``(B, 1, H, W)``, between ``min_depth_m`` and ``max_depth_m`` of the evaluation.
        """
        return self.to_depth(self.depth_network(image))

    def to_depth(self, disparity: Tensor) -> Tensor:
        """Depth ``(B, 1, H, W)`` of the network's disparity in [0, 1]."""
        limits = self.evaluation
        return depth_from_disparity(disparity, min_depth_m=limits.min_depth_m, max_depth_m=limits.max_depth_m)

    def untrained_parts(self) -> list[nn.Module]:
        """Parts of the networks that no loss term trains; a paper that trains one of them leaves it out."""
        auxiliary = getattr(self.depth_network, "auxiliary_decoder", None)
        parts = [] if auxiliary is None else [auxiliary]
        if not self.corrects_motion and isinstance(self.pose_network, ResidualPoseNet):
            parts.append(self.pose_network.residual_decoder)
        return parts

    def delayed_part(self) -> nn.Module:
        """Part of the networks that is not trained before ``depth_from``: the depth network."""
        return self.depth_network

    def with_delayed_gradient(self, disparity: Tensor) -> Tensor:
        """The network's disparity; before ``depth_from`` its gradient is zero (but in the graph, for DDP).

        This includes the gradient of smoothness, which alone would drive disparity to a limit of its range, where the
        gradient vanishes.
        """
        return disparity if self.progress() >= self.depth_from else disparity.detach() + 0.0 * disparity

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Exclude :meth:`delayed_part` from the optimizer step before ``depth_from``.

        With zero gradients Adam's second moment would stay 0 until its bias correction has ended. Its first steps would
        then be several times too long, after which depth was seen to become constant and to stay so.
        """
        if self.progress() >= self.depth_from:
            return
        for parameter in self.delayed_part().parameters():
            parameter.grad = None

    @abstractmethod
    def relative_poses(self, batch: ClipBatch, depth: Tensor) -> Tensor:
        """Maps of points of the target's camera into each frame's, ``(B, N, 4, 4)``.

        Args:
            batch: A batch with neighbours.
            depth: Depth of the target, ``(B, 1, H, W)``, for papers that use the warped images.
        """

    def exact_poses(self, batch: ClipBatch) -> Tensor:
        """The exact poses of the data, ``(B, N, 4, 4)``.

        Raises:
            ValueError: If the data have none.
        """
        if "T_frame_target" not in batch:
            raise ValueError("poses is 'exact', but the data gives none: use rooms, or poses: learned.")
        return batch["T_frame_target"]

    def target_pair_poses(self, batch: ClipBatch) -> Tensor:
        """``(B, N, 4, 4)`` from the pairs of the target with every other frame, all in one pass.

        A pair enters the network in temporal order; the motion of a frame before the target is inverted.
        """
        if self.pose_network is None:
            return self.exact_poses(batch)
        frames = batch["frames_jittered"]
        batch_size, n_frames = frames.shape[:2]
        middle = n_frames // 2
        target = target_of(frames)
        others = sources_of(frames).transpose(0, 1)  # (S, B, 3, H, W): one block of pairs a neighbour
        first = torch.cat([*others[:middle], *[target] * middle])
        second = torch.cat([*[target] * middle, *others[middle:]])
        motion = transform_from_axis_angle(*self.pose_network(first, second))
        return poses_around_target(motion.view(n_frames - 1, batch_size, 4, 4).transpose(0, 1))

    def synthesize(self, batch: ClipBatch, depth: Tensor, T_frame_target: Tensor) -> Warped:
        """The sources of a clip seen from its target's camera.

        Args:
            batch: A batch with neighbours.
            depth: Depth of the target, ``(B, 1, H, W)``.
            T_frame_target: ``(B, N, 4, 4)``.
        """
        others = source_positions(T_frame_target.shape[1])
        return synthesize_views(
            sources_of(batch["frames"]), depth=depth, K=batch["K"], T_source_target=T_frame_target[:, others]
        )

    def candidates(self, batch: ClipBatch, warped: Tensor, *, noise: bool) -> tuple[Tensor, Tensor]:
        """Smallest photometric error over the unwarped and the warped sources.

        Args:
            batch: A batch with neighbours.
            warped: The warped sources, ``(B, S, 3, H, W)``.
            noise: Whether ties between unwarped sources are broken by noise, as in training.

        Returns:
            The error ``(B, H, W)`` and the winner, int64 ``(B, H, W)``: 0 to S - 1 unwarped, S to 2 S - 1 warped.
        """
        compare = Photometric(batch["image"])
        identity, error = compare(sources_of(batch["frames"])), compare(warped)
        tie_breaker = IDENTITY_NOISE * torch.randn_like(identity) if noise else None
        return minimum_error(error, identity, noise=tie_breaker)

    @property
    def takes_minimum(self) -> bool:
        """Whether the minimum over the neighbours is taken at this step, see ``minimum_from``."""
        return self.progress() >= self.minimum_from

    def photometric_loss(self, batch: ClipBatch, warped: Tensor) -> Tensor:
        """The weighted error of the warped sources ``(B, S, 3, H, W)`` in training, a scalar."""
        if self.takes_minimum:
            error, _ = self.candidates(batch, warped, noise=True)
        else:
            error = Photometric(batch["image"])(warped).mean(dim=1)
        return self.weigh(batch, error)

    def weigh(self, batch: ClipBatch, error: Tensor) -> Tensor:
        """The photometric loss: errors ``(B, H, W)`` weighted and averaged to a scalar."""
        return self.weighting(error, image=batch["image"], keypoints=batch.get("keypoints"))

    def update_metrics(self, stage: Stage, batch: DepthBatch) -> None:
        """Predict a batch and add its errors of depth and, for clips, the photometric and the pose errors."""
        depth = self.evaluated_depth(batch)
        truth, mask = batch["depth"], batch["depth_mask"]
        self._metrics(stage).update(depth, target_m=truth, mask=mask, depth_scale_m=batch["depth_scale_m"])
        subsets = {name: cast(dict[str, Tensor], batch)[name] for name in PIXEL_SUBSETS if name in batch}
        cast(SubsetDepthErrors, self.subset_metrics[stage]).update(depth, target_m=truth, mask=mask, subsets=subsets)
        if "frames" not in batch:
            return
        clip = cast(ClipBatch, batch)
        counted = clip["index"] != PADDING_INDEX
        poses = self.relative_poses(clip, depth)
        error, _ = self.candidates(clip, self.synthesize(clip, depth, poses).image, noise=False)
        cast(MeanMetric, self.photometric_metrics[stage]).update(error.mean(dim=(1, 2)), weight=counted.float())
        if "T_frame_target" in clip and self.poses == "learned":
            cast(PoseErrors, self.pose_metrics[stage]).update(
                poses, true_T_frame_target=clip["T_frame_target"], counted=counted
            )

    def stage_metrics(self, stage: Stage) -> dict[str, Tensor]:
        """Depth errors, those of parts of the image and of poses where there is truth, and the photometric error."""
        values = super().stage_metrics(stage)
        for metrics in (self.subset_metrics, self.pose_metrics):
            metric = cast(SubsetDepthErrors | PoseErrors, metrics[stage])
            if metric.update_called:
                measured = metric.compute()
                values |= {name: value.float() for name, value in measured.items() if not bool(value.isnan())}
        photometric = cast(MeanMetric, self.photometric_metrics[stage])
        if photometric.update_called:  # the same on all ranks: one whose share is padding has to take part in the sum
            values["photometric"] = photometric.compute()
            if bool(values["score"].isnan()):  # not one measured depth in the whole split
                values["score"] = values["photometric"]
        return values

    def reset_metrics(self, stage: Stage) -> None:
        """Clear the metrics of a stage."""
        super().reset_metrics(stage)
        for metrics in (self.subset_metrics, self.pose_metrics, self.photometric_metrics):
            cast(MeanMetric, metrics[stage]).reset()

    def pictures(self, batch: ClipBatch) -> Maps:
        """Inputs and outputs as RGB pictures ``(B, 3, H, W)`` in [0, 1] by name, with colour bars, for a callback.

        Predicted depth is median-aligned. Prediction and ground truth share a range, from the quantiles of the ground
        truth or, without one, of the prediction.
        """
        depth = self.evaluated_depth(batch)
        truth, mask = batch["depth"], batch["depth_mask"]
        known = mask.flatten(1).any(dim=1).view(-1, 1, 1, 1)
        scale = torch.where(known.flatten(), median_scale(depth, target=truth, mask=mask), 1.0)
        depth_shown = depth * scale.view(-1, 1, 1, 1)
        near, far = depth_range(torch.where(known, truth, depth_shown), mask=mask | ~known)
        units = ["m" if there or self.scale_known else RELATIVE for there in known.flatten().tolist()]
        bars = [depth_bar(*ends) for ends in zip(near.tolist(), far.tolist(), units, strict=True)]
        of_truth = [bar if there else None for bar, there in zip(bars, known.flatten().tolist(), strict=True)]
        pictures = {
            "image": batch["image"],
            "truth": colorize(truth, mask=mask, near_m=near, far_m=far),
            "depth": colorize(depth_shown, near_m=near, far_m=far),
            "weights": scalar_map(self.weighting.weights(batch["image"], batch.get("keypoints")).unsqueeze(1)),
        }
        if "frames" in batch:
            warped = self.synthesize(batch, depth, self.relative_poses(batch, depth)).image
            error, winner = self.candidates(batch, warped, noise=False)
            pictures["winner"] = categorical(winner + 1)
            pictures["error"] = scalar_map(error.unsqueeze(1), high=0.5)
            pictures["warped first"] = warped[:, 0].clamp(0, 1)
            pictures["warped last"] = warped[:, -1].clamp(0, 1)
        scales = {"weights": ColourBar(0, 1, "scalar"), "error": ColourBar(0, 0.5, "scalar")}
        of_scales: dict[str, list[ColourBar | None]] = {
            name: [bar] * len(depth) for name, bar in scales.items() if name in pictures
        }
        return Maps(pictures, bars={"truth": of_truth, "depth": bars, **of_scales}, titles=_TITLES)
