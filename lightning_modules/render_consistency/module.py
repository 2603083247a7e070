"""Render consistency: the depth that a network predicts for new views of a scene has to agree with the scene.

Training on mixed data leaves the scale and the shift of each image undetermined, and a wrong shift bends walls. The
predicted scene is rendered from a new camera, and the network predicts depth for the rendered view. Up to one scale an
image, that prediction has to agree with the depth of the scene in that view. A constant error of depth is not invariant
to a rotation of the camera, so the disagreement reveals it without ground truth in metres.

Paper: "Robust Geometry-Preserving Depth Estimation Using Differentiable Rendering", ICCV 2023,
https://arxiv.org/abs/2309.09724. No code and few formulas were published: the terms are a reconstruction.

Deviations:
    - Views may rotate about the camera's own centre (``views.about: camera``), within the photo. They are natural
      images, whereas a small network regresses to the mean on rendered ones, which outweighs the signal. ``scene`` is
      the paper's.
    - The relative difference has no minimum at the right shift once a network is inaccurate, since it falls when a
      constant is added to depth. ``residual: spread`` divides by the spread of depth instead, which is invariant to a
      shift. ``relative`` is the bounded form of SC-Depth.
    - The term ``signed`` is new: the slope of the disagreement along the direction of the rotation, with its sign. It
      is averaged over opposite views and multiplied between images, so that errors that do not change sign with the
      rotation cancel and noise has no expectation.
    - The shift may be a parameter of its own (``learn_shift``), which is then all that the consistency terms train:
      with views about the camera, a network that trained on its own disagreement became consistent without correcting
      its shift.
    - Predictions are aligned by scale alone, the one of the least absolute error.

Without gradient are the alignment scale, the colours of rendered views (a view depends on depth only through the
positions of its points), and the median depth that places the pivot. The depth warped into a view has a gradient,
unless ``detach_warped`` is set, and so does the prediction there.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Literal, cast

import torch
from lightning.pytorch import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from geometry.stencils import fill_outside, masked_median_per_image
from lightning_modules.callbacks.view_pictures import ViewPictures
from lightning_modules.render_consistency.novel_views import BackRendering, NovelViews, SceneViewer
from lightning_modules.render_consistency.pictures import consistency_pictures
from lightning_modules.render_consistency.shifted_depth import ShiftedDepth
from lightning_modules.render_consistency.view_sampling import SampledViews, ViewSampler
from lightning_modules.schedules import linear_ramp
from lightning_modules.tasks.batch_needs import DEPTH_AND_CAMERA, IMAGES, Loop, Need, check_measured
from lightning_modules.tasks.checked import attached_trainer
from lightning_modules.tasks.evaluation_loop import STAGES, Stage
from losses.by_kind import BaseLoss, mixed_truth_loss
from losses.consistency import (
    image_consistency,
    relative_difference,
    signed_inconsistency,
    signed_slope,
    spread_difference,
)
from losses.pairwise_normal import pairwise_normal
from metrics.consistency import Inconsistency
from networks.batch_norm import running_statistics
from networks.uncertainty import UncertaintyWeights
from renderers.figure import Maps
from renderers.point_render import PointRenderer
from renderers.splat import SplatRenderer
from structures.batch import DepthBatch
from structures.depth_kind import DepthKind, MixedBatch

DATA_TERMS = ("ssi", "gradient", "ranking", "normal")
CONSISTENCY_TERMS = ("forward", "back_depth", "back_image", "signed")

Residual = Literal["relative", "spread"]

NOT_YET_CONSISTENT = 10.0
"""Added to the score of a checkpoint that the consistency terms have not fully trained yet: see ``select_by``."""


class RenderConsistency(ShiftedDepth):
    """Depth from mixed ground truth and from the consistency of predictions between views.

    Args:
        renderer: Renders the points of a scene; None is the splat renderer. Not used with ``views.about: camera``.
        views: Distribution of the views; None takes the paper's.
        loss_weights: ``ssi``, ``gradient``, ``ranking``, ``normal`` (on ground truth), ``forward``, ``back_depth``,
            ``back_image``, ``signed`` (consistency). A term that is left out is not computed. ``normal`` is LeReS's
            pair-wise normal loss, on samples in metres with known intrinsics.
        weighting: ``fixed`` takes the weights as they are; ``uncertainty`` learns a further factor for each of the
            consistency terms (Kendall et al. 2018), a future direction that the paper names.
        base_loss: Loss on ground truth, see :func:`losses.by_kind.mixed_truth_loss`.
        residual: How forward and backward depth are compared, see the deviations.
        warmup: Part of the training with ground truth alone.
        ramp: Part of the training over which the consistency terms then rise from zero.
        view_share: Share of a batch's images for which views are made, in (0, 1].
        view_statistics: On views, batch norms use their ``running`` statistics without updating them, or the
            statistics of the ``batch`` of views. Holes and artefacts should not enter the statistics used for photos.
        select_by: Metric that is ``score``, by which checkpoints are chosen. ``inconsistency`` needs no ground truth,
            and depends on the shift, which AbsRel after an alignment by scale and shift does not. A network at its
            beginning, which predicts hardly any shape, is consistent, too: until the consistency terms have their full
            strength, :data:`NOT_YET_CONSISTENT` is added, so that these checkpoints are chosen only if no later one
            exists.
        render_scale: Size of the views as a share of the photo's.
        edge_jump: Points at a larger relative jump of depth are not rendered (flying pixels).
        hole_margin_px: Radius of the erosion of the visible pixels, which leaves out the surroundings of holes.
        detach_warped: Whether the depth warped into a view has no gradient.
        base: Arguments of :class:`~lightning_modules.render_consistency.shifted_depth.ShiftedDepth`. With
            ``learn_shift`` the consistency terms train the shift, not the network.

    Raises:
        ValueError: If a loss term or choice is unknown or a number is out of range.
    """

    paper_weights: ClassVar[Mapping[str, float]] = {
        "ssi": 1.0, "gradient": 0.5, "ranking": 1.0, "forward": 1.0, "back_depth": 1.0, "back_image": 1.0
    }  # fmt: skip

    def __init__(
        self,
        renderer: PointRenderer | None = None,
        views: ViewSampler | None = None,
        weighting: Literal["fixed", "uncertainty"] = "fixed",
        base_loss: BaseLoss = "ssi_trimmed",
        residual: Residual = "relative",
        warmup: float = 0.3,
        ramp: float = 0.1,
        view_share: float = 1.0,
        view_statistics: Literal["running", "batch"] = "running",
        select_by: Literal["abs_rel", "inconsistency"] = "abs_rel",
        render_scale: float = 1.0,
        edge_jump: float = 0.1,
        hole_margin_px: int = 3,
        detach_warped: bool = False,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        unknown = sorted(self.loss_weights.keys() - {*DATA_TERMS, *CONSISTENCY_TERMS})
        if unknown:
            known = ", ".join((*DATA_TERMS, *CONSISTENCY_TERMS))
            raise ValueError(f"loss term '{unknown[0]}' is not known; choose among {known}")
        if weighting not in ("fixed", "uncertainty"):
            raise ValueError(f"weighting is '{weighting}', but must be 'fixed' or 'uncertainty'")
        if residual not in ("relative", "spread"):
            raise ValueError(f"residual is '{residual}', but must be 'relative' or 'spread'")
        if view_statistics not in ("running", "batch"):
            raise ValueError(f"view_statistics is '{view_statistics}', but must be 'running' or 'batch'")
        if select_by not in ("abs_rel", "inconsistency"):
            raise ValueError(f"select_by is '{select_by}', but must be 'abs_rel' or 'inconsistency'")
        if not (0 <= warmup <= 1 and 0 <= ramp <= 1):
            raise ValueError(f"warmup ({warmup}) and ramp ({ramp}) are parts of the training, 0 to 1")
        if not (0 < view_share <= 1 and 0 < render_scale <= 1):
            raise ValueError(f"view_share ({view_share}) and render_scale ({render_scale}) must lie in (0, 1]")
        if self.learn_shift and not self.loss_weights.keys() & set(CONSISTENCY_TERMS):
            raise ValueError(f"learn_shift needs one of the terms that train the shift: {', '.join(CONSISTENCY_TERMS)}")
        if hole_margin_px < 0 or not edge_jump > 0:
            raise ValueError(
                f"hole_margin_px ({hole_margin_px}) must not be negative and edge_jump ({edge_jump}) positive"
            )
        self.views = ViewSampler() if views is None else views
        back = sorted(self.loss_weights.keys() & {"back_depth", "back_image"})
        if self.views.about == "camera" and back:
            raise ValueError(
                f"the term '{back[0]}' needs views.about: scene; with views.about: camera a view does not depend on "
                "depth, and opposite views are compared with each other"
            )
        self.viewer = SceneViewer(
            self.views.about,
            SplatRenderer() if renderer is None else renderer,
            render_scale=render_scale,
            stride=getattr(self.network, "stride", 32),
            edge_jump=edge_jump,
            hole_margin_px=hole_margin_px,
            detach_warped=detach_warped,
        )
        consistency = [name for name in CONSISTENCY_TERMS if name in self.loss_weights]
        self.uncertainty = UncertaintyWeights(consistency) if weighting == "uncertainty" and consistency else None
        self.base_loss: BaseLoss = base_loss
        self.residual: Residual = residual
        self.warmup = warmup
        self.ramp = ramp
        self.view_share = view_share
        self.view_statistics = view_statistics
        self.select_by = select_by
        self.inconsistency = nn.ModuleDict({stage: Inconsistency() for stage in STAGES})

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """Images, and outside of prediction depth and intrinsics, too."""
        return (IMAGES,) if loop == "predict" else (IMAGES, DEPTH_AND_CAMERA)

    def task_callbacks(self) -> list[Callback]:
        """The callbacks of the base, and pictures of views and of the scene now and at the end of the warm-up."""
        return [*super().task_callbacks(), ViewPictures()]

    def check_truth(self, batch: MixedBatch) -> None:
        """Refuse a batch without a measured pixel if a term on ground truth is used, which would be zero."""
        if self.loss_weights.keys() & set(DATA_TERMS):
            check_measured(batch.get("truth_mask", batch["depth_mask"]), paper=self.paper, data=self.data_name)

    def strength(self) -> float:
        """Factor of the consistency terms: 0 in the warm-up, then a linear ramp to 1; a function of the step alone."""
        return linear_ramp(self.progress(), start=self.warmup, length=self.ramp)

    def weighted(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Loss terms times their weights; consistency terms also times their learned factors and the schedule."""
        scaled = super().weighted(terms)
        strength = self.strength()
        consistency = {name: term for name, term in scaled.items() if name in CONSISTENCY_TERMS}
        if self.uncertainty is not None and consistency:
            consistency = self.uncertainty(consistency)
        return scaled | {name: strength * term for name, term in consistency.items()}

    def loss_terms(self, batch: MixedBatch) -> dict[str, Tensor]:
        """Unweighted terms on ground truth and, after the warm-up, consistency terms (zero before)."""
        raw = self.raw_depth(batch["image"])
        truth, mask, kind = self._ground_truth(batch)
        # Affine ground truth has an unknown shift of its own, in depth or in disparity: it does not train the shift.
        depth = self.shifted(raw, shift_learns=False)
        data = mixed_truth_loss(depth, truth=truth, truth_mask=mask, kind=kind, base=self.base_loss)
        terms = {name: term for name, term in data._asdict().items() if name in self.loss_weights}
        if "normal" in self.loss_weights:
            terms["normal"] = self.normal_term(batch, depth)
        wanted = [name for name in CONSISTENCY_TERMS if name in self.loss_weights]
        if not wanted:
            return terms
        if self.progress() < self.warmup:
            # Zero times all parameters keeps them in the graph: DDP waits for all gradients.
            return terms | {name: 0.0 * (raw.sum() + self.shift) for name in wanted}
        return terms | self.consistency_terms(batch, raw)

    def _ground_truth(self, batch: MixedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Ground truth, its mask and its kind; batches of a single metric source have metric depth alone."""
        if "truth_mask" in batch:
            return batch["truth"], batch["truth_mask"], batch["kind"]
        kind = torch.full_like(batch["index"], int(DepthKind.METRIC))
        return batch["depth"], batch["depth_mask"], kind

    def normal_term(self, batch: MixedBatch, depth: Tensor) -> Tensor:
        """Pair-wise normal loss of LeReS, on the samples with metric ground truth and known intrinsics alone.

        ``depth_mask`` is False in all samples of another kind. A batch without such a sample gives a zero.
        """
        known = batch["depth_mask"] & batch["K_known"].view(-1, 1, 1, 1)
        return pairwise_normal(depth, target=batch["depth"], mask=known, K=batch["K"], image=batch["image"])

    def consistency_terms(self, batch: DepthBatch, raw: Tensor) -> dict[str, Tensor]:
        """Unweighted consistency terms of the first images of a batch.

        Notation: ``D`` is the predicted depth of a photo, ``D_w`` that depth warped into a view, ``D_v`` the network's
        prediction for the view, scaled to ``D_w``, and ``M`` the visible pixels.

        Args:
            batch: Images and intrinsics.
            raw: The network's depth of all images before the shift, with gradient.
        """
        wanted = self.loss_weights.keys()
        count = max(1, round(self.view_share * len(raw)))
        image, K, raw = batch["image"][:count], batch["K"][:count], raw[:count]
        depth = self.shifted(raw.detach() if self.learn_shift else raw)
        size = (image.shape[-2], image.shape[-1])
        after = (self.progress() - self.warmup) / max(1 - self.warmup, 1e-6)
        sampled = self.views.draw(K, _median(depth.detach()), size=size, progress=after)
        views = self.novel_views(image, depth, K, sampled, train_network=not self.learn_shift)
        terms = {}
        if "forward" in wanted:
            terms["forward"] = self.forward_term(views)
        if "signed" in wanted:
            terms["signed"] = self.signed_term(views)
        if "back_depth" in wanted or "back_image" in wanted:
            back = self.viewer.back(views, K, sampled.views, size)
            if "back_depth" in wanted:
                terms["back_depth"] = self.back_depth_term(back, depth)
            if "back_image" in wanted:
                terms["back_image"] = self.back_image_term(back, image)
        return terms

    def forward_term(self, views: NovelViews) -> Tensor:
        """``L_forward = r(D_v, D_w)`` over ``M``, with the residual r of :meth:`depth_residual`."""
        return self.depth_residual(views.predicted_depth, views.warped_depth, views.visible)

    def signed_term(self, views: NovelViews) -> Tensor:
        """``L_signed = E[s]^2`` without the part of noise, s being the signed slopes of :meth:`signed_slopes`.

        See :func:`losses.consistency.signed_inconsistency`.
        """
        return signed_inconsistency(self.signed_slopes(views).view(2, -1))

    def back_depth_term(self, back: BackRendering, depth: Tensor) -> Tensor:
        """``L_back_depth = r(D_b, D)``, ``D_b`` being ``D_v`` rendered back into the photo's camera."""
        return self.depth_residual(back.depth, depth.repeat(2, 1, 1, 1), back.visible)

    def back_image_term(self, back: BackRendering, image: Tensor) -> Tensor:
        """``L_back_image = 0.85 (1 - SSIM) / 2 + 0.15 |I_b - I|``, ``I_b`` being the view rendered back."""
        return image_consistency(back.image, image=image.repeat(2, 1, 1, 1), mask=back.visible)

    def depth_residual(self, predicted: Tensor, warped: Tensor, mask: Tensor) -> Tensor:
        """Scalar residual of two depths: mean ``|a - b| / (a + b)``, or ``|a - b|`` over the spread of ``b``."""
        mask = mask & (predicted > 0) & (warped > 0)
        if self.residual == "relative":
            return relative_difference(predicted, warped, mask=mask)
        return spread_difference(predicted, warped, mask=mask)

    def signed_slopes(self, views: NovelViews) -> Tensor:
        """Slope ``s`` of ``(D_v - D_w) / median(D_w)`` on ``sin(yaw) x / f + sin(pitch) y / f``, ``(V,)``."""
        median = masked_median_per_image(views.warped_depth, views.visible)
        unit = fill_outside(median, median > 0, 1.0).view(-1, 1, 1, 1)
        residual = (views.predicted_depth - views.warped_depth) / unit
        return signed_slope(residual, regressor=views.regressor, mask=views.visible)

    def novel_views(
        self, image: Tensor, depth: Tensor, K: Tensor, sampled: SampledViews, *, train_network: bool = True
    ) -> NovelViews:
        """Views of the scenes from new cameras and the network's prediction for them, see :class:`SceneViewer`.

        Args:
            image: ``(B, 3, H, W)``, the photos.
            depth: ``(B, 1, H, W)``, their predicted depth; not used with views about the camera.
            K: ``(B, 3, 3)`` of the photos.
            sampled: ``2 B`` cameras, with intrinsics for the photos' size.
            train_network: Whether predictions for the views have a gradient for the weights of the network.
        """

        def predict(view: Tensor) -> Tensor:
            statistics: AbstractContextManager[None] = nullcontext()
            if self.training and self.view_statistics == "running":
                statistics = running_statistics(self.network)
            with torch.set_grad_enabled(train_network and torch.is_grad_enabled()), statistics:
                raw = self.raw_depth(view.detach().clamp(0, 1))
            return self.shifted(raw)

        views: NovelViews = self.viewer(image, depth, K, sampled, predict=predict)
        return views

    def widest_views(self, K: Tensor, depth: Tensor, *, pitch: bool) -> SampledViews:
        """The two opposite views with the largest yaw, and with the largest pitch if wanted, without translation.

        Args:
            K: ``(B, 3, 3)`` of the photos.
            depth: ``(B, 1, H, W)``, their predicted depth.
            pitch: Whether the views are rotated by the largest pitch, too.
        """
        zero = torch.zeros(len(K), dtype=depth.dtype, device=depth.device)
        return self.views.opposite(
            K,
            _median(depth),
            yaw=zero + math.radians(self.views.yaw_degrees),
            pitch=zero + math.radians(self.views.pitch_degrees) if pitch else zero,
            shift=zero.unsqueeze(-1).expand(-1, 3),
            size=(depth.shape[-2], depth.shape[-1]),
        )

    def _in_training(self) -> bool:
        """Whether a training with consistency terms runs."""
        trainer = attached_trainer(self)
        fits = trainer is not None and trainer.state.fn == TrainerFn.FITTING
        return fits and bool(self.loss_weights.keys() & set(CONSISTENCY_TERMS))

    def _inconsistency(self, stage: Stage) -> Inconsistency:
        return cast(Inconsistency, self.inconsistency[stage])

    def update_metrics(self, stage: Stage, batch: DepthBatch) -> None:
        """Add a batch: its errors of depth and shape, and the inconsistency of two views without ground truth."""
        super().update_metrics(stage, batch)
        depth = self(batch["image"])
        sampled = self.widest_views(batch["K"], depth, pitch=True)
        views = self.novel_views(batch["image"], depth, batch["K"], sampled)
        self._inconsistency(stage).update(views.predicted_depth, views.warped_depth, mask=views.visible)

    def stage_metrics(self, stage: Stage) -> dict[str, Tensor]:
        """Errors of depth and shape, and ``inconsistency``, which needs no ground truth."""
        inconsistency = self._inconsistency(stage).compute().float()
        values = super().stage_metrics(stage)
        if bool(inconsistency.isnan()):  # no view had a visible pixel
            return values
        score = values["score"]
        if self.select_by == "inconsistency":
            untrained = stage == "val" and self._in_training() and self.strength() < 1
            score = inconsistency + NOT_YET_CONSISTENT if untrained else inconsistency
        return {**values, "inconsistency": inconsistency, "score": score}

    def reset_metrics(self, stage: Stage) -> None:
        """Clear the metrics of a stage."""
        super().reset_metrics(stage)
        self._inconsistency(stage).reset()

    def pictures(self, batch: DepthBatch) -> Maps:
        """RGB pictures ``(B, 3, H, W)`` by name: a new view of each scene, predictions for it, and the way back.

        The view has the largest yaw and no other motion. Callbacks draw these pictures with their colour bars.
        """
        depth = self(batch["image"])
        sampled = self.widest_views(batch["K"], depth, pitch=self.views.yaw_degrees == 0)
        views = self.novel_views(batch["image"], depth, batch["K"], sampled)
        back = self.viewer.back(views, batch["K"], sampled.views, (depth.shape[-2], depth.shape[-1]))
        count = len(depth)
        return consistency_pictures(
            batch, depth, NovelViews(*(half[:count] for half in views)), BackRendering(*(half[:count] for half in back))
        )


def _median(depth: Tensor) -> Tensor:
    """Median ``(B,)`` of each image of ``(B, 1, H, W)``."""
    return masked_median_per_image(depth, torch.ones_like(depth, dtype=torch.bool))
