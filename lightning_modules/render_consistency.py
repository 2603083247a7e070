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
from typing import Literal, NamedTuple, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F

from geometry.alignment import least_absolute_scale, median_scale
from geometry.camera import scale_intrinsics
from geometry.masks import shrink
from geometry.novel_views import Views, turn_direction
from geometry.se3 import invert_transform, matrix_product
from geometry.stencils import fill_outside, masked_median_per_image
from lightning_modules.base import DepthModule
from lightning_modules.batch_norm import running_statistics
from lightning_modules.view_sampling import SampledViews, ViewSampler
from losses.by_kind import BaseLoss, mixed_truth_loss
from losses.consistency import (
    image_consistency,
    relative_difference,
    signed_inconsistency,
    signed_slope,
    spread_difference,
)
from metrics.shape import ShapeMetrics
from networks.uncertainty import UncertaintyWeights
from renderers.display import colorize, depth_range
from renderers.point_render import PointRenderer, scene_points
from renderers.splat import SplatRenderer
from renderers.turned_view import carry_between, turn_view
from structures.batch import DepthBatch
from structures.depth_kind import DepthKind, MixedBatch

DATA_TERMS = ("ssi", "gradient", "ranking")
CONSISTENCY_TERMS = ("forward", "back_depth", "back_image", "signed")

Residual = Literal["relative", "spread"]

SHIFT_RATE = 10.0
"""The shift is that many times its parameter: a step of Adam moves all parameters alike, and depth is of order one."""
MIN_FRACTION = 1e-2
"""Shifted depth is at least this part of its image's median."""


class SeenAgain(NamedTuple):
    """A scene from a new camera, and what the network says of that picture."""

    image: Tensor
    """``(V, 3, H, W)``, the picture, holes filled with the middle grey."""
    carried: Tensor
    """``(V, 1, H, W)``, depth of the first prediction in the view."""
    visible: Tensor
    """bool ``(V, 1, H, W)``, False in holes and near them."""
    predicted: Tensor
    """``(V, 1, H, W)``, the network's own depth of the picture, times the factor that aligns it."""
    turn: Tensor
    """``(V, 1, H, W)``, ``sin(yaw) x / f + sin(pitch) y / f``: along it a wrong shift tilts the two apart."""


