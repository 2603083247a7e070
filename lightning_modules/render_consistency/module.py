"""Render consistency: depth networks that agree with themselves on new views of the scene they predict.

Training on mixed data leaves each image's scale and shift open, and a wrong shift bends walls. The predicted scene is
looked at from a new camera and the network is asked again: what it says of the new picture has to agree, up to one
scale an image, with the depth that the turned scene has there. A shift cannot turn along, so it gives itself away,
without any truth in metres.

Paper: "Robust Geometry-Preserving Depth Estimation Using Differentiable Rendering", ICCV 2023,
https://arxiv.org/abs/2309.09724. No code and few formulas were published: what is compared and how is a reconstruction.

Deviations:
    - Views may turn about the camera's own centre (``views.about: camera``), inside the photo: they are natural
      pictures, whereas a small network regresses to the mean on rendered ones, which outweighs the signal. ``scene`` is
      the paper's.
    - The relative difference has no minimum at the right shift once a network is inaccurate, as it falls when a
      constant is added. ``residual: spread`` divides by the spread of depth instead, which no shift changes.
      ``relative`` is the bounded form of SC-Depth.
    - The term ``signed`` is new: the slope of the disagreement along the direction of the turn, with the turn's sign,
      averaged over opposite views and multiplied between images, so that errors cancel that do not change sign with
      the turn, and noise adds nothing.
    - The shift may be a parameter of its own (``learn_shift``), which the consistency terms then train alone: about the
      camera, a network that trained on its own disagreement learned to agree without moving its shift.
    - Scale alone is aligned, by the factor of the least absolute error.

What is detached: the factor, the colours of rendered pictures (a picture depends on depth only through where its points
fall), and the median depth that places the pivot. Depth carried into a view keeps its gradient, as does the prediction
there; ``detach_carried`` cuts the former.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import Callback
from torch import Tensor

from geometry.stencils import fill_outside, masked_median_per_image
from lightning_modules.callbacks.view_pictures import ViewPictures
from lightning_modules.render_consistency.novel_views import SceneViewer, SeenAgain, SeenBack
from lightning_modules.render_consistency.pictures import consistency_pictures
from lightning_modules.render_consistency.shifted_depth import ShiftedDepth
from lightning_modules.render_consistency.view_sampling import SampledViews, ViewSampler
from lightning_modules.schedules import linear_ramp
from lightning_modules.tasks.batch_needs import DEPTH_AND_CAMERA, IMAGES, Loop, Need, check_measured
from losses.by_kind import BaseLoss, mixed_truth_loss
from losses.consistency import (
    image_consistency,
    relative_difference,
    signed_inconsistency,
    signed_slope,
    spread_difference,
)
from losses.pairwise_normal import pairwise_normal
from networks.batch_norm import running_statistics
from networks.uncertainty import UncertaintyWeights
from renderers.point_render import PointRenderer
from renderers.splat import SplatRenderer
from structures.batch import DepthBatch
from structures.depth_kind import DepthKind, MixedBatch

DATA_TERMS = ("ssi", "gradient", "ranking", "normal")
CONSISTENCY_TERMS = ("forward", "back_depth", "back_image", "signed")

Residual = Literal["relative", "spread"]


class RenderConsistency(ShiftedDepth):
    """A depth network trained on mixed truth and on agreement with itself.

    Args:
        renderer: Draws the scene from a new camera; None is the splat renderer. Unused with ``views.about: camera``.
        views: Which views are drawn; None takes the paper's.
        loss_weights: ``ssi``, ``gradient``, ``ranking``, ``normal`` (on ground truth), ``forward``, ``back_depth``,
            ``back_image``, ``signed`` (consistency). A term that is left out is not computed. ``normal`` is LeReS's
            pair-wise normal loss, on samples in metres with known intrinsics.
        weighting: ``fixed`` takes the weights as they are; ``uncertainty`` learns a further factor for each of the
            consistency terms (Kendall et al. 2018), a future direction that the paper names.
        base_loss: Base loss of the truth, see :func:`losses.by_kind.mixed_truth_loss`.
        residual: How forward and backward depth are compared, see the deviations.
        warmup: Part of the training with the truth alone.
        ramp: Part of the training over which the consistency terms then rise from zero.
        view_share: Share of a batch's images of which views are looked at, in (0, 1].
        view_statistics: Batch norms on views use their ``running`` statistics and leave them alone, or those of the
            ``batch`` of views. Holes and artefacts must not enter the statistics that photos are predicted with.
        render_scale: Size of the views as a share of the photo's.
        edge_jump: Points at a larger relative jump of depth are not rendered (flying pixels).
        hole_margin_px: Pixels around holes that are not compared.
        detach_carried: Whether the depth that was carried into a view is a constant.
        base: Arguments of :class:`~lightning_modules.render_consistency.shifted_depth.ShiftedDepth`. With
            ``learn_shift`` the consistency terms train the shift and leave the network alone.

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
        render_scale: float = 1.0,
        edge_jump: float = 0.1,
        hole_margin_px: int = 3,
        detach_carried: bool = False,
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
                f"the term '{back[0]}' needs views.about: scene; views about the camera are parts of the photo, "
                "whatever the depth, and are compared with each other both ways"
            )
        self.viewer = SceneViewer(
            self.views.about,
            SplatRenderer() if renderer is None else renderer,
            render_scale=render_scale,
            stride=getattr(self.network, "stride", 32),
            edge_jump=edge_jump,
            hole_margin_px=hole_margin_px,
            detach_carried=detach_carried,
        )
        consistency = [name for name in CONSISTENCY_TERMS if name in self.loss_weights]
        self.uncertainty = UncertaintyWeights(consistency) if weighting == "uncertainty" and consistency else None
        self.base_loss: BaseLoss = base_loss
        self.residual: Residual = residual
        self.warmup = warmup
        self.ramp = ramp
        self.view_share = view_share
        self.view_statistics = view_statistics

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """Intrinsics, and depth to learn from; truth of other kinds comes beside it (``structures.depth_kind``)."""
        return (IMAGES,) if loop == "predict" else (IMAGES, DEPTH_AND_CAMERA)

    def task_callbacks(self) -> list[Callback]:
        """Also pictures of the views, and of the scene now and at the end of the warm-up."""
        return [*super().task_callbacks(), ViewPictures()]

    def check_truth(self, batch: MixedBatch) -> None:
        """Refuse to train without a single measured pixel: the terms of the truth would be zero."""
        if self.loss_weights.keys() & set(DATA_TERMS):
            check_measured(batch.get("truth_mask", batch["depth_mask"]), paper=self.paper, data=self.data_name)

    def strength(self) -> float:
        """Factor on the consistency terms: 0 in the warm-up, then a linear ramp to 1; a function of the step alone."""
        return linear_ramp(self.progress(), start=self.warmup, length=self.ramp)

    def weighted(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms times their weights, the consistency terms by their learned factors and the schedule too."""
        scaled = super().weighted(terms)
        strength = self.strength()
        consistency = {name: term for name, term in scaled.items() if name in CONSISTENCY_TERMS}
        if self.uncertainty is not None and consistency:
            consistency = self.uncertainty(consistency)
        return scaled | {name: strength * term for name, term in consistency.items()}

    def loss_terms(self, batch: MixedBatch) -> dict[str, Tensor]:
        """The truth's terms and, after the warm-up, those of consistency (zero before)."""
        raw = self.raw_depth(batch["image"])
        truth, mask, kind = self._truth(batch)
        # The truth has a free constant of its own, in depth or in disparity: it does not train the shift.
        depth = self.shifted(raw, shift_learns=False)
        data = mixed_truth_loss(depth, truth=truth, truth_mask=mask, kind=kind, base=self.base_loss)
        terms = {name: term for name, term in data._asdict().items() if name in self.loss_weights}
        if "normal" in self.loss_weights:
            terms["normal"] = self.normal_term(batch, depth)
        wanted = [name for name in CONSISTENCY_TERMS if name in self.loss_weights]
        if not wanted:
            return terms
        if self.progress() < self.warmup:
            # Zero times what is learned keeps every parameter in the graph: DDP waits for all gradients.
            return terms | {name: 0.0 * (raw.sum() + self.shift) for name in wanted}
        return terms | self.consistency_terms(batch, raw)

    def _truth(self, batch: MixedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Truth, its mask and kind; batches of a single metric source have depth alone."""
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

        Args:
            batch: Images and intrinsics.
            raw: The network's depth of all images before the shift, with gradient.
        """
        count = max(1, round(self.view_share * len(raw)))
        image, K, raw = batch["image"][:count], batch["K"][:count], raw[:count]
        depth = self.shifted(raw)
        everywhere = torch.ones_like(depth, dtype=torch.bool)
        after = (self.progress() - self.warmup) / max(1 - self.warmup, 1e-6)
        size = (image.shape[-2], image.shape[-1])
        sampled = self.views.draw(K, masked_median_per_image(depth.detach(), everywhere), size=size, progress=after)
        if self.learn_shift:
            seen = self.see_again(image, self.shifted(raw.detach()), K, sampled, network_learns=False)
        else:
            seen = self.see_again(image, depth, K, sampled)
        terms = {}
        if "forward" in self.loss_weights:
            terms["forward"] = self.difference(seen.predicted, seen.carried, seen.visible)
        if "signed" in self.loss_weights:
            terms["signed"] = signed_inconsistency(self.slopes(seen).view(2, count))
        if "back_depth" in self.loss_weights or "back_image" in self.loss_weights:
            back = self.viewer.back(seen, K, sampled.views, size)
            if "back_depth" in self.loss_weights:
                before = self.shifted(raw.detach()) if self.learn_shift else depth
                terms["back_depth"] = self.difference(back.depth, before.repeat(2, 1, 1, 1), back.visible)
            if "back_image" in self.loss_weights:
                photo = image.repeat(2, 1, 1, 1)
                terms["back_image"] = image_consistency(back.image, image=photo, mask=back.visible)
        return terms

    def see_again(
        self, image: Tensor, depth: Tensor, K: Tensor, sampled: SampledViews, *, network_learns: bool = True
    ) -> SeenAgain:
        """Look at scenes from new cameras and ask the network about it, see :class:`SceneViewer`.

        Args:
            image: ``(B, 3, H, W)``, the photos.
            depth: ``(B, 1, H, W)``, their predicted depth; unused about the camera.
            K: ``(B, 3, 3)`` of the photos.
            sampled: ``2 B`` cameras, with intrinsics for the photos' size.
            network_learns: Whether what the network says of the views has a gradient for its weights.
        """

        def ask(picture: Tensor) -> Tensor:
            statistics: AbstractContextManager[None] = nullcontext()
            if self.training and self.view_statistics == "running":
                statistics = running_statistics(self.network)
            with torch.set_grad_enabled(network_learns and torch.is_grad_enabled()), statistics:
                raw = self.raw_depth(picture.detach().clamp(0, 1))
            return self.shifted(raw)

        seen: SeenAgain = self.viewer(image, depth, K, sampled, ask=ask)
        return seen

    def difference(self, predicted: Tensor, carried: Tensor, mask: Tensor) -> Tensor:
        """Scalar disagreement of two depths under the chosen residual."""
        mask = mask & (predicted > 0) & (carried > 0)
        if self.residual == "relative":
            return relative_difference(predicted, carried, mask=mask)
        return spread_difference(predicted, carried, mask=mask)

    def slopes(self, seen: SeenAgain) -> Tensor:
        """Signed slope of the disagreement of each view along its turn, in medians of depth, ``(V,)``."""
        median = masked_median_per_image(seen.carried, seen.visible)
        unit = fill_outside(median, median > 0, 1.0).view(-1, 1, 1, 1)
        return signed_slope((seen.predicted - seen.carried) / unit, regressor=seen.turn, mask=seen.visible)

    def pictures(self, batch: DepthBatch) -> dict[str, Tensor]:
        """What the module sees and says of a new view, as RGB pictures ``(B, 3, H, W)`` by name, for a callback.

        The view has the largest yaw and no other movement.
        """
        image, K = batch["image"], batch["K"]
        depth = self(image)
        zero = torch.zeros(len(image), dtype=depth.dtype, device=depth.device)
        everywhere = torch.ones_like(depth, dtype=torch.bool)
        size = (image.shape[-2], image.shape[-1])
        sampled = self.views.opposite(
            K,
            masked_median_per_image(depth, everywhere),
            yaw=zero + math.radians(self.views.yaw_degrees),
            pitch=zero if self.views.yaw_degrees > 0 else zero + math.radians(self.views.pitch_degrees),
            shift=zero.unsqueeze(-1).expand(-1, 3),
            size=size,
        )
        seen = self.see_again(image, depth, K, sampled)
        back = self.viewer.back(seen, K, sampled.views, size)
        count = len(image)
        return consistency_pictures(
            batch, depth, SeenAgain(*(half[:count] for half in seen)), SeenBack(*(half[:count] for half in back))
        )
