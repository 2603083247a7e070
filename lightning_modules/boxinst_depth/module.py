"""Box-supervised instance segmentation with pseudo depth: masks learned from boxes, with depth that only training sees.

A network with a mask head of each instance's own (CondInst) is trained without masks: a mask has to be as wide and as
high as its box, and neighbours of like colour belong together (BoxInst). The paper adds the depth that a monocular
network predicts for the training images: neighbours at one depth belong together too, the mask head also predicts
depth, which gates its mask, and an averaged teacher's masks, matched to the boxes with depth's help, are learned. At
inference there is no depth.

Paper: "Boosting Box-supervised Instance Segmentation with Pseudo Depth", https://arxiv.org/abs/2403.01214. Under it:
CondInst, https://arxiv.org/abs/2003.05664 (network, section 3), and BoxInst, https://arxiv.org/abs/2012.02310
(equations 3 to 7). The stages are configurations, by ``loss_weights``:

    condinst             classification, boxes, quality, mask
    boxinst              classification, boxes, quality, projection, pairwise_colour
    boxinst_depth_loss   those of boxinst and pairwise_depth
    boxinst_depth_head   those and depth, with a depth-guided network
    boxinst_depth        those and distillation

With ``mask`` beside the terms of boxes, images that may use their masks (``has_masks``) learn them and the others have
their boxes: mixed supervision. Each instance then has one of the two, and all count alike.

Deviations:
    - The unit of depth is not published, and the threshold means nothing without one: inverse depth in [0, 1] over the
      image times ``depth_scale``, so that pairs closer than ``0.69 / depth_scale`` attract each other.
    - ``pair_gate: both`` lets colour attract only pairs that lie at one depth as well: a pairwise term cannot repel,
      and colour alone pulls the wrong way at the edge of a camouflaged object. ``depth`` puts the depth term in its
      place.
    - Depth regression is a mean over a box's pixels, then over instances; the target is stretched over the image.
    - Everything about the teacher but the form of the score is ours (``self_distillation.py``).
    - Warm-ups are parts of the training and count from 0, so that they move with its length.
    - Weight decay includes norms. What the network does otherwise is told in ``networks/condinst.py``.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from geometry.boxes import box_masks
from geometry.stencils import fill_outside
from lightning_modules.boxinst_depth.detection_losses import BoxQuality, fcos_terms
from lightning_modules.boxinst_depth.self_distillation import MaskTeacher, SelfDistillation, sampled
from lightning_modules.schedules import linear_ramp
from lightning_modules.tasks.batch_needs import PSEUDO_DEPTH, Loop, Need
from lightning_modules.tasks.instance_segmentation import InstanceSegmentationModule
from lightning_modules.tasks.optimisation import Optimisation
from losses.depth_in_boxes import depth_regression_loss
from losses.dice import dice_loss
from losses.fcos_targets import FCOSTargets, assign, mask_centres, raster_centres, select_for_masks
from losses.pairwise_affinity import (
    PairGate,
    colour_similarity,
    depth_similarity,
    pair_weights,
    pairwise_loss,
    without_bottom,
)  # fmt: skip
from losses.projection import projection_loss
from networks.condinst import CondInstOutputs
from structures.instances import InstanceBatch

DETECTION_TERMS = ("classification", "boxes", "quality")
BOX_TERMS = ("projection", "pairwise_colour", "pairwise_depth", "distillation")
TERMS = (*DETECTION_TERMS, "mask", *BOX_TERMS, "depth")


class BoxInstDepth(InstanceSegmentationModule):
    """Instances from boxes, with or without pseudo depth, masks and a teacher.

    Args:
        network: Depth-guided where ``depth`` is among the loss terms.
        loss_weights: Any of ``classification``, ``boxes``, ``quality``, ``mask``, ``projection``, ``pairwise_colour``,
            ``pairwise_depth``, ``depth`` and ``distillation``; a term that is left out is not computed. None is the
            paper's: all but ``mask``, with weight 1, and 2 for ``distillation`` (larger than that of ``projection`` is
            better; the value is ours).
        distillation: How a teacher is used; None with the term ``distillation`` takes the defaults.
        warmup: Part of the training over which the pairwise terms rise from zero (10,000 of 90,000 steps).
        pair_gate: Which pairs ``pairwise_colour`` pulls together: those alike in ``colour``, in ``depth``, in ``both``.
        colour_threshold: Least similarity of colour.
        depth_threshold: Similarity of depth that has to be exceeded (the best of the paper's ablation).
        depth_scale: Factor on differences of inverse depth in [0, 1]; ours.
        dilation: Distance of neighbours on the grid of the masks.
        bottom_rows: Lowest rows of the original image whose pixels attract nobody (captions).
        box_quality: What the quality branch predicts: ``centerness``, or the ``iou`` (the paper's on Swin).
        centre_radius: Half the side of the window of positive locations, in strides.
        masks_per_image: About how many locations of an image learn a mask.
        optimisation: Stochastic gradient descent, as in the paper.
        base: Arguments of :class:`InstanceSegmentationModule`.

    Raises:
        ValueError: If a loss term or choice is unknown, a term lacks what it needs, or a number is out of range.
    """

    paper_weights: ClassVar[Mapping[str, float]] = {
        name: 2.0 if name == "distillation" else 1.0 for name in TERMS if name != "mask"
    }

    def __init__(
        self,
        distillation: SelfDistillation | None = None,
        warmup: float = 1 / 9,
        pair_gate: PairGate = "colour",
        colour_threshold: float = 0.3,
        depth_threshold: float = 0.5,
        depth_scale: float = 10.0,
        dilation: int = 2,
        bottom_rows: int = 10,
        box_quality: BoxQuality = "centerness",
        centre_radius: float = 1.5,
        masks_per_image: int = 64,
        optimisation: Optimisation = Optimisation(torch.optim.SGD),
        **base: Any,
    ) -> None:
        super().__init__(optimisation=optimisation, **base)
        wanted = self.loss_weights.keys()
        if wanted - set(TERMS):
            raise ValueError(f"loss term '{min(wanted - set(TERMS))}' is not known; choose among {', '.join(TERMS)}")
        if not wanted >= set(DETECTION_TERMS) or not wanted & {"mask", "projection"}:
            raise ValueError("classification, boxes, quality and one of mask and projection must be among loss_weights")
        if "depth" in wanted and not self.network.mask_head.depth_guided:
            raise ValueError("the loss term 'depth' needs a depth layer: set network.init_args.depth_guided to true")
        if distillation is not None and "distillation" not in wanted:
            raise ValueError("distillation is given, but the loss term 'distillation' is not among loss_weights")
        if not 0 <= warmup <= 1:
            raise ValueError(f"warmup is {warmup}, but must be a fraction of the training, 0 to 1")
        if pair_gate not in ("colour", "depth", "both") or box_quality not in ("centerness", "iou"):
            raise ValueError(
                f"pair_gate ('{pair_gate}') must be 'colour', 'depth' or 'both' and box_quality ('{box_quality}') "
                "'centerness' or 'iou'"
            )
        if bottom_rows < 0 or not depth_scale > 0:
            raise ValueError(
                f"bottom_rows ({bottom_rows}) must not be negative and depth_scale ({depth_scale}) positive"
            )
        self.warmup = warmup
        self.pair_gate: PairGate = pair_gate
        self.colour_threshold = colour_threshold
        self.depth_threshold = depth_threshold
        self.depth_scale = depth_scale
        self.dilation = dilation
        self.bottom_rows = bottom_rows
        self.box_quality: BoxQuality = box_quality
        self.centre_radius = centre_radius
        self.masks_per_image = masks_per_image
        self.distillation: SelfDistillation | None = None
        if "distillation" in wanted:
            self.distillation = SelfDistillation() if distillation is None else distillation
            self.teacher = MaskTeacher(self.network, self.distillation)
        self.teacher_statistics: dict[str, Tensor] = {}

    def setup(self, stage: str) -> None:
        """Hold the loss terms against the data too.

        Raises:
            ValueError: If masks are all there is to learn from, and the data allow none, or as in the base.
        """
        super().setup(stage)
        allowed = getattr(getattr(self.trainer, "datamodule", None), "mask_share", None)
        if stage == "fit" and allowed == 0 and "projection" not in self.loss_weights:
            raise ValueError(
                "masks are learned from masks alone, but the data allow none: set data.init_args.mask_share"
            )

    def needs(self, loop: Loop) -> tuple[Need, ...]:
        """Pseudo depth, too, where a loss term or the teacher takes it."""
        own = super().needs(loop)
        return (*own, PSEUDO_DEPTH) if loop == "train" and self._needs_depth() else own

    def weighted(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Terms times their weights, those with a warm-up by their part of it too."""
        scaled, progress = super().weighted(terms), self.progress()
        rise = linear_ramp(progress, length=self.warmup)
        factors = {"pairwise_colour": rise, "pairwise_depth": rise}
        if self.distillation is not None:
            factors["distillation"] = self.distillation.strength(progress)
        return {name: term * factors.get(name, 1.0) for name, term in scaled.items()}

    def loss_terms(self, batch: InstanceBatch) -> dict[str, Tensor]:
        """The terms among ``loss_weights``.

        Raises:
            ValueError: If a term needs pseudo depth and the batch has none.
        """
        outputs = self.network(batch["image"])
        targets = assign(
            outputs.locations,
            strides=outputs.strides,
            size_ranges=outputs.size_ranges,
            boxes=batch["boxes"],
            labels=batch["labels"],
            centres=self.centres(batch),
            radius=self.centre_radius,
        )
        terms = fcos_terms(outputs.head, targets, box_quality=self.box_quality)
        terms |= self.mask_terms(batch, outputs, targets)
        return {name: terms[name] for name in self.loss_weights}

    def masked(self, batch: InstanceBatch) -> Tensor:
        """Bool ``(B,)``, images that learn their masks; no mask of another one is ever looked at."""
        if "mask" in self.loss_weights and "masks" in batch:
            return batch["has_masks"]
        return torch.zeros_like(batch["has_masks"])

    def centres(self, batch: InstanceBatch) -> Tensor:
        """``(B, N, 2)`` centroids of the masks, or of the rasterised boxes where they are all that is known."""
        boxes, size = batch["boxes"], (batch["image"].shape[-2], batch["image"].shape[-1])
        of_boxes = raster_centres(boxes, size)
        masked = self.masked(batch)
        if "masks" not in batch or "mask" not in self.loss_weights:
            return of_boxes
        masks = batch["masks"] & masked[:, None, None, None]
        return torch.where(masks.flatten(2).any(dim=2, keepdim=True), mask_centres(masks).to(of_boxes), of_boxes)

    def mask_terms(self, batch: InstanceBatch, outputs: CondInstOutputs, targets: FCOSTargets) -> dict[str, Tensor]:
        """What the masks of the best locations of every instance are told."""
        wanted, stride = self.loss_weights.keys(), self.network.mask_stride
        scores = self.network.probabilities(outputs).amax(dim=-1)
        image, location, instance = select_for_masks(targets.instance, scores, per_image=self.masks_per_image)
        found = self.network.masks(outputs, image=image, location=location)
        size = (batch["image"].shape[-2], batch["image"].shape[-1])
        inside = box_masks(batch["boxes"][image, instance], size, stride=stride).unsqueeze(1)
        by_mask = self.masked(batch)[image]
        full, boxed = by_mask.nonzero().squeeze(1), (~by_mask).nonzero().squeeze(1)
        count = max(len(image), 1)
        share = len(boxed) / count  # of the means over the instances that boxes alone supervise
        logits = found.logits[boxed]
        pairs: dict[str, Any] = {"box_masks": inside[boxed], "image_index": image[boxed], "dilation": self.dilation}
        terms: dict[str, Tensor] = {}
        if "mask" in wanted:
            probability = found.logits[full].sigmoid()
            truth = torch.zeros_like(probability, dtype=torch.bool)
            if "masks" in batch:
                truth = sampled(batch["masks"], stride)[image[full], instance[full]].unsqueeze(1)
            terms["mask"] = dice_loss(probability, target=truth).sum() / count
        if "projection" in wanted:
            terms["projection"] = share * projection_loss(logits, box_masks=inside[boxed])
        depth, known = self.depth_sampled(batch) if self._needs_depth() else (None, None)
        alike: dict[str, Any] = {"colour_threshold": self.colour_threshold, "depth_threshold": self.depth_threshold}
        if depth is not None:
            alike["depth"] = depth_similarity(
                depth, depth_scale=self.depth_scale, depth_mask=known, dilation=self.dilation
            )
        if "pairwise_colour" in wanted:
            if self.pair_gate != "depth":
                real = without_bottom(batch["image_mask"], rows=self.bottom_rows * batch["scale"][:, 0])
                alike["colour"] = colour_similarity(
                    batch["image"], image_mask=real, stride=stride, dilation=self.dilation
                )
            weights = pair_weights(self.pair_gate, **alike)
            terms["pairwise_colour"] = share * pairwise_loss(logits, weights=weights, **pairs)
        if "pairwise_depth" in wanted:
            weights = pair_weights("depth", **alike)
            terms["pairwise_depth"] = share * pairwise_loss(logits, weights=weights, **pairs)
        if "depth" in wanted and depth is not None and known is not None and found.depth is not None:
            terms["depth"] = depth_regression_loss(
                found.depth, pseudo_depth=depth[image], box_masks=inside & known[image]
            )
        if self.distillation is not None:
            terms["distillation"] = 0.0 * found.logits.sum()  # in the graph, whatever the teacher does
            if self.progress() >= self.distillation.start:
                taught = self.teacher.label(
                    batch, alike.get("depth"), depth_threshold=self.depth_threshold, dilation=self.dilation
                )
                self.teacher_statistics = taught.statistics(batch)
                chosen = boxed[taught.accepted[image[boxed], instance[boxed]]]
                target = taught.masks[image[chosen], instance[chosen]].unsqueeze(1)
                dice = dice_loss(found.logits[chosen].sigmoid(), target=target)
                terms["distillation"] = terms["distillation"] + dice.sum() / count
        return terms

    def _needs_depth(self) -> bool:
        wanted = self.loss_weights.keys()
        by_gate = self.pair_gate != "colour" and "pairwise_colour" in wanted
        matched = self.distillation is not None and self.distillation.beta > 0
        return by_gate or matched or bool(wanted & {"pairwise_depth", "depth"})

    def depth_sampled(self, batch: InstanceBatch) -> tuple[Tensor, Tensor]:
        """Pseudo depth and where it is known, ``(B, 1, h, w)`` on the grid of the masks: means over its cells.

        Raises:
            ValueError: If the batch has none.
        """
        if "pseudo_depth" not in batch or "depth_mask" not in batch:
            raise ValueError(PSEUDO_DEPTH.source)
        stride, known = self.network.mask_stride, batch["depth_mask"].float()
        part = F.avg_pool2d(known, stride)
        depth = F.avg_pool2d(fill_outside(batch["pseudo_depth"].float(), batch["depth_mask"]), stride)
        return depth / part.clamp(min=0.5), part >= 0.5

    def training_step(self, batch: InstanceBatch, batch_idx: int) -> Tensor:
        """Weighted sum of the loss terms; logs what the teacher did too."""
        self.teacher_statistics = {}
        loss = super().training_step(batch, batch_idx)
        for name, value in self.teacher_statistics.items():
            self.log(f"train/teacher_{name}", value.float(), batch_size=len(batch["image"]))
        return loss

    def on_train_start(self) -> None:
        """Until its start the teacher is the student, also after weights were loaded into the latter."""
        if self.distillation is not None and self._updates(self.global_step) <= 0:
            self.teacher.update(self.network, 0)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Let the teacher follow the student's step."""
        super().optimizer_step(*args, **kwargs)
        if self.distillation is not None and self._updates(self.global_step + 1) >= 0:
            self.teacher.update(self.network, self._updates(self.global_step + 1))

    def _updates(self, step: int) -> int:
        """Steps since the teacher's start, negative before."""
        assert self.distillation is not None
        return step - math.ceil(self.distillation.start * float(self.trainer.estimated_stepping_batches) - 1e-6)