def scale_to(K: Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    """Intrinsics of an image of one size for the image resized to another, each ``(height, width)``."""
    return scale_intrinsics(K, scale_x=new_size[1] / size[1], scale_y=new_size[0] / size[0])


class RenderConsistency(DepthModule):
    """A depth network trained on mixed truth and on agreement with itself.

    Args:
        network: Maps an image ``(B, 3, H, W)`` in [0, 1] to the logarithm of depth, ``(B, 1, H, W)``.
        renderer: Draws the scene from a new camera; None is the splat renderer. Unused with ``views.about: camera``.
        views: Which views are drawn; None takes the paper's.
        loss_weights: ``ssi``, ``gradient``, ``ranking`` (on the data's truth), ``forward``, ``back_depth``,
            ``back_image``, ``signed`` (consistency). A term that is left out is not computed.
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
        shift: Constant added to the network's depth, in its unit, for instance what ``make calibrate`` found.
        learn_shift: Whether that constant is learned, from ``shift`` on. The consistency terms then train the constant
            and leave the network alone.
        optimizer: See :class:`~lightning_modules.base.PaperModule`.
        lr_scheduler: See :class:`~lightning_modules.base.PaperModule`.
        lr_scheduler_interval: See :class:`~lightning_modules.base.PaperModule`.
        lr_monitor: See :class:`~lightning_modules.base.PaperModule`.
        alignment: Least squares over scale and shift, the zero-shot protocol; shapes are aligned by scale alone.
        min_depth_m: See :class:`~lightning_modules.base.DepthModule`.
        max_depth_m: See :class:`~lightning_modules.base.DepthModule`.
        crop: See :class:`~lightning_modules.base.DepthModule`.
        average: See :class:`~lightning_modules.base.DepthModule`.

    Raises:
        ValueError: If a loss term or choice is unknown or a number is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        renderer: PointRenderer | None = None,
        views: ViewSampler | None = None,
        loss_weights: Mapping[str, float] | None = None,
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
        shift: float = 0.0,
        learn_shift: bool = False,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_scheduler_interval: Literal["step", "epoch"] = "step",
        lr_monitor: str = "val/score",
        alignment: Literal["none", "median", "least_squares"] = "least_squares",
        min_depth_m: float = 1e-3,
        max_depth_m: float = 10.0,
        crop: tuple[float, float, float, float] | None = None,
        average: Literal["image", "pixel"] = "image",
    ) -> None:
        default_weights = {
            "ssi": 1.0,
            "gradient": 0.5,
            "ranking": 1.0,
            "forward": 1.0,
            "back_depth": 1.0,
            "back_image": 1.0,
        }
        super().__init__(
            loss_weights=default_weights if loss_weights is None else loss_weights,
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
        if learn_shift and not self.loss_weights.keys() & set(CONSISTENCY_TERMS):
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
        self.network = network
        self.renderer = SplatRenderer() if renderer is None else renderer
        consistency = [name for name in CONSISTENCY_TERMS if name in self.loss_weights]
        self.uncertainty = UncertaintyWeights(consistency) if weighting == "uncertainty" and consistency else None
        self.base_loss: BaseLoss = base_loss
        self.residual: Residual = residual
        self.warmup = warmup
        self.ramp = ramp
        self.view_share = view_share
        self.view_statistics = view_statistics
        self.render_scale = render_scale
        self.edge_jump = edge_jump
        self.hole_margin_px = hole_margin_px
        self.detach_carried = detach_carried
        self.learn_shift = learn_shift
        # A tensor with or without gradient, so that it is part of every checkpoint.
        self.scaled_shift = nn.Parameter(torch.tensor(shift / SHIFT_RATE), requires_grad=learn_shift)
        self.shape_metrics = nn.ModuleDict(
            {stage: ShapeMetrics(min_depth_m=min_depth_m, max_depth_m=max_depth_m) for stage in ("val", "test")}
        )

    @property
    def scale_known(self) -> bool:
        """Depth is up to a factor: nothing in the training tells metres."""
        return False

    @property
    def shift(self) -> Tensor:
        """The constant that is added to the network's depth, a scalar in the network's unit."""
        return SHIFT_RATE * self.scaled_shift

    def raw_depth(self, image: Tensor) -> Tensor:
        """The network's positive depth ``(B, 1, H, W)`` before any shift, in its own unit."""
        return self.network(image).float().clamp(-15.0, 15.0).exp()

    def shifted(self, raw: Tensor, *, shift_learns: bool = True) -> Tensor:
        """Depth with the shift, not below a small share of each image's median, which a negative one may cross."""
        shift = self.shift if shift_learns else self.shift.detach()
        median = masked_median_per_image(raw.detach(), torch.ones_like(raw, dtype=torch.bool)).view(-1, 1, 1, 1)
        return torch.maximum(raw + shift, MIN_FRACTION * median)

    def forward(self, image: Tensor) -> Tensor:
        """Depth of an image, up to one unknown scale.

        Args:
            image: float32 ``(B, 3, H, W)``, RGB in [0, 1].

        Returns:
            float32 ``(B, 1, H, W)``, positive.
        """
        return self.shifted(self.raw_depth(image))

    def strength(self) -> float:
        """Factor on the consistency terms: 0 in the warm-up, then a linear ramp to 1; a function of the step alone."""
        after = self.progress() - self.warmup
        if after < 0:
            return 0.0
        return 1.0 if self.ramp == 0 else min(after / self.ramp, 1.0)

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
        wanted = [name for name in CONSISTENCY_TERMS if name in self.loss_weights]
        if not wanted:
            return terms
        if self.progress() < self.warmup:
            # Zero times what is learned keeps every parameter in the graph: DDP waits for all gradients.
            return terms | {name: 0.0 * (raw.sum() + self.shift) for name in wanted}
        return terms | self.consistency_terms(batch, raw)

    def _truth(self, batch: MixedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Truth, its mask and kind; batches of a single metric source have depth alone."""
        if "truth" in batch:
            return batch["truth"], batch["truth_mask"], batch["kind"]
        kind = torch.full_like(batch["index"], int(DepthKind.METRIC))
        return batch["depth"], batch["depth_mask"], kind

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
            back_image, back_depth, back_visible = self.render_back(seen, K, sampled.views, size)
            if "back_depth" in self.loss_weights:
                before = self.shifted(raw.detach()) if self.learn_shift else depth
                terms["back_depth"] = self.difference(back_depth, before.repeat(2, 1, 1, 1), back_visible)
            if "back_image" in self.loss_weights:
                photo = image.repeat(2, 1, 1, 1)
                terms["back_image"] = image_consistency(back_image, image=photo, mask=back_visible)
        return terms

    def see_again(
        self, image: Tensor, depth: Tensor, K: Tensor, sampled: SampledViews, *, network_learns: bool = True
    ) -> SeenAgain:
        """Look at scenes from new cameras, ask the network what it sees, and hold that against what is known already.

        About the scene that is the depth of the photo, carried into the view by rendering. About the camera it is what
        the network says of the *opposite* view of the pair. The two are pictures of one sort; the photo, which shows
        more, is of another, and a network could learn to answer views otherwise than photos.

        Args:
            image: ``(B, 3, H, W)``, the photos.
            depth: ``(B, 1, H, W)``, their predicted depth; unused about the camera.
            K: ``(B, 3, 3)`` of the photos.
            sampled: ``2 B`` cameras, with intrinsics for the photos' size.
            network_learns: Whether what the network says of the views has a gradient for its weights.
        """
        views, pairs = sampled.views, len(image)
        size, K_view = self._view_camera(image, views)
        image, K = image.repeat(2, 1, 1, 1), K.repeat(2, 1, 1)
        if self.views.about == "camera":
            R = views.T_view_source[:, :3, :3]
            turned = turn_view(image, image[:, :1], K=K, K_view=K_view, R_view_source=R, size=size)
            predicted = self._ask(turned.image, network_learns)
            swapped = [torch.cat([maps[pairs:], maps[:pairs]]) for maps in (predicted, turned.visible, R)]
            partner = swapped[0].detach() if self.detach_carried else swapped[0]
            between = matrix_product(R, swapped[2].transpose(1, 2))
            other = carry_between(partner, partner, there=swapped[1], K=K_view, R_view_source=between, size=size)
            visible = turned.visible & other.visible
            return self._aligned(
                turned.image, other.depth, visible, predicted, 2 * sampled.yaw, 2 * sampled.pitch, K_view
            )
        carried_from = (depth.detach() if self.detach_carried else depth).repeat(2, 1, 1, 1)
        points, kept, spacing = scene_points(carried_from, K, edge_jump=self.edge_jump)
        drawn = self.renderer(
            points,
            image.flatten(2),
            K=K_view,
            T_view_source=views.T_view_source,
            size=size,
            mask=kept,
            spacing_m=spacing,
        )
        picture = torch.where(drawn.visible, drawn.features, torch.full_like(drawn.features, 0.5)).detach()
        visible = shrink(drawn.visible, self.hole_margin_px)
        return self._aligned(
            picture, drawn.depth_m, visible, self._ask(picture, network_learns), sampled.yaw, sampled.pitch, K_view
        )

    def _ask(self, picture: Tensor, network_learns: bool) -> Tensor:
        """Shifted depth of pictures of views."""
        statistics: AbstractContextManager[None] = nullcontext()
        if self.training and self.view_statistics == "running":
            statistics = running_statistics(self.network)
        with torch.set_grad_enabled(network_learns and torch.is_grad_enabled()), statistics:
            raw = self.raw_depth(picture.detach().clamp(0, 1))
        return self.shifted(raw)

    def _aligned(
        self, image: Tensor, carried: Tensor, visible: Tensor, predicted: Tensor, yaw: Tensor, pitch: Tensor, K: Tensor
    ) -> SeenAgain:
        factor = least_absolute_scale(predicted.detach(), target=carried.detach(), mask=visible)
        turn = turn_direction(yaw, pitch, K=K, size=(image.shape[-2], image.shape[-1]))
        return SeenAgain(image, carried, visible, factor.view(-1, 1, 1, 1) * predicted, turn)

    def _view_camera(self, image: Tensor, views: Views) -> tuple[tuple[int, int], Tensor]:
        """Size and intrinsics of the views: a share of the photo's, in multiples of the network's stride."""
        height, width = image.shape[-2:]
        if self.render_scale == 1:
            return (height, width), views.K_view
        stride = int(getattr(self.network, "stride", 32))
        size = tuple(max(stride, round(side * self.render_scale / stride) * stride) for side in (height, width))
        return (size[0], size[1]), scale_to(views.K_view, (height, width), (size[0], size[1]))

    def render_back(
        self, seen: SeenAgain, K: Tensor, views: Views, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The photos and their depth as they follow from what the network said of the views.

        Args:
            seen: What it said, about ``2 B`` views.
            K: ``(B, 3, 3)`` of the photos.
            views: The views.
            size: Height and width of the photos.

        Returns:
            Picture ``(2 B, 3, H, W)``, depth ``(2 B, 1, H, W)`` and bool ``(2 B, 1, H, W)``, False in holes and near
            them.
        """
        K, K_view = K.repeat(2, 1, 1), scale_to(views.K_view, size, (seen.image.shape[-2], seen.image.shape[-1]))
        back = invert_transform(views.T_view_source)
        if self.views.about == "camera":
            R = back[:, :3, :3]
            turned = turn_view(seen.image, seen.predicted, K=K_view, K_view=K, R_view_source=R, size=size)
            return turned.image, turned.depth, turned.visible
        points, kept, spacing = scene_points(seen.predicted, K_view, edge_jump=self.edge_jump)
        kept = kept & seen.visible.flatten(2)
        drawn = self.renderer(
            points, seen.image.flatten(2), K=K, T_view_source=back, size=size, mask=kept, spacing_m=spacing
        )
        return drawn.features, drawn.depth_m, shrink(drawn.visible, self.hole_margin_px)

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

        The view has the largest yaw and no other movement. All depths of a row share one range of colours, after the
        alignment by medians with the truth where there is some.
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
        back_image, back_depth, back_visible = (
            half[: len(image)] for half in self.render_back(seen, K, sampled.views, size)
        )
        seen = SeenAgain(*(half[: len(image)] for half in seen))
        truth, mask = batch["depth"], batch["depth_mask"]
        near, far = depth_range(depth)
        known = mask.flatten(1).any(dim=1)
        to_metres = torch.where(known, median_scale(depth, target=truth, mask=mask), 1.0)

        def coloured(values: Tensor, visible: Tensor | None = None) -> Tensor:
            picture = colorize(values, mask=visible, near_m=near, far_m=far)
            return F.interpolate(picture, size=size, mode="nearest")

        def resized(picture: Tensor) -> Tensor:
            return F.interpolate(picture, size=size, mode="nearest")

        return {
            "image": image,
            "truth": colorize(truth, mask=mask, near_m=near * to_metres, far_m=far * to_metres),
            "depth": coloured(depth),
            "view": resized(seen.image),
            "seen": resized(seen.visible.float().expand(-1, 3, -1, -1)),
            "turned": coloured(seen.carried, seen.visible),
            "said": coloured(seen.predicted, seen.visible),
            "back": torch.where(back_visible, back_image, torch.zeros_like(back_image)),
            "back depth": coloured(back_depth, back_visible),
        }

    def _update_metrics(self, stage: str, batch: DepthBatch) -> None:
        depth = self.predict_depth(batch)
        truth, mask = batch["depth"], batch["depth_mask"]
        self._metrics(stage).update(depth, target_m=truth, mask=mask, depth_scale_m=batch["depth_scale_m"])
        shape = cast(ShapeMetrics, self.shape_metrics[stage])
        shape.update(depth, target_m=truth, mask=mask, K=batch["K"], plane=batch.get("plane"))

    def stage_metrics(self, stage: str) -> dict[str, Tensor]:
        """Depth errors after scale and shift, and errors of shape after scale alone."""
        shape = cast(ShapeMetrics, self.shape_metrics[stage]).compute()
        return super().stage_metrics(stage) | {
            name: value.float() for name, value in shape.items() if not bool(value.isnan())
        }

    def _reset_metrics(self, stage: str) -> None:
        super()._reset_metrics(stage)
        cast(ShapeMetrics, self.shape_metrics[stage]).reset()
